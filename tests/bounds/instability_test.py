"""Unstable units: by hand, through layers, and the criterion on them."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.bounds import instability as lib
from tfmot_paoding.bounds.whole_range import propagate
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.methods.criteria import IntervalImpact, Stability
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers


def test_instability_by_hand():
  x = Interval(np.array([-1, -3, 0, -2, 1.0]), np.array([1, 1, 2, 0, 2.0]))
  np.testing.assert_allclose(lib.instability(x), [1, 0.5, 0, 0, 0])
  np.testing.assert_allclose(lib.instability(x, 1.5)[4], 1)


def units_of(model):
  graph = build_graph(model)
  params = read_params(graph)
  bounds = propagate(graph, params, testing.box(graph))
  groups = find_groups(graph).groups
  return graph, bounds, groups


@pytest.mark.parametrize('between', ['dense', 'norm', 'depthwise'])
def test_of_a_group_is_that_in_front_of_its_activation(between):
  """Through batch normalization, and a depthwise kernel with two outputs."""
  inputs = keras.Input((4, 4, 2))
  x = L.Conv2D(3, 3, padding='same', name='first')(inputs)
  if between == 'norm':
    x = L.BatchNormalization()(x)
  if between == 'depthwise':
    x = L.DepthwiseConv2D(2, depth_multiplier=2)(x)
  x = L.ReLU()(x)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))
  graph, bounds, groups = units_of(model)
  found = lib.group_instability(graph, bounds, groups[0])
  (relu,) = [n for n in graph.nodes if n.op.kinks]
  own = bounds[relu.inputs[0]]
  each = lib.instability(
    Interval(
      own.low.reshape(-1, own.low.shape[-1]).min(0),
      own.high.reshape(-1, own.high.shape[-1]).max(0),
    )
  )
  if between == 'depthwise':
    each = each.reshape(3, 2).max(1)
  np.testing.assert_allclose(found, each)


def test_smooth_activations_are_never_unstable():
  graph, bounds, groups = units_of(testing.mlp((5, 8, 3), 'tanh'))
  assert not lib.group_instability(graph, bounds, groups[0]).any()


def with_dead_units():
  model = testing.mlp((5, 8, 6, 3))
  first = model.layers[0]
  first.bias.assign(np.where(np.arange(8) < 2, -100, first.bias))
  return model


class TestCriterion:
  def test_is_impact_less_for_the_unstable(self):
    view = testing.group_view(testing.mlp((5, 8, 6, 3)))
    units = np.arange(8)
    found = Stability(weight=0.5).scores(view, units)
    impact = IntervalImpact().scores(view, units)
    share = 1 - 0.5 * view.instability[:, None]
    finite = np.isfinite(impact) & ~view.silent[:, None]
    assert finite.any()
    np.testing.assert_allclose(found[finite], (impact * share)[finite])
    none = Stability(weight=0.0).scores(view, units)
    np.testing.assert_array_equal(none[finite], impact[finite])

  def test_dead_units_cost_nothing(self):
    view = testing.group_view(with_dead_units())
    np.testing.assert_array_equal(view.silent, np.arange(8) < 2)
    found = Stability().scores(view, np.arange(8))
    assert np.all(found[:2] == 0)
    assert np.all(found[2:] > 0)

  def test_dead_units_go_first_and_leave_no_trace(self):
    model = with_dead_units()
    wrapped = paoding.prune_low_saliency(
      model,
      {'hidden_0': paoding.ProgressiveSparsity(0.25, 0.25)},
      'stability',
      (-1.0, 1.0),
    )
    paoding.run_schedule(wrapped, verbose=0)
    x = testing.samples((5,)).astype(np.float32)
    small = paoding.compact(strip_pruning(wrapped))
    assert small.layers[0].units == 6
    np.testing.assert_allclose(small(x), model(x), atol=1e-6)

  @pytest.mark.parametrize('weight', [-0.1, 1.1, float('nan')])
  def test_weights_outside_the_unit_interval_are_refused(self, weight):
    with pytest.raises(ValueError, match='`weight`'):
      Stability(weight=weight)

  def test_leaves_fewer_unstable_units_than_impact(self):
    """Two units alike but for their bias: the unstable one goes."""
    kernel = np.array([[1.0, 1.0, 0.3], [0.0, 0.0, 0.9]])
    model = testing.two_layer(kernel, [0.0, 1.5, 0.2], [[1.0], [1.0], [1.0]])
    view = testing.group_view(model)
    found = Stability(weight=1.0).scores(view, np.arange(3))
    np.fill_diagonal(found, np.inf)
    assert found[0].min() < found[1].min()
