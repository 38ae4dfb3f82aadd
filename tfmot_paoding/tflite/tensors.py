"""The tensors of a .tflite."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

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
# More elements than this no device holds: sizes that damage made up.
_MOST_ELEMENTS = 2**40


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


def read_tensor(tensor: schema.TensorT, buffers: Sequence[Any]) -> Tensor:
  """A tensor of a file.

  Args:
    tensor: As the schema has it.
    buffers: The file's contents.

  Raises:
    IndexError: it has contents that are not there.
    ValueError: its shape or its contents make no sense.
  """
  shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
  if math.prod(max(size, 1) for size in shape) > _MOST_ELEMENTS:
    raise ValueError(f'a tensor has the shape {shape}')
  shape = tuple(max(size, 1) for size in shape)
  if not 0 <= tensor.buffer < len(buffers):
    raise IndexError(f'there is no buffer {tensor.buffer}')
  contents = buffers[tensor.buffer].data
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
