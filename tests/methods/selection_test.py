"""Selection: budgets, order, partners, and chance from one generator."""

from __future__ import annotations

import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tests import testing
from tfmot_paoding.methods.compensation import Compensation, Merge
from tfmot_paoding.methods.criteria import (
  Criterion,
  IntervalImpact,
  Norm,
  PairSaliency,
  Ward,
  criteria,
)
from tfmot_paoding.methods.named import Method
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.plan import make_plan
from tfmot_paoding.methods.selection import (
  Annealing,
  Greedy,
  Ranking,
  selections,
)
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups

SELECTIONS = {
  **{name: selections.get(name) for name in selections.names()},
  'annealing, hot': Annealing(temperature=100.0),
  'annealing, cold': Annealing(temperature=0.0),
  'annealing by impact': Annealing(candidates='impact'),
}


def edit_of(seed=0, size=10):
  return testing.group_edit(testing.mlp((6, size, 5, 3), seed=seed))


def run(selection, criterion, budget, seed=0, edit=None):
  """Carries out what a selection proposes; the removals in order."""
  edit = edit_of() if edit is None else edit
  view = edit.view
  rng = np.random.default_rng(seed)
  removed = []
  for unit, partner in selection.propose(view, criterion, budget, rng):
    assert view.alive[unit]
    assert partner == -1 or (view.alive[partner] and partner != unit)
    edit.begin()
    Merge().absorb(edit, unit, partner)
    edit.remove(unit)
    removed.append((unit, partner))
  return removed


@pytest.mark.parametrize('name', SELECTIONS)
@pytest.mark.parametrize('criterion', criteria.names_alone())
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
  for weight in (1.0, 0.0):
    model = testing.two_layer(
      np.ones((3, 6)), np.zeros(6), np.full((6, 2), weight)
    )
    edit = testing.group_edit(model)
    removed = run(SELECTIONS[name], IntervalImpact(), 5, edit=edit)
    assert len({unit for unit, _ in removed}) == 5


@pytest.mark.parametrize('name', SELECTIONS)
def test_configs_make_a_round_trip(name):
  config = json.loads(json.dumps(selections.serialize(SELECTIONS[name])))
  assert selections.get(config) == SELECTIONS[name]


def slow_greedy(edit, criterion, budget):
  """Scores everything again before every removal."""
  view = edit.view
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
    Merge().absorb(edit, unit, partner)
    edit.remove(unit)
    removed.append((int(unit), int(partner)))
  return removed


@pytest.mark.parametrize(
  'criterion', [Norm(), PairSaliency(), IntervalImpact()]
)
@pytest.mark.parametrize('seed', range(4))
def test_greedy_matches_scoring_everything_again(criterion, seed):
  fast = run(Greedy(), criterion, 8, edit=edit_of(seed))
  assert fast == slow_greedy(edit_of(seed), criterion, 8)


def test_ties_go_to_the_lowest_number():
  model = testing.two_layer(np.ones((3, 4)), np.zeros(4), np.ones((4, 2)))
  edit = testing.group_edit(model)
  removed = run(Greedy(), PairSaliency(), 3, edit=edit)
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


def slow_annealing(edit, criterion, settings, budget, rng):
  """The walk as it is described, everything scored again at every look."""
  view = edit.view

  def lowest(one):
    scores = one.scores(view, np.arange(view.size))
    found = {}
    for j in np.flatnonzero(view.alive):
      partners = [i for i in np.flatnonzero(view.alive) if i != j]
      if scores.ndim == 1:
        found[int(j)] = (float(scores[j]), -1)
      else:
        cost, partner = min((float(scores[j, i]), int(i)) for i in partners)
        found[int(j)] = (cost, partner)
    return found

  first = [cost for cost, _ in lowest(criterion).values()]
  middle, last = float(np.median(first)), min(first)
  rejected, removed = set(), []
  for done in range(budget):
    heat = settings.temperature * (1 - done / budget) * middle
    costs = lowest(criterion)
    order = lowest(criteria.get(settings.candidates))
    for unit in sorted(order, key=lambda j: (order[j][0], j)):
      if unit in rejected:
        continue
      worse = costs[unit][0] - last
      if worse <= 0 or (heat > 0 and rng.random() < np.exp(-worse / heat)):
        break
      rejected.add(unit)
    else:
      rejected.clear()
      unit = min(costs, key=lambda j: (costs[j][0], j))
    last, partner = costs[unit]
    Merge().absorb(edit, unit, partner)
    edit.remove(unit)
    removed.append((unit, partner))
  return removed


