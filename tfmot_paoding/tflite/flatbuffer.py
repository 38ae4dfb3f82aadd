"""What a .tflite says of itself: operators, tensors, and what they take."""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

_CODES = {
  value: name
  for name, value in vars(schema.BuiltinOperator).items()
  if isinstance(value, int)
}
_TYPES = {
  value: name.lower()
  for name, value in vars(schema.TensorType).items()
  if isinstance(value, int)
}
# Bits an element, where they are not 32.
_BITS = {
  'bfloat16': 16,
  'bool': 8,
  'complex128': 128,
  'complex64': 64,
  'float16': 16,
  'float64': 64,
  'int16': 16,
  'int2': 2,
  'int4': 4,
  'int64': 64,
  'int8': 8,
  'uint16': 16,
  'uint4': 4,
  'uint64': 64,
  'uint8': 8,
}
# Whose contents have sizes of their own.
_UNSIZED = frozenset(['resource', 'string', 'variant'])
# Steps of windows over an image, and more than any takes.
_STEPS = frozenset(['strideH', 'strideW', 'dilationHFactor', 'dilationWFactor'])
_MOST_STEPS = 2**16
# More elements than this no device holds: sizes that damage made up.
_MOST_ELEMENTS = 2**40
# What reading bytes that are no flatbuffer comes to, wherever it goes wrong.
_DAMAGE = (
  struct.error,
  ArithmeticError,
  AttributeError,
  LookupError,
  MemoryError,
  RecursionError,
  TypeError,
  ValueError,
)

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
class Tensor:
  """One tensor of the main graph.

  Attributes:
    shape: Its shape; sizes left open count as 1.
    bits: Of each element.
    bytes: What an activation of it takes.
    stored: Bytes of its contents in the file; 0 for an activation.
    buffer: Where they are; two tensors may share one.
    name: As the converter named it.
    step: What one integer is worth, the largest of several; 0 for real numbers.
    type: Of its elements, as 'int8' or 'float32'.
    zero_point: The integer that stands for 0, the first of several.
    is_open: Whether sizes after the first are left to the caller.
  """

  shape: tuple[int, ...]
  bits: int
  bytes: int
  stored: int
  buffer: int
  name: str
  step: float
  type: str
  zero_point: int
  is_open: bool

  @property
  def size(self) -> int:
    """The number of elements."""
    return math.prod(self.shape)


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


