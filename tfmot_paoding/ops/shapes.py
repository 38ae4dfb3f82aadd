"""Operations across channels without weights: softmax and rearrangements."""

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
  Opaque,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)


@dataclasses.dataclass(frozen=True)
class Softmax(Op):
  """Softmax over the last axis."""

  activates = True
  answers = 'softmax'
  needs_sizes = True

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Where nobody knows how many entries it weighs."""
    return list(sizes[-1:]) == [None] or (
      # They may have been permuted, and are taken for 1 as long as nobody does.
      None in sizes and source[-1:] == (1,)
    )

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As it was."""
    del size
    return in_shapes[0]

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Over the last axis."""
    del params
    return tf.nn.softmax(x[0])

  def under_mask(self) -> Op:
    """Not known: what a mask takes away has no share."""
    return Opaque('softmax leaves out what a mask takes away')

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Each output depends on all units."""
    book.freeze(
      sources[0], f'softmax in {book.label!r} ties them to one another'
    )
    return sources[0]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Each logit at one end, the others at the opposite one."""
    del params
    return Interval(
      np.nan_to_num(_softmax_against(x.low, x.high), nan=0.0),
      np.nan_to_num(_softmax_against(x.high, x.low), nan=1.0),
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Slope p(1 - p) <= 1/4 for a class's own logit, -p q for the others."""
    own = intervals.multiply(d, Interval(np.zeros(()), np.full((), 0.25)))
    other = intervals.multiply(d, Interval(np.full((), -0.25), np.zeros(())))
    total = intervals.outward(
      other.low.sum(-1, keepdims=True) - other.low + own.low,
      other.high.sum(-1, keepdims=True) - other.high + own.high,
    )
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(total, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """The same slopes, transposed."""
    del params, x
    up, down = gain
    others_up = up.sum(-2, keepdims=True) - up
    others_down = down.sum(-2, keepdims=True) - down
    return Gain(0.25 * (up + others_down), 0.25 * (down + others_up))


def _softmax_against(own: Array, others: Array) -> Array:
  """Softmax with a class's own logit from one array, the rest from another."""
  # exp(others - own), own term replaced by exp(0): (..., k, j) pairs.
  gaps = others[..., None, :] - own[..., :, None]
  index = np.arange(own.shape[-1])
  gaps[..., index, index] = 0.0
  return 1.0 / np.exp(np.minimum(gaps, 700.0)).sum(-1)


class Rearrangement(Op):
  """The same entries in other places."""

  linear = True
  rearranges = True

  def spread(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The same."""
    return self.transform(params, *x)

  def moved(self, x: Array) -> Array:
    """An array of the input's entries, rearranged."""
    raise NotImplementedError

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Both ends rearranged."""
    del params
    return Interval(self.moved(x.low), self.moved(x.high))

  def constant(self, params: Params, x: Array) -> Array:
    """The same entries."""
    del params
    return self.moved(x)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Both ends rearranged."""
    del x, y
    return self.bounds(params, d)

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The same entries."""
    del params, a, b, left, right
    return gap


@dataclasses.dataclass(frozen=True)
class Reshape(Rearrangement):
  """A new shape for the same entries in the same order.

  Attributes:
    shape: The new one.
    source: The old one; None for the array's own.
  """

  shape: Shape
  source: Shape | None = None

  needs_sizes = True

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Where any size is, or entries are others than it was made for."""
    return None in sizes or np.prod(source) != np.prod(self.shape)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """The new one."""
    del size
    if np.prod(in_shapes[0]) != np.prod(self.shape):
      raise ValueError(f'they have not the entries of {self.shape}.')
    return self.shape

  def function(self) -> Any:
    """Sizes may differ."""
    return Reshape

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same numbers in the same order."""
    del book
    numbers = sources[0]
    if self._keeps_channels(numbers.shape):
      rows = numbers.reshape(-1, numbers.shape[-1])[:1]
      if np.all(numbers == rows[0]):
        return np.broadcast_to(rows[0], shape)
    return numbers.reshape(self.shape)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """The same entries; positions that moved at once still do."""
    del params
    source = self.source or x.low.shape
    if self._same_everywhere(gain.up.shape[:-1], source):
      return gain.reshape((*(1,) * (len(source) - 1), source[-1]))
    return gain.fitted(self.shape).reshape(source).fitted(x.low.shape)

  def moved(self, x: Array) -> Array:
    """In the same order; positions told apart only where they must be."""
    source = self.source or x.shape
    if self._same_everywhere(x.shape, source):
      return x.reshape((*(1,) * (len(self.shape) - 1), source[-1]))
    return np.broadcast_to(x, source).reshape(self.shape)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Behind the batch axis."""
    del params
    return tf.reshape(x[0], (-1, *self.shape))

  def _keeps_channels(self, source: Shape) -> bool:
    return bool(source and self.shape) and source[-1] == self.shape[-1]

  def _same_everywhere(self, array: Shape, source: Shape) -> bool:
    """Whether positions are not told apart, before and after."""
    return self._keeps_channels(source) and all(n == 1 for n in array[:-1])


@dataclasses.dataclass(frozen=True)
class Permute(Rearrangement):
  """Axes in another order.

  Attributes:
    axes: For each output axis, the input's.
    shape: The output's shape.
  """

  axes: tuple[int, ...]
  shape: Shape

  needs_sizes = True

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Where nobody knows how many channels come out."""
    del source
    return list(sizes[-1:]) == [None]

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """The sizes in their new order."""
    del size
    return tuple(in_shapes[0][axis] for axis in self.axes)

  def function(self) -> Any:
    """Sizes may differ."""
    return Permute, self.axes

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The numbers in their new places."""
    return sources[0].transpose(self.axes)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Back to their old places."""
    del params
    back = (*np.argsort(self.axes), len(self.axes))
    gain = Gain(gain.up.transpose(back), gain.down.transpose(back))
    return gain.fitted(x.low.shape)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Behind the batch axis."""
    del params
    return tf.transpose(x[0], (0, *(axis + 1 for axis in self.axes)))

  def moved(self, x: Array) -> Array:
    """Axes permuted, the last one in full."""
    moved = x.transpose(self.axes)
    return np.broadcast_to(moved, (*moved.shape[:-1], self.shape[-1]))
