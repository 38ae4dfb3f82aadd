"""A run of entries along one axis, as slices and splits take it.

`AlongAxis` is what it shares with all that takes entries along one axis.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array, Gain, Params, Shape, UnitBook
from tfmot_paoding.ops.numbering import core
from tfmot_paoding.ops.shapes import Rearrangement


class AlongAxis(Rearrangement):
  """Some of the entries along one axis.

  Attributes:
    axis: Counted without the batch axis.
    rank: How many axes the input has.
  """

  axis: int
  rank: int

  channelwise = True

  @property
  def taken(self) -> slice | list[int]:
    """Which entries, as an index of an array."""
    raise NotImplementedError

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """The channels that are taken."""
    del params
    if not self._takes_channels:
      return rows, bias
    return rows[:, self.taken], bias[self.taken]

  @property
  def _takes_channels(self) -> bool:
    return self.axis == self.rank - 1

  def _is_repeated(self, shape: Shape) -> bool:
    """Whether an array of this shape tells the axis' entries not apart."""
    return not self._takes_channels and shape[self.axis] == 1


@dataclasses.dataclass(frozen=True)
class Slice(AlongAxis):
  """x[..., start:stop, ...] along one axis.

  Attributes:
    axis: Counted without the batch axis.
    start: The first entry.
    stop: The entry behind the last.
    rank: How many axes the input has.
    by_number: Whether the axis goes afterwards: the entry is asked for by its
      number, and so must stay.
  """

  axis: int
  start: int
  stop: int
  rank: int
  by_number: bool = False

  @property
  def taken(self) -> slice:
    """The run."""
    return slice(self.start, self.stop)

  def function(self) -> Any:
    """Sizes may differ."""
    return Slice, self.axis, self.rank, self.by_number

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """The same with fewer entries."""
    del out_shape
    size = self.stop - self.start
    return (*in_shape[: self.axis], size, *in_shape[self.axis + 1 :])

  def infer_shape(self, in_shapes: tuple[Shape, ...], size: Any) -> Shape:
    """Likewise."""
    del size
    return self.out_shape(in_shapes[0], ())

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The numbers of the run."""
    del shape
    (numbers,) = sources
    taken = numbers[self._index]
    if self.by_number and core(numbers).shape[self.axis] > 1:
      book.freeze(taken, f'{book.label!r} asks for them by number')
    return taken

  def moved(self, x: Array) -> Array:
    """The run; an array that tells no positions apart stays as it is."""
    return x if self._is_repeated(x.shape) else x[self._index]

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the entries beside the run."""
    del params
    shape = x.low.shape
    if self._is_repeated(shape):
      return gain.fitted(shape)
    found = [np.zeros((*shape, part.shape[-1])) for part in gain]
    fitted = gain.fitted(self.out_shape(shape, ()))
    for whole, part in zip(found, fitted, strict=True):
      whole[self._index] = part
    return Gain(*found)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Behind the batch axis."""
    del params
    return x[0][(slice(None), *self._index)]

  def source_of(self, entries: Array) -> Array:
    """Channels are counted from the run's first."""
    return entries + self.start if self._takes_channels else entries

  @property
  def _index(self) -> tuple[slice, ...]:
    return (*[slice(None)] * self.axis, self.taken)
