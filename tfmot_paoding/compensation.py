"""Compensation: how do the kept units make up for a removed one?"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.registry import Configurable, Registry
from tfmot_paoding.view import GroupView


class Compensation(Configurable):
  """A rule; subclasses are frozen dataclasses.

  Attributes:
    needs_samples: Whether it looks at `view.fits`.
  """

  needs_samples = False

  def absorb(self, view: GroupView, removed: int, kept: int) -> int:
    """Changes the kept units' outgoing weights before a unit is taken out.

    Args:
      view: The group; change it by `view.absorb`.
      removed: The unit that goes.
      kept: The unit that the selection would have absorb it, or -1.

    Returns:
      The unit that stands for the removed one from now on, or -1.
    """
    raise NotImplementedError


compensations: Registry[Compensation] = Registry('compensation', Compensation)
register_compensation = compensations.register


@compensations.register('none')
@dataclasses.dataclass(frozen=True)
class NoCompensation(Compensation):
  """The removed unit's output is simply missing."""

  def absorb(self, view: GroupView, removed: int, kept: int) -> int:
    """Nothing changes."""
    del view, removed, kept
    return -1


@compensations.register('merge')
@dataclasses.dataclass(frozen=True)
class Merge(Compensation):
  """The partner takes over: v_i += v_j.

  Exact for identical units. A unit chosen without a partner goes into its
  nearest neighbour.

  Reference: Srinivas and Babu 2015, arXiv 1507.06149.
  """

  def absorb(self, view: GroupView, removed: int, kept: int) -> int:
    """The partner's outgoing weights grow by the removed unit's."""
    if kept < 0:
      distances = np.where(view.alive, view.pair_distances[removed], np.inf)
      distances[removed] = np.inf
      kept = int(np.argmin(distances))
    view.absorb(removed, kept)
    return kept


@compensations.register('least_squares')
@dataclasses.dataclass(frozen=True)
class LeastSquares(Compensation):
  """All kept units take over, by the best fit on the samples' moments.

  Reference: Hassibi and Stork 1993.
  """

  needs_samples = True

  def absorb(self, view: GroupView, removed: int, kept: int) -> int:
    """Every consumer is re-fitted; no one unit stands for the removed one."""
    del kept
    view.eliminate(removed)
    return -1
