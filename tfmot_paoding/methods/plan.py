"""The plan of a step: what is removed, and what the weights become.

Pure arrays in, pure arrays out; no model is touched.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.group_edit import GroupEdit
from tfmot_paoding.methods.named import Method
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.groups import Group
from tfmot_paoding.ops import WeightRef

Array = np.ndarray

# For groups that cannot be fitted on samples.
_BY_WEIGHTS = Method('saliency', 'greedy', 'merge')


@dataclasses.dataclass(frozen=True)
class Plan:
  """What one step does to a network.

  Attributes:
    removed: (unit, the unit that absorbed it or -1), in order, by group name.
    params: Every weight after the step, removed units zeroed on both sides.
  """

  removed: dict[Path, tuple[tuple[int, int], ...]]
  params: dict[WeightRef, Array]


def units_to_remove(size: int, sparsity: float) -> int:
  """How many of `size` units a sparsity asks for, never more.

  Rounded down, so that no group loses a larger share than asked for, and so
  that one unit always stays.
  """
  # The allowance is for schedules: their .7 is a float32, .69999999, and shall
  # take 70 of 100 units.
  return min(int(np.floor(size * sparsity * (1 + 4e-7) + 1e-6)), size - 1)


def make_plan(
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
  targets: Mapping[Path, int],
  method: Method,
  rng: np.random.Generator,
) -> Plan:
  """Plans one step, group after group from the inputs on.

  Args:
    network: The network at its current weights.
    groups: Its groups, inputs first.
    alive: Which units each group still has, by group name.
    targets: How many units each group shall have lost in all, by group name.
    method: How to choose and to make up for them.
    rng: The only source of chance.

  Returns:
    The plan; empty where every target is met already.
  """
  params = dict(network.params)
  removed: dict[Path, tuple[tuple[int, int], ...]] = {}
  for group in groups:
    units = alive[group.name]
    budget = targets.get(group.name, 0) - int((~units).sum())
    if budget <= 0:
      continue
    chosen = _best_attempt(
      network.at(params), group, units, method, budget, rng
    )
    removed[group.name] = chosen.removed
    params = chosen.params
    chosen.edit.remember()
  fitting = network.fitting
  if fitting is not None and fitting.refreshes and removed:
    params.update(fitting.refreshed(network.graph, params))
  return Plan(removed, params)


def _best_attempt(
  network: NetworkView,
  group: Group,
  alive: Array,
  method: Method,
  budget: int,
  rng: np.random.Generator,
) -> _Attempt:
  """What the method makes of a group, or the best of its alternatives.

  Raises:
    ValueError: no weights that it leads to are finite in float32.
  """
  methods, name = (method, *method.alternatives), '/'.join(group.name)
  why = network.unseen(group) if method.needs_samples else None
  attempts = []
  if why is None:
    attempts = [
      _attempt(network, group, alive, one, budget, rng) for one in methods
    ]
    attempts = [one for one in attempts if _is_finite(network, one)]
    why = None if attempts else 'the weights that fit them overflow'
  if not attempts:
    warnings.warn(
      f'The units of layer {name!r} cannot be fitted on inputs: {why}. Like '
      "units are merged by their weights instead, as 'saliency' does.",
      stacklevel=callers.level(),
    )
    attempts = [_attempt(network, group, alive, _BY_WEIGHTS, budget, rng)]
  if not _is_finite(network, attempts[0]):
    raise ValueError(
      f'What the units of layer {name!r} feed overflows float32 when some of '
      'them go into others. Scale the weights down and their consumers up.'
    )
  if len(attempts) == 1:
    return attempts[0]
  return min(attempts, key=lambda one: network.fitting.change(one.params))


def _is_finite(network: NetworkView, attempt: _Attempt) -> bool:
  """Whether the weights that have changed are numbers in float32."""
  largest = float(np.finfo(np.float32).max)
  return all(
    value is network.params[ref] or np.all(np.abs(value) <= largest)
    for ref, value in attempt.params.items()
  )


class _Attempt(NamedTuple):
  """What one method would make of one group."""

  edit: GroupEdit
  removed: tuple[tuple[int, int], ...]
  params: dict[WeightRef, Array]


def _attempt(
  network: NetworkView,
  group: Group,
  alive: Array,
  method: Method,
  budget: int,
  rng: np.random.Generator,
) -> _Attempt:
  edit = GroupEdit(network, group, alive)
  removed = tuple(_remove(edit, method, budget, rng))
  # Later groups see producers that are already gone.
  return _Attempt(edit, removed, edit.params())


def _remove(
  edit: GroupEdit, method: Method, budget: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
  """Carries out what the method proposes; yields (removed, absorber)."""
  selection = method.selection
  proposals = selection.propose(edit.view, method.criterion, budget, rng)
  if selection.at_once:
    proposals = list(proposals)
    edit.announce(unit for unit, _ in proposals)
  for unit, partner in proposals:
    edit.begin()
    absorber = method.compensation.absorb(edit, unit, partner)
    edit.remove(unit)
    yield unit, absorber
  method.compensation.finish(edit)
