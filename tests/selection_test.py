"""Selection: budgets, order, partners, and chance from one generator."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compensation import Merge
from tfmot_paoding.criteria import IntervalImpact, Norm, PairSaliency, criteria
from tfmot_paoding.selection import Annealing, Greedy, selections

SELECTIONS = {
  **{name: selections.get(name) for name in selections.names()},
  'annealing, hot': Annealing(temperature=100.0),
  'annealing, cold': Annealing(temperature=0.0),
  'annealing by impact': Annealing(candidates='impact'),
}


def view_of(seed=0, size=10):
  return testing.group_view(testing.mlp((6, size, 5, 3), seed=seed))


def run(selection, criterion, budget, seed=0, view=None):
  """Carries out what a selection proposes; the removals in order."""
  view = view_of() if view is None else view
  rng = np.random.default_rng(seed)
  removed = []
  for unit, partner in selection.propose(view, criterion, budget, rng):
    assert view.alive[unit]
    assert partner == -1 or (view.alive[partner] and partner != unit)
    view.changed = np.zeros(0, int)
    Merge().absorb(view, unit, partner)
    view.remove(unit)
    removed.append((unit, partner))
  return removed


@pytest.mark.parametrize('name', SELECTIONS)
@pytest.mark.parametrize('criterion', criteria.names())
@pytest.mark.parametrize('budget', [0, 1, 5, 9])
def test_the_budget_is_met_exactly(name, criterion, budget):
  removed = run(SELECTIONS[name], criteria.get(criterion), budget)
  assert len(removed) == budget
  assert len({unit for unit, _ in removed}) == budget


@pytest.mark.parametrize('name', SELECTIONS)
def test_same_seed_same_plan(name):
  runs = [run(SELECTIONS[name], IntervalImpact(), 6, seed=4) for _ in range(2)]
  assert runs[0] == runs[1]


@pytest.mark.parametrize('name', SELECTIONS)
def test_all_units_alike_still_go(name):
  model = testing.two_layer(np.ones((3, 6)), np.zeros(6), np.ones((6, 2)))
  for dead in (False, True):
    view = testing.group_view(model)
    if dead:
      view.outgoing[:] = 0
    removed = run(SELECTIONS[name], IntervalImpact(), 5, view=view)
    assert len({unit for unit, _ in removed}) == 5


@pytest.mark.parametrize('name', SELECTIONS)
def test_configs_make_a_round_trip(name):
  config = json.loads(json.dumps(selections.serialize(SELECTIONS[name])))
  assert selections.get(config) == SELECTIONS[name]


def slow_greedy(view, criterion, budget):
  """Scores everything again before every removal."""
  removed = []
  for _ in range(budget):
    alive = np.flatnonzero(view.alive)
    scores = criterion.scores(view, np.arange(view.size))
    best = (np.inf, None, None)
    for j in alive:
      if scores.ndim == 1:
        best = min(best, (scores[j], j, -1))
        continue
      for i in alive:
        if i != j and scores[j, i] < best[0]:
          best = (scores[j, i], j, i)
    _, unit, partner = best
    Merge().absorb(view, unit, partner)
    view.remove(unit)
    removed.append((int(unit), int(partner)))
  return removed


@pytest.mark.parametrize(
  'criterion', [Norm(), PairSaliency(), IntervalImpact()]
)
@pytest.mark.parametrize('seed', range(4))
def test_greedy_matches_scoring_everything_again(criterion, seed):
  fast = run(Greedy(), criterion, 8, view=view_of(seed))
  assert fast == slow_greedy(view_of(seed), criterion, 8)


def test_ties_go_to_the_lowest_number():
  model = testing.two_layer(np.ones((3, 4)), np.zeros(4), np.ones((4, 2)))
  view = testing.group_view(model)
  removed = run(Greedy(), PairSaliency(), 3, view=view)
  assert removed == [(0, 1), (1, 2), (2, 3)]


def test_cold_annealing_accepts_nothing_worse():
  # Cold, a candidate worse than the last is passed over until nothing is
  # left, and then the cheapest goes: greedy by the judging criterion.
  cold = run(Annealing(temperature=0.0), IntervalImpact(), 7)
  assert cold == run(Greedy(), IntervalImpact(), 7)


def test_hot_annealing_walks_by_the_candidates_order():
  # Hot, the first few candidates are accepted whatever they cost.
  hot = run(Annealing(temperature=1e9), IntervalImpact(), 4)
  by_saliency = run(Greedy(), PairSaliency(), 4)
  assert [u for u, _ in hot] == [u for u, _ in by_saliency]


def test_chance_depends_on_the_seed():
  plans = {
    tuple(run(Annealing(temperature=0.5), IntervalImpact(), 6, seed=s))
    for s in range(8)
  }
  assert len(plans) > 1
