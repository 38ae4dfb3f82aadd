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
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.numbering import channel_row


@dataclasses.dataclass(frozen=True)
class AtStep(Channelwise):
  """What there is at one step of a sequence.

  Attributes:
    step: 0 for the first, -1 for the last.
  """

  step: int = -1

  linear = True
  moves_positions = True
  rearranges = True

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

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Those of the step."""
    del params
    return Interval(*(part[..., self.step, :] for part in x))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """That of the step."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the other steps."""
    del params
    found = [np.zeros((*x.low.shape, part.shape[-1])) for part in gain]
    for whole, part in zip(found, gain, strict=True):
      whole[..., self.step, :, :] = part
    return Gain(*found)

  def constant(self, params: Params, x: Array) -> Array:
    """That of the step."""
    del params
    return x[..., self.step, :]

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

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The step."""
    del params
    return x[0][..., self.step, :]

  spread = transform
