"""How far apart positions are: variances, and standard deviations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
  WeightRef,
)
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.numbering import channel_row

_FUNCTIONS = {
  'variance': tf.math.reduce_variance,
  'std': tf.math.reduce_std,
}


@dataclasses.dataclass(frozen=True)
class Variance(Channelwise):
  """The variance of each channel over axes of positions, or its root.

  Of values w apart it is at most (w / 2)^2. The root moves by no more than
  that of the change; the variance by Cov(y - x, y + x).

  Attributes:
    kind: 'variance' or 'std'.
    axes: The axes, counted from the end.
    keeps: Whether they stay, with one entry.
  """

  kind: str
  axes: tuple[int, ...]
  keeps: bool

  moves_positions = True

  def function(self) -> Any:
    """All of it."""
    return self

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """One entry on the axes, or none of them."""
    del size
    (shape,) = in_shapes
    reduced = {axis % len(shape) for axis in self.axes}
    if self.keeps:
      return tuple(1 if k in reduced else n for k, n in enumerate(shape))
    return tuple(n for k, n in enumerate(shape) if k not in reduced)

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """Likewise."""
    del out_shape
    return self.infer_shape((in_shape,), lambda ref: ())

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels; zeros are no way apart."""
    row = channel_row(book, sources[0])
    if self.kind == 'std':
      book.freeze(
        row,
        f'{book.label!r} takes their standard deviation, which has no slope '
        'at zero: training with masks would make them NaN. Let it take '
        'sqrt(variance + epsilon)',
      )
    return np.broadcast_to(row, shape)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Over the axes."""
    del params
    return _FUNCTIONS[self.kind](x[0], self.axes, self.keeps)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """By how far apart values can be."""
    del params
    top = self._left(self._of(self._width(x) / 2))
    return Interval(np.zeros_like(top), top)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """By how far apart the changes can be."""
    moved = self._width(d) / 2 * self._slope(self._width(x), self._width(y))
    moved = self._left(intervals.upward(moved, 4))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(Interval(-moved, moved), apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Half of any change, by the slope."""
    del params
    width = self._width(x)
    if not self.keeps:
      gain = Gain(
        *(
          np.expand_dims(part, tuple(axis - 1 for axis in self.axes))
          for part in gain
        )
      )
    gain = gain.fitted(width.shape)
    factor = (self._slope(width, width) / 2)[..., None]
    both = intervals.upward((gain.up + gain.down) * factor, 4)
    both = np.broadcast_to(both, (*x.low.shape, both.shape[-1]))
    return Gain(both, both)

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """As of a change from the one to the other."""
    del params, left, right
    moved = gap.width / 2 * self._slope(a.width, b.width)
    moved = intervals.upward(moved, 4)
    return Interval(-moved, moved)

  def constant(self, params: Params, x: Array) -> Array:
    """Zero where all positions are alike."""
    del params
    low, high = (end(x, self.axes, keepdims=True) for end in (np.min, np.max))
    return self._left(np.where(low == high, 0.0, np.nan))

  def _width(self, x: Interval) -> Array:
    """How far apart positions can be, with one entry on the axes."""
    low = x.low.min(self.axes, keepdims=True)
    high = x.high.max(self.axes, keepdims=True)
    return intervals.upward(high - low, 2)

  def _slope(self, one: Array, other: Array) -> Array:
    """What a change counts by between values so far apart."""
    return np.ones_like(one) if self.kind == 'std' else (one + other) / 2

  def _of(self, root: Array) -> Array:
    found = root if self.kind == 'std' else np.square(root)
    return intervals.upward(found, 4)

  def _left(self, x: Array) -> Array:
    return x if self.keeps else np.squeeze(x, self.axes)
