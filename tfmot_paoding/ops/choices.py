"""Choices between tensors, entry by entry, and the conditions of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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
)
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.joins import Join

Intervals = Sequence[Interval]


@dataclasses.dataclass(frozen=True)
class Above(Channelwise):
  """Whether entries are above zero: 1 or 0.

  Attributes:
    equal: Whether zero is above itself.
  """

  equal: bool = False

  kinks = (0.0,)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same units, which may be 1 where nothing comes in."""
    if self.equal:
      book.mark_nonzero(sources[0])
    return sources[0]

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """As numbers."""
    del params
    return tf.cast(x[0] >= 0 if self.equal else x[0] > 0, x[0].dtype)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Of both ends: it does not fall."""
    del params
    return Interval(*(self._of(end).astype(np.float64) for end in x))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """One at most, and that way alone that the change goes."""
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return self._step(d, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """None where it is decided; else it has no slope."""
    decided = (self._of(x.low) == self._of(x.high))[..., None]
    return Gain(
      *(np.where(decided | (part == 0), 0.0, np.inf) for part in gain)
    )

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
    del left, right
    apart = intervals.subtract(self.bounds(params, a), self.bounds(params, b))
    return self._step(gap, apart)

  def constant(self, params: Params, x: Array) -> Array:
    """Where it is known what comes in."""
    del params
    return np.where(np.isnan(x), np.nan, self._of(np.nan_to_num(x)))

  def _of(self, x: Array) -> Array:
    return x >= 0 if self.equal else x > 0

  def _step(self, d: Interval, apart: Interval) -> Interval:
    return Interval(
      np.where(d.low < 0, apart.low, np.maximum(apart.low, 0.0)),
      np.where(d.high > 0, apart.high, np.minimum(apart.high, 0.0)),
    )


@dataclasses.dataclass(frozen=True)
class Select(Join):
  """One of two, as a condition of 1 or 0 says; either may be a number.

  Attributes:
    yes: The number where it is 1; None for a tensor.
    no: Where it is 0, likewise.
  """

  yes: float | None = None
  no: float | None = None

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Entries that meet; a number may stand where nothing comes in."""
    found = super().carry(book, sources, shape)
    if self.yes or self.no:
      book.mark_nonzero(found)
    return found

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The choice."""
    del params
    condition, *tensors = x
    kind = next((part.dtype for part in tensors), None)
    if condition.dtype != tf.bool:
      kind, condition = kind or condition.dtype, condition > 0.5
    yes, no = self._both(
      tensors, lambda number: tf.constant(number, kind or tf.float32)
    )
    return tf.where(condition, yes, no)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """That of what may be chosen."""
    del params
    condition, *tensors = x
    yes, no = self._both(tensors, _number)
    either = intervals.hull(yes, no)
    never, always = condition.high == 0, condition.low == 1
    return Interval(
      *(
        np.where(always, a, np.where(never, b, c))
        for a, b, c in zip(yes, no, either, strict=True)
      )
    )

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """Of the change of either, where the condition stays."""
    condition, *tensors = d
    nothing = intervals.zeros(())
    yes, no = self._both(tensors, lambda number: nothing)
    either = intervals.hull(yes, no)
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    stays = condition.magnitude == 0
    change = Interval(
      np.where(stays, either.low, -np.inf), np.where(stays, either.high, np.inf)
    )
    return intervals.intersect(change, apart)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> tuple:
    """To what may be chosen; the condition by how far the two are apart."""
    del params
    condition, *tensors = x
    yes, no = self._both(tensors, _number)
    shape = gain.up.shape[:-1]
    gap = np.broadcast_to(intervals.subtract(yes, no).magnitude, shape)
    both = Gain(*[(gain.up + gain.down) * gap[..., None]] * 2)
    found, rest = [both.fitted(condition.low.shape)], list(tensors)
    for number, out in (
      (self.yes, condition.high == 0),
      (self.no, condition.low == 1),
    ):
      if number is None:
        seen = np.broadcast_to(~out, shape).astype(float)
        moved = gain.scaled(seen, np.zeros(shape))
        found.append(moved.fitted(rest.pop(0).low.shape))
    return tuple(found)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Where it is known which, and what that is; or both are one."""
    del params
    condition, *tensors = x
    yes, no = self._both(tensors, np.asarray)
    chosen = np.where(condition == 1, yes, np.where(condition == 0, no, np.nan))
    return np.where(yes == no, yes, chosen)

  def _both(self, tensors, number) -> tuple:
    """What is chosen from, numbers as `number` makes them."""
    rest = list(tensors)
    return tuple(
      rest.pop(0) if one is None else number(one) for one in (self.yes, self.no)
    )


def _number(value: float) -> Interval:
  return Interval(np.asarray(value), np.asarray(value))
