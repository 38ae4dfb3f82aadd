"""LSTM cells are not cut off: Keras's are not.

TensorFlow's converter makes a Keras LSTM one operator, and writes into it that
cells are cut off at 10. A cell may count further in so many steps, and forgets
otherwise then than the model does: of a network for keywords whose inputs reach
a hundred, that moved answers to real recordings by up to 1.7 % of their spread.
"""

from __future__ import annotations

from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed

_LSTM = (
  schema.LSTMOptionsT,
  schema.UnidirectionalSequenceLSTMOptionsT,
  schema.BidirectionalSequenceLSTMOptionsT,
)


def without_cell_clips(data: bytes) -> bytes:
  """The same file, with cells that are as large as they become.

  Args:
    data: A flatbuffer.
  """
  file = TFLiteFile(data)
  clipped = [
    op.builtinOptions
    for graph in file.object.subgraphs
    for op in graph.operators
    if isinstance(op.builtinOptions, _LSTM) and op.builtinOptions.cellClip
  ]
  for options in clipped:
    options.cellClip = 0.0
  return packed(file.object) if clipped else data
