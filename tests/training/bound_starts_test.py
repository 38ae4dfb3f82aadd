"""Kernels under which intervals keep their width."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import training
from tfmot_paoding.bounds.whole_range import propagate
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params

L = keras.layers


def deep(final=()):
  keras.utils.set_random_seed(0)
  body = [L.Dense(200, 'relu', name=f'hidden_{k}') for k in range(5)]
  return keras.Sequential([keras.Input((50,)), *body, L.Dense(3), *final])


def widths(model):
  """The mean width in front of each activation, inputs of width 0.02."""
  graph = build_graph(model)
  bounds = propagate(graph, read_params(graph), testing.box(graph, 0.49, 0.51))
  return [
    bounds[node.inputs[0]].width.mean() for node in graph.nodes if node.op.kinks
  ]


def test_widths_stay_where_usual_ones_grow():
  usual = widths(deep())
  assert usual[-1] > 100 * usual[0]
  found = np.array(widths(training.initialized_for_bounds(deep())))
  assert np.all((found[1:] / found[:-1] > 0.5) & (found[1:] / found[:-1] < 2))


@pytest.mark.parametrize('final', [[], [L.Softmax]])
def test_kernels_by_hand(final):
  model = deep([make() for make in final])
  before = model.get_weights()
  found = training.initialized_for_bounds(model, seed=3).get_weights()
  for old, new in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)
  for kernel in found[2:10:2]:
    assert kernel.std() == pytest.approx(np.sqrt(2 * np.pi) / 200, rel=0.02)
  for old, new in zip(before[1::2], found[1::2], strict=True):  # biases
    np.testing.assert_array_equal(old, new)
  np.testing.assert_array_equal(before[10], found[10])  # the last layer
  again = training.initialized_for_bounds(model, seed=3).get_weights()
  other = training.initialized_for_bounds(model, seed=4).get_weights()
  np.testing.assert_array_equal(again[0], found[0])
  assert np.abs(other[0] - found[0]).max() > 0


def test_convolutions_of_every_kind():
  model = testing.pooled()
  found = training.initialized_for_bounds(model)
  graph = build_graph(found)
  (transposed,) = (
    layer.kernel.numpy()
    for layer in graph.layers.values()
    if isinstance(layer, L.Conv2DTranspose)
  )
  fan_in = transposed.size / transposed.shape[2]
  deviation = np.sqrt(2 * np.pi) / fan_in
  assert transposed.std() == pytest.approx(deviation, rel=0.2)


def test_a_model_without_hidden_layers():
  with pytest.raises(ValueError, match='no hidden layer'):
    training.initialized_for_bounds(testing.mlp((5, 3)))
