"""One group as arrays, against slow and obvious references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.methods.group_view import (
  GroupView,
  NetworkView,
  euclidean_distances,
)
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups


def slow_distances(points):
  return np.array([[np.linalg.norm(p - q) for q in points] for p in points])


@given(
  seed=st.integers(0, 99),
  n=st.integers(1, 12),
  d=st.integers(1, 9),
  scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_distances_match_the_double_loop(seed, n, d, scale):
  rng = np.random.default_rng(seed)
  points = rng.normal(size=(n, d)) * scale
  points[rng.integers(n)] = points[0]  # a duplicate
  if n > 2:
    points[2] = points[1] + 1e-9 * scale  # near twins
  found = euclidean_distances(points)
  np.testing.assert_allclose(found, slow_distances(points), rtol=1e-6)


def test_identical_rows_are_exactly_zero_apart():
  row = np.random.default_rng(0).normal(size=300)
  points = np.stack([row, row, -row, row, np.zeros(300), -np.zeros(300)])
  found = euclidean_distances(points)
  assert found[0, 1] == found[0, 3] == found[4, 5] == 0
  assert found[0, 2] > 1


def test_incoming_and_outgoing_of_a_plain_layer():
  model = testing.mlp((5, 8, 6, 3))
  view = testing.group_view(model)
  kernel, bias = model.get_layer('hidden_0').get_weights()
  np.testing.assert_array_equal(view.incoming, kernel)
  np.testing.assert_array_equal(view.biases, [bias])
  following = model.get_layer('hidden_1').get_weights()[0]
  np.testing.assert_array_equal(view.outgoing, following)


def test_batch_norm_is_folded_into_incoming():
  model = testing.with_batch_norm(before=True)
  view = testing.group_view(model)
  x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
  wanted = model.get_layer('norm_0')(model.get_layer('hidden_0')(x))
  np.testing.assert_allclose(
    x @ view.incoming + view.biases[0], wanted, rtol=1e-4, atol=1e-5
  )


def test_several_consumers_and_positions_lie_side_by_side():
  inputs = keras.Input((3, 5))
  x = keras.layers.Dense(4, name='a')(inputs)
  flat = keras.layers.Flatten()(x)
  one = keras.layers.Dense(2, name='one')(flat)
  model = testing.fill(
    keras.Model(inputs, [one, keras.layers.Dense(6, name='two')(x)])
  )
  view = testing.group_view(model)
  assert view.outgoing.shape == (4, 3 * 2 + 6)
  rows = model.get_layer('one').get_weights()[0].reshape(3, 4, 2)
  # The branch without Flatten is the shallower one, so it comes first.
  np.testing.assert_array_equal(view.outgoing[1, 6:], rows[:, 1].ravel())
  kernels = view.consumer_kernels()
  for ref, kernel in kernels.items():
    layer = model.get_layer(ref.layer[-1])
    np.testing.assert_array_equal(kernel, layer.get_weights()[0])


def test_absorbing_and_removing_change_the_kernels():
  model = testing.mlp((5, 8, 6, 3))
  view = testing.group_view(model)
  old = view.outgoing.copy()
  view.absorb(2, 5)
  view.remove(2)
  (kernel,) = view.consumer_kernels().values()
  np.testing.assert_allclose(kernel[5], old[5] + old[2])
  assert not kernel[2].any()
  assert view.changed.tolist() == [5]
  assert np.flatnonzero(~view.alive).tolist() == [2]
  untouched = [0, 1, 3, 4, 6, 7]
  np.testing.assert_array_equal(kernel[untouched], old[untouched])


@pytest.mark.parametrize('activation', ['relu', 'sigmoid', 'gelu'])
def test_remembered_differences_are_those_of_a_fresh_view(activation):
  model = testing.mlp((5, 8, 6, 3), activation)
  view = testing.group_view(model)
  rng = np.random.default_rng(0)
  for _ in range(20):
    left, right = rng.integers(0, 8, (2, 4))
    found = view.difference(left, right)
    wanted = testing.group_view(model).difference(left, right)
    np.testing.assert_array_equal(found.low, wanted.low)
    np.testing.assert_array_equal(found.high, wanted.high)


def test_distances_are_remembered_only_while_weights_stay():
  model = testing.mlp((5, 8, 6, 3))
  graph = build_graph(model)
  params, memory = read_params(graph), {}
  group = find_groups(graph).groups[0]

  def view_of(weights, alive):
    network = NetworkView(graph, weights, testing.box(graph), memory)
    return GroupView(network, group, alive)

  alive = np.ones(8, bool)
  first = view_of(params, alive).pair_distances
  assert view_of(params, alive).pair_distances is first
  alive[3] = False
  assert view_of(params, alive).pair_distances is first
  moved = dict(params)
  ref = group.producers[0].node.op.kernel
  moved[ref] = params[ref].copy()
  moved[ref][0, 1] += 1
  again = view_of(moved, alive).pair_distances
  assert again is not first
  points = np.vstack([moved[ref], params[group.producers[0].node.op.bias]]).T
  living = np.ix_(alive, alive)
  np.testing.assert_allclose(again[living], slow_distances(points)[living])


def test_without_bounds_it_says_so():
  inputs = keras.Input((4,))
  x = keras.layers.LayerNormalization()(inputs)
  x = keras.layers.Dense(5, 'relu')(x)
  view = testing.group_view(keras.Model(inputs, keras.layers.Dense(2)(x)))
  assert not view.has_bounds
  assert testing.group_view(testing.mlp()).has_bounds


@pytest.mark.parametrize('activation', ['relu', 'sigmoid'])
def test_differences_hold_at_every_position_and_consumer(activation):
  inputs = keras.Input((3, 5))
  x = keras.layers.Dense(4, activation, name='a')(inputs)
  each = keras.layers.Dense(2, name='each')(x)
  whole = keras.layers.Dense(2, name='whole')(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, [each, whole]))
  view = testing.group_view(model)
  left, right = testing.pairs(4)
  found = view.difference(left, right)
  assert found.low.shape == left.shape
  samples = testing.samples((3, 5)).astype(np.float32)
  seen = np.asarray(model.get_layer('a')(samples), np.float64)
  apart = (seen[..., left] - seen[..., right]).reshape(-1, len(left))
  # Keras rounds to float32.
  assert np.all(apart >= found.low - 1e-5)
  assert np.all(apart <= found.high + 1e-5)
  # A unit beside itself is nothing apart.
  same = view.difference(np.array([1]), np.array([1]))
  assert same.low[0] == same.high[0] == 0


@pytest.mark.parametrize('method', ['impact', 'stochastic'])
def test_bounds_that_overflow_are_no_bounds(method):
  model = testing.mlp((3, 8, 8, 6, 3), 'exponential')
  for layer in model.layers:
    layer.set_weights([20 * weight for weight in layer.get_weights()])
  view = testing.group_view(model, 0, -9.0, 9.0)
  paoding.prune(model, 0.5, method, input_range=(-9.0, 9.0), verbose=0)
  assert not view.has_bounds
