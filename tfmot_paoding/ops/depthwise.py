"""Convolutions of each channel by itself."""

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
  scaled_pair,
)
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.convolutions import Conv, check_channels, counted
from tfmot_paoding.ops.kernels import Windowed, WithKernel
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import constant_over_positions
from tfmot_paoding.ops.windows import (
  Window,
  convolve_depthwise,
  window_over,
)


@dataclasses.dataclass(frozen=True)
class Depthwise(Windowed, WithKernel, Channelwise):
  """A convolution of each channel by itself; bounds are per channel.

  Attributes:
    kernel: Of shape (*window, channels in, multiplier), or as a `grouped`
      convolution's, (*window, 1, channels in * multiplier).
    bias: Of shape (channels in * multiplier,).
    padded: For each tap, whether some position sees padding under it.
    multiplier: Output channels for each input channel.
    grouped: The kernel's layout.
    seen: The window; None where it is not known.
  """

  kernel: WeightRef
  bias: WeightRef | None = None
  padded: tuple[bool, ...] = (False,)
  multiplier: int = 1
  grouped: bool = False
  seen: Window | None = dataclasses.field(default=None, compare=False)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """A position for each window, each channel as often as told."""
    kernel = size(self.kernel)
    if not self.grouped:
      check_channels(self.kernel, kernel[-2], in_shapes[0])
    counts = counted(self.seen, in_shapes[0])
    if counts is None:
      return None
    return (*counts, in_shapes[0][-1] * self.multiplier)

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """The convolution alone."""
    window = kernel.shape[:-2]
    kernel = tf.reshape(kernel, (*window, x.shape[-1], self.multiplier))
    return convolve_depthwise(x, kernel, self.seen)

  def function(self) -> Any:
    """As a grouped convolution: that of channels in larger blocks."""
    if not self.grouped:
      return self, self.seen
    return Conv, self.kernel, self.bias, self.padded, self.seen

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The kernel follows the input's units, the bias the output's."""
    kernel = WeightAxes(None, -1) if self.grouped else WeightAxes(-2, None)
    axes = {self.kernel: kernel}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(None, 0)
    return axes

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """The layer's positions, its own channels."""
    return (*out_shape[:-1], in_shape[-1] * self.multiplier)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Each unit as often as the multiplier says."""
    row = channel_row(book, sources[0])
    return np.broadcast_to(np.repeat(row, self.multiplier), shape)

  def taps(self, params: Params) -> Array:
    """The kernel by output channel, shape (taps, channels out)."""
    return params[self.kernel].reshape(len(self.padded), -1)

  def offset(self, params: Params) -> Array | float:
    """The bias, or 0."""
    return 0.0 if self.bias is None else params[self.bias]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Centre-radius arithmetic."""
    return self._affine(params, x, self.offset(params))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The kernel alone: the bias cancels."""
    del x, y
    return self._affine(params, d, 0.0)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """All taps of a channel move at once."""
    taps = self.taps(params)
    moved = gain.scaled(np.maximum(taps, 0).sum(0), np.maximum(-taps, 0).sum(0))
    shape = (*gain.up.shape[:-2], -1, self.multiplier, gain.up.shape[-1])
    return Gain(
      moved.up.reshape(shape).sum(-2), moved.down.reshape(shape).sum(-2)
    )

  def constant(self, params: Params, x: Array) -> Array:
    """Zero weights leave the bias; padding spoils any constant but 0."""
    fixed = constant_over_positions(x)[self.source_of(self._channels(params))]
    taps = self.taps(params)
    padded = np.array(self.padded)[:, None]
    seen = np.where(padded & (fixed != 0), np.nan, fixed)
    value = np.where(taps == 0, 0.0, taps * seen).sum(0) + self.offset(params)
    return value.reshape(*(1,) * (x.ndim - 1), -1)

  def source_of(self, entries: Array) -> Array:
    """The input channel of each output channel."""
    return entries // self.multiplier

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """Tap by tap: where the one is padded, so is the other."""
    taps = self.taps(params)
    seen = [
      Interval(x.low[None], x.high[None]).reshape((1, -1)) for x in (gap, a, b)
    ]
    padded = np.array(self.padded)[:, None]
    each = scaled_pair(
      *[intervals.with_zero(x, padded) for x in seen],
      taps[:, left],
      taps[:, right],
    )
    offset = np.broadcast_to(self.offset(params), taps.shape[1:])
    shift = offset[left] - offset[right]
    return intervals.outward(each.low.sum(0) + shift, each.high.sum(0) + shift)

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """The outer product of a channel's kernel with what it sees."""
    taps = self.taps(params)
    both = np.vstack([rows, bias])[:, self.source_of(self._channels(params))]
    outer = (taps[:, None] * both).reshape(-1, taps.shape[1])
    return outer, np.broadcast_to(self.offset(params), taps.shape[1:])

  def traits(self, params: Params) -> Array:
    """The kernel and the bias."""
    taps = self.taps(params)
    offset = np.broadcast_to(self.offset(params), taps.shape[1:])
    return np.vstack([taps, offset])

  def _channels(self, params: Params) -> Array:
    return np.arange(self.taps(params).shape[1])

  def _affine(
    self, params: Params, x: Interval, offset: Array | float
  ) -> Interval:
    """Sums over the taps, rounded outwards."""
    taps = self.taps(params)
    source = self.source_of(self._channels(params))
    low, high = intervals.over_positions(x)
    seen = intervals.with_zero(
      Interval(low[source][None], high[source][None]),
      np.array(self.padded)[:, None],
    )
    centre = (seen.centre * taps).sum(0) + offset
    slack = (len(taps) + 2) * np.finfo(np.float64).eps
    radius = ((seen.radius + slack * seen.magnitude) * np.abs(taps)).sum(0)
    radius = (1 + slack) * radius + slack * np.abs(offset)
    shape = (*(1,) * (x.low.ndim - 1), -1)
    return intervals.outward(centre - radius, centre + radius).reshape(shape)


def depthwise(
  in_shape: Shape,
  kernel: WeightRef,
  bias: WeightRef | None = None,
  *,
  size: Sequence[int],
  padding: str = 'valid',
  strides: int | Sequence[int] = 1,
  dilations: int | Sequence[int] = 1,
  multiplier: int = 1,
) -> Depthwise:
  """The depthwise convolution of a tensor, by Keras's settings.

  Args:
    in_shape: The tensor's, without the batch axis: (*positions, channels).
    kernel: Of shape (*size, channels, multiplier).
    bias: Of shape (channels * multiplier,).
    size: Taps along each axis of positions.
    padding: 'valid', 'same' or 'causal'.
    strides: Steps between windows; one for all axes, or one each.
    dilations: Steps between taps, likewise.
    multiplier: Output channels for each input channel.
  """
  seen = window_over(in_shape, size, padding, strides, dilations)
  padded = seen.padded_taps(in_shape[:-1])
  return Depthwise(kernel, bias, padded, multiplier, seen=seen)
