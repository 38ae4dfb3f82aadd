"""What the layers of a file read: means and covariances over samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.interpreter_worker import load_interpreter

Array = np.ndarray

# Places of a picture that are looked at, of each sample: neighbours tell
# little more.
_PLACES = 256
# A covariance of more takes too long to invert for what it saves.
_WIDEST = 4096


@dataclasses.dataclass
class Moments:
  """Of what one layer reads, in the order of its weights' rows.

  Attributes:
    count: Of places that were seen.
    sums: (inputs,).
    products: Sums of the products of pairs, (inputs, inputs).
  """

  count: int
  sums: Array
  products: Array

  @property
  def mean(self) -> Array:
    """(inputs,)."""
    return self.sums / self.count

  @property
  def squares(self) -> Array:
    """The mean products of pairs, (inputs, inputs)."""
    return self.products / self.count

  @property
  def covariance(self) -> Array:
    """(inputs, inputs)."""
    return self.squares - np.outer(self.mean, self.mean)


def moments_of(
  data: bytes, numbers: Sequence[int], drawn: Mapping[str, Array]
) -> dict[int, Moments]:
  """Moments by operator.

  Args:
    data: A file of real numbers.
    numbers: Its operators to look at, CONV_2D and FULLY_CONNECTED.
    drawn: Samples by input name.

  Returns:
    Of those that are no grouped convolutions and read at most 4096 numbers for
    each that they give.
  """
  file = TFLiteFile(data)
  graph = file.object.subgraphs[0]
  interpreter = load_interpreter(data, keeps_all=True)
  places = file.signature(of_inputs=True)
  by_index = {file.inputs[places[name]]: x for name, x in drawn.items()}
  for index, x in by_index.items():
    interpreter.resize_tensor_input(index, [1, *x.shape[1:]])
  interpreter.allocate_tensors()
  found: dict[int, Moments] = {}
  for k in range(len(next(iter(by_index.values())))):
    interpreter.reset_all_variables()
    for index, x in by_index.items():
      interpreter.set_tensor(index, x[k : k + 1])
    interpreter.invoke()
    for number in numbers:
      op = graph.operators[number]
      shape = file.tensors[op.inputs[1]].shape
      x = interpreter.get_tensor(op.inputs[0])
      if np.prod(shape[1:]) <= _WIDEST and x.size and not _is_grouped(x, shape):
        _add(found, number, _rows(x, shape, op))
  return found


def _is_grouped(x: Array, shape: Sequence[int]) -> bool:
  return len(shape) == 4 and x.shape[-1] != shape[-1]


def _rows(x: Array, shape: Sequence[int], op: Any) -> Array:
  """What a layer's weights are multiplied by, (places, inputs)."""
  if len(shape) == 2:
    return x.reshape(-1, shape[-1])
  options = op.builtinOptions
  return windows(
    x,
    shape[1:3],
    (options.strideH, options.strideW),
    (options.dilationHFactor, options.dilationWFactor),
    same=options.padding == schema.Padding.SAME,
  )


def windows(
  x: Array,
  kernel: Sequence[int],
  strides: Sequence[int] = (1, 1),
  dilations: Sequence[int] = (1, 1),
  *,
  same: bool = False,
) -> Array:
  """What a convolution's kernel lies over, place by place.

  Args:
    x: Pictures, (batch, height, width, channels).
    kernel: Its height and width.
    strides: Down and across.
    dilations: Likewise.
    same: Whether zeros are put around, so that only strides make pictures
      smaller; one more below and to the right where their number is odd.

  Returns:
    (places, height * width * channels).
  """
  reach = [
    (size - 1) * far + 1 for size, far in zip(kernel, dilations, strict=True)
  ]
  if same:
    short = [
      max((-(-size // step) - 1) * step + over - size, 0)
      for size, step, over in zip(x.shape[1:3], strides, reach, strict=True)
    ]
    around = [(lack // 2, lack - lack // 2) for lack in short]
    x = np.pad(x, [(0, 0), *around, (0, 0)])
  seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
  (down, across), (tall, wide) = strides, dilations
  seen = seen[:, ::down, ::across, :, ::tall, ::wide]
  return seen.transpose(0, 1, 2, 4, 5, 3).reshape(
    -1, kernel[0] * kernel[1] * x.shape[-1]
  )


def _add(found: dict[int, Moments], number: int, rows: Array) -> None:
  """Adds places of one sample to what is known of an operator."""
  # Odd, so that not the same columns of every line are seen.
  step = -(-len(rows) // _PLACES) | 1
  rows = rows[::step].astype(np.float64)
  if number not in found:
    width = rows.shape[1]
    found[number] = Moments(0, np.zeros(width), np.zeros((width, width)))
  moments = found[number]
  moments.count += len(rows)
  moments.sums += rows.sum(0)
  moments.products += rows.T @ rows
