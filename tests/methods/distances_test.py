"""Distances between units, against the double loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding.methods.distances import euclidean_distances
from tfmot_paoding.methods.group_view import view_group
from tfmot_paoding.methods.memory import Memory
from tfmot_paoding.methods.network_view import NetworkView
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


def test_distances_are_remembered_only_while_weights_stay():
  model = testing.mlp((5, 8, 6, 3))
  graph = build_graph(model)
  params, memory = read_params(graph), Memory()
  group = find_groups(graph).groups[0]

  def view_of(weights, alive):
    network = NetworkView(graph, weights, testing.box(graph), memory)
    return view_group(network, group, alive)

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
