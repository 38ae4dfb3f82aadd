"""Operations that carry units: each output unit comes from one input unit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_paoding import intervals
from tfmot_paoding.activations import Activation
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
  channel_row,
  scaled_pair,
)
from tfmot_paoding.ops.products import Conv, constant_over_positions


class Channelwise(Op):
  """An operation whose output unit is a function of one input unit."""

  channelwise = True


class Linear(Channelwise):
  """factor x + offset, by channel."""

  def factor(self, params: Params) -> Array:
    """Shape (units,) or ()."""
    raise NotImplementedError

  def offset(self, params: Params) -> Array:
    """Shape (units,) or ()."""
    raise NotImplementedError

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The line on both ends."""
    scaled = intervals.scale(x, self.factor(params))
    offset = self.offset(params)
    return intervals.outward(scaled.low + offset, scaled.high + offset)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The factor alone: the offset cancels."""
    del x, y
    return intervals.scale(d, self.factor(params))

  def constant(self, params: Params, x: Array) -> Array:
    """A factor of zero leaves the offset, whatever comes in."""
    factor, offset = self.factor(params), self.offset(params)
    return np.where(factor == 0, 0.0, x * factor) + offset

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """A negative factor turns the direction."""
    factor = np.broadcast_to(self.factor(params), x.low.shape)
    return gain.scaled(np.maximum(factor, 0), np.maximum(-factor, 0))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """Factors meet the difference, their difference meets the value."""
    size = max(left.max(initial=0), right.max(initial=0)) + 1
    factor, offset = (
      np.broadcast_to(value, (size,)) if np.ndim(value) == 0 else value
      for value in (self.factor(params), self.offset(params))
    )
    both = scaled_pair(gap, a, b, factor[left], factor[right])
    shift = offset[left] - offset[right]
    return intervals.outward(both.low + shift, both.high + shift)

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """Scaled and shifted."""
    factor = self.factor(params)
    return rows * factor, bias * factor + self.offset(params)


@dataclasses.dataclass(frozen=True)
class Scale(Linear):
  """Batch normalization at inference: a factor and an offset a channel.

  gamma (x - mean) / sqrt(variance + epsilon) + beta over the last axis; what
  is None is left out.
  """

  mean: WeightRef | None = None
  variance: WeightRef | None = None
  gamma: WeightRef | None = None
  beta: WeightRef | None = None
  epsilon: float = 1e-3

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """All of shape (units,); a removed unit's statistics stay as they are."""
    axes = {}
    for ref in (self.gamma, self.beta):
      if ref is not None:
        axes[ref] = WeightAxes(None, 0)
    for ref in (self.mean, self.variance):
      if ref is not None:
        axes[ref] = WeightAxes(None, 0, masked=False)
    return axes

  def factor(self, params: Params) -> Array:
    """gamma / sqrt(variance + epsilon), shape (units,)."""
    gamma = 1.0 if self.gamma is None else params[self.gamma]
    if self.variance is None:
      return gamma
    return gamma / np.sqrt(params[self.variance] + self.epsilon)

  def offset(self, params: Params) -> Array:
    """beta - mean * factor, shape (units,)."""
    beta = 0.0 if self.beta is None else params[self.beta]
    if self.mean is None:
      return np.broadcast_to(beta, self.factor(params).shape)
    return beta - params[self.mean] * self.factor(params)

  def traits(self, params: Params) -> Array:
    """Factor and offset."""
    return np.stack([self.factor(params), self.offset(params)])


