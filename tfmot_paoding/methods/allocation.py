"""How many units each group loses, when one number is given for all."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.arguments import is_number
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.answer_curves import answer_curve
from tfmot_paoding.methods.criteria import IntervalImpact, PairSaliency
from tfmot_paoding.methods.group_view import GroupView, view_group
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.plan import units_to_remove
from tfmot_paoding.methods.selection import ScoreTable
from tfmot_paoding.methods.stairs import (
  Multiple,
  MultipleOf,
  checked_multiple,
  next_stair,
)
from tfmot_paoding.network.costs import COSTS, unit_costs
from tfmot_paoding.network.groups import Group
from tfmot_paoding.registry import Configurable

Array = np.ndarray

_ANY = Multiple(1)

SCOPES = ('local', 'global')
# Of a group's units, that go at once.
_PORTIONS = 32


@dataclasses.dataclass(frozen=True)
class Allocation(Configurable):
  """How a sparsity is spread over the groups.

  Attributes:
    scope: 'local': every group loses the same fraction of its units. 'global':
      the fraction is of all units, and those go first whose removal moves the
      outputs least for what it saves: by the answers where a method fits, by
      bounds or weights elsewhere.
    cost: What a global scope saves: 'parameters' or 'macs'.
    floor: The fraction of each group's units that a global scope leaves; one
      unit always stays.
    multiple_of: What widths end at a multiple of: a number, an accelerator's
      name, or a dict of layer name to either; None for any width.
  """

  scope: str = 'local'
  cost: str = 'parameters'
  floor: float = 0.1
  multiple_of: MultipleOf = None

  def __post_init__(self):
    object.__setattr__(self, 'multiple_of', checked_multiple(self.multiple_of))
    for name, options in (('scope', SCOPES), ('cost', COSTS)):
      if getattr(self, name) not in options:
        raise ValueError(
          f'`{name}` must be one of {", ".join(map(repr, options))}, but got '
          f'{getattr(self, name)!r}.'
        )
    if not is_number(self.floor) or not 0 <= self.floor < 1:
      raise ValueError(
        f'`floor` must be a number in [0, 1), but got {self.floor!r}.'
      )

  def most(self, size: int) -> int:
    """How many of a group's units may go."""
    return size - max(1, int(np.ceil(self.floor * size - 1e-6)))


def allocate(
  allocation: Allocation,
  sparsity: float,
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
  multiples: Mapping[Path, Multiple] | None = None,
) -> dict[Path, int]:
  """How many units each group shall have lost in all, under a global scope.

  Args:
    allocation: Its cost and floor.
    sparsity: The fraction of all units.
    network: The network at its current weights; with moments, as methods that
      fit have them, units are weighed by how far the answers are from the
      original's, on inputs drawn once more as those of the fits, when one
      group alone is cut and what reads it re-fitted.
    groups: Its groups.
    alive: Which units each group still has, by group name.
    multiples: The number that each group's units come in, by group name; None
      for 1. Groups then go from stair to stair, to the sum that is nearest.

  Returns:
    The numbers by group name; where floors forbid more, less than asked for.
  """
  gone = {group.name: int((~alive[group.name]).sum()) for group in groups}
  total = units_to_remove(sum(group.size for group in groups), sparsity)
  wanted = total - sum(gone.values())
  if wanted <= 0:
    return gone
  rooms = {
    group.name: max(allocation.most(group.size) - gone[group.name], 0)
    for group in groups
  }
  steps = _Steps(groups, alive, rooms, multiples or {})
  curves = None
  if network.fitting is not None:
    curves = _curves(allocation, network, groups, alive)
  if curves is None:
    found = _by_scores(allocation, network, groups, alive, steps, wanted)
  else:
    found = _by_answers(
      allocation, network, groups, alive, steps, wanted, curves
    )
  return {name: count + found[name] for name, count in gone.items()}


def losses(
  allocation: Allocation,
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
) -> dict[Path, Array]:
  """What it costs that units of one group alone go, by group name.

  In one measure for all: how far the answers move, where a method fits and
  that can be seen, and what the units themselves count elsewhere.

  Args:
    allocation: Its floor.
    network: As in `allocate`.
    groups: Its groups.
    alive: Which units each group still has, by group name.

  Returns:
    Of each group a convex, ascending array: its entry k is of k units more.
    It ends at the floor.
  """
  if network.fitting is not None:
    curves = _curves(allocation, network, groups, alive)
    if curves is not None:
      return {group.name: curves[group.name] for group in groups}
  views = [view_group(network, group, alive[group.name]) for group in groups]
  found = {}
  for group, scores in zip(groups, _scores(views), strict=True):
    ranked = np.sort(scores[alive[group.name]])
    gone = group.size - len(ranked)
    room = max(allocation.most(group.size) - gone, 0)
    found[group.name] = np.cumsum([0.0, *ranked[:room]])
  return found


