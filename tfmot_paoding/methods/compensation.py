"""Compensation: how do the kept units make up for a removed one?"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.methods.group_edit import GroupEdit
from tfmot_paoding.methods.group_view import GroupView
from tfmot_paoding.registry import Configurable, Registry


class Compensation(Configurable):
  """A rule; subclasses are frozen dataclasses.

  What a class says of itself below is what is asked of it: the tests run over
  the registry and hold each class to its word. Nothing said, nothing claimed.

  Attributes:
    needs_samples: Whether it looks at `edit.view.fits`, or re-fits.
    twins_are_exact: Whether the network's function stays what it was where a
      removed unit equals one that is kept.
    moves_units: Whether kept units are changed themselves: their incoming
      weights and statistics, not their outgoing weights alone.
  """

  needs_samples = False
  twins_are_exact = False
  moves_units = False

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """Changes the kept units' outgoing weights before a unit is taken out.

    Args:
      edit: The group: change it by `edit.absorb`, read `edit.view`.
      removed: The unit that goes.
      kept: The unit that the selection would have absorb it, or -1.

    Returns:
      The unit that stands for the removed one from now on, or -1.
    """
    raise NotImplementedError

  def finish(self, edit: GroupEdit) -> None:
    """Called once after the last removal of a step.

    Args:
      edit: The group without the removed units.
    """


compensations: Registry[Compensation] = Registry('compensation', Compensation)
register_compensation = compensations.register


@compensations.register('none')
@dataclasses.dataclass(frozen=True)
class NoCompensation(Compensation):
  """The removed unit's output is simply missing."""

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """Nothing changes."""
    del edit, removed, kept
    return -1


@compensations.register('merge')
@dataclasses.dataclass(frozen=True)
class Merge(Compensation):
  """The partner takes over: v_i += v_j.

  Exact for identical units. A unit chosen without a partner goes into its
  nearest neighbour.

  Reference: Srinivas and Babu 2015, arXiv 1507.06149.
  """

  twins_are_exact = True

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """The partner's outgoing weights grow by the removed unit's."""
    if kept < 0:
      kept = _nearest(edit.view, removed)
    edit.absorb(removed, kept)
    return kept


@compensations.register('merge_live')
@dataclasses.dataclass(frozen=True)
class MergeLive(Merge):
  """`merge`, but a unit that gives 0 for every input just goes: exact."""

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """As `merge` for units that are not silent."""
    if edit.view.silent[removed]:
      return -1
    return super().absorb(edit, removed, kept)


@compensations.register('scaled_merge')
@dataclasses.dataclass(frozen=True)
class ScaledMerge(Compensation):
  """The unit of the most similar direction takes over: v_i += s v_j.

  s = ||(w_j, b_j)|| / ||(w_i, b_i)||, exact for positive multiples under ReLU.
  A unit that is like no other is simply missing.

  Reference: Kim et al. 2020 (neuron merging), arXiv 2010.13160.

  Attributes:
    threshold: The least cosine of (w_i, b_i) and (w_j, b_j).
  """

  threshold: float = 0.45

  twins_are_exact = True

  def __post_init__(self):
    if not -1 <= self.threshold <= 1:
      raise ValueError(
        f'`threshold` must lie in [-1, 1], but got {self.threshold}.'
      )

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """The most similar unit's outgoing weights grow."""
    del kept
    view = edit.view
    cosines = np.where(_partners(view, removed), view.cosines(removed), -2.0)
    kept = int(np.argmax(cosines))
    if cosines[kept] < self.threshold:
      return -1
    sizes = view.point_sizes
    if sizes[kept] > 0:
      edit.absorb(removed, kept, sizes[removed] / sizes[kept])
    return kept


@compensations.register('weight_space')
@dataclasses.dataclass(frozen=True)
class WeightSpace(Compensation):
  """All kept units take over by how their incoming weights combine to its.

  s = argmin ||(w_j, b_j) - sum_i s_i (w_i, b_i)||^2 + ridge, v_i += s_i v_j:
  least squares as if activations were linear and inputs white.

  Reference: Lee et al. 2025 (LBYL), arXiv 2502.08474; its batch normalization
  term is taken in by folding batch normalization into the weights.

  Attributes:
    ridge: As a fraction of the mean squared norm.
  """

  ridge: float = 1e-2

  def __post_init__(self):
    if not self.ridge > 0:
      raise ValueError(f'`ridge` must be positive, but got {self.ridge}.')

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """Every consumer is re-fitted; no one unit stands for the removed one."""
    del kept
    edit.eliminate_by_weights(removed, self.ridge)
    return -1


@compensations.register('fold')
@dataclasses.dataclass(frozen=True)
class Folding(Compensation):
  """Both units become one at the centroid of all that it stands for.

  Batch normalization's variance is repaired without data.

  Reference: Wang et al. 2025 (model folding), arXiv 2502.10216.
  """

  twins_are_exact = True
  moves_units = True

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """The partner moves and takes over."""
    if kept < 0:
      kept = _nearest(edit.view, removed)
    edit.fold(removed, kept)
    return kept


@compensations.register('fold_least_squares')
@dataclasses.dataclass(frozen=True)
class FoldLeastSquares(Folding):
  """Folds, then re-fits all consumers to what the new units make of samples."""

  needs_samples = True

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """Folds; after the re-fit no one unit stands for the removed one."""
    super().absorb(edit, removed, kept)
    return -1

  def finish(self, edit: GroupEdit) -> None:
    """The re-fit."""
    edit.refit()
    edit.settle()


@compensations.register('least_squares')
@dataclasses.dataclass(frozen=True)
class LeastSquares(Compensation):
  """All kept units take over, by the best fit on the samples' moments.

  Reference: Hassibi and Stork 1993.
  """

  needs_samples = True
  twins_are_exact = True

  def absorb(self, edit: GroupEdit, removed: int, kept: int) -> int:
    """Every consumer is re-fitted; no one unit stands for the removed one."""
    del kept
    edit.eliminate(removed)
    return -1

  def finish(self, edit: GroupEdit) -> None:
    """States that feed themselves are fitted as they have become."""
    edit.settle()


def _partners(view: GroupView, removed: int) -> np.ndarray:
  """Which units may take a unit over, shape (n,)."""
  found = (view.alive if view.staying is None else view.staying).copy()
  found[removed] = False
  return found


def _nearest(view: GroupView, removed: int) -> int:
  """The unit of the least distance."""
  distances = view.pair_distances[removed]
  return int(np.argmin(np.where(_partners(view, removed), distances, np.inf)))
