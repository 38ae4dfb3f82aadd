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
  """

  step: int = -1

  channelwise = True
  moves_positions = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """Without the axis of steps."""
    del size
    return (*in_shapes[0][:-2], in_shapes[0][-1])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def moved(self, x: Array) -> Array:
    """The step."""
    return x[..., self.step, :]

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the other steps."""
    del params
    found = [np.zeros((*x.low.shape, part.shape[-1])) for part in gain]
    for whole, part in zip(found, gain, strict=True):
      whole[..., self.step, :, :] = part
    return Gain(*found)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The step."""
    del params
    return self.moved(x[0])
