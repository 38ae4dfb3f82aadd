"""The cells of Keras: simple ones, GRU and LSTM."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array
from tfmot_paoding.ops.cells import (
  Cell,
  apply,
  steepest,
  through,
  whole_range,
)

# What a computed gate may be off by.
_ROUNDING = 4 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class SimpleCell(Cell):
  """h' = f(x + h U)."""

  def step(self, gates, product, states):
    """One gate, the candidate."""
    return (apply(self.activation, gates + product(states[0])),)

  def stepped(self, gates, product, states):
    """f of the sum's ends."""
    moved = intervals.add(gates, product(states[0]))
    return (through(self.activation, moved),)

  def moved(self, gates, fed, states, gate_change, changes):
    """The slope, times what comes in and what is fed back."""
    at = intervals.add(gates, fed.bounds(states[0]))
    change = gate_change + fed.change(states[0].magnitude, changes[0])
    return (steepest(self.activation, at) * change,)

  def _at_most(self):
    return (whole_range(self.activation),)

  def _moved(self, gates, product, found, starts):
    del starts
    return self.stepped(gates, product, found)


@dataclasses.dataclass(frozen=True)
class GRUCell(Cell):
  """h' = z h + (1 - z) f(x_h + r (h U_h)), the reset before U or behind it.

  Attributes:
    reset_after: Whether r multiplies h U_h and not h.
  """

  reset_after: bool = True

  blocks = 3
  candidate = 2

  def step(self, gates, product, states):
    """Update, reset and candidate."""
    (h,) = states
    x, back = tf.split(gates, 3, -1), tf.split(product(h), 3, -1)
    update = apply(self.gate, x[0] + back[0])
    reset = apply(self.gate, x[1] + back[1])
    if self.reset_after:
      fed = reset * back[2]
    else:
      fed = tf.split(product(reset * h), 3, -1)[2]
    candidate = apply(self.activation, x[2] + fed)
    return (update * h + (1 - update) * candidate,)

  def stepped(self, gates, product, states):
    """The mean of state and candidate at either end of the update gate."""
    (h,), x = states, self._blocks(gates)
    update = through(
      self.gate, intervals.add(x[0], self._blocks(product(h))[0])
    )
    candidate = self._candidate(gates, product, h)
    # Linear in the update gate, whatever the other two are.
    ends = [
      intervals.add(
        intervals.scale(h, end), intervals.scale(candidate, 1 - end)
      )
      for end in update
    ]
    return (intervals.hull(*ends),)

  def moved(self, gates, fed, states, gate_change, changes):
    """Through the update gate, the candidate, and what is kept."""
    (h,), (change,) = states, changes
    x, back = self._blocks(gates), self._blocks(fed.bounds(h))
    arriving = np.split(gate_change, 3, -1)
    returning = np.split(fed.change(h.magnitude, change), 3, -1)
    at = [intervals.add(x[k], back[k]) for k in (0, 1)]
    gate_moves = [
      steepest(self.gate, at[k]) * (arriving[k] + returning[k]) for k in (0, 1)
    ]
    update, reset = (through(self.gate, part) for part in at)
    if self.reset_after:
      product = intervals.multiply(reset, back[2])
      fed_back = reset.magnitude * returning[2]
      fed_back = fed_back + back[2].magnitude * gate_moves[1]
    else:
      kept = intervals.multiply(reset, h)
      product = self._blocks(fed.bounds(kept))[2]
      moved = reset.magnitude * change + h.magnitude * gate_moves[1]
      fed_back = np.split(fed.change(kept.magnitude, moved), 3, -1)[2]
    inside = intervals.add(x[2], product)
    candidate = through(self.activation, inside)
    fresh = steepest(self.activation, inside) * (arriving[2] + fed_back)
    rest = intervals.subtract(_ONE, update)
    gap = intervals.subtract(h, candidate)
    return (
      update.magnitude * change
      + rest.magnitude * fresh
      + gap.magnitude * gate_moves[0],
    )

  def _at_most(self):
    return (whole_range(self.activation) if self._mixes else _ANYTHING,)

  def _moved(self, gates, product, found, starts):
    if not self._mixes:
      return found
    # Means of candidates and of what there was first, however long.
    return (self._candidate(gates, product, found[0]),)

  def _candidate(
    self, gates: Interval, product: Callable[[Interval], Interval], h: Interval
  ) -> Interval:
    x, back = self._blocks(gates), self._blocks(product(h))
    reset = through(self.gate, intervals.add(x[1], back[1]))
    if self.reset_after:
      fed = intervals.multiply(reset, back[2])
    else:
      fed = self._blocks(product(intervals.multiply(reset, h)))[2]
    return through(self.activation, intervals.add(x[2], fed))


