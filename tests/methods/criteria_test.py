"""Criteria: golden values, slow references, and what all have in common."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding.bounds.whole_range import propagate, propagate_change
from tfmot_paoding.compat import keras
from tfmot_paoding.methods import criteria as lib
from tfmot_paoding.methods.group_view import view_group
from tfmot_paoding.methods.memory import Memory
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics.intervals import Interval

ALL = {
  **{name: lib.criteria.get(name) for name in lib.criteria.names_alone()},
  'norm 2': lib.Norm(order=2),
  'saliency without bias': lib.PairSaliency(bias_aware=False),
  'impact, entropy': lib.IntervalImpact(alpha=0.75, beta=0.25),
  'impact, all partners': lib.IntervalImpact(pool=0),
  'impact alone': lib.IntervalImpact(blend=0.0),
  'impact, paper': lib.IntervalImpact(alpha=0.75, beta=0.25, squash=True),
}


def those(trait: str) -> list[str]:
  """The criteria whose class claims this of itself."""
  return [name for name in ALL if getattr(ALL[name], trait)]


def everyone(view):
  return np.arange(view.size)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('use_bias', [True, False])
@pytest.mark.parametrize('activation', ['relu', 'sigmoid', 'silu'])
class TestEveryCriterion:
  def view(self, activation, use_bias, size=8):
    model = testing.mlp((5, size, 6, 3), activation, use_bias=use_bias)
    return testing.group_view(model)

  def test_shapes_and_finiteness(self, name, use_bias, activation):
    view = self.view(activation, use_bias)
    found = ALL[name].scores(view, everyone(view))
    assert found.shape in ((8,), (8, 8))
    if found.ndim == 2:
      np.fill_diagonal(found, np.inf)
      found = found.min(1)
    assert np.all(np.isfinite(found))
    assert np.all(found >= 0)

  def test_subsets_are_rows(self, name, use_bias, activation):
    view = self.view(activation, use_bias)
    full = ALL[name].scores(view, everyone(view))
    some = ALL[name].scores(view, np.array([5, 2]))
    np.testing.assert_allclose(some, full[[5, 2]], rtol=1e-9)

  def test_one_unit_alone(self, name, use_bias, activation):
    view = self.view(activation, use_bias, size=1)
    found = ALL[name].scores(view, everyone(view))
    assert found.shape[0] == 1


@pytest.mark.parametrize('name', ALL)
def test_order_of_units_does_not_matter(name):
  rng = np.random.default_rng(3)
  incoming, bias = rng.normal(size=(5, 8)), rng.normal(size=8)
  outgoing, order = rng.normal(size=(8, 3)), rng.permutation(8)
  one = testing.group_view(testing.two_layer(incoming, bias, outgoing))
  two = testing.group_view(
    testing.two_layer(incoming[:, order], bias[order], outgoing[order])
  )
  a = ALL[name].scores(one, everyone(one))
  b = ALL[name].scores(two, everyone(two))
  if a.ndim == 2:
    np.fill_diagonal(a, np.inf)
    np.fill_diagonal(b, np.inf)
    a = a[np.ix_(order, order)]
  else:
    a = a[order]
  np.testing.assert_allclose(a, b, rtol=1e-7)


@pytest.mark.parametrize('name', those('twins_are_free'))
@pytest.mark.parametrize('bias', [0.0, 0.3])
def test_identical_units_cost_exactly_nothing(name, bias):
  rng = np.random.default_rng(3)
  incoming = rng.normal(size=(5, 8))
  incoming[:, 6] = incoming[:, 1]
  view = testing.group_view(
    testing.two_layer(incoming, np.full(8, bias), rng.normal(size=(8, 3)))
  )
  found = ALL[name].scores(view, everyone(view))
  assert found[1, 6] == found[6, 1] == 0


@pytest.mark.parametrize('name', those('twins_are_free'))
@pytest.mark.parametrize(
  'between',
  [
    [],
    [keras.layers.Flatten],
    [keras.layers.Flatten, keras.layers.BatchNormalization],
    [lambda: keras.layers.Reshape((2, 2, 6)), keras.layers.Flatten],
  ],
)
def test_identical_units_of_sequences_cost_exactly_nothing(name, between):
  model = keras.Sequential(
    [
      keras.Input((4, 5)),
      keras.layers.Dense(6, 'relu', name='hidden'),
      *[make() for make in between],
      keras.layers.Dense(3, name='end'),
    ]
  )
  testing.fill(model)
  for layer in model.layers:
    weights = layer.get_weights()
    for weight in weights:
      if layer.name == 'hidden':
        weight[..., 4] = weight[..., 1]
      elif layer.name != 'end':  # batch normalization behind Flatten
        weight[4::6] = weight[1::6]
    layer.set_weights(weights)
  view = testing.group_view(model)
  found = ALL[name].scores(view, everyone(view))
  assert found[1, 4] == found[4, 1] == 0
  np.fill_diagonal(found, np.inf)
  assert np.all(found[[0, 2, 3, 5]].min(1) > 0)


@pytest.mark.parametrize('name', ALL)
def test_configs_make_a_round_trip(name):
  config = json.loads(json.dumps(lib.criteria.serialize(ALL[name])))
  assert lib.criteria.get(config) == ALL[name]


def test_norm_by_hand():
  view = testing.group_view(
    testing.two_layer([[3, 0], [-4, 1]], [9, 9], [[1], [1]])
  )
  assert lib.Norm(1).scores(view, everyone(view)).tolist() == [7, 1]
  assert lib.Norm(2).scores(view, everyone(view)).tolist() == [5, 1]


def test_saliency_by_hand():
  # w_0 - w_1 = (3, 0), biases apart by 4: distance 5; v_0 = (0, 2), |v_1| = 1.
  view = testing.group_view(
    testing.two_layer([[3, 0], [1, 1]], [4, 0], [[0, 2], [1, 0]])
  )
  found = lib.PairSaliency().scores(view, everyone(view))
  assert found[0, 1] == pytest.approx(10)
  assert found[1, 0] == pytest.approx(5)
  plain = lib.PairSaliency(bias_aware=False).scores(view, everyone(view))
  assert plain[0, 1] == pytest.approx(6)


def test_saliency_matches_the_formula_everywhere():
  model = testing.mlp((5, 8, 6, 3))
  view = testing.group_view(model)
  w, b = model.get_layer('hidden_0').get_weights()
  v = model.get_layer('hidden_1').get_weights()[0]
  found = lib.PairSaliency().scores(view, everyone(view))
  for j in range(8):
    for i in range(8):
      gap = np.append(w[:, i] - w[:, j], b[i] - b[j])
      wanted = np.linalg.norm(gap) * np.linalg.norm(v[j])
      assert found[j, i] == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def slow_arrival(model, j, i):
  """What a merge of j into i does to the outputs, and their own widths.

  By propagating the difference interval of this one pair through the rest of
  the network, operation after operation.
  """
  graph = build_graph(model)
  params = read_params(graph)
  boxes = testing.box(graph)
  found = propagate(graph, params, boxes)
  w, b = model.layers[0].get_weights()
  x = found[graph.inputs[0]]
  gap = w[:, i].astype(float) - w[:, j]
  centre = gap @ x.centre + float(b[i]) - float(b[j])
  radius = np.abs(gap) @ x.radius
  low, high = min(centre - radius, 0), max(centre + radius, 0)
  act = found[graph.nodes[1].outputs[0]]
  low = max(low, act.low[i] - act.high[j])
  high = min(high, act.high[i] - act.low[j])
  a, b = np.full(1, max(-low, 0)), np.full(1, max(high, 0))
  kernels = [layer.get_weights()[0].astype(float) for layer in model.layers[1:]]
  kernels[0] = kernels[0][[j]]
  for kernel in kernels:
    up, down = np.maximum(kernel, 0), np.maximum(-kernel, 0)
    a, b = a @ up + b @ down, b @ up + a @ down
  return -a, b, found[graph.outputs[0]].width


def undecided(seed):
  """A network where every ReLU is undecided, so that its slope is [0, 1]."""
  model = testing.mlp((5, 8, 6, 3), 'relu', seed=seed)
  for layer in model.layers:
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, 0.01 * bias])
  return model


@pytest.mark.parametrize('seed', range(3))
def test_impact_matches_the_slow_propagation(seed):
  model = undecided(seed)
  view = testing.group_view(model)
  assert np.all(view.difference(*testing.pairs(8)).width > 0)
  criterion = lib.IntervalImpact(pool=0, blend=0.0)
  found = criterion.scores(view, everyone(view))
  for j, i in zip(*testing.pairs(8), strict=True):
    low, high, own = slow_arrival(model, j, i)
    wanted = np.mean((high - low) / own)
    assert found[j, i] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize('seed', range(2))
def test_entropy_and_the_papers_form_match_the_slow_propagation(seed):
  model = undecided(seed)
  view = testing.group_view(model)
  ours = lib.IntervalImpact(0.75, 0.25, pool=0, blend=0.0)
  papers = dataclasses.replace(ours, squash=True)
  found = ours.scores(view, everyone(view))
  squashed = papers.scores(view, everyone(view))

  def sigmoid(z):
    return 1 / (1 + math.exp(-z))

  for j, i in zip(*testing.pairs(8), strict=True):
    low, high, own = slow_arrival(model, j, i)
    entropy = literal_entropy(list(zip(low, high, strict=True)), 0.9)
    length = np.mean((high - low) / own)
    wanted = length * (0.75 + 0.25 * entropy / math.log(3))
    assert found[j, i] == pytest.approx(wanted, rel=1e-6)
    plain = sum(high - low)
    wanted = 0.75 * sigmoid(plain) + 0.25 * sigmoid(entropy)
    assert squashed[j, i] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize('name', ALL)
def test_units_read_step_by_step_are_scored(name):
  inputs = keras.Input((4, 5))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  view = testing.group_view(model)
  found = ALL[name].scores(view, everyone(view))
  assert found.shape in ((8,), (8, 8))
  if found.ndim == 2:
    np.fill_diagonal(found, np.inf)
    found = found.min(1)
  assert np.all(np.isfinite(found))
  # Only a criterion that sees dead units may have them for nothing.
  free = view.silent if ALL[name].silent_are_free else np.zeros(8, bool)
  assert np.all(found[~free] > 0)


@pytest.mark.parametrize('name', ALL)
def test_units_that_feed_nothing_cost_nothing_where_that_is_said(name):
  rng = np.random.default_rng(3)
  outgoing = rng.normal(size=(8, 3))
  outgoing[[2, 5]] = 0.0
  incoming = rng.normal(size=(5, 8))
  incoming[:, 5] = 0.0
  view = testing.group_view(
    testing.two_layer(incoming, rng.normal(size=8), outgoing)
  )
  found = ALL[name].scores(view, everyone(view))
  assert not np.any(np.isnan(found))
  if found.ndim == 2:
    np.fill_diagonal(found, np.inf)
    found = found.min(1)
  if ALL[name].unread_are_free:
    assert found[2] == found[5] == 0


@pytest.mark.parametrize('name', those('silent_are_free'))
def test_units_that_are_always_off_cost_nothing_where_that_is_said(name):
  rng = np.random.default_rng(3)
  bias = rng.normal(size=8)
  bias[[2, 5]] = -100.0
  view = testing.group_view(
    testing.two_layer(rng.normal(size=(5, 8)), bias, rng.normal(size=(8, 3)))
  )
  assert view.silent[[2, 5]].all()
  found = ALL[name].scores(view, everyone(view))
  assert not found[[2, 5]].any()


def test_norms_of_units_without_weights_are_0():
  view = testing.group_view(
    testing.two_layer([[3, 0], [-4, 0]], [9, 9], [[1], [0]])
  )
  for order in (1, 2):
    assert lib.Norm(order).scores(view, everyone(view))[1] == 0


@pytest.mark.parametrize(
  'make', [lambda: lib.Norm(order=7), lambda: lib.IntervalImpact(pool=-1)]
)
def test_settings_outside_their_documented_range_are_refused(make):
  with pytest.raises(ValueError, match=r'`order`|`pool`'):
    make()


def test_impact_bounds_the_change_that_a_merge_makes():
  model = testing.mlp((5, 8, 6, 3), 'tanh')
  graph = build_graph(model)
  params = read_params(graph)
  view = testing.group_view(model)
  found = lib.IntervalImpact(pool=0, blend=0.0).scores(view, everyone(view))
  bounds = propagate(graph, params, testing.box(graph))
  own = bounds[graph.outputs[0]].width
  x = testing.samples((5,))
  old = testing.forward(graph, params, x)[graph.outputs[0]]
  ref = graph.nodes[2].op.kernel
  for j, i in ((0, 1), (4, 7), (3, 2)):
    after = dict(params)
    after[ref] = params[ref].copy()
    after[ref][i] += after[ref][j]
    after[ref][j] = 0
    new = testing.forward(graph, after, x)[graph.outputs[0]]
    assert np.mean(np.ptp(new - old, axis=0) / own) <= found[j, i] + 1e-9
    merges = {graph.nodes[2].inputs[0]: np.full(8, -1)}
    merges[graph.nodes[2].inputs[0]][j] = i
    change = propagate_change(
      graph,
      params,
      after,
      bounds,
      propagate(graph, after, testing.box(graph)),
      merges,
    )
    testing.assert_inside(new - old, change[graph.outputs[0]])


def test_the_pool_is_the_nearest_partners():
  view = testing.group_view(testing.mlp((5, 8, 6, 3)))
  distances = view.pair_distances.copy()
  np.fill_diagonal(distances, np.inf)
  for pool in (1, 3):
    criterion = lib.IntervalImpact(pool=pool)
    found = criterion.scores(view, everyone(view))
    for row in range(8):
      scored = set(np.flatnonzero(np.isfinite(found[row])))
      assert scored == set(np.argsort(distances[row])[:pool])


def test_removed_units_are_no_partners():
  edit = testing.group_edit(testing.mlp((5, 8, 6, 3)))
  view = edit.view
  nearest = lib.IntervalImpact().scores(view, np.array([0])).argmin()
  edit.remove(int(nearest))
  found = lib.IntervalImpact().scores(view, np.array([0]))
  assert np.isinf(found[0, nearest])
  assert np.isfinite(found).sum() == 1


def literal_entropy(intervals, similarity):
  """Entropy by Python loops over tuples."""
  total = 0.0
  for k, (low, high) in enumerate(intervals):
    alike = 0
    for m, (other_low, other_high) in enumerate(intervals):
      span = max(high, other_high, 0) - min(low, other_low, 0)
      gap = abs(low - other_low) + abs(high - other_high)
      sim = 1.0 if span == 0 else 1 - 0.5 * gap / span
      alike += k == m or sim >= similarity - 1e-12
    share = alike / len(intervals)
    total -= share * math.log(share)
  return total


@given(
  ends=st.lists(
    st.tuples(st.integers(-20, 20), st.integers(0, 20)), min_size=1, max_size=6
  ),
  similarity=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_entropy_matches_the_literal_loop(ends, similarity):
  intervals = [(low / 7, (low + width) / 7) for low, width in ends]
  low, high = np.array(intervals).T
  found = lib.interval_entropy(Interval(low[None], high[None]), similarity)
  wanted = literal_entropy(intervals, similarity)
  # The threshold itself may fall either way by rounding.
  near = [
    literal_entropy(intervals, similarity + e) for e in (-1e-9, 0.0, 1e-9)
  ]
  assert min(near) - 1e-9 <= found[0] <= max(near) + 1e-9
  assert wanted in near


def test_entropy_by_hand():
  alike = Interval(np.zeros((1, 4)), np.ones((1, 4)))
  assert lib.interval_entropy(alike, 0.9)[0] == 0  # all shares are 1
  apart = Interval(np.array([[0.0, 10.0]]), np.array([[1.0, 11.0]]))
  # Two kinds, each of share 1/2: 2 (1/2) ln 2.
  assert lib.interval_entropy(apart, 0.9)[0] == pytest.approx(math.log(2))


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'alpha': -1.0}, '`alpha` and `beta`'),
    ({'alpha': 0.0, 'beta': 0.0}, 'not both 0'),
    ({'similarity': 1.5}, '`similarity`'),
    ({'blend': -0.5}, '`blend`'),
  ],
)
def test_bad_settings_are_named(settings, message):
  with pytest.raises(ValueError, match=message):
    lib.IntervalImpact(**settings)


def test_settings_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    lib.IntervalImpact().alpha = 2.0


def test_ward_is_the_growth_of_the_spread_within_clusters():
  rng = np.random.default_rng(0)
  clusters = [rng.normal(size=(count, 4)) for count in (1, 2, 3)]

  def spread(points):
    return np.square(points - points.mean(0)).sum()

  means = np.array([points.mean(0) for points in clusters])
  model = testing.two_layer(means.T, np.zeros(3), np.ones((3, 2)))
  graph = build_graph(model)
  (group,) = find_groups(graph).groups
  memory = Memory({group.name: np.array([1.0, 2.0, 3.0])})
  network = NetworkView(graph, read_params(graph), testing.box(graph), memory)
  view = view_group(network, group, np.ones(3, bool))
  found = lib.Ward().scores(view, np.arange(3))
  for i in range(3):
    for j in set(range(3)) - {i}:
      both = np.concatenate([clusters[i], clusters[j]])
      grown = spread(both) - spread(clusters[i]) - spread(clusters[j])
      np.testing.assert_allclose(found[i, j], grown, rtol=1e-5)
