"""Entries along one axis in another order, several times, or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array, Gain, Params, Shape, UnitBook
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import core
from tfmot_paoding.ops.slices import AlongAxis


@dataclasses.dataclass(frozen=True)
class Take(AlongAxis):
  """x[..., indices, ...] along one axis.

  Attributes:
    axis: Counted without the batch axis.
    indices: For each entry of the output, the input's.
    rank: How many axes the input has.
    block: How many neighbours along the axis live and die together, where
      units lie on it: what is asked for is every second of them, say.
    fixed: Why units on the axis must stay; None where they may go.
  """

  axis: int
  indices: tuple[int, ...]
  rank: int
  block: int = 1
  fixed: str | None = None

  moves_positions = True
  # What is read is found by counting.
  needs_sizes = True

  @property
  def taken(self) -> list[int]:
    """The indices."""
    return list(self.indices)

  def function(self) -> Any:
    """Sizes may differ."""
    return Take, self.axis, self.rank, self.block

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """With as many entries as there are indices."""
    del out_shape
    return self._resized(in_shape)

  def infer_shape(self, in_shapes: tuple[Shape, ...], size: Any) -> Shape:
    """Likewise."""
    del size
    return self._resized(in_shapes[0])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The numbers of what is taken."""
    (numbers,) = sources
    if core(numbers).shape[self.axis] > 1 or self._takes_channels:
      if self.fixed is not None:
        book.freeze(numbers, f'{book.label!r} {self.fixed}')
      for k in range(1, self.block):
        index = [slice(None)] * numbers.ndim
        first, other = list(index), list(index)
        first[self.axis] = slice(0, None, self.block)
        other[self.axis] = slice(k, None, self.block)
        tie_all(book, numbers[tuple(first)], numbers[tuple(other)])
      return np.take(numbers, self.indices, self.axis)
    one = np.take(numbers, [0], self.axis)
    return np.broadcast_to(one, shape)

  def moved(self, x: Array) -> Array:
    """What is taken; an array that tells no positions apart stays."""
    if self._is_repeated(x.shape):
      return x
    return np.take(x, self.indices, self.axis)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """What is taken several times counts as often."""
    del params
    shape = x.low.shape
    if self._is_repeated(shape):
      return gain.fitted(shape)
    found = [np.zeros((*shape, part.shape[-1])) for part in gain]
    fitted = gain.fitted(self._resized(shape))
    index = (*[slice(None)] * self.axis, np.array(self.indices))
    for whole, part in zip(found, fitted, strict=True):
      np.add.at(whole, index, part)
    return Gain(*found)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Behind the batch axis."""
    del params
    return tf.gather(x[0], self.taken, axis=self.axis + 1)

  def source_of(self, entries: Array) -> Array:
    """By the indices, if they are of channels."""
    return np.array(self.indices)[entries] if self._takes_channels else entries

  def _resized(self, shape: Shape) -> Shape:
    return (
      *shape[: self.axis],
      len(self.indices),
      *shape[self.axis + 1 :],
    )
