"""Files without what says the same twice, or nothing to an interpreter.

A scale for each channel brings a zero point of eight bytes for each, all of
them 0, with the weights and with the biases: a fifth of a keyword network's
file of integers. A flatbuffer may hold such a vector once and point to it from
everywhere; interpreters read it as before. TensorFlow's converter names a
tensor after all layers that were fused into it, a hundred letters and more: the
last of them tells which it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import AlignedBuilder, packed

Array = np.ndarray

# How the converter was called, which only it reads.
_UNREAD = (b'CONVERSION_METADATA',)


class _Sharing(AlignedBuilder):
  """Writes vectors and strings that are equal once."""

  def __init__(self, size: int):
    super().__init__(size)
    self._written: dict[tuple, int] = {}

  def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802
    """The vector's place."""
    key = x.dtype.str, x.tobytes()
    if key not in self._written:
      self._written[key] = super().CreateNumpyVector(x)
    return self._written[key]

  def CreateString(self, s: Any, *args: str, **kwargs: str) -> int:  # noqa: N802
    """The string's place."""
    key = ('string', s)
    if key not in self._written:
      self._written[key] = super().CreateString(s, *args, **kwargs)
    return self._written[key]


def lean(data: bytes) -> bytes:
  """The same file in fewer bytes; itself, where there are none to save.

  Names of inputs, outputs and signatures stay.

  Args:
    data: A flatbuffer.
  """
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
  for buffer in model.buffers:
    if buffer.size > 1:  # 0 and 1 stand for contents within
      stored = data[buffer.offset : buffer.offset + buffer.size]
      buffer.data = np.frombuffer(stored, np.uint8)
      buffer.offset = buffer.size = 0
  if model.metadata is not None:
    model.metadata = [m for m in model.metadata if m.name not in _UNREAD]
  for graph in model.subgraphs:
    _shorten(graph)
  _drop_buffers(model)
  found = packed(model, _Sharing(len(data)))
  return found if len(found) < len(data) else data


def _shorten(graph: Any) -> None:
  """Gives tensors the last of their names that no other has."""
  ends = {int(k) for part in (graph.inputs, graph.outputs) for k in part}
  named = [tensor.name or b'' for tensor in graph.tensors]
  taken = set(named)
  for index, tensor in enumerate(graph.tensors):
    parts = named[index].split(b';')
    free = [part for part in parts if part not in taken]
    if index not in ends and free:
      taken.add(free[-1])
      tensor.name = free[-1]


def _drop_buffers(model: Any) -> None:
  """Leaves buffers out that are empty or that nobody reads."""
  readers = [tensor for graph in model.subgraphs for tensor in graph.tensors]
  readers += model.metadata or []
  empty = schema.BufferT()
  buffers, number = [empty], {}
  for reader in readers:
    held = model.buffers[reader.buffer]
    if held.data is None or not len(held.data):
      reader.buffer = 0  # by the schema the one without contents
      continue
    if reader.buffer not in number:
      number[reader.buffer] = len(buffers)
      buffers.append(held)
    reader.buffer = number[reader.buffer]
  model.buffers = buffers
