"""One step of a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.shapes import Rearrangement


@dataclasses.dataclass(frozen=True)
class AtStep(Rearrangement):
  """What there is at one step of a sequence.

  Attributes:
    step: 0 for the first, -1 for the last.
    positions: How many axes of positions a step has.
  """

  step: int = -1
  positions: int = 0

  channelwise = True
  moves_positions = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """Without the axis of steps."""
    del size
    shape = list(in_shapes[0])
    del shape[-2 - self.positions]
    return tuple(shape)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def moved(self, x: Array) -> Array:
    """The step."""
    return x[(..., *self._index)]

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the other steps."""
    del params
    found = [np.zeros((*x.low.shape, part.shape[-1])) for part in gain]
    for whole, part in zip(found, gain, strict=True):
      whole[(..., *self._index, slice(None))] = part
    return Gain(*found)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The step."""
    del params
    return self.moved(x[0])

  @property
  def _index(self) -> tuple:
    """The step, and all of its positions and channels."""
    return (self.step, *(slice(None),) * (self.positions + 1))
