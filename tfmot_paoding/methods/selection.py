"""Selection: which units go at this step, and into which others.

A selection proposes removals one at a time; the caller carries each out
before asking for the next, so that every proposal sees the network as the
earlier ones left it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfmot_paoding.methods.criteria import Criterion, criteria
from tfmot_paoding.methods.group_view import GroupView
from tfmot_paoding.registry import Configurable, Registry

Array = np.ndarray
Removal = tuple[int, int]


class Selection(Configurable):
  """A strategy; subclasses are frozen dataclasses.

  Attributes:
    at_once: Whether all removals of a step are known before the first is
      carried out: no unit then goes into one that goes itself.
  """

  at_once = False

  def propose(
    self,
    view: GroupView,
    criterion: Criterion,
    budget: int,
    rng: np.random.Generator,
  ) -> Iterator[Removal]:
    """Yields `budget` removals.

    Args:
      view: The group; between two proposals the caller removes the unit, and
        `view.changed` tells whose outgoing weights that changed. With `at_once`
        it stays as it is until all are made.
      criterion: What a removal costs.
      budget: How many units go, less than are alive.
      rng: The only source of chance.

    Yields:
      (removed unit, unit that absorbs it); -1 for the latter where the
      criterion scores units by themselves.
    """
    raise NotImplementedError


selections: Registry[Selection] = Registry('selection', Selection)
register_selection = selections.register


class ScoreTable:
  """Scores of all units that are alive, kept up to date as units go."""

  def __init__(self, view: GroupView, criterion: Criterion):
    self._view = view
    self._criterion = criterion
    alive = np.flatnonzero(view.alive)
    first = criterion.scores(view, alive)
    self._single = first.ndim == 1
    self._best = np.full(view.size, np.inf)
    self._partner = np.full(view.size, -1)
    if not self._single:
      self._scores = np.full((view.size, view.size), np.inf)
    self._store(alive, first)

  @property
  def best(self) -> Array:
    """The lowest cost of removing each unit, infinite for those gone."""
    return self._best

  def cheapest(self) -> int:
    """The living unit that costs least, the first of them if all do alike."""
    alive = np.flatnonzero(self._view.alive)
    return int(alive[np.argmin(self._best[alive])])

  def partner(self, unit: int) -> int:
    """The unit that would absorb it at that cost, or -1."""
    return int(self._partner[unit]) if np.isfinite(self._best[unit]) else -1

  def forget(self, unit: int) -> None:
    """Takes in that a unit has gone and others have changed."""
    self._best[unit] = np.inf
    if self._criterion.is_mutual:
      for kept in self._view.shifted:
        self._meet_again(int(kept))
    else:
      self._score_again(self._view.changed)
    if self._single:
      return
    self._scores[:, unit] = np.inf
    orphans = np.flatnonzero((self._partner == unit) & self._view.alive)
    self._choose(orphans)
    self._score_again(orphans[np.isinf(self._best[orphans])])

  def _score_again(self, units: Array) -> None:
    """Scores those of some units that are alive."""
    stale = units[self._view.alive[units]]
    if stale.size:
      self._store(stale, self._criterion.scores(self._view, stale))

  def _meet_again(self, unit: int) -> None:
    """Scores all pairs with a unit, which cost the same either way."""
    self._score_again(np.array([unit]))
    self._scores[:, unit] = costs = self._scores[unit]
    theirs = self._partner == unit
    lower = self._partner > unit
    nearer = (costs < self._best) | ((costs == self._best) & lower)
    nearer &= self._view.alive & ~theirs
    self._partner[nearer], self._best[nearer] = unit, costs[nearer]
    self._choose(np.flatnonzero(theirs & self._view.alive))

  def _store(self, units: Array, scores: Array) -> None:
    if self._single:
      self._best[units] = scores
      return
    scores = np.where(self._view.alive, scores, np.inf)
    scores[np.arange(len(units)), units] = np.inf
    self._scores[units] = scores
    self._choose(units)

  def _choose(self, units: Array) -> None:
    # argmin takes the first of equals: the lowest unit number, always.
    if units.size:
      partners = self._scores[units].argmin(1)
      self._partner[units] = partners
      self._best[units] = self._scores[units, partners]


@selections.register('greedy')
@dataclasses.dataclass(frozen=True)
class Greedy(Selection):
  """Always the removal that costs least now."""

  def propose(
    self,
    view: GroupView,
    criterion: Criterion,
    budget: int,
    rng: np.random.Generator,
  ) -> Iterator[Removal]:
    """Yields the cheapest removal, again and again."""
    del rng
    table = ScoreTable(view, criterion)
    for _ in range(budget):
      unit = table.cheapest()
      yield unit, table.partner(unit)
      table.forget(unit)


@selections.register('ranking')
@dataclasses.dataclass(frozen=True)
class Ranking(Selection):
  """The cheapest of a step by their scores at its start, all at once.

  Those that stay are known from the first removal on, so that no unit goes
  into one that goes itself.
  """

  at_once = True

  def propose(
    self,
    view: GroupView,
    criterion: Criterion,
    budget: int,
    rng: np.random.Generator,
  ) -> Iterator[Removal]:
    """Yields the cheapest, in ascending order, without partners."""
    del rng
    best = ScoreTable(view, criterion).best
    order = np.argsort(best, kind='stable')[:budget]
    for unit in order.tolist():
      yield unit, -1


@selections.register('annealing')
@dataclasses.dataclass(frozen=True)
class Annealing(Selection):
  """Simulated annealing over the candidates of a cheaper criterion.

  Walks the candidates by ascending cost under `candidates`. One whose own
  cost is no worse than the last accepted one's goes; a worse one goes with
  probability exp(-worsening / T), the worsening in units of the middle cost of
  all candidates, T falling linearly from `temperature` to 0 with progress.

  Reference: Meng et al., arXiv 2204.00783.

  Attributes:
    candidates: The criterion that orders the walk.
    temperature: T at the start.
  """

  candidates: str = 'saliency'
  temperature: float = 1.0

  def __post_init__(self):
    if not self.temperature >= 0:
      raise ValueError(
        f'`temperature` must be at least 0, but got {self.temperature}.'
      )

  def propose(
    self,
    view: GroupView,
    criterion: Criterion,
    budget: int,
    rng: np.random.Generator,
  ) -> Iterator[Removal]:
    """Yields accepted candidates until the budget is spent."""
    order = ScoreTable(view, criteria.get(self.candidates))
    costs = ScoreTable(view, criterion)
    finite = costs.best[np.isfinite(costs.best)]
    finite = finite if finite.size else np.zeros(1)
    unit_cost = float(np.median(finite)) or float(finite.max()) or 1.0
    last, passed = float(finite.min()), np.zeros(view.size, bool)
    for done in range(budget):
      temperature = self.temperature * (1 - done / budget)
      unit = self._walk(
        order, costs, passed, last, unit_cost * temperature, rng
      )
      last = float(costs.best[unit])
      yield unit, costs.partner(unit)
      order.forget(unit)
      costs.forget(unit)

  def _walk(
    self,
    order: ScoreTable,
    costs: ScoreTable,
    passed: Array,
    last: float,
    temperature: float,
    rng: np.random.Generator,
  ) -> int:
    """The next accepted candidate; `passed` remembers the rejected ones."""
    while True:
      waiting = np.where(passed, np.inf, order.best)
      unit = int(np.argmin(waiting))
      if np.isinf(waiting[unit]):
        # Everyone was turned down: a new round, and its cheapest goes.
        passed[:] = False
        return costs.cheapest()
      worsening = costs.best[unit] - last
      if worsening <= 0 or (
        temperature > 0 and rng.random() < np.exp(-worsening / temperature)
      ):
        return unit
      passed[unit] = True
