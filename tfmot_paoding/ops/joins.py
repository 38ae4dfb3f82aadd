"""Operations on several inputs: sums, products, extremes, concatenations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals, tangents
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Lines
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)
from tfmot_paoding.ops.numbering import core, last_axis

Intervals = Sequence[Interval]
Gains = tuple[Gain, ...]


class Join(Op):
  """An operation on tensors of shapes that broadcast, entry by entry."""

  joins = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """The shapes broadcast to one."""
    del size
    return tuple(np.broadcast_shapes(*in_shapes))

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Entries that meet live or die together."""
    rank = len(shape)
    if not rank or any(source.ndim != rank for source in sources):
      for source in sources:
        book.freeze(source, f'tensors of unlike rank meet at {book.label!r}')
      return np.broadcast_to(-1, shape)
    met = list(sources)
    for source in sorted(sources, key=lambda one: one.shape[-1]):
      others = [one for one in met if one is not source]
      if others and _acts_alike(source, others, shape):
        # They can go, it cannot.
        book.freeze(source, f'it meets several units at {book.label!r}')
        met = others
    first = met[0]
    for other in met[1:]:
      tie_all(book, first, other)
    widest = max(met, key=lambda numbers: core(numbers).size)
    return np.broadcast_to(widest, shape)


def _acts_alike(source: Array, others: list[Array], shape: Shape) -> bool:
  """Whether a tensor is to all units of others the same: it has one entry.

  Args:
    source: Its unit numbers.
    others: Those of what it meets.
    shape: What both broadcast to.
  """
  sizes = list(enumerate(zip(source.shape, shape, strict=True)))
  repeated = [axis for axis, (own, whole) in sizes if own == 1 < whole]
  own = [axis for axis, (own, _) in sizes if own > 1]
  if not repeated or any(_varies(o, axis) for o in others for axis in own):
    return False
  is_gate = repeated[-1] == len(shape) - 1
  return is_gate or any(_varies(o, axis) for o in others for axis in repeated)


def _varies(numbers: Array, axis: int) -> bool:
  """Whether units lie along an axis."""
  numbers = core(numbers)
  return bool(np.any(numbers != np.take(numbers, [0], axis)))


def tie_all(book: UnitBook, one: Array, other: Array) -> None:
  """Ties entries that meet; a unit that meets none must stay."""
  one, other = np.broadcast_arrays(core(one), core(other))
  book.tie(one, other)
  alone = (one < 0) != (other < 0)
  for numbers in (one, other):
    book.freeze(numbers[alone], f'they meet other than units at {book.label!r}')


