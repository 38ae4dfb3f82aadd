"""Which positions an operation reads: windows, strides, padding, and moves.

Exact functions of float64 tensors with a batch axis, channels last. Bounds
that hold for all positions at once need none of this; those of a single sample
do.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.ops.base import Array, Shape

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Window:
  """A window that slides over positions.

  Attributes:
    size: Taps along each axis of positions.
    strides: Steps between windows.
    dilations: Steps between taps.
    pads: Positions put before and after, along each axis.
  """

  size: Sizes
  strides: Sizes
  dilations: Sizes
  pads: tuple[tuple[int, int], ...]

  @property
  def steps(self) -> tuple[slice, ...]:
    """Where windows begin, along each axis of positions."""
    return tuple(slice(None, None, stride) for stride in self.strides)

  def padded(self, x: tf.Tensor) -> tf.Tensor:
    """The tensor with zeros around its positions."""
    if not np.any(self.pads):
      return x
    return tf.pad(x, [(0, 0), *self.pads, (0, 0)])

  def spread_out(self, kernel: Array | tf.Tensor) -> tf.Tensor:
    """A kernel (*window, ...) with zeros between its taps."""
    kernel = tf.convert_to_tensor(kernel)
    for axis, (size, step) in enumerate(
      zip(self.size, self.dilations, strict=True)
    ):
      if step > 1:
        gaps = [tf.zeros_like(kernel)] * (step - 1)
        apart = tf.stack([kernel, *gaps], axis + 1)
        shape = list(kernel.shape)
        shape[axis] = size * step
        kernel = tf.reshape(apart, shape)
        reach = (size - 1) * step + 1
        kernel = tf.gather(kernel, tf.range(reach), axis=axis)
    return kernel

  def counts(self, sizes: Sequence[int]) -> Sizes:
    """How many windows there are along each axis of so many positions."""
    return tuple(
      (size + sum(pads) - (taps - 1) * step - 1) // stride + 1
      for size, pads, taps, step, stride in zip(
        sizes, self.pads, self.size, self.dilations, self.strides, strict=True
      )
    )

  def padded_taps(self, sizes: Sequence[int]) -> tuple[bool, ...]:
    """For each tap, whether some window sees padding under it.

    Args:
      sizes: The input's positions along each axis; 1 for a number that is not
        known, with which most taps see padding.
    """
    by_axis = []
    for size, count, (before, _), taps, step, stride in zip(
      sizes,
      self.counts(sizes),
      self.pads,
      self.size,
      self.dilations,
      self.strides,
      strict=True,
    ):
      end = before + size - (count - 1) * stride  # as the last window has it
      by_axis.append(
        [tap * step < before or tap * step >= end for tap in range(taps)]
      )
    return tuple(any(taps) for taps in itertools.product(*by_axis))

  def patches(self, x: Array, chosen: Array) -> Array:
    """What lies under some windows, channels innermost.

    Args:
      x: Samples, shape (batch, *positions, channels).
      chosen: Which windows, as indices into the flattened (batch, *windows).

    Returns:
      Shape (chosen, taps * channels), 0 where padding is.
    """
    row, *corner = np.unravel_index(
      chosen, (len(x), *self.counts(x.shape[1:-1]))
    )
    x = np.pad(x, ((0, 0), *self.pads, (0, 0)))
    taps = []
    for place in np.ndindex(*self.size):
      seen = [
        first * stride + tap * step
        for first, stride, tap, step in zip(
          corner, self.strides, place, self.dilations, strict=True
        )
      ]
      taps.append(x[(row, *seen)])
    return np.concatenate(taps, -1)

  def positions(self, sizes: Sequence[int]) -> Array:
    """Which positions each window covers.

    Args:
      sizes: The input's positions along each axis.

    Returns:
      Indexes into the flattened positions, (*windows, taps); one that falls on
      padding is that of another tap of the same window.
    """
    index = np.arange(int(np.prod(sizes))).reshape(tuple(sizes))
    index = np.pad(index, self.pads, constant_values=-1)
    reach = [
      (n - 1) * d + 1 for n, d in zip(self.size, self.dilations, strict=True)
    ]
    seen = np.lib.stride_tricks.sliding_window_view(index, reach)
    rank = len(reach)
    steps = [slice(None, None, s) for s in self.strides]
    taps = [slice(None, None, d) for d in self.dilations]
    seen = seen[tuple(steps + taps)]
    seen = seen.reshape(*seen.shape[:rank], -1)
    return np.where(seen < 0, seen.max(-1, keepdims=True), seen)


def window_over(
  in_shape: Shape,
  size: Sequence[int],
  padding: str = 'valid',
  strides: int | Sequence[int] = 1,
  dilations: int | Sequence[int] = 1,
) -> Window:
  """The window of a convolution on a tensor.

  Args:
    in_shape: The tensor's, without the batch axis: (*positions, channels).
    size: Taps along each axis of positions.
    padding: 'valid', 'same' or 'causal', as Keras has them.
    strides: Steps between windows; one for all axes, or one each.
    dilations: Steps between taps, likewise.
  """
  rank = len(size)
  strides, dilations = (
    (steps,) * rank if isinstance(steps, int) else tuple(steps)
    for steps in (strides, dilations)
  )
  return window(padding, size, strides, dilations, in_shape[:-1])


def window(
  padding: str,
  size: Sequence[int],
  strides: Sequence[int],
  dilations: Sequence[int],
  sizes: Sequence[int],
) -> Window:
  """The window of Keras's settings on an input of some positions.

  Args:
    padding: 'valid', 'same' or 'causal'.
    size: Taps.
    strides: Steps between windows.
    dilations: Steps between taps.
    sizes: The input's positions.
  """
  pads = [
    _pads(padding, *along)
    for along in zip(size, strides, dilations, sizes, strict=True)
  ]
  return Window(tuple(size), tuple(strides), tuple(dilations), tuple(pads))


def _pads(
  padding: str, taps: int, stride: int, dilation: int, size: int
) -> tuple[int, int]:
  if padding == 'valid':
    return 0, 0
  reach = (taps - 1) * dilation
  if padding == 'causal':
    return reach, 0
  count = -(-size // stride)
  total = max((count - 1) * stride + reach + 1 - size, 0)
  return total // 2, total - total // 2


def convolve(
  x: tf.Tensor, kernel: Array | tf.Tensor, seen: Window, blocks: int = 1
) -> tf.Tensor:
  """A convolution without its bias.

  Args:
    x: Shape (batch, *positions, channels).
    kernel: Shape (*window, channels in one block, units).
    seen: The window.
    blocks: Groups of channels that are convolved apart.
  """
  kernel, x, strides = seen.spread_out(kernel), seen.padded(x), seen.strides
  if set(seen.size) == {1}:
    # The gradient of strided kernels of one tap ends some programs.
    x, strides = x[(..., *seen.steps, slice(None))], 1
  parts = [
    tf.nn.convolution(one, part, strides, 'VALID')
    for one, part in zip(
      tf.split(x, blocks, -1), tf.split(kernel, blocks, -1), strict=True
    )
  ]
  return tf.concat(parts, -1) if blocks > 1 else parts[0]


def convolve_depthwise(
  x: tf.Tensor, kernel: Array | tf.Tensor, seen: Window
) -> tf.Tensor:
  """A convolution of each channel by itself.

  Args:
    x: Shape (batch, *positions, channels).
    kernel: Shape (*window, channels, multiplier).
    seen: The window.
  """
  rank = len(seen.size)
  channels, multiplier = kernel.shape[-2:]
  if rank > 2:
    shape = (*kernel.shape[:-2], 1, channels * multiplier)
    flat = tf.reshape(kernel, shape)
    return convolve(x, flat, seen, channels)
  kernel, x = seen.spread_out(kernel), seen.padded(x)
  if rank == 1:
    x, kernel = x[:, None], kernel[None]
  y = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), 'VALID')
  y = y[:, 0] if rank == 1 else y
  return y[(..., *seen.steps, slice(None))]


class Move:
  """Which positions an output position is made from; stateless.

  Attributes:
    largest: Whether it takes the largest of them; if not it is linear.
  """

  largest = False

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """The linear function of a tensor (batch, *positions, channels)."""
    raise NotImplementedError

  def positions(self, sizes: Sequence[int]) -> Array:
    """For the largest: as `Window.positions`."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class MaxPool(Move):
  """The largest in each window."""

  seen: Window

  largest = True

  def positions(self, sizes: Sequence[int]) -> Array:
    """The window's."""
    return self.seen.positions(sizes)


