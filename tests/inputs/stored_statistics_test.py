"""Ranges that stored statistics prove wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import input_boxes, resolve_range
from tfmot_paoding.inputs.stored_statistics import disproof
from tfmot_paoding.network.graph import build_graph

L = keras.layers


def trained(low, high, units=8, front=(), seed=0):
  """A network whose statistics are those of inputs in a range."""
  norm = L.BatchNormalization(name='norm')
  model = keras.Sequential(
    [
      keras.Input((6, 6, 2)),
      *front,
      L.Conv2D(units, 3, use_bias=False),
      norm,
      L.ReLU(),
      L.Flatten(),
      L.Dense(3),
    ]
  )
  keras.utils.set_random_seed(seed)
  conv = model.layers[len(front)]
  conv.set_weights([np.random.default_rng(seed).normal(size=(3, 3, 2, units))])
  x = np.random.default_rng(1).uniform(low, high, (100, 6, 6, 2))
  z = keras.Model(model.input, conv.output)(x).numpy().reshape(-1, units)
  norm.set_weights([np.ones(units), np.zeros(units), z.mean(0), z.var(0)])
  return model


def proved(model, input_range):
  graph = build_graph(model)
  shapes = [graph.shapes[value] for value in graph.inputs]
  return disproof(graph, input_boxes(model, input_range, shapes))


@pytest.mark.parametrize('front', [(), (L.ZeroPadding2D(1),)])
@pytest.mark.parametrize('own', [(0, 255), (-1, 1), (0, 1), (-50, 10)])
def test_the_range_of_training_is_never_disproved(own, front):
  for seed in range(3):
    model = trained(*own, front=front, seed=seed)
    assert proved(model, own) is None
    low, high = own
    assert proved(model, (low - 3, high + 100)) is None


def test_a_range_that_is_far_too_small_is():
  text = proved(trained(0, 255), (0, 1))
  assert "'norm'" in text
  assert '8 of 8 channels' in text
  assert proved(trained(-50, 10), (0, 1)) is not None


def test_statistics_on_their_way_from_their_start_prove_nothing():
  model = trained(0, 1e-3)
  norm = model.get_layer('norm')
  norm.set_weights([np.ones(8), np.zeros(8), np.zeros(8), np.full(8, 0.9)])
  assert proved(model, (0, 1e-3)) is None


def test_removed_channels_prove_nothing():
  model = trained(0, 255)
  gamma, beta, mean, variance = model.get_layer('norm').get_weights()
  gamma[:7] = beta[:7] = 0.0
  mean[7], variance[7] = 0.0, 1.0
  model.get_layer('norm').set_weights([gamma, beta, mean, variance])
  assert proved(model, (0, 1)) is None


def test_the_door_says_so_whether_a_range_is_given_or_not():
  model = trained(0, 255)
  with pytest.warns(UserWarning, match=r"not given. \(0, 1\) is .*'norm' stor"):
    settled = resolve_range(model)
  assert settled.ends == (0.0, 1.0)
  with pytest.warns(UserWarning, match="is not what .* 'norm' stored means"):
    resolve_range(model, (-1, 1))


def test_what_is_not_known_is_no_obstacle():
  model = testing.with_batch_norm()
  assert proved(model, (0, 1)) is None or proved(model, (-9, 9)) is None
  strange = keras.Sequential(
    [
      keras.Input((4,)),
      L.Lambda(lambda x: 300 * x),
      L.Dense(3),
      L.BatchNormalization(),
    ]
  )
  strange.layers[-1].set_weights(
    [np.ones(3), np.zeros(3), np.full(3, 99.0), np.full(3, 99.0)]
  )
  assert proved(strange, (0, 1)) is None
