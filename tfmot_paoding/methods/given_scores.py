"""A criterion of scores that were found elsewhere: learned, or measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.methods.criteria import Criterion, criteria
from tfmot_paoding.methods.group_view import GroupView

Array = np.ndarray


@criteria.register('given')
@dataclasses.dataclass(frozen=True)
class GivenScores(Criterion):
  """What each unit is worth by scores that are given.

  `training.learned_scores` trains such scores, `training.stability_scores`
  measures them.

  Attributes:
    units: By the name of each group (its first layer's path, joined by '/'),
      at least 0 for each of its units.
  """

  units: Mapping[str, Sequence[float]]

  def __post_init__(self):
    given = {
      name: tuple(np.asarray(row, np.float64).ravel().tolist())
      for name, row in self.units.items()
    }
    for name, row in given.items():
      if not row or not all(0 <= score < np.inf for score in row):
        raise ValueError(
          f'The scores of {name!r} must be finite and at least 0, one a unit, '
          f'but got {row}.'
        )
    object.__setattr__(self, 'units', given)

  def __hash__(self) -> int:
    return hash(tuple(sorted(self.units.items())))

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k,).

    Raises:
      ValueError: no scores were given for the group, or for another number of
        units.
    """
    if view.name not in self.units:
      raise ValueError(
        f'No scores were given for the units of {view.name!r}, but for those '
        f'of {sorted(self.units)}. Score them as well, or let the schedule '
        'leave them whole.'
      )
    found = np.array(self.units[view.name])
    if len(found) != view.size:
      raise ValueError(
        f'{view.name!r} has {view.size} units, but {len(found)} scores were '
        'given. Prune the model that was scored.'
      )
    return found[units]

  def get_config(self) -> dict[str, Any]:
    """The scores as lists."""
    return {'units': {name: list(row) for name, row in self.units.items()}}
