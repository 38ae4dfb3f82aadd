"""Recurrent cells: what a step makes of gates and states, and its bounds.

Gates lie side by side in blocks, one column a unit: those of what comes in are
given, those of the last state are a product of it. One block is the candidate,
what a unit would become if its other gates let it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

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


class Fed(NamedTuple):
  """What a state is multiplied by, as bounds and changes see it.

  Attributes:
    units: How many units a state has.
    bounds: Bounds of the gates that bounded states lead to.
    change: How far these gates can move, from the largest absolute values of
      the states and of their change, (..., units) each.
  """

  units: int
  bounds: Callable[[Interval], Interval]
  change: Callable[[Array, Array], Array]


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

  def stepped(
    self,
    gates: Interval,
    product: Callable[[Interval], Interval],
    states: States,
  ) -> States:
    """Bounds of the states one step on.

    Args:
      gates: Bounds of the gates of what comes in, (..., blocks * units).
      product: Bounds of the gates that bounded states lead to.
      states: Bounds of the last states, (..., units) each.
    """
    raise NotImplementedError

  def moved(
    self,
    gates: Interval,
    fed: Fed,
    states: States,
    gate_change: Array,
    changes: Sequence[Array],
  ) -> tuple[Array, ...]:
    """How far the states one step on can move, linear in the changes.

    Whatever is in a product counts by its largest slope or value, before the
    change and after it.

    Args:
      gates: Bounds of the gates of what comes in, on both sides.
      fed: What the last state is multiplied by.
      states: Bounds of the last states, on both sides.
      gate_change: At most how far the gates move, (..., blocks * units).
      changes: At most how far each of the last states does, (..., units).

    Returns:
      At most how far each state does, (..., units).
    """
    raise NotImplementedError

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
    low, high = whole_range(self.gate)
    return bool(low >= 0 and high <= 1)


def apply(activation: Activation, z: tf.Tensor) -> tf.Tensor:
  """An activation's values."""
  return Elementwise(activation).run({}, z)


def steepest(activation: Activation, x: Interval) -> Array:
  """The largest size of its slopes on x."""
  return intervals.outward(*activation.slope_range(x.low, x.high)).magnitude


def through(activation: Activation, x: Interval) -> Interval:
  """Bounds of its values."""
  return intervals.outward(*activation.value_range(x.low, x.high))


@intervals.overflow_opens
def whole_range(activation: Activation) -> Interval:
  """All that an activation gives, of numbers short of where it is infinite."""
  low, high = activation.value_range(np.asarray(-_FAR), np.asarray(_FAR))
  return intervals.outward(
    np.where(low < -_WIDE, -np.inf, low), np.where(high > _WIDE, np.inf, high)
  )
