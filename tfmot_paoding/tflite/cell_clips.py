"""LSTM cells are not cut off: Keras's are not.

TensorFlow's converter makes a Keras LSTM one operator, and writes into it that
cells are cut off at 10. A cell may count further in so many steps, and forgets
otherwise then than the model does: of a network for keywords whose inputs reach
a hundred, that moved answers to real recordings by up to 1.7 % of their spread.
"""

from __future__ import annotations

from collections.abc import Iterator

from flatbuffers import number_types, packer
from tensorflow.lite.python import schema_py_generated as schema

_KINDS = (
  schema.BuiltinOptions.LSTMOptions,
  schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions,
  schema.BuiltinOptions.BidirectionalSequenceLSTMOptions,
)
# Where the options of all of them keep `cell_clip`.
_FIELD = 6


def without_cell_clips(data: bytes) -> bytes:
  """The same file, with cells that are as large as they become.

  Args:
    data: A flatbuffer.
  """
  found = bytearray(data)
  for place in _clips(found):
    packer.float32.pack_into(found, place, 0.0)
  return bytes(found)


def _clips(data: bytearray) -> Iterator[int]:
  """Where the file says at what a cell is cut off."""
  model = schema.Model.GetRootAsModel(data, 0)
  for k in range(model.SubgraphsLength()):
    graph = model.Subgraphs(k)
    for number in range(graph.OperatorsLength()):
      op = graph.Operators(number)
      if op.BuiltinOptionsType() not in _KINDS:
        continue
      options = op.BuiltinOptions()
      offset = number_types.UOffsetTFlags.py_type(options.Offset(_FIELD))
      if offset:  # 0 where it is not said
        yield options.Pos + offset