@dataclasses.dataclass(frozen=True)
class WeightedSum(Join):
  """A sum with fixed factors: addition, subtraction, averages.

  Attributes:
    factors: One for each input.
  """

  factors: tuple[float, ...]

  linear = True

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The sum."""
    del params
    return _total(self.factors, x)

  def spread(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """With absolute factors."""
    del params
    return _total([abs(factor) for factor in self.factors], x)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """The sum of the inputs' ranges."""
    del params
    parts = [
      intervals.scale(part, np.asarray(factor))
      for part, factor in zip(x, self.factors, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
      total = intervals.add(total, part)
    return total

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """The sum of the changes."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> Gains:
    """Each its factor."""
    del params
    found = []
    for part, factor in zip(x, self.factors, strict=True):
      size = np.full((1,) * (gain.up.ndim - 1), abs(factor))
      none = np.zeros_like(size)
      moved = gain.scaled(*((size, none) if factor > 0 else (none, size)))
      found.append(moved.fitted(part.low.shape))
    return tuple(found)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Where all are."""
    del params
    return sum(
      part * factor for part, factor in zip(x, self.factors, strict=True)
    )


def _total(factors: Sequence[float], x: Sequence[tf.Tensor]) -> tf.Tensor:
  total = factors[0] * x[0]
  for factor, part in zip(factors[1:], x[1:], strict=True):
    total += factor * part
  return total


@dataclasses.dataclass(frozen=True)
class Multiply(Join):
  """The product of all inputs, as in squeeze-and-excite blocks."""

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The product."""
    del params
    total = x[0]
    for part in x[1:]:
      total *= part
    return total

  def relax(self, params: Params, *x: Interval) -> Lines:
    """McCormick's planes for two; the range for more."""
    return tangents.of_pair(*x) if len(x) == 2 else super().relax(params, *x)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """The product of the inputs' ranges."""
    del params
    total = x[0]
    for part in x[1:]:
      total = intervals.multiply(total, part)
    return total

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """y1 y2 - x1 x2 = (y1 - x1) y2 + x1 (y2 - x2), input after input."""
    total, before, after = d[0], x[0], y[0]
    for change, old, new in zip(d[1:], x[1:], y[1:], strict=True):
      total = intervals.add(
        intervals.multiply(total, new), intervals.multiply(before, change)
      )
      before = intervals.multiply(before, old)
      after = intervals.multiply(after, new)
    return intervals.intersect(total, intervals.subtract(after, before))

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> Gains:
    """Each by the range of the others' product."""
    found = []
    for k, part in enumerate(x):
      others = [other for j, other in enumerate(x) if j != k]
      rest = self.bounds(params, others)
      shape = gain.up.shape[:-1]
      up = np.broadcast_to(np.maximum(rest.high, 0), shape)
      down = np.broadcast_to(np.maximum(-rest.low, 0), shape)
      found.append(gain.scaled(up, down).fitted(part.low.shape))
    return tuple(found)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Where all are, or one is 0."""
    del params
    total, zero = x[0], x[0] == 0
    for part in x[1:]:
      total, zero = total * part, zero | (part == 0)
    return np.where(zero, 0.0, total)


@dataclasses.dataclass(frozen=True)
class Extreme(Join):
  """The largest or the smallest of all inputs."""

  largest: bool = True

  @property
  def extreme(self) -> str:
    """Whichever it is."""
    return 'max' if self.largest else 'min'

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The extreme."""
    del params
    total = x[0]
    for part in x[1:]:
      total = (tf.maximum if self.largest else tf.minimum)(total, part)
    return total

  def relax(self, params: Params, *x: Interval) -> Lines:
    """The one that leads, and the range where it may be passed."""
    del params
    return tangents.of_extreme(x, self.largest)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """The extreme of the ends."""
    del params
    pick = np.maximum if self.largest else np.minimum
    low, high = x[0]
    for part in x[1:]:
      low, high = pick(low, part.low), pick(high, part.high)
    return Interval(low, high)

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """Between the least and the greatest change."""
    total = d[0]
    for part in d[1:]:
      total = intervals.hull(total, part)
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(total, apart)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> Gains:
    """Each may be the one that counts."""
    del params
    return tuple(gain.fitted(part.low.shape) for part in x)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Where all are."""
    del params
    pick = np.maximum if self.largest else np.minimum
    total = x[0]
    for part in x[1:]:
      total = pick(total, part)
    return total


@dataclasses.dataclass(frozen=True)
class Concatenate(Op):
  """One after another along an axis.

  Attributes:
    axis: Counted without the batch axis.
    last: Whether that is the last axis.
  """

  axis: int
  last: bool

  joins = True
  linear = True
  rearranges = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """The sizes along the axis add up."""
    del size
    rest = {
      (*shape[: self.axis], *shape[self.axis + 1 :]) for shape in in_shapes
    }
    if len(rest) > 1:
      raise ValueError('they differ along other axes.')
    total = sum(shape[self.axis] for shape in in_shapes)
    first = in_shapes[0]
    return (*first[: self.axis], total, *first[self.axis + 1 :])

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Behind the batch axis."""
    del params
    return tf.concat(x, self.axis + 1)

  spread = transform

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The numbers side by side; across units' own axis they are tied."""
    rows = [last_axis(source) for source in sources]
    if self.last and all(row is not None for row in rows):
      return np.broadcast_to(np.concatenate(rows), shape)
    if not self.last and any((source >= 0).any() for source in sources):
      return self._across(book, sources, shape)
    return np.concatenate(sources, self.axis)

  def _across(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    one = [
      np.take(source, [0], self.axis) if source.shape[self.axis] else source
      for source in sources
    ]
    if any(np.any(s != first) for s, first in zip(sources, one, strict=True)):
      # Units lie along this very axis.
      return np.concatenate(sources, self.axis)
    for other in one[1:]:
      tie_all(book, one[0], other)
    return np.broadcast_to(one[0], shape)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """Side by side, or the range of all if the axis is of positions."""
    del params
    if self.last:
      return Interval(
        _side_by_side([part.low for part in x]),
        _side_by_side([part.high for part in x]),
      )
    rank = x[0].low.ndim
    total = None
    for part in x:
      low = part.low.min(self.axis, keepdims=True)
      part = Interval(low, part.high.max(self.axis, keepdims=True))
      total = part if total is None else intervals.hull(total, part)
    assert total.low.ndim == rank
    return total

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """The changes likewise."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> Gains:
    """Each its part."""
    del params
    if not self.last:
      return tuple(gain.fitted(part.low.shape) for part in x)
    ends = np.cumsum([part.low.shape[-1] for part in x])[:-1]
    return tuple(
      Gain(up, down).fitted(part.low.shape)
      for up, down, part in zip(
        np.split(gain.up, ends, -2),
        np.split(gain.down, ends, -2),
        x,
        strict=True,
      )
    )

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Side by side; across positions where all agree."""
    del params
    if self.last:
      return _side_by_side(list(x))
    parts = []
    for part in x:
      first = np.take(part, [0], self.axis)
      same = np.all(part == first, self.axis, keepdims=True)
      parts.append(np.where(same, first, np.nan))
    parts = np.broadcast_arrays(*parts)
    same = np.all([part == parts[0] for part in parts], axis=0)
    return np.where(same, parts[0], np.nan)

  def source_of(self, entry: int, sizes: Sequence[int]) -> tuple[int, int]:
    """Which input an output channel comes from, and where that one begins."""
    start = 0
    for k, size in enumerate(sizes):
      if entry < start + size:
        return k, start
      start += size
    raise IndexError(f'entry {entry} of {start}')


def _side_by_side(parts: list[Array]) -> Array:
  """Concatenated along the last axis, the others at their widest."""
  lead = np.broadcast_shapes(*[part.shape[:-1] for part in parts])
  return np.concatenate(
    [np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts], -1
  )
