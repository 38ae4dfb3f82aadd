"""What scales a model's inputs entry by entry, and stays in real numbers.

An integer input has one scale for all its entries. Where a Normalization layer
inside the model is to make entries of unlike scale alike, the small ones are
gone before it. A file that takes real numbers all the same (`float_io`) need
not lose them: what scales comes first then, and integers behind it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.integers import ends_of
from tfmot_paoding.tflite.operators import Operator

Array = np.ndarray


# Operators of two tensors, entry by entry.
_ENTRYWISE = ('ADD', 'SUB', 'MUL', 'DIV')
# How many steps of what comes out a step of what goes in may come to.
_COARSER = 4.0
_STEPS = 255


@dataclasses.dataclass(frozen=True)
class _Head:
  """What leads from an input to a tensor, entry by entry.

  Attributes:
    names: The tensors that it makes, in order.
    gain: How far the last moves with the input, broadcasting to its shape.
    step: Of the input, had it integers.
  """

  names: tuple[str, ...]
  gain: Array
  step: float

  def behind(self, op: Operator, constant: Array, name: str) -> _Head:
    """With one operator more."""
    gain = self.gain
    if op.name == 'MUL':
      gain = gain * constant
    elif op.name == 'DIV':
      gain = gain / constant
    return dataclasses.replace(self, names=(*self.names, name), gain=gain)


def real_heads(ranged: bytes) -> list[str]:
  """The nodes to leave in real numbers, by the names of what they make.

  Those that lead from an input, through operators with constants alone, to
  entries of which one would have a coarser step than the tensor has: it would
  be lost, though there is room for it.

  Args:
    ranged: A file of real numbers with the ranges of its tensors.
  """
  file = TFLiteFile(ranged)
  tensors = file.object.subgraphs[0].tensors
  heads = {
    index: _Head((), np.ones(()), float(np.ptp(ends)) / _STEPS)
    for index in file.inputs
    if (ends := ends_of(tensors[index])) is not None
  }
  found: dict[str, None] = {}
  for op in file.operators:
    constants = [x for i in op.inputs if (x := _values(file, i)) is not None]
    sources = [index for index in op.inputs if index in heads]
    first = op.name != 'DIV' or op.inputs[0] in heads
    if op.name not in _ENTRYWISE or not first or len(constants) != 1:
      continue
    for source in sources:
      (output,) = op.outputs
      name = tensors[output].name.decode()
      head = heads[output] = heads[source].behind(op, constants[0], name)
      ends = ends_of(tensors[output])
      step = head.step * float(np.abs(head.gain).max())
      if ends is not None and step > _COARSER * np.ptp(ends) / _STEPS:
        found.update(dict.fromkeys(head.names))
  return list(found)


def real_inputs(data: bytes) -> set[str]:
  """The inputs that a file of integers reads in real numbers alone.

  Args:
    data: The file.
  """
  file = TFLiteFile(data)
  found = set()
  for name, place in file.signature(of_inputs=True).items():
    index = file.inputs[place]
    readers = [op.name for op in file.operators if index in op.inputs]
    if file.tensors[index].type == 'float32' and 'QUANTIZE' not in readers:
      found.add(name)
  return found


def _values(file: TFLiteFile, index: int) -> Array | None:
  """What a real tensor holds; None for one that is computed."""
  if index < 0 or file.tensors[index].type != 'float32':
    return None
  tensor = file.object.subgraphs[0].tensors[index]
  data = file.object.buffers[tensor.buffer].data
  if data is None or not len(data):
    return None
  values = np.frombuffer(bytes(data), np.float32)
  return values.reshape(file.tensors[index].shape)