@dataclasses.dataclass(frozen=True)
class Line(Linear):
  """scale x + shift with settings for weights: numbers, or one a channel."""

  scale: tuple[float, ...]
  shift: tuple[float, ...]

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are, unless each has a setting of its own."""
    if max(len(self.scale), len(self.shift)) > 1:
      book.freeze(sources[0], f'{book.label!r} has a setting for each of them')
    return sources[0]

  def factor(self, params: Params) -> Array:
    """The scale."""
    del params
    return _scalar_or_row(self.scale)

  def offset(self, params: Params) -> Array:
    """The shift."""
    del params
    return _scalar_or_row(self.shift)


def _scalar_or_row(values: tuple[float, ...]) -> Array:
  return np.array(values[0] if len(values) == 1 else values, np.float64)


@dataclasses.dataclass(frozen=True)
class Elementwise(Channelwise):
  """A scalar activation."""

  activation: Activation

  def function(self) -> Any:
    """By what it gives: two layers hold two callables for one function."""
    values = self.activation.value(np.linspace(-8.0, 8.0, 33))
    return self.activation.name, self.activation.kinks, values.tobytes()

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The activation's range."""
    del params
    return intervals.outward(*self.activation.value_range(x.low, x.high))

  def slopes(self, x: Interval) -> Interval:
    """The range of slopes on x."""
    return intervals.outward(*self.activation.slope_range(x.low, x.high))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """A slope between x and y, times the change (mean value theorem)."""
    moved = intervals.multiply(d, self.slopes(intervals.hull(x, y)))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(moved, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Positive slopes keep the direction, negative ones turn it."""
    del params
    slopes = self.slopes(x)
    return gain.scaled(np.maximum(slopes.high, 0), np.maximum(-slopes.low, 0))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """A slope between the two, times the difference."""
    del params, left, right
    return intervals.multiply(gap, self.slopes(intervals.hull(a, b)))


@dataclasses.dataclass(frozen=True)
class LearnedSlope(Channelwise):
  """PReLU: x above zero, alpha x below.

  Attributes:
    alpha: Of the input's shape, shared axes at size 1.
    shared: Whether the channels share one alpha.
  """

  alpha: WeightRef
  shared: bool = False

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """Alpha, its last axis by unit."""
    if self.shared:
      return {self.alpha: WeightAxes(None, None)}
    return {self.alpha: WeightAxes(None, -1)}

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are; they must lie on the channel axis."""
    channel_row(book, sources[0])
    return sources[0]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The part above zero and the part below."""
    alpha = params[self.alpha]
    below = intervals.scale(
      Interval(np.minimum(x.low, 0), np.minimum(x.high, 0)), alpha
    )
    above = Interval(np.maximum(x.low, 0), np.maximum(x.high, 0))
    # Both at once only where x has both signs; else one of them is 0.
    mixed = (x.low < 0) & (x.high > 0)
    low = np.where(
      mixed, np.minimum(below.low, above.low), below.low + above.low
    )
    high = np.where(
      mixed, np.maximum(below.high, above.high), below.high + above.high
    )
    return intervals.outward(low, high)

  def slopes(self, params: Params, x: Interval) -> Interval:
    """1, alpha, or both."""
    alpha = params[self.alpha]
    one = np.ones_like(alpha)
    return Interval(
      np.where(
        x.low >= 0, one, np.where(x.high <= 0, alpha, np.minimum(alpha, one))
      ),
      np.where(
        x.low >= 0, one, np.where(x.high <= 0, alpha, np.maximum(alpha, one))
      ),
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """A slope between x and y, times the change."""
    moved = intervals.multiply(d, self.slopes(params, intervals.hull(x, y)))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(moved, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Positive slopes keep the direction, negative ones turn it."""
    slopes = self.slopes(params, x)
    up, down = np.maximum(slopes.high, 0), np.maximum(-slopes.low, 0)
    return gain.fitted(up.shape).scaled(up, down)

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """x - (1 - alpha) min(x, 0): the difference, and that of what is added."""
    alpha = params[self.alpha]
    flat = np.broadcast_to(
      alpha.reshape(-1, alpha.shape[-1]),
      (alpha.size // alpha.shape[-1], max(alpha.shape[-1], 1)),
    )
    if self.shared:
      flat = np.repeat(flat, max(left.max(), right.max()) + 1, axis=1)
    slope_l = Interval(flat[:, left].min(0), flat[:, left].max(0))
    slope_r = Interval(flat[:, right].min(0), flat[:, right].max(0))
    both = intervals.hull(
      intervals.hull(slope_l, slope_r), Interval(np.ones(()), np.ones(()))
    )
    # One slope for both where their alphas agree; else what alpha adds below
    # zero differs by at most the alphas' difference times that part.
    moved = intervals.multiply(gap, both)
    below = Interval(
      np.minimum(np.minimum(a.low, b.low), 0), np.zeros_like(a.low)
    )
    apart = intervals.multiply(
      below,
      intervals.hull(
        Interval(np.zeros(()), np.zeros(())),
        intervals.subtract(slope_l, slope_r),
      ),
    )
    return intervals.add(moved, apart)

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """The part above zero, and alpha times the part below."""
    alpha = self.traits(params)
    below = rows[None] * alpha[:, None], bias[None] * alpha
    return (
      np.concatenate([rows, below[0].reshape(-1, rows.shape[1]), below[1]]),
      bias,
    )

  def traits(self, params: Params) -> Array:
    """The slopes below zero."""
    alpha = params[self.alpha]
    return alpha.reshape(-1, alpha.shape[-1])


@dataclasses.dataclass(frozen=True)
class Depthwise(Channelwise):
  """A convolution of each channel by itself; bounds are per channel.

  Attributes:
    kernel: Of shape (*window, channels in, multiplier), or as a `grouped`
      convolution's, (*window, 1, channels in * multiplier).
    bias: Of shape (channels in * multiplier,).
    padded: For each tap, whether some position sees padding under it.
    multiplier: Output channels for each input channel.
    grouped: The kernel's layout.
  """

  kernel: WeightRef
  bias: WeightRef | None = None
  padded: tuple[bool, ...] = (False,)
  multiplier: int = 1
  grouped: bool = False

  def function(self) -> Any:
    """As a grouped convolution: that of channels in larger blocks."""
    if not self.grouped:
      return self
    return Conv, self.kernel, self.bias, self.padded

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


@dataclasses.dataclass(frozen=True)
class Positions(Channelwise):
  """Takes, averages, repeats or compares positions: a channel's range stays.

  Pooling, cropping, upsampling, interpolation, and padding with zeros.

  Attributes:
    zeros: Whether zeros are put in.
    squeeze: Whether the positions go, as in global pooling.
    kind: What is done, for comparison.
  """

  zeros: bool = False
  squeeze: bool = False
  kind: str = ''

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels at other positions."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The range over all positions."""
    del params
    low, high = intervals.with_zero(intervals.over_positions(x), self.zeros)
    shape = self._shape(x.low)
    return Interval(low.reshape(shape), high.reshape(shape))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The range of the change over all positions."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """All positions move at once."""
    del params
    outputs = gain.up.shape[-1]
    gain = gain.fitted((*(1,) * (gain.up.ndim - 2), gain.up.shape[-2]))
    shape = (*(1,) * (x.low.ndim - 1), x.low.shape[-1])
    return Gain(
      gain.up.reshape(*shape, outputs), gain.down.reshape(*shape, outputs)
    )

  def constant(self, params: Params, x: Array) -> Array:
    """The same value, unless zeros come in beside it."""
    del params
    fixed = constant_over_positions(x)
    if self.zeros:
      fixed = np.where(fixed == 0, fixed, np.nan)
    return fixed.reshape(self._shape(x))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The range of the difference over all positions."""
    del params, a, b, left, right
    return intervals.with_zero(gap, self.zeros)

  def _shape(self, x: Array) -> Shape:
    if self.squeeze:
      return (x.shape[-1],)
    return (*(1,) * (x.ndim - 1), x.shape[-1])
