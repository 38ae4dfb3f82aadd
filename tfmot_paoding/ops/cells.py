"""Recurrent cells: what a step makes of gates and states, and its bounds.

Gates lie side by side in blocks, one column a unit: those of what comes in are
given, those of the last state are a product of it. One block is the candidate,
what a unit would become if its other gates let it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.activations import Activation
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array
from tfmot_paoding.ops.elementwise import Elementwise

States = Sequence[Interval]
Tensors = tuple[tf.Tensor, ...]

# How often bounds of states are put through a step again.
_ROUNDS = 3
# An argument at which activations are at their ends, and what is no end.
_FAR, _WIDE = 1e300, 1e100
# What a computed gate may be off by.
_ROUNDING = 4 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Cell:
  """A kind of cell.

  Attributes:
    activation: Of the candidate, and of what an LSTM gives.
    gate: Of the other gates.
    blocks: How many blocks of gates there are.
    candidate: Which of them is the candidate.
    states: How many states a unit has; the first is what it gives.
  """

  activation: Activation
  gate: Activation

  blocks = 1
  candidate = 0
  states = 1

  @property
  def keeps_zero(self) -> bool:
    """Whether a unit whose candidate is f(0) for ever stays at zero."""
    return float(self.activation.value(np.zeros(()))) == 0

  def step(
    self,
    gates: tf.Tensor,
    product: Callable[[tf.Tensor], tf.Tensor],
    states: Tensors,
  ) -> Tensors:
    """The next states.

    Args:
      gates: Of what comes in, (batch, blocks * units).
      product: The gates that a state leads to.
      states: The last ones, (batch, units) each.
    """
    raise NotImplementedError

  def bounds(
    self,
    gates: Interval,
    product: Callable[[Interval], Interval],
    starts: States,
  ) -> States:
    """Bounds of the states at all times, for any number of steps.

    What the activations alone allow holds of every state; put through a step,
    it gives what holds of every state as well.

    Args:
      gates: Bounds of the gates of what comes in, at all times.
      product: Bounds of the gates that bounded states lead to.
      starts: Bounds of what states begin with, zero inside.
    """
    found = [
      intervals.hull(a, b) for a, b in zip(self._at_most(), starts, strict=True)
    ]
    for _ in range(_ROUNDS):
      moved = self._moved(gates, product, found, starts)
      found = [
        intervals.intersect(old, intervals.hull(new, start))
        for old, new, start in zip(found, moved, starts, strict=True)
      ]
    return found

  def candidates(self, x: Array) -> Array:
    """The candidate's block of an array whose last axis are gates."""
    return np.split(x, self.blocks, -1)[self.candidate]

  def _at_most(self) -> States:
    """What the activations alone allow of each state."""
    raise NotImplementedError

  def _moved(
    self,
    gates: Interval,
    product: Callable[[Interval], Interval],
    found: States,
    starts: States,
  ) -> States:
    """What a step makes of states, wherever these are."""
    raise NotImplementedError

  def _blocks(self, x: Interval) -> list[Interval]:
    ends = (np.split(end, self.blocks, -1) for end in x)
    return [Interval(low, high) for low, high in zip(*ends, strict=True)]

  @property
  def _mixes(self) -> bool:
    """Whether gates lie in [0, 1], so that a mean by them is one."""
    low, high = _range(self.gate)
    return bool(low >= 0 and high <= 1)


@dataclasses.dataclass(frozen=True)
class SimpleCell(Cell):
  """h' = f(x + h U)."""

  def step(self, gates, product, states):
    """One gate, the candidate."""
    return (_apply(self.activation, gates + product(states[0])),)

  def _at_most(self):
    return (_range(self.activation),)

  def _moved(self, gates, product, found, starts):
    del starts
    moved = intervals.add(gates, product(found[0]))
    return (_through(self.activation, moved),)


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
    update = _apply(self.gate, x[0] + back[0])
    reset = _apply(self.gate, x[1] + back[1])
    if self.reset_after:
      fed = reset * back[2]
    else:
      fed = tf.split(product(reset * h), 3, -1)[2]
    candidate = _apply(self.activation, x[2] + fed)
    return (update * h + (1 - update) * candidate,)

  def _at_most(self):
    return (_range(self.activation) if self._mixes else _ANYTHING,)

  def _moved(self, gates, product, found, starts):
    if not self._mixes:
      return found
    (h,) = found
    x, back = self._blocks(gates), self._blocks(product(h))
    reset = _through(self.gate, intervals.add(x[1], back[1]))
    if self.reset_after:
      fed = intervals.multiply(reset, back[2])
    else:
      fed = self._blocks(product(intervals.multiply(reset, h)))[2]
    # Means of candidates and of what there was first, however long.
    return (_through(self.activation, intervals.add(x[2], fed)),)


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
    into, forget, out = (_apply(self.gate, x[k]) for k in (0, 1, 3))
    carry = forget * carry + into * _apply(self.activation, x[2])
    return out * _apply(self.activation, carry), carry

  def _at_most(self):
    return intervals.multiply(_range(self.gate), _range(self.activation)), (
      _ANYTHING
    )

  def _moved(self, gates, product, found, starts):
    x = self._blocks(intervals.add(gates, product(found[0])))
    into, forget, out = (_through(self.gate, x[k]) for k in (0, 1, 3))
    fresh = intervals.multiply(into, _through(self.activation, x[2]))
    carry = _sum_for_ever(fresh, forget, starts[1])
    return intervals.multiply(out, _through(self.activation, carry)), carry


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


def _apply(activation: Activation, z: tf.Tensor) -> tf.Tensor:
  return Elementwise(activation).run({}, z)


def _through(activation: Activation, x: Interval) -> Interval:
  return intervals.outward(*activation.value_range(x.low, x.high))


@intervals.overflow_opens
def _range(activation: Activation) -> Interval:
  """All that an activation gives, of numbers short of where it is infinite."""
  low, high = activation.value_range(np.asarray(-_FAR), np.asarray(_FAR))
  return intervals.outward(
    np.where(low < -_WIDE, -np.inf, low), np.where(high > _WIDE, np.inf, high)
  )
