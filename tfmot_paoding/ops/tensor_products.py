"""Products of two tensors, neither of them a weight: a b, or with one turned.

What is not contracted passes: the columns of b with what a weighs them by, as
in attention that is written by hand, or the rows of a. Channels that meet one
by one in the sum live or die together; where no kernel reads them, they stay.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

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
  WeightRef,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.normalizations import zero_channels
from tfmot_paoding.ops.numbering import channel_row, core

Intervals = Sequence[Interval]


@dataclasses.dataclass(frozen=True)
class TensorProduct(Op):
  """a b over the last two axes, a (..., n, k) and b (..., k, m).

  Attributes:
    turn_a: Whether a comes as (..., k, n).
    turn_b: Whether b comes as (..., m, k).
    terms: k.
    columns: m.
  """

  turn_a: bool
  turn_b: bool
  terms: int
  columns: int

  joins = True
  moves_positions = True
  needs_sizes = True

  @property
  def _meets_last(self) -> bool:
    """Whether the last axes of both are what is contracted."""
    return self.turn_b and not self.turn_a

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Where nobody knows how many entries are summed."""
    return None in sizes or source[-2 if self.turn_a else -1] != self.terms

  def function(self) -> Any:
    """Sizes may differ."""
    return TensorProduct, self.turn_a, self.turn_b

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """The rows of the one, the columns of the other."""
    del size
    a, b = in_shapes
    rows = a[-1] if self.turn_a else a[-2]
    return (*a[:-2], rows, b[-2] if self.turn_b else b[-1])

  def contractions(self, in_shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Each column of b meets all of a."""
    a, b = in_shapes
    first = math.prod(a[:-2])
    if self.turn_b:
      return (0, first * b[-2] * (a[-1] if self.turn_a else a[-2]))
    return (0, first * a[-1] * a[-2])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Rows of a, or columns of b, pass; what is contracted is tied."""
    a, b = (self._laid(numbers, k) for k, numbers in enumerate(sources))
    along_a, along_b = _varying(a), _varying(b)
    contracted = {-1} & along_a or {-2} & along_b
    if contracted and self._meets_last and not {-2} & along_a | {-1} & along_b:
      tie_all(book, *(channel_row(book, numbers) for numbers in sources))
      return np.broadcast_to(-1, shape)
    if along_b and not (self.turn_b or along_a or contracted or 0 in along_b):
      # Those of several heads, say, one channel of each.
      return np.broadcast_to(channel_row(book, sources[1]), shape)
    if contracted or not along_a <= {-2} or not along_b <= {-1}:
      why = f'{book.label!r} multiplies two tensors across them'
    elif along_a and along_b:
      why = f'{book.label!r} makes each entry of two of them'
    elif along_a:
      return np.broadcast_to(a[..., :, :1], shape)
    elif along_b:
      return np.broadcast_to(b[..., :1, :], shape)
    else:
      why = f'{book.label!r} multiplies them'
    for numbers in sources:
      book.freeze(numbers, why)
    return np.broadcast_to(-1, shape)

  def needs(self, x: Sequence[Array]) -> tuple[Array | None, ...]:
    """Of what is contracted along both last axes, all that meets no zero."""
    if not self._meets_last:
      return None, None
    a, b = x
    met = ~(zero_channels(a) | zero_channels(b))
    return met, met

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The product."""
    del params
    turns = {'transpose_a': self.turn_a, 'transpose_b': self.turn_b}
    return tf.matmul(*x, **turns)

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """Centres and radii."""
    del params
    a, b = (self._laid_interval(part, k) for k, part in enumerate(x))
    return _product(a, b, self.terms)

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """a' b' - a b = (a' - a) b' + a (b' - b)."""
    d, x, y = (
      [self._laid_interval(part, k) for k, part in enumerate(one)]
      for one in (d, x, y)
    )
    change = intervals.add(
      _product(d[0], y[1], self.terms), _product(x[0], d[1], self.terms)
    )
    apart = intervals.subtract(
      _product(*y, self.terms), _product(*x, self.terms)
    )
    return intervals.intersect(change, apart)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> tuple:
    """Each by the size of what it meets."""
    del params
    a, b = (self._laid_interval(part, k).magnitude for k, part in enumerate(x))
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2])
    gain = gain.fitted((*shape, b.shape[-1]))
    size = np.moveaxis(gain.up + gain.down, -1, 0)  # (outputs, ..., n, m)
    found = []
    for k, moved in enumerate(
      (
        size @ np.swapaxes(self._full(b, -2), -1, -2),
        np.swapaxes(self._full(a, -1), -1, -2) @ size,
      )
    ):
      if (self.turn_a, self.turn_b)[k]:
        moved = np.swapaxes(moved, -1, -2)
      moved = intervals.upward(np.moveaxis(moved, 0, -1), self.terms)
      found.append(Gain(moved, moved).fitted(x[k].low.shape))
    return tuple(found)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Zero where no two that are not meet."""
    del params
    a, b = (self._laid(part != 0, k) for k, part in enumerate(x))
    met = self._full(a, -1).astype(float) @ self._full(b, -2).astype(float)
    return np.where(met > 0, np.nan, 0.0)

  def _laid(self, x: Array, k: int) -> Array:
    """As (..., n, k) or (..., k, m)."""
    if not (self.turn_a, self.turn_b)[k]:
      return x
    x = np.swapaxes(x, -1, -2)
    if k == 1:  # channels of the product, of which none stands for several
      x = np.broadcast_to(x, (*x.shape[:-1], self.columns))
    return x

  def _laid_interval(self, x: Interval, k: int) -> Interval:
    return Interval(*(self._laid(end, k) for end in x))

  def _full(self, x: Array, axis: int) -> Array:
    """With all terms on an axis, which may stand for all in one."""
    shape = list(x.shape)
    shape[axis] = self.terms
    return np.broadcast_to(x, shape)


def _product(a: Interval, b: Interval, terms: int) -> Interval:
  """Of centres and radii, with what both round by."""
  one, other = ((x.centre, x.radius) for x in (a, b))
  times = terms if a.low.shape[-1] == b.low.shape[-2] == 1 < terms else 1
  centre = _matmul(one[0], other[0]) * times
  sizes = [np.abs(centre) + radius for centre, radius in (one, other)]
  slack = (terms + 4) * np.finfo(np.float64).eps
  radius = _matmul(np.abs(one[0]), other[1]) + _matmul(one[1], sizes[1])
  radius = (radius + slack * _matmul(*sizes)) * times
  return intervals.outward(centre - radius, centre + radius)


def _matmul(a: Array, b: Array) -> Array:
  """Where one of them has one term for all, it is each."""
  terms = max(a.shape[-1], b.shape[-2])
  a = np.broadcast_to(a, (*a.shape[:-1], terms))
  b = np.broadcast_to(b, (*b.shape[:-2], terms, b.shape[-1]))
  with np.errstate(invalid='ignore', over='ignore'):
    return a @ b


def _varying(numbers: Array) -> set[int]:
  """The axes, counted from the end, along which there are several units.

  Where there is one unit all over, it stands on none and on all: (0,).
  """
  seen = core(numbers)
  found = {
    axis
    for axis in range(-seen.ndim, 0)
    if np.any(seen != np.take(seen, [0], axis))
  }
  return found or ({0} if np.any(seen >= 0) else set())
