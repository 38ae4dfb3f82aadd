"""Settings that stand in a model for each position: a table of numbers.

What is added to the positions of a sequence, windows that a spectrum is
multiplied by, means of each pixel.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  scaled_pair,
)
from tfmot_paoding.ops.channelwise import Linear
from tfmot_paoding.ops.numbering import last_axis


@dataclasses.dataclass(frozen=True, eq=False)
class Table(Linear):
  """scale x + shift with settings for weights, by position.

  Attributes:
    scale: Of the rank of what it reads, an axis being of size 1 where all of
      it has one setting.
    shift: The same.
  """

  scale: Array
  shift: Array

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Table) and self._key() == other._key()

  def __hash__(self) -> int:
    return hash(self._key())

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are, unless each has settings of its own."""
    (units,) = sources
    own = max(self.scale.shape[-1], self.shift.shape[-1]) > 1
    if own or last_axis(units) is None:
      book.freeze(units, f'{book.label!r} has a setting for each of them')
    if self.shift.any():
      book.mark_nonzero(units)
    return units

  def factor(self, params: Params) -> Array:
    """The scale, broadcasting to what is read."""
    del params
    return self.scale

  def offset(self, params: Params) -> Array:
    """The shift, broadcasting to what is read."""
    del params
    return self.shift

  def change(self, before: Params, after: Params) -> tuple[Op, Params] | None:
    """Settings do not change."""
    del before, after

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Each position by its own factor, the ends of the outputs' bounds."""
    del x
    factor = np.broadcast_to(self.scale, gain.up.shape[:-1])
    return gain.scaled(np.maximum(factor, 0), np.maximum(-factor, 0))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The range over all positions."""
    del params
    size = max(left.max(initial=0), right.max(initial=0)) + 1
    scale, shift = np.broadcast_arrays(self.scale, self.shift)
    scale, shift = (
      np.broadcast_to(rows, (len(rows), size)) if rows.shape[-1] == 1 else rows
      for rows in (_by_position(scale), _by_position(shift))
    )
    both = scaled_pair(gap, a, b, scale[:, left], scale[:, right])
    moved = shift[:, left] - shift[:, right]
    return intervals.outward(
      (both.low + moved).min(0), (both.high + moved).max(0)
    )

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """By the mean over the positions."""
    del params
    scale, shift = (_by_position(a).mean(0) for a in (self.scale, self.shift))
    return rows * scale, bias * scale + shift

  def _key(self) -> tuple:
    return tuple((a.shape, a.tobytes()) for a in (self.scale, self.shift))


def _by_position(settings: Array) -> Array:
  """(positions, channels)."""
  return settings.reshape(-1, settings.shape[-1])