@pytest.mark.parametrize('temperature', [0.0, 0.3, 2.0])
@pytest.mark.parametrize('candidates', ['saliency', 'norm', 'impact'])
@pytest.mark.parametrize(
  'criterion', [Norm(), PairSaliency(), IntervalImpact()]
)
def test_annealing_matches_the_walk_as_described(
  criterion, candidates, temperature
):
  settings, seed = Annealing(candidates, temperature), int(10 * temperature)
  fast = run(settings, criterion, 8, seed, edit_of(seed))
  rng = np.random.default_rng(seed)
  assert fast == slow_annealing(edit_of(seed), criterion, settings, 8, rng)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0])
def test_worse_candidates_are_accepted_as_often_as_they_should(temperature):
  # By incoming norm (1, 2, 3) unit 0 is the first candidate; by outgoing norm
  # its cost is 3, the lowest 1 and the middle one 2: it is worse by 2, so it
  # goes with probability exp(-2 / (2 T)).
  model = testing.two_layer([[1.0, 2.0, 3.0]], [0.0] * 3, [[3.0], [1.0], [2.0]])

  class Outgoing(Criterion):
    def scores(self, view, units):
      return np.abs(view.outgoing[units, 0])

  count = 1500
  rng = np.random.default_rng(0)
  view = testing.group_view(model)
  selection = Annealing('norm', temperature)
  taken = [
    next(selection.propose(view, Outgoing(), 1, rng))[0] for _ in range(count)
  ]
  wanted = np.exp(-1 / temperature)
  error = np.sqrt(wanted * (1 - wanted) / count)
  assert np.mean(np.array(taken) == 0) == pytest.approx(wanted, abs=4 * error)
  # Whoever turned unit 0 down took unit 1, which costs no more than the last.
  assert set(taken) == {0, 1}


class Forbidding(Criterion):
  """All but three units may go nowhere."""

  allowed = 3

  def scores(self, view, units):
    found = np.full((len(units), view.size), np.inf)
    found[units < self.allowed] = 1.0
    return found


@pytest.mark.parametrize('selection', [Greedy(), Annealing()])
def test_infinite_costs_are_kept_to_where_the_budget_allows(selection):
  removed = run(selection, Forbidding(), 3)
  assert sorted(unit for unit, _ in removed) == [0, 1, 2]


@pytest.mark.parametrize('allowed', [0, 3])
@pytest.mark.parametrize('selection', [Greedy(), Annealing()])
def test_nothing_is_removed_twice_when_nothing_may_go(selection, allowed):
  criterion = Forbidding()
  criterion.allowed = allowed
  # A plain error would serve as well; a unit that is gone must not go again.
  removed = run(selection, criterion, 5)
  assert len({unit for unit, _ in removed}) == 5


def test_a_negative_temperature_is_refused():
  with pytest.raises(ValueError, match='`temperature`'):
    Annealing(temperature=-1.0)


def test_a_ranking_knows_who_stays():
  view = edit_of().view
  scores = Norm().scores(view, np.arange(10))
  order = np.argsort(scores)
  assert Ranking.at_once
  proposals = Ranking().propose(view, Norm(), 4, np.random.default_rng(0))
  assert [unit for unit, _ in proposals] == order[:4].tolist()


def test_who_stays_is_known_from_the_first_removal_on():
  """A step by a ranking: compensations see who stays, whatever goes first."""
  seen = []

  class Watching(Compensation):
    def absorb(self, edit, removed, kept):
      seen.append((removed, np.flatnonzero(edit.view.staying).tolist()))
      return -1

  model = testing.mlp((6, 10, 5, 3))
  graph = build_graph(model)
  groups, params = find_groups(graph).groups[:1], read_params(graph)
  make_plan(
    NetworkView(graph, params, testing.box(graph)),
    groups,
    {groups[0].name: np.ones(10, bool)},
    {groups[0].name: 4},
    Method('norm', 'ranking', Watching()),
    np.random.default_rng(0),
  )
  gone = [unit for unit, _ in seen]
  assert len(gone) == 4
  for _, staying in seen:
    assert staying == sorted(set(range(10)) - set(gone))


@dataclasses.dataclass(frozen=True)
class _Anew(Criterion):
  """Ward's, of all pairs again each time."""

  def scores(self, view, units):
    return Ward().scores(view, units)


@hypothesis.given(seed=strategies.integers(0, 1000), few=strategies.booleans())
def test_mutual_costs_are_those_of_all_pairs_scored_again(seed, few):
  def folded(criterion):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, 14)).round(0 if few else 3)  # some are equal
    model = testing.mlp((3, 14, 2), seed=seed)
    model.layers[-2].kernel.assign(weights)
    edit = testing.group_edit(model)
    found = []
    for unit, kept in Greedy().propose(edit.view, criterion, 11, None):
      edit.begin()
      edit.fold(unit, kept)
      edit.remove(unit)
      found.append((unit, kept))
    return found

  assert folded(Ward()) == folded(_Anew())
