"""Activations: each entry by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals, tangents
from tfmot_paoding.numerics.activations import Activation, by_name, rectifier
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Lines
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.channelwise import Channelwise, Line
from tfmot_paoding.ops.numbering import channel_row


@dataclasses.dataclass(frozen=True)
class Elementwise(Channelwise):
  """A scalar activation."""

  activation: Activation

  activates = True

  @property
  def kinks(self) -> tuple[float, ...]:
    """The activation's."""
    return tuple(point for point, _, _ in self.activation.kinks)

  @property
  def rectifies(self) -> bool:
    """Whether its slope below zero is all that is to know of it."""
    return self.activation.below is not None

  def rectifiers(self) -> tuple[Op, ...]:
    """One that is cut off, as one behind another: c - relu(c - r)."""
    clip = self.activation.clip
    if clip is None:
      return ()
    turned = Line((-1.0,), (clip.top,))
    row = (
      Elementwise(rectifier(clip.below)),
      turned,
      Elementwise(rectifier()),
      turned,
    )
    if (clip.slope, clip.shift) == (1.0, 0.0):
      return row
    return Line((clip.slope,), (clip.shift,)), *row

  @property
  def answers(self) -> str:
    """Probabilities, if it is the logistic function."""
    return 'sigmoid' if self.activation == by_name('sigmoid') else 'values'

  def function(self) -> Any:
    """By what it gives: two layers hold two callables for one function."""
    values = self.activation.value(np.linspace(-8.0, 8.0, 33))
    return self.activation.name, self.activation.kinks, values.tobytes()

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are."""
    if self.activation.value(np.zeros(())) != 0:
      book.mark_nonzero(sources[0])
    return sources[0]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The activation's range."""
    del params
    return intervals.outward(*self.activation.value_range(x.low, x.high))

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The activation, whose slope is the gradient."""
    del params

    @tf.custom_gradient
    def function(z):
      at = z.numpy()

      def grad(upstream):
        return upstream * self.activation.slope(at).astype(at.dtype)

      return tf.constant(self.activation.value(at).astype(at.dtype)), grad

    return function(x[0])

  def relax(self, params: Params, *x: Interval) -> Lines:
    """The lines of least area."""
    del params
    return tangents.of_activation(self.activation, x[0])

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

  kinks = (0.0,)
  rectifies = True

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

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The part above zero, and alpha times the part below."""
    (z,) = x
    return tf.maximum(z, 0.0) + params[self.alpha] * tf.minimum(z, 0.0)

  def relax(self, params: Params, *x: Interval) -> Lines:
    """A rectifier's lines, each entry with its own slope."""
    return tangents.of_rectifier(x[0], params[self.alpha])

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