@dataclasses.dataclass(frozen=True)
class LSTMCell(Cell):
  """c' = f c + i g(x_c + h U_c), h' = o g(c')."""

  blocks = 4
  candidate = 2
  states = 2

  def step(self, gates, product, states):
    """Input, forget, candidate and output."""
    h, carry = states
    x = tf.split(gates + product(h), 4, -1)
    into, forget, out = (apply(self.gate, x[k]) for k in (0, 1, 3))
    carry = forget * carry + into * apply(self.activation, x[2])
    return out * apply(self.activation, carry), carry

  def stepped(self, gates, product, states):
    """The carry's products, then what the output gate lets out."""
    into, forget, fresh, out = self._gates(gates, product, states[0])
    carry = intervals.add(
      intervals.multiply(forget, states[1]), intervals.multiply(into, fresh)
    )
    return intervals.multiply(out, through(self.activation, carry)), carry

  def moved(self, gates, fed, states, gate_change, changes):
    """Each factor's change times the other factor."""
    h, carry = states
    change = gate_change + fed.change(h.magnitude, changes[0])
    parts = np.split(change, 4, -1)
    at = self._blocks(intervals.add(gates, fed.bounds(h)))
    kinds = (self.gate, self.gate, self.activation, self.gate)
    moves = [
      steepest(kind, x) * part
      for kind, x, part in zip(kinds, at, parts, strict=True)
    ]
    into, forget, fresh, out = (
      through(kind, x).magnitude for kind, x in zip(kinds, at, strict=True)
    )
    moved = (
      forget * changes[1]
      + carry.magnitude * moves[1]
      + into * moves[2]
      + fresh * moves[0]
    )
    _, later = self.stepped(gates, fed.bounds, states)
    given = through(self.activation, later).magnitude
    let = out * steepest(self.activation, later)
    return let * moved + given * moves[3], moved

  def _at_most(self):
    return intervals.multiply(
      whole_range(self.gate), whole_range(self.activation)
    ), (_ANYTHING)

  def _moved(self, gates, product, found, starts):
    into, forget, fresh, out = self._gates(gates, product, found[0])
    carry = _sum_for_ever(intervals.multiply(into, fresh), forget, starts[1])
    return intervals.multiply(out, through(self.activation, carry)), carry

  def _gates(
    self, gates: Interval, product: Callable[[Interval], Interval], h: Interval
  ) -> list[Interval]:
    """Input, forget, candidate and output."""
    kinds = (self.gate, self.gate, self.activation, self.gate)
    parts = self._blocks(intervals.add(gates, product(h)))
    return [through(kind, x) for kind, x in zip(kinds, parts, strict=True)]


_ONE = Interval(np.ones(()), np.ones(()))
_ANYTHING = Interval(np.asarray(-np.inf), np.asarray(np.inf))


def _sum_for_ever(x: Interval, kept: Interval, start: Interval) -> Interval:
  """Bounds of c' = f c + x at all times, f in [0, 1]: at most x / (1 - f)."""
  lost = 1 - kept.high - _ROUNDING
  sound = (kept.low >= 0) & (lost > 0)
  over = np.where(sound, (1 + _ROUNDING) / np.where(sound, lost, 1.0), np.inf)

  def at_most(end: Array) -> Array:
    # Nothing comes in, nothing gathers; 0 inf would say nothing of it.
    return np.where(end > 0, np.where(end > 0, end, 1.0) * over, 0.0)

  found = Interval(-at_most(-x.low), at_most(x.high))
  found = intervals.hull(found, start)
  wild = (kept.low < 0) | (kept.high > 1)
  return Interval(
    np.where(wild, -np.inf, found.low), np.where(wild, np.inf, found.high)
  )
