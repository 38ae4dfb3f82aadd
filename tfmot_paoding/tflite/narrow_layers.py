"""Layers that may have weights of four bits, and what these are best.

Weights are put on their grid here, in real numbers, with the least error of
what the layer gives for inputs that were drawn, and the bias makes up for the
rest of its mean. A quantizer that takes the step of a row from its largest
weight then only writes down what is there.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed
from tfmot_paoding.tflite.grid_rounding import on_grid
from tfmot_paoding.tflite.layer_inputs import Moments, moments_of

Array = np.ndarray

_OPERATORS = ('CONV_2D', 'FULLY_CONNECTED')
_FITTED = 128  # samples that weights are fitted on
_DATA = 4  # where a buffer says, by the schema, where its contents are


@dataclasses.dataclass(frozen=True)
class NarrowLayer:
  """A layer, and what to write into the file where it has four bits.

  Attributes:
    operator: Its kind.
    made: The name of the tensor that it makes.
    size: The number of its weights.
    contents: The bytes to write, by the place in the file where they begin.
  """

  operator: str
  made: str
  size: int
  contents: dict[int, Array]


def narrow_layers(
  plain: bytes,
  drawn: Mapping[str, Array],
  one_step: Collection[str] = (),
) -> tuple[bytes, list[NarrowLayer]]:
  """The layers of a file that may have four bits.

  Args:
    plain: A file of real numbers.
    drawn: Inputs by input name.
    one_step: The operators whose units all have the same step.

  Returns:
    The same file, in which these layers share no weights and biases with
    others, and the layers.
  """
  file = TFLiteFile(plain)
  numbers = [
    number
    for number, op in enumerate(file.operators)
    if op.name in _OPERATORS and _is_stored(file, op.inputs[1])
  ]
  plain = _with_own_constants(file, numbers)
  file = TFLiteFile(plain)
  few = {name: x[:_FITTED] for name, x in drawn.items()}
  moments = moments_of(plain, numbers, few)
  return plain, [
    _layer(plain, file, number, moments.get(number), one_step)
    for number in numbers
  ]


def _layer(
  plain: bytes,
  file: TFLiteFile,
  number: int,
  moments: Moments | None,
  one_step: Collection[str],
) -> NarrowLayer:
  """One of them, fitted."""
  op, slots = file.operators[number], _constants(file, number)
  stored = {slot: _contents(file, index) for slot, index in slots.items()}
  made = fitted(stored[1], stored.get(2), moments, op.name in one_step)
  contents = {
    _place(plain, file, slots[slot]): np.frombuffer(x.tobytes(), np.uint8)
    for slot, x in zip((1, 2), made, strict=True)
    if x is not None
  }
  name = file.tensors[op.outputs[0]].name
  return NarrowLayer(op.name, name, stored[1].size, contents)


def fitted(
  weights: Array,
  bias: Array | None,
  moments: Moments | None,
  one_step: bool = False,
) -> tuple[Array, Array | None]:
  """Weights on their grid, and the bias beside them, in float32.

  Args:
    weights: Output units first.
    bias: (units,); None where none is stored.
    moments: Of what the layer reads; None where that is not known.
    one_step: Whether all units have the same step.
  """
  rows = weights.reshape(len(weights), -1).astype(np.float64)
  if moments is None:
    made = on_grid(rows, one_step=one_step)
  elif bias is None:
    made = on_grid(rows, moments.squares, one_step=one_step)
  else:
    made = on_grid(rows, moments.covariance, one_step=one_step)
    bias = (bias + (rows - made) @ moments.mean).astype(np.float32)
  return made.reshape(weights.shape).astype(np.float32), bias


def _is_stored(file: TFLiteFile, index: int) -> bool:
  tensor = file.tensors[index]
  return tensor.stored > 0 and tensor.type == 'float32'


def _constants(file: TFLiteFile, number: int) -> dict[int, int]:
  """An operator's weights, and its bias if that is stored: index by slot."""
  read = file.operators[number].inputs
  return {
    slot: index
    for slot, index in enumerate(read[1:3], 1)
    if index >= 0 and _is_stored(file, index)
  }


def _with_own_constants(file: TFLiteFile, numbers: Sequence[int]) -> bytes:
  """A file in which nobody else reads what some operators have stored."""
  model, graph = file.object, file.object.subgraphs[0]
  readers = collections.Counter(
    int(index) for op in graph.operators for index in op.inputs
  )
  for number in numbers:
    read = list(file.operators[number].inputs)
    for slot, index in _constants(file, number).items():
      tensor = graph.tensors[index]
      buffer = schema.BufferT()
      buffer.data = model.buffers[tensor.buffer].data
      if readers[index] > 1:
        readers[index] -= 1
        tensor = copy.copy(tensor)
        tensor.name = (tensor.name or b'') + b'/%d' % number
        read[slot] = len(graph.tensors)
        graph.tensors.append(tensor)
      tensor.buffer = len(model.buffers)
      model.buffers.append(buffer)
    graph.operators[number].inputs = read
  return packed(model)


def _contents(file: TFLiteFile, index: int) -> Array:
  """What is stored of a tensor."""
  tensor = file.tensors[index]
  stored = bytes(file.object.buffers[tensor.buffer].data)
  return np.frombuffer(stored, np.float32).reshape(tensor.shape)


def _place(data: bytes, file: TFLiteFile, index: int) -> int:
  """Where in the file that begins."""
  model = schema.Model.GetRootAsModel(data, 0)
  held = model.Buffers(file.tensors[index].buffer)
  return held._tab.Vector(held._tab.Offset(_DATA))
