"""A recurrence step by step: bounds of its states, and how far they move."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array
from tfmot_paoding.ops.cells import Cell, Fed, States


@dataclasses.dataclass(frozen=True)
class Unrolled:
  """A cell's steps, one after another.

  Attributes:
    cell: What a step does.
    fed: What the states are multiplied by.
    masked: Whether a step may leave all as it is.
  """

  cell: Cell
  fed: Fed
  masked: bool = False

  def states(
    self, gates: Sequence[Interval], starts: States, always: States
  ) -> list[States]:
    """Bounds of the states before the first step, and after each.

    Args:
      gates: Of what comes in, (..., gates) at each step.
      starts: Bounds of what states begin with, (..., units).
      always: What holds of them at all times.
    """
    found = [tuple(starts)]
    for step in gates:
      moved = self.cell.stepped(step, self.fed.bounds, found[-1])
      if self.masked:
        moved = map(intervals.hull, moved, found[-1])
      found.append(tuple(map(intervals.intersect, moved, always)))
    return found

  def changes(
    self,
    gates: Sequence[Interval],
    states: Sequence[States],
    gate_changes: Sequence[Array],
    starts: Sequence[Array],
  ) -> Iterator[tuple[Array, ...]]:
    """How far the states can move, after each step.

    Args:
      gates: Bounds of the gates of what comes in, on both sides.
      states: Bounds of the states before each step, on both sides.
      gate_changes: At most how far the gates move at each step.
      starts: At most how far the states do that are begun with.
    """
    changes = tuple(starts)
    for step, before, gate_change in zip(
      gates, states, gate_changes, strict=False
    ):
      moved = self.cell.moved(step, self.fed, before, gate_change, changes)
      moved = tuple(intervals.upward(x, 2 * x.shape[-1]) for x in moved)
      if self.masked:
        moved = tuple(map(np.maximum, moved, changes))
      changes = moved
      yield changes

  def factors(self, gates: Interval, states: States) -> tuple[Array, Array]:
    """At most how far the states of a step move per unit of what came before.

    Args:
      gates: Bounds of the gates of what comes in, (gates,), at all steps.
      states: Bounds of the states, (units,) each, at all times.

    Returns:
      (gates, states) by how far each gate moves, and (states, states) by how
      far each state does, a cell's states side by side.
    """
    count, units = len(gates.low), len(states[0].low)
    size = self.cell.states * units
    none = np.zeros(count)
    nothing = [np.zeros(units)] * self.cell.states
    by_gate = self.cell.moved(gates, self.fed, states, np.eye(count), nothing)
    each = np.split(np.eye(size), self.cell.states, -1)
    by_state = self.cell.moved(gates, self.fed, states, none, each)
    through, kept = (np.concatenate(part, -1) for part in (by_gate, by_state))
    if self.masked:
      kept = np.maximum(kept, np.eye(size))
    return intervals.upward(through, units), intervals.upward(kept, units)


def gains(
  factors: tuple[Array, Array], arriving: Sequence[Array]
) -> tuple[Array, Array]:
  """What moves behind a recurrence per unit of what moves in front of it.

  A bound, as large as a sequence is long where a step may hand on more than it
  was given. Where that leads beyond numbers, what a step hands on is divided
  by its growth: an order of what matters, and no bound.

  Args:
    factors: As `Unrolled.factors` has them.
    arriving: Per unit of the states after each step, (states, outputs).

  Returns:
    Per unit of each step's gates, (steps, gates, outputs); and per unit of the
    states that are begun with, (states, outputs).
  """
  through, kept = factors
  found = _over_steps(through, kept, arriving)
  if not _is_moderate(found):
    found = _over_steps(through, _fading(kept, 1.0), arriving)
  return found


def gains_of_all(
  factors: tuple[Array, Array], arriving: Array, steps: int | None
) -> tuple[Array, Array]:
  """The same where gates and states at all steps move at once.

  Args:
    factors: As `Unrolled.factors` has them.
    arriving: Per unit of the states, all of them at once, (states, outputs).
    steps: How many there are; None for any number, for which what a step
      hands on must fade, or is made to.

  Returns:
    Per unit of the gates, (gates, outputs), and of the states that are begun
    with.
  """
  through, kept = factors
  if steps is None:
    return _for_ever(through, _fading(kept, 1 - 1 / _MEMORY), arriving)
  found = _all_steps(through, kept, arriving, steps)
  if not _is_moderate(found):
    found = _all_steps(through, _fading(kept, 1.0), arriving, steps)
  return found


def _over_steps(
  through: Array, kept: Array, arriving: Sequence[Array]
) -> tuple[Array, Array]:
  found, behind = [], np.zeros_like(arriving[-1])
  for one in reversed(arriving):
    behind = one + behind
    found.append(through @ behind)
    behind = kept @ behind
  return np.stack(found[::-1]), behind


def _all_steps(
  through: Array, kept: Array, arriving: Array, steps: int
) -> tuple[Array, Array]:
  """The states after the k-th step move by the k-th power of what is kept."""
  behind, total = arriving, np.zeros_like(arriving)
  for _ in range(steps):
    total = total + behind
    behind = kept @ behind
  return through @ total, kept @ total


def _for_ever(
  through: Array, kept: Array, arriving: Array
) -> tuple[Array, Array]:
  """By the sum of all powers of what is kept."""
  if not np.isfinite(kept).all():
    size = arriving.shape[-1]
    return tuple(np.full((len(x), size), np.inf) for x in (through, kept))
  total = np.linalg.solve(np.eye(len(kept)) - kept, arriving)
  return through @ total, kept @ total


def _fading(kept: Array, most: float) -> Array:
  """What a step hands on, with no more growth than this."""
  if not np.isfinite(kept).all():
    return kept
  growth = np.abs(np.linalg.eigvals(kept)).max(initial=0.0)
  return kept * (most / max(growth, most))


def _is_moderate(found: tuple[Array, Array]) -> bool:
  return all(np.all(part < _MOST) for part in found)


# Gains of several recurrences multiply.
_MOST = 1e60
# In steps, what stands for a sequence of any length that does not fade.
_MEMORY = 64