@dataclasses.dataclass(frozen=True)
class GlobalMax(Move):
  """The largest of all positions."""

  keepdims: bool

  largest = True

  def positions(self, sizes: Sequence[int]) -> Array:
    """All of them."""
    lead = (1,) * len(sizes) if self.keepdims else ()
    return np.arange(int(np.prod(sizes))).reshape(*lead, -1)


@dataclasses.dataclass(frozen=True)
class AveragePool(Move):
  """The mean of each window, padding left out."""

  seen: Window

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Sums over counts."""
    sizes = x.shape[1:-1]
    counts = self._sums(tf.ones((1, *sizes, 1), x.dtype))
    return self._sums(x) / counts

  def _sums(self, x: tf.Tensor) -> tf.Tensor:
    size = self.seen.size
    if len(size) > 2:  # of volumes, TensorFlow has no mean in float64
      ones = np.ones((*size, x.shape[-1], 1), x.dtype.as_numpy_dtype)
      return convolve_depthwise(x, ones, self.seen)
    taps = int(np.prod(size))
    x = self.seen.padded(x)
    return taps * tf.nn.avg_pool(x, self.seen.size, self.seen.strides, 'VALID')


@dataclasses.dataclass(frozen=True)
class GlobalAverage(Move):
  """The mean of all positions."""

  keepdims: bool

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """The mean."""
    axes = list(range(1, len(x.shape) - 1))
    return tf.reduce_mean(x, axes, keepdims=self.keepdims)


@dataclasses.dataclass(frozen=True)
class Crop(Move):
  """Positions cut off before and after, along each axis."""

  cuts: tuple[tuple[int, int], ...]

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """The positions left."""
    kept = [
      slice(before, size - after)
      for (before, after), size in zip(self.cuts, x.shape[1:-1], strict=True)
    ]
    return x[(slice(None), *kept)]


@dataclasses.dataclass(frozen=True)
class Pad(Move):
  """Zeros before and after, along each axis."""

  pads: tuple[tuple[int, int], ...]

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """With zeros around."""
    return tf.pad(x, [(0, 0), *self.pads, (0, 0)])


@dataclasses.dataclass(frozen=True)
class Repeat(Move):
  """Each position several times, along each axis."""

  sizes: Sizes

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """The nearest one."""
    for axis, size in enumerate(self.sizes):
      x = tf.repeat(x, size, axis + 1)
    return x


@dataclasses.dataclass(frozen=True)
class Transposed:
  """The geometry of a transposed convolution.

  Attributes:
    strides: Steps between windows.
    padding: 'VALID' or 'SAME'.
    shape: The output's shape without the batch axis.
  """

  strides: Sizes
  padding: str
  shape: Shape

  def __call__(self, x: tf.Tensor, kernel: Array | tf.Tensor) -> tf.Tensor:
    """The transposed convolution without its bias."""
    shape = tf.concat([tf.shape(x)[:1], self.shape], 0)
    strides = list(self.strides)
    kernel = tf.convert_to_tensor(kernel)
    return tf.nn.conv_transpose(x, kernel, shape, strides, self.padding)