class TFLiteFile:
  """A .tflite, read.

  Args:
    data: The flatbuffer.

    name: What messages call it, such as the argument that it came in.

  Raises:
    ValueError: `data` is no .tflite, or damaged.
  """

  def __init__(self, data: bytes, name: str = ''):
    file = f'This ({name})' if name else 'This'
    if not isinstance(data, (bytes, bytearray, memoryview)):
      raise ValueError(
        f'{file} must be the bytes of a .tflite, but got '
        f'{type(data).__name__}. Read the file first.'
      )
    data = bytes(data)
    if len(data) < 8 or data[4:8] != b'TFL3':
      raise ValueError(
        f'{file} is no .tflite: pass the bytes that convert_to_tflite returned.'
      )
    try:
      self._read(data)
    except _DAMAGE as error:
      raise ValueError(
        f'{file} is a damaged .tflite of {len(data)} bytes '
        f'({type(error).__name__}: {error}). Convert or copy it anew.'
      ) from error

  def _read(self, data: bytes) -> None:
    model = schema.Model.GetRootAsModel(data, 0)
    self.object = schema.ModelT.InitFromObj(model)
    graph = self.object.subgraphs[0]
    self.tensors = [self._tensor(tensor) for tensor in graph.tensors]
    self._inner = [
      self._tensor(tensor)
      for other in self.object.subgraphs[1:]
      for tensor in other.tensors
    ]
    self.operators = [
      self._operator(op, len(self.tensors)) for op in graph.operators
    ]
    for other in self.object.subgraphs[1:]:
      for op in other.operators:
        self._operator(op, len(other.tensors))
      for order in (other.inputs, other.outputs):
        _indices(order, len(other.tensors))
    self.inputs, self.outputs = (
      _indices(order, len(self.tensors))
      for order in (graph.inputs, graph.outputs)
    )
    # What is worked out on demand goes wrong here or nowhere.
    self._places = self._signature()
    _ = self.macs, self.too_fine, self.peak_activation_bytes

  def signature(self, of_inputs: bool) -> dict[str, int]:
    """Each input's, or output's, place in the graph's order, by name."""
    return self._places[0 if of_inputs else 1]

  def _signature(self) -> tuple[dict[str, int], dict[str, int]]:
    """Of inputs and outputs; tensors' own names where there is none."""
    if not self.object.signatureDefs:
      return tuple(
        {self.tensors[index].name: place for place, index in enumerate(order)}
        for order in (self.inputs, self.outputs)
      )
    definition = self.object.signatureDefs[0]
    return tuple(
      {
        entry.name.decode(): order.index(entry.tensorIndex)
        for entry in (() if entries is None else entries)
      }
      for entries, order in (
        (definition.inputs, self.inputs),
        (definition.outputs, self.outputs),
      )
    )

  @functools.cached_property
  def weight_bytes(self) -> int:
    """Bytes of all contents, those of loops too, shared ones once."""
    tensors = [*self.tensors, *self._inner]
    return sum({t.buffer: t.stored for t in tensors}.values())

  @functools.cached_property
  def macs(self) -> dict[str, int]:
    """Multiply-accumulates by operator, for one sample, but for loops."""
    found: dict[str, int] = {}
    for op in self.operators:
      count = _macs(op, self.tensors)
      if count:
        found[op.name] = found.get(op.name, 0) + count
    return found

  @functools.cached_property
  def operator_counts(self) -> dict[str, int]:
    """How often each operator is used."""
    found: dict[str, int] = {}
    for op in self.operators:
      found[op.name] = found.get(op.name, 0) + 1
    return found

  @functools.cached_property
  def peak_activation_bytes(self) -> int:
    """The most bytes of activations that are alive at once."""
    last = dict.fromkeys(self.inputs, -1)
    for step, op in enumerate(self.operators):
      last.update(dict.fromkeys((*op.inputs, *op.outputs), step))
    last.update(dict.fromkeys(self.outputs, len(self.operators)))
    alive, peak = set(self.inputs), 0
    for step, op in enumerate(self.operators):
      alive |= set(op.outputs)
      peak = max(
        peak,
        sum(self.tensors[t].bytes for t in alive if not self.tensors[t].stored),
      )
      alive = {tensor for tensor in alive if last[tensor] > step}
    return peak

  @functools.cached_property
  def too_fine(self) -> list[str]:
    """Tensors of integers whose step is too small for what they come from."""
    return [
      self.tensors[index].name
      for op in self.operators
      for index in op.outputs
      if 0 < self.tensors[index].step <= _least_step(op, self.tensors)
    ]

  def _tensor(self, tensor: schema.TensorT) -> Tensor:
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    if math.prod(max(size, 1) for size in shape) > _MOST_ELEMENTS:
      raise ValueError(f'a tensor has the shape {shape}')
    shape = tuple(max(size, 1) for size in shape)
    if not 0 <= tensor.buffer < len(self.object.buffers):
      raise IndexError(f'there is no buffer {tensor.buffer}')
    contents = self.object.buffers[tensor.buffer].data
    kind = _TYPES[tensor.type]
    bits = _BITS.get(kind, 32)
    size = -(-bits * math.prod(shape) // 8)
    stored = 0 if contents is None else len(contents)
    sized = kind not in _UNSIZED and not tensor.sparsity
    if sized and stored not in (0, size):
      raise ValueError(f'{stored} bytes are stored of a tensor of {size}')
    name = (tensor.name or b'').decode()
    step, zero = _scale(tensor.quantization)
    sizes = [] if tensor.shapeSignature is None else tensor.shapeSignature[1:]
    return Tensor(
      shape,
      bits,
      size,
      stored,
      int(tensor.buffer),
      name,
      step,
      kind,
      zero,
      any(size < 0 for size in sizes),
    )

  def _operator(self, op: schema.OperatorT, tensors: int) -> Operator:
    if not 0 <= op.opcodeIndex < len(self.object.operatorCodes):
      raise IndexError(f'there is no operator code {op.opcodeIndex}')
    code = self.object.operatorCodes[op.opcodeIndex]
    if code.customCode:
      name = code.customCode.decode()
    else:
      number = max(code.builtinCode, code.deprecatedBuiltinCode)
      name = _CODES.get(number, f'operator {number}')
    _check_options(name, op, len(self.object.subgraphs))
    return Operator(
      name,
      tuple(_indices(op.inputs, tensors, least=-1)),
      tuple(_indices(op.outputs, tensors)),
    )


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


def _indices(indices: Sequence[int] | None, count: int, least: int = 0):
  """Places in a list of tensors.

  Raises:
    IndexError: there is no such tensor.
  """
  found = [] if indices is None else [int(index) for index in indices]
  for index in found:
    if not least <= index < count:
      raise IndexError(f'there is no tensor {index}')
  return found


def _scale(quantization: Any) -> tuple[float, int]:
  """What one integer of a tensor is worth, and which one is 0."""
  steps = getattr(quantization, 'scale', None)
  zeros = getattr(quantization, 'zeroPoint', None)
  if steps is None or not len(steps):
    return 0.0, 0
  if not all(math.isfinite(step) and step >= 0 for step in steps):
    raise ValueError(f'integers of a tensor are worth {list(steps)}')
  zero = 0 if zeros is None or not len(zeros) else int(zeros[0])
  return float(max(steps)), zero


def _least_step(op: Operator, tensors: list[Tensor]) -> float:
  """The step of an operator's output that is too small already."""
  if op.name not in _FINEST:
    return _NO_STEP
  steps = [tensors[index].step for index in op.inputs if index >= 0]
  # What is added has a step; products have that of both factors.
  source = max(steps) if op.name in _SUMS else math.prod(steps[:2])
  return max(source / _FINEST[op.name], _NO_STEP)


def _macs(op: Operator, tensors: list[Tensor]) -> int:
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
