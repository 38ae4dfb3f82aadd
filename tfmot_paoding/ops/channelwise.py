"""Operations that carry units: each output unit comes from one input unit.

The lines among them stand here, the others in modules of their own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
  scaled_pair,
)


class Channelwise(Op):
  """An operation whose output unit is a function of one input unit."""

  channelwise = True


class Linear(Channelwise):
  """factor x + offset, by channel."""

  linear = True

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The factor alone."""
    return x[0] * tf.cast(self.factor(params), x[0].dtype)

  def spread(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """With absolute factors."""
    return x[0] * tf.cast(tf.abs(self.factor(params)), x[0].dtype)

  def intercept(self, params: Params) -> Array | float:
    """The offset."""
    return self.offset(params)

  def change(self, before: Params, after: Params) -> tuple[Op, Params]:
    """The line of the change of factors."""
    factors = self.factor(after) - self.factor(before)
    return Line(tuple(np.ravel(factors)), (0.0,)), {}

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

  normalizes = True

  @property
  def statistics(self) -> tuple[WeightRef, WeightRef] | None:
    """The mean and the variance, where there are both."""
    if self.mean is None or self.variance is None:
      return None
    return self.mean, self.variance

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

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are; without gamma, their means are left of them."""
    if self.gamma is None and self.mean is not None:
      book.mark_nonzero(sources[0])
    return sources[0]

  def factor(self, params: Params) -> Array:
    """gamma / sqrt(variance + epsilon), shape (units,)."""
    gamma = 1.0 if self.gamma is None else params[self.gamma]
    if self.variance is None:
      return gamma
    return gamma * (params[self.variance] + self.epsilon) ** -0.5

  def offset(self, params: Params) -> Array:
    """beta - mean * factor, shape (units,)."""
    beta = 0.0 if self.beta is None else params[self.beta]
    if self.mean is None:
      return beta + 0.0 * self.factor(params)
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
    if any(self.shift):
      book.mark_nonzero(sources[0])
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
