"""Convolutions and their transposes: products of windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.kernels import Windowed
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import (
  Product,
  constant_over_positions,
  constant_product,
  weighted,
)
from tfmot_paoding.ops.windows import (
  Transposed,
  Window,
  convolve,
  window_over,
)


@dataclasses.dataclass(frozen=True)
class Conv(Windowed, Product):
  """A convolution; bounds are per channel, one for all positions.

  The kernel is (*window, channels in, units); a matrix row is a tap of a
  channel. A tap that is sometimes in the padding sees 0 there.

  Attributes:
    padded: For each tap, whether some position sees padding under it.
    blocks: Groups of channels that are convolved apart.
    seen: The window; None where it is not known.
  """

  padded: tuple[bool, ...] = (False,)
  blocks: int = 1
  seen: Window | Transposed | None = dataclasses.field(
    default=None, compare=False
  )

  @property
  def taps(self) -> int:
    """Those of the window."""
    return len(self.padded)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """A position for each window, a channel for each of the kernel's units."""
    rows, units = size(self.kernel)[-2:]
    check_channels(self.kernel, rows * self.blocks, in_shapes[0])
    counts = counted(self.seen, in_shapes[0])
    return None if counts is None else (*counts, units)

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """The convolution alone; axes in front, such as steps, are samples."""
    place = len(x.shape) - 1 - len(self.seen.size)
    if place == 1:
      return convolve(x, kernel, self.seen, self.blocks)
    flat = tf.reshape(x, (-1, *x.shape[place:]))
    made = convolve(flat, kernel, self.seen, self.blocks)
    return tf.reshape(made, (-1, *x.shape[1:place], *made.shape[1:]))

  def function(self) -> Any:
    """Blocks are sizes: they may shrink to one channel each, or go.

    Whether two agree in them shows in the shapes of their kernels.
    """
    place = self.seen
    if isinstance(place, Transposed):
      place = place.strides, place.padding
    return type(self), self.kernel, self.bias, self.padded, place

  def kernel_axes(self) -> WeightAxes:
    """(*window, channels in one block, units)."""
    return WeightAxes(-2, -1, blocks=self.blocks)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """New units; with blocks, those in the same place of each are one."""
    row = channel_row(book, sources[0])
    numbers = book.new(shape)
    if self.blocks > 1:
      _tie_blocks(book, row, self.blocks)
      _tie_blocks(book, numbers.reshape(-1, shape[-1])[0], self.blocks)
    return numbers

  def matrix(self, params: Params) -> Array:
    """(taps * channels in one block, units)."""
    kernel = params[self.kernel]
    return kernel.reshape(-1, kernel.shape[-1])

  def rows_of(self, entries: Array, channels: int) -> Array:
    """A row a tap."""
    channels //= self.blocks
    taps = np.arange(len(self.padded)) * channels
    return (entries % channels)[..., None] + taps

  def rows(self, x: Interval) -> Interval:
    """The channel's range over all positions, 0 in it where padding is."""
    padded = np.array(self.padded)[:, None]
    seen = intervals.with_zero(intervals.over_positions(x), padded)
    return seen.reshape((*(1,) * (x.low.ndim - 1), -1))

  def gather(self, gain: Gain, channels: int) -> Gain:
    """All taps of a channel move at once."""
    shape = gain.up.shape
    shape = (*shape[:-2], len(self.padded), channels, shape[-1])
    return Gain(
      gain.up.reshape(shape).sum(-3), gain.down.reshape(shape).sum(-3)
    )

  def fixed_rows(self, x: Array) -> Array:
    """A constant that meets padding is seen as 0 there: not constant."""
    fixed = constant_over_positions(x)
    padded = np.array(self.padded)[:, None]
    return np.where(padded & (fixed != 0), np.nan, fixed).ravel()

  def foldable_rows(self, x: Array) -> Array:
    """With blocks only zeros: a row has one constant in each."""
    fixed = self.fixed_rows(x)
    if self.blocks == 1:
      return fixed
    zero = (fixed.reshape(len(self.padded), self.blocks, -1) == 0).all(1)
    return np.where(zero.ravel(), 0.0, np.nan)

  # With blocks: each block's units see its own rows.

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Block after block."""
    if self.blocks == 1:
      return super().bounds(params, x)
    parts = [
      intervals.affine(self.rows(part), kernel)
      for part, kernel in zip(
        _split(x, self.blocks), self._kernels(params), strict=True
      )
    ]
    low = np.concatenate([part.low for part in parts], -1)
    high = np.concatenate([part.high for part in parts], -1)
    offset = self.offset(params)
    return intervals.add(
      Interval(low, high), Interval(np.asarray(offset), np.asarray(offset))
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """W alone: the bias cancels."""
    if self.blocks == 1:
      return super().difference(params, d, x, y)
    return dataclasses.replace(self, bias=None).bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Block after block."""
    if self.blocks == 1:
      return super().pullback(params, gain, x)
    channels = x.low.shape[-1] // self.blocks
    parts = [
      self.gather(weighted(kernel, Gain(up, down)), channels)
      for up, down, kernel in zip(
        np.split(gain.up, self.blocks, -2),
        np.split(gain.down, self.blocks, -2),
        self._kernels(params),
        strict=True,
      )
    ]
    return Gain(
      np.concatenate([part.up for part in parts], -2),
      np.concatenate([part.down for part in parts], -2),
    )

  def constant(self, params: Params, x: Array) -> Array:
    """One for all positions, block after block."""
    shape = (1,) * (x.ndim - 1)
    parts = [
      constant_product(self.fixed_rows(part), kernel, 0.0)
      for part, kernel in zip(
        np.split(x, self.blocks, -1), self._kernels(params), strict=True
      )
    ]
    return (np.concatenate(parts) + self.offset(params)).reshape(*shape, -1)

  def same_rows(self, left: Array, right: Array, units: int) -> bool:
    """Units of one block do."""
    size = units // self.blocks
    return self.blocks == 1 or bool(np.all(left // size == right // size))

  def pair_difference(
    self,
    params: Params,
    x: Interval,
    left: Array,
    right: Array,
    by_unit: dict[WeightRef, Array],
  ) -> Interval | None:
    """As of any product; with blocks, not told."""
    if self.blocks > 1:
      return None
    return super().pair_difference(params, x, left, right, by_unit)

  def _kernels(self, params: Params) -> list[Array]:
    return np.split(self.matrix(params), self.blocks, -1)


def _tie_blocks(book: UnitBook, row: Array, blocks: int) -> None:
  parts = row.reshape(blocks, -1)
  for part in parts[1:]:
    book.tie(parts[0], part)


def _split(x: Interval, blocks: int) -> list[Interval]:
  lows, highs = np.split(x.low, blocks, -1), np.split(x.high, blocks, -1)
  return [Interval(*ends) for ends in zip(lows, highs, strict=True)]


def convolution(
  in_shape: Shape,
  kernel: WeightRef,
  bias: WeightRef | None = None,
  *,
  size: Sequence[int],
  padding: str = 'valid',
  strides: int | Sequence[int] = 1,
  dilations: int | Sequence[int] = 1,
  blocks: int = 1,
) -> Conv:
  """The convolution of a tensor, by Keras's settings.

  Args:
    in_shape: The tensor's, without the batch axis: (*positions, channels).
    kernel: Of shape (*size, channels in one block, units).
    bias: Of shape (units,).
    size: Taps along each axis of positions.
    padding: 'valid', 'same' or 'causal'.
    strides: Steps between windows; one for all axes, or one each.
    dilations: Steps between taps, likewise.
    blocks: Groups of channels that are convolved apart.
  """
  seen = window_over(in_shape, size, padding, strides, dilations)
  return Conv(kernel, bias, seen.padded_taps(in_shape[:-1]), blocks, seen)


def counted(seen: Window | None, in_shape: Shape) -> Shape | None:
  """How many windows there are along each axis; None where that is not known.

  At least one: sizes that are not known stand as 1. Axes in front of those of
  the window, such as steps of time, stay.

  Raises:
    ValueError: the tensor has fewer axes than the window.
  """
  if seen is None:
    return None
  first = len(in_shape) - 1 - len(seen.size)
  if first < 0:
    raise ValueError(f'its window has {len(seen.size)} axes of positions.')
  counts = seen.counts(in_shape[first:-1])
  return (*in_shape[:first], *(max(count, 1) for count in counts))


def check_channels(kernel: WeightRef, channels: int, in_shape: Shape) -> None:
  """Raises unless a kernel is for so many channels.

  Raises:
    ValueError: it is not.
  """
  if in_shape[-1:] != (channels,):
    raise ValueError(f'the kernel {kernel.name!r} is for {channels} channels.')


@dataclasses.dataclass(frozen=True)
class ConvTranspose(Conv):
  """A transposed convolution; the kernel is (*window, units, channels in).

  Each position sees some of the taps, so every tap counts as padded and all
  of them are summed: sound, and looser by the stride.
  """

  taps_vary = True
  from_input = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """Its positions are the layer's to tell."""
    units, rows = size(self.kernel)[-2:]
    check_channels(self.kernel, rows, in_shapes[0])
    if self.seen is None:
      return None
    in_front = in_shapes[0][: -1 - len(self.seen.strides)]
    return (*in_front, *self.seen.shape[:-1], units)

  def kernel_axes(self) -> WeightAxes:
    """(*window, units, channels in)."""
    return WeightAxes(-1, -2)

  def matrix(self, params: Params) -> Array:
    """(taps * channels in, units)."""
    kernel = np.swapaxes(params[self.kernel], -1, -2)
    return kernel.reshape(-1, kernel.shape[-1])

  def kernel_of(self, matrix: Array, like: Array) -> Array:
    """The kernel, shaped as `like`, whose matrix is given."""
    swapped = (*like.shape[:-2], like.shape[-1], like.shape[-2])
    return np.swapaxes(matrix.reshape(swapped), -1, -2)

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """The transposed convolution alone."""
    return self.seen(x, kernel)
