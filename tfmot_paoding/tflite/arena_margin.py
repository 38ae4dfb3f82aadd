"""What the arena of a device needs beside what is measured on this machine.

tflite-micro is measured with its reference kernels. On Arm's microcontrollers
CMSIS-NN stands in their place, and its kernels ask for buffers of their own:
columns of a convolution's input, sums of a matrix's rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.tensors import Tensor

_ALIGNMENT = 16
# Channels that a depthwise kernel for vectors takes at a time.
_BLOCK = 124


def arena_margin(data: bytes) -> int:
  """The most bytes that CMSIS-NN's kernels ask for beside a measured arena.

  Whatever the core, with the DSP extension, vectors (MVE) or neither: the
  largest buffer of an operator, and the sums of all matrices, which some
  versions keep. Files of real numbers have none.

  Source: the `*_get_buffer_size` functions of CMSIS-NN 7.

  Args:
    data: The flatbuffer.

  Returns:
    Bytes, a multiple of 16.

  Raises:
    ValueError: `data` is no .tflite.
  """
  file = TFLiteFile(data)
  largest, kept = 0, 0
  for op in file.operators:
    tensors = [None if k < 0 else file.tensors[k] for k in op.inputs]
    width = 0 if not tensors or tensors[0] is None else _width(tensors[0])
    if op.name in _BUFFERS and width:
      size = _aligned(_BUFFERS[op.name](tensors, width), _ALIGNMENT)
      if op.name == 'FULLY_CONNECTED':
        kept += size
      else:
        largest = max(largest, size)
  return kept + largest


def _width(tensor: Tensor) -> int:
  """Bytes of an entry of integers; 0 where there are no kernels for it."""
  return {'int8': 1, 'int16': 2}.get(tensor.type, 0)


def _aligned(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def _convolution(tensors: list[Tensor], width: int) -> int:
  """Four columns of bytes, which are two of twice as many."""
  del width  # of 16 bits: two columns, as many bytes
  taps = math.prod(tensors[1].shape[1:])
  return 4 * _aligned(taps, 16)


def _depthwise(tensors: list[Tensor], width: int) -> int:
  """A block's columns, or one of twice as many bytes for every channel."""
  *window, channels = tensors[1].shape[1:]
  taps = math.prod(window)
  if width == 2:
    return 8 * taps * channels + 8
  return max(2 * taps * channels, 4 * taps * _BLOCK)


def _matrix(tensors: list[Tensor], width: int) -> int:
  """A sum for each unit, where entries have 8 bits."""
  return 4 * tensors[1].shape[0] if width == 1 else 0


def _pool(tensors: list[Tensor], width: int) -> int:
  """A sum for each channel."""
  del width
  return 4 * tensors[0].shape[-1]


_BUFFERS: dict[str, Callable[[list[Tensor], int], int]] = {
  'CONV_2D': _convolution,
  'DEPTHWISE_CONV_2D': _depthwise,
  'FULLY_CONNECTED': _matrix,
  'AVERAGE_POOL_2D': _pool,
}
