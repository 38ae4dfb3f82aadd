"""Along an axis of channels, or of what a reshape made of them."""

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
  Op,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import core

_FUNCTIONS = {
  'mean': tf.reduce_mean,
  'sum': tf.reduce_sum,
  'max': tf.reduce_max,
  'min': tf.reduce_min,
}


@dataclasses.dataclass(frozen=True)
class Reduce(Op):
  """The mean, sum or extreme along the last axis, which is left with one entry.

  Attributes:
    kind: 'mean', 'sum', 'max' or 'min'.
    axis: The last one, counted without the batch's.
    shape: The input's.
  """

  kind: str
  axis: int
  shape: Shape

  needs_sizes = True

  @property
  def linear(self) -> bool:
    """A mean and a sum are."""
    return self.kind in ('mean', 'sum')

  @property
  def extreme(self) -> str | None:
    """What is no mean and no sum."""
    return None if self.linear else self.kind

  def competitor(self, x: tf.Tensor, k: int) -> tf.Tensor:
    """The k-th entry of the axis, which is kept."""
    return x[..., k : k + 1]

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Where nobody knows how many entries there are."""
    return tuple(source) != self.shape

  def function(self) -> Any:
    """Sizes may differ."""
    return Reduce, self.kind, self.axis

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """With one entry on the axis."""
    del out_shape
    return (*in_shape[:-1], 1)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """Likewise."""
    del size
    return (*in_shapes[0][:-1], 1)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Units on other axes are carried, with all entries that are reduced.

    Those on the axis itself are mixed: zeros leave a sum, and nothing else.
    """
    (numbers,) = sources
    seen = core(numbers)
    along = [
      axis
      for axis in range(seen.ndim)
      if np.any(seen != np.take(seen, [0], axis))
    ]
    if any(axis != seen.ndim - 1 for axis in along):
      first = numbers[..., :1]
      for k in range(1, numbers.shape[-1]):
        tie_all(book, first, numbers[..., k : k + 1])
      return np.broadcast_to(first, shape)
    if self.kind == 'sum':
      why = f'{book.label!r} sums them, and without weights they are not zero'
      book.freeze_nonzero(numbers, why)
    else:
      book.freeze(numbers, f'{book.label!r} takes the {self.kind} of them all')
    return np.broadcast_to(-1, shape)

  def needs(self, x: Sequence[Array]) -> tuple[Array | None]:
    """Of a sum, all entries but zeros; units in front of others stay."""
    return (x[0] != 0 if self.kind == 'sum' else None,)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Of both ends."""
    reduce = _reduction(self.kind)
    low, high = (reduce(end, -1, keepdims=True) for end in x)
    if not self.linear:
      return Interval(low, high)
    slack = (x.low.shape[-1] + 2) * np.finfo(np.float64).eps
    slack *= reduce(x.magnitude, -1, keepdims=True)
    return intervals.outward(low - slack, high + slack)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Of the changes; an extreme changes by one between the extremes."""
    if self.linear:
      return self.bounds(params, d)
    low, high = d.low.min(-1, keepdims=True), d.high.max(-1, keepdims=True)
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(Interval(low, high), apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Each entry its share; of an extreme, any may be the one."""
    shape = x.low.shape
    gain = gain.fitted((*shape[:-1], 1))
    share = 1 / shape[-1] if self.kind == 'mean' else 1.0
    spread = (*shape, gain.up.shape[-1])
    return Gain(*(np.broadcast_to(share * part, spread) for part in gain))

  def constant(self, params: Params, x: Array) -> Array:
    """Where all entries are."""
    return _reduction(self.kind)(x, -1, keepdims=True)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Over the last axis."""
    del params
    return _FUNCTIONS[self.kind](x[0], -1, keepdims=True)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The same."""
    return self.run(params, *x)

  spread = transform


def _reduction(kind: str) -> Callable[..., Array]:
  return getattr(np, kind)