class _Steps:
  """How many units of a group can go at once."""

  def __init__(
    self,
    groups: Sequence[Group],
    alive: Mapping[Path, Array],
    rooms: Mapping[Path, int],
    multiples: Mapping[Path, Multiple],
  ):
    self.rooms = rooms
    self._sizes = {group.name: group.size for group in groups}
    self._alive = {name: int(units.sum()) for name, units in alive.items()}
    self._multiples = multiples

  def counts(self, name: Path) -> list[int]:
    """How many units go at a time, to the end; single ones of any width."""
    multiple, room = self._multiples.get(name, _ANY), self.rooms[name]
    if multiple == 1:
      return [1] * room
    counts, kept = [], self._alive[name]
    while (stair := next_stair(multiple, kept)) and kept - stair <= room:
      counts.append(kept - stair)
      room, kept = room - counts[-1], stair
    return counts

  def next(self, name: Path, found: int, left: int) -> int:
    """How many units go next; 0 where none can.

    Args:
      name: Of the group.
      found: How many shall go already.
      left: How many are asked for of all groups, at least 1.
    """
    multiple, room = self._multiples.get(name, _ANY), self.rooms[name] - found
    if multiple == 1:
      return min(max(1, self._sizes[name] // _PORTIONS), room, left)
    kept = self._alive[name] - found
    stair = next_stair(multiple, kept)
    count = kept - stair
    return count if stair and count <= room and _fits(count, left) else 0


def _fits(count: int, left: int) -> bool:
  """Whether a sum is nearer to what is asked for with so many more.

  Of two as near, the one that keeps more is.
  """
  return count < 2 * left


def _by_scores(
  allocation: Allocation,
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
  steps: _Steps,
  wanted: int,
) -> dict[Path, int]:
  """How many more units go by what each counts, cheapest first."""
  costs = unit_costs(
    network.graph, list(groups), network.params, alive, allocation.cost
  )
  views = [view_group(network, group, alive[group.name]) for group in groups]
  waiting = []
  for group, scores in zip(groups, _scores(views), strict=True):
    ranked = np.sort(scores[alive[group.name]]) / max(costs[group.name], 1e-300)
    ends = np.cumsum([0, *steps.counts(group.name)])
    waiting += [
      (float(ranked[start:end].mean()), group.name, int(end - start))
      for start, end in itertools.pairwise(ends)
    ]
  waiting.sort(key=lambda offer: offer[0])  # stable: earlier groups first
  found, left = dict.fromkeys(steps.rooms, 0), wanted
  closed: set[Path] = set()
  for _, name, count in waiting:
    if name in closed or not _fits(count, left):
      closed.add(name)  # nor would the stairs behind this one
      continue
    found[name] += count
    left -= count
  return found


def _by_answers(
  allocation: Allocation,
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
  steps: _Steps,
  wanted: int,
  curves: Mapping[Path, Array],
) -> dict[Path, int]:
  """How many more units go by how far that moves the answers.

  Costs are of what is left by then: weights between two groups shrink with
  both.
  """
  found, left = dict.fromkeys(steps.rooms, 0), wanted
  while left > 0:
    costs = unit_costs(
      network.graph,
      list(groups),
      network.params,
      _without(groups, alive, found),
      allocation.cost,
    )
    prices = {}
    for name, start in found.items():
      count = steps.next(name, start, left)
      if count:
        rise = curves[name][start + count] - curves[name][start]
        prices[name] = rise / (count * max(costs[name], 1e-300)), count
    if not prices:
      break
    # The first of equals: earlier groups.
    name = min(prices, key=lambda name: prices[name][0])
    found[name] += prices[name][1]
    left -= prices[name][1]
  return found


def _curves(
  allocation: Allocation,
  network: NetworkView,
  groups: Sequence[Group],
  alive: Mapping[Path, Array],
) -> dict[Path, Array] | None:
  """What each group's loss of units costs the answers, by group name.

  None, with a warning, where that cannot be measured.
  """
  found = network.answer_curves
  for group in groups:
    if group.name in found:
      continue
    units, why = alive[group.name], network.unseen(group)
    if why is None:
      room = int(units.sum()) - group.size + allocation.most(group.size)
      curve = answer_curve(network, group, units, max(room, 0))
      if np.all(np.isfinite(curve)):
        found[group.name] = curve
        continue
      why = 'the answers are not known, or no numbers'
    warnings.warn(
      f"scope='global' cannot measure what layer {'/'.join(group.name)!r} is "
      f'worth to the answers: {why}. The cut is spread by weights instead.',
      stacklevel=callers.level(),
    )
    return None
  return found


def _without(
  groups: Sequence[Group], alive: Mapping[Path, Array], counts: Mapping
) -> dict[Path, Array]:
  """What is alive once so many more units of each group are gone."""
  found = {}
  for group in groups:
    units = alive[group.name].copy()
    units[np.flatnonzero(units)[: counts[group.name]]] = False
    found[group.name] = units
  return found


def _scores(views: list[GroupView]) -> list[Array]:
  """What removing each unit costs, comparable from group to group.

  The widths that reach the outputs, in units of the outputs' own; without
  bounds the saliency as a share of what passes the group.
  """
  if all(view.has_bounds for view in views):
    impact = IntervalImpact(blend=0.0)
    return [ScoreTable(view, impact).best for view in views]
  found = []
  for view in views:
    sizes = np.linalg.norm(np.vstack([view.incoming, view.biases]), axis=0)
    passing = float(sizes @ np.linalg.norm(view.outgoing, axis=1)) or 1.0
    found.append(ScoreTable(view, PairSaliency()).best / passing)
  return found
