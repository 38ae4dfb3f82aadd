"""How many units each group loses, when one number is given for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfmot_paoding.arguments import is_number
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.criteria import IntervalImpact, PairSaliency
from tfmot_paoding.methods.elimination import combined_costs
from tfmot_paoding.methods.group_view import GroupView, view_group
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.plan import units_to_remove
from tfmot_paoding.methods.selection import ScoreTable
from tfmot_paoding.network.costs import COSTS, unit_costs
from tfmot_paoding.network.groups import Group
from tfmot_paoding.registry import Configurable

Array = np.ndarray

SCOPES = ('local', 'global')


@dataclasses.dataclass(frozen=True)
class Allocation(Configurable):
  """How a sparsity is spread over the groups.

  Attributes:
    scope: 'local': every group loses the same fraction of its units. 'global':
      the fraction is of all units, and those go first whose removal moves the
      outputs least for what it saves.
    cost: What a global scope saves: 'parameters' or 'macs'.
    floor: The fraction of each group's units that a global scope leaves; one
      unit always stays.
  """

  scope: str = 'local'
  cost: str = 'parameters'
  floor: float = 0.1

  def __post_init__(self):
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
) -> dict[Path, int]:
  """How many units each group shall have lost in all, under a global scope.

  Args:
    allocation: Its cost and floor.
    sparsity: The fraction of all units.
    network: The network at its current weights; with moments, as methods that
      fit have them, units are weighed by the measured reconstruction error
      that is left when they are gone.
    groups: Its groups.
    alive: Which units each group still has, by group name.

  Returns:
    The numbers by group name; where floors forbid more, less than asked for.
  """
  gone = {group.name: int((~alive[group.name]).sum()) for group in groups}
  total = units_to_remove(sum(group.size for group in groups), sparsity)
  wanted = total - sum(gone.values())
  if wanted <= 0:
    return gone
  costs = unit_costs(
    network.graph, list(groups), network.params, alive, allocation.cost
  )
  views = [view_group(network, group, alive[group.name]) for group in groups]
  rooms = [
    min(max(allocation.most(group.size) - gone[group.name], 0), wanted)
    for group in groups
  ]
  if network.fitting is None:
    found = _ranked_scores(views, rooms)
  else:
    found = [
      _elimination_errors(v, n) for v, n in zip(views, rooms, strict=True)
    ]
  waiting = []
  for group, errors in zip(groups, found, strict=True):
    price = errors / max(costs[group.name], 1e-300)
    waiting += [(value, group.name) for value in price.tolist()]
  waiting.sort(key=lambda pair: pair[0])  # stable: earlier groups first
  for _, name in waiting[:wanted]:
    gone[name] += 1
  return gone


def _ranked_scores(views: list[GroupView], rooms: list[int]) -> list[Array]:
  """What each further removal of a group costs, ascending, (room,)."""
  return [
    np.sort(scores[view.alive])[:room]
    for view, scores, room in zip(views, _scores(views), rooms, strict=True)
  ]


def _elimination_errors(view: GroupView, room: int) -> Array:
  """The reconstruction error that each further elimination adds.

  As a share of what reaches the consumers, so that groups can be compared.
  """
  parts = [part for fit in view.fits for part in fit.parts]
  energy = sum(part.energy for part in parts) or 1.0
  alive, found = np.flatnonzero(view.alive), []
  for _ in range(room):
    costs = combined_costs(parts, alive)
    found.append(float(costs.min()) / energy)
    cheapest = int(alive[np.argmin(costs)])
    for part in parts:
      part.eliminate(cheapest)
    alive = alive[alive != cheapest]
  # A cheap removal behind a dear one can be had only with it.
  return np.maximum.accumulate(np.asarray(found))


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
