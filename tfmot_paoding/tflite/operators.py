"""The operators of a .tflite: what they read, multiply, and cannot do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.tensors import Tensor

_CODES = {
  value: name
  for name, value in vars(schema.BuiltinOperator).items()
  if isinstance(value, int)
}
# Steps of windows over an image, and more than any takes.
_STEPS = frozenset(['strideH', 'strideW', 'dilationHFactor', 'dilationWFactor'])
_MOST_STEPS = 2**16
_SUMS = {'ADD', 'SUB'}
# What 16-bit integers of a range of nothing are worth is smaller still.
_NO_STEP = 1e-30
# How many steps of its output one step of an operator's inputs may be worth:
# XNNPACK refuses more, or brings the process down; the sums' kernels abort.
_FINEST = {
  'CONV_2D': 2.0**8,
  'DEPTHWISE_CONV_2D': 2.0**8,
  'FULLY_CONNECTED': 2.0**8,
  'ADD': 2.0**19,
  'SUB': 2.0**19,
}


@dataclasses.dataclass(frozen=True)
class Operator:
  """One operator of the main graph.

  Attributes:
    name: As in the schema, 'CONV_2D'; a custom operator's own name.
    inputs: Tensors; -1 where an optional one is missing.
    outputs: Tensors.
  """

  name: str
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


def read_operator(
  op: schema.OperatorT, model: schema.ModelT, tensors: int
) -> Operator:
  """An operator of a file.

  Args:
    op: As the schema has it.
    model: The file.
    tensors: How many its graph has.

  Raises:
    IndexError: it takes or gives a tensor that is not there.
    ValueError: it has settings on which interpreters break down.
  """
  if not 0 <= op.opcodeIndex < len(model.operatorCodes):
    raise IndexError(f'there is no operator code {op.opcodeIndex}')
  code = model.operatorCodes[op.opcodeIndex]
  if code.customCode:
    name = code.customCode.decode()
  else:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _CODES.get(number, f'operator {number}')
  _check_options(name, op, len(model.subgraphs))
  return Operator(
    name,
    tuple(indices_of(op.inputs, tensors, least=-1)),
    tuple(indices_of(op.outputs, tensors)),
  )


def indices_of(indices: Sequence[int] | None, count: int, least: int = 0):
  """Places in a list of tensors.

  Args:
    indices: As the schema has them.
    count: How many tensors there are.
    least: -1 where one may be missing.

  Raises:
    IndexError: there is no such tensor.
  """
  found = [] if indices is None else [int(index) for index in indices]
  for index in found:
    if not least <= index < count:
      raise IndexError(f'there is no tensor {index}')
  return found


def _settings(op: schema.OperatorT) -> dict[str, Any]:
  return {} if op.builtinOptions is None else vars(op.builtinOptions)


def _check_options(name: str, op: schema.OperatorT, graphs: int) -> None:
  """Raises for settings that interpreters trust, and break down on.

  Raises:
    ValueError: an operator has not as many outputs as it says, takes steps
      that nothing has, or runs a graph that does not exist.
  """
  for setting, value in _settings(op).items():
    count = 0 if op.outputs is None else len(op.outputs)
    if (
      (setting == 'numSplits' and value != count)
      or (setting in _STEPS and not 0 <= value < _MOST_STEPS)
      or (setting.endswith('SubgraphIndex') and not 0 <= value < graphs)
    ):
      raise ValueError(f'{name} has a {setting} of {value}')


def least_step(op: Operator, tensors: list[Tensor]) -> float:
  """The step of an operator's output that is too small already."""
  if op.name not in _FINEST:
    return _NO_STEP
  steps = [tensors[index].step for index in op.inputs if index >= 0]
  # What is added has a step; products have that of both factors.
  source = max(steps) if op.name in _SUMS else math.prod(steps[:2])
  return max(source / _FINEST[op.name], _NO_STEP)


def macs_of(op: Operator, tensors: list[Tensor]) -> int:
  """Multiply-accumulates of one operator, 0 for those without products."""
  shapes = [tensors[index].shape if index >= 0 else () for index in op.inputs]
  out = tensors[op.outputs[0]].size if op.outputs else 0
  if op.name in ('CONV_2D', 'FULLY_CONNECTED'):
    return out * math.prod(shapes[1][1:])
  if op.name == 'DEPTHWISE_CONV_2D':
    return out * math.prod(shapes[1][1:-1])
  if op.name == 'CONV_3D':
    return out * math.prod(shapes[1][:-1])
  if op.name == 'TRANSPOSE_CONV':
    return math.prod(shapes[2]) * math.prod(shapes[1][:-1])
  if op.name == 'BATCH_MATMUL':
    return out * shapes[0][-1]
  if op.name == 'UNIDIRECTIONAL_SEQUENCE_LSTM':
    # Four gates' kernels, and the recurrent ones, at every step of time.
    return math.prod(shapes[0][:-1]) * sum(
      math.prod(shape) for shape in shapes[1:9] if shape
    )
  return 0
