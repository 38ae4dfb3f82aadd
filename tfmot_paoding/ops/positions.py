"""Operations on positions: pooling, cropping, padding, interpolation."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding import intervals
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Params,
  Shape,
  UnitBook,
  channel_row,
)
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.products import constant_over_positions


@dataclasses.dataclass(frozen=True)
class Positions(Channelwise):
  """Takes, averages, repeats or compares positions: a channel's range stays.

  Pooling, cropping, upsampling, interpolation, and padding with zeros.

  Attributes:
    zeros: Whether zeros are put in.
    squeeze: Whether the positions go, as in global pooling.
    kind: What is done, for comparison.
  """

  zeros: bool = False
  squeeze: bool = False
  kind: str = ''

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels at other positions."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The range over all positions."""
    del params
    low, high = intervals.with_zero(intervals.over_positions(x), self.zeros)
    shape = self._shape(x.low)
    return Interval(low.reshape(shape), high.reshape(shape))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The range of the change over all positions."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """All positions move at once."""
    del params
    outputs = gain.up.shape[-1]
    gain = gain.fitted((*(1,) * (gain.up.ndim - 2), gain.up.shape[-2]))
    shape = (*(1,) * (x.low.ndim - 1), x.low.shape[-1])
    return Gain(
      gain.up.reshape(*shape, outputs), gain.down.reshape(*shape, outputs)
    )

  def constant(self, params: Params, x: Array) -> Array:
    """The same value, unless zeros come in beside it."""
    del params
    fixed = constant_over_positions(x)
    if self.zeros:
      fixed = np.where(fixed == 0, fixed, np.nan)
    return fixed.reshape(self._shape(x))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The range of the difference over all positions."""
    del params, a, b, left, right
    return intervals.with_zero(gap, self.zeros)

  def _shape(self, x: Array) -> Shape:
    if self.squeeze:
      return (x.shape[-1],)
    return (*(1,) * (x.ndim - 1), x.shape[-1])
