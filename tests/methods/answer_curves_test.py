"""What cutting one group alone costs the answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding.methods.answer_curves import answer_curve, convex
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups


def curves(model, room, **settings):
  graph = build_graph(model)
  params, boxes = read_params(graph), testing.box(graph)
  fits = testing.fitting(model, graph, params, boxes, **settings)
  view = NetworkView(graph, params, boxes, fitting=fits)
  return [
    answer_curve(view, group, np.ones(group.size, bool), room)
    for group in find_groups(graph).groups
  ]


def test_what_others_make_up_for_costs_nothing():
  model = testing.mlp((5, 8, 8, 3), 'linear')
  kernel, bias = model.get_layer('hidden_1').get_weights()
  mix = np.random.default_rng(0).normal(size=(4, 4))
  kernel[:, 4:], bias[4:] = kernel[:, :4] @ mix, bias[:4] @ mix
  model.get_layer('hidden_1').set_weights([kernel, bias])
  _, found = curves(model, 4, ridge=1e-9)
  assert len(found) == 5
  assert found[0] == 0
  assert found[4] < 1e-6
  _, found = curves(model, 6, ridge=1e-9)
  assert found[6] > 1e-3


def test_a_group_that_the_answers_hardly_hang_on_costs_little():
  """Whatever share of what its consumer reads is lost."""
  model = testing.mlp((6, 12, 12, 3), 'relu')
  strong = curves(model, 8)
  kernel, bias = model.get_layer('hidden_1').get_weights()
  model.get_layer('hidden_1').set_weights([0.01 * kernel, bias + 1])
  weak = curves(model, 8)
  assert weak[0][8] < strong[0][8]


def test_answers_are_looked_at_on_inputs_that_no_fit_is_made_on():
  model = testing.mlp((6, 12, 4))
  graph = build_graph(model)
  params, boxes = read_params(graph), testing.box(graph)
  (group,) = find_groups(graph).groups
  fitted, others = np.random.default_rng(0).normal(size=(2, 100, 6))
  fitted[:, 3:] = 0.0  # what is fitted here is nothing there
  found = []
  for judged_on in (None, [others.astype(np.float32)]):
    fits = Fitting(
      model, params, [fitted.astype(np.float32)], FitSettings(), judged_on
    )
    view = NetworkView(graph, params, boxes, fitting=fits)
    found.append(answer_curve(view, group, np.ones(12, bool), 6)[-1])
  assert found[1] > 2 * found[0]


@given(
  gaps=st.lists(st.floats(0, 10), min_size=1, max_size=6),
  steps=st.lists(st.integers(1, 4), min_size=6, max_size=6),
)
def test_convex_curves_lie_below_their_points(gaps, steps):
  removed = np.cumsum([0, *steps[: len(gaps) - 1]])
  found = convex(removed, np.array(gaps))
  assert len(found) == removed[-1] + 1
  assert np.all(found[removed] <= np.maximum.accumulate(gaps) + 1e-9)
  assert np.all(np.diff(found) >= -1e-9)
  assert np.all(np.diff(found, 2) >= -1e-9)
  assert found[0] == gaps[0]


def test_convex_points_are_kept():
  found = convex(np.array([0, 2, 3]), np.array([0.0, 1.0, 3.0]))
  np.testing.assert_allclose(found, [0, 0.5, 1, 3])


def test_unknown_answers_leave_no_curve():
  found = convex(np.array([0, 2]), np.array([0.0, np.inf]))
  assert np.all(np.isinf(found))
