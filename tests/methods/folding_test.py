"""Folding: twins, hand values, and the variance of means."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.methods.folding import Fold, fold_weights
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


def folded(model, folds, index=0):
  graph = build_graph(model)
  params, group = read_params(graph), find_groups(graph).groups[index]
  return params, group, fold_weights(graph, params, group, folds)


def conv_norm(seed=0):
  """Convolution, batch normalization, depthwise and another of it."""
  x = inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(5, 3, name='first')(x)
  x = _layers.BatchNormalization(name='norm_0')(x)
  x = _layers.PReLU(shared_axes=[1, 2], name='slopes')(x)
  x = _layers.DepthwiseConv2D(3, name='depthwise')(x)
  x = _layers.BatchNormalization(name='norm_1')(x)
  x = _layers.ReLU()(x)
  x = _layers.GlobalAveragePooling2D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(4)(x)), seed)


def make_twins(model, one, other):
  """Gives channel `other` all that channel `one` has, up to what it feeds."""
  for layer in model.layers[:-1]:
    values = [np.array(w) for w in layer.get_weights()]
    for value in values:
      if isinstance(layer, _layers.DepthwiseConv2D) and value.ndim == 4:
        value[..., other, :] = value[..., one, :]
      else:
        value[..., other] = value[..., one]
    layer.set_weights(values)
  return model


def test_means_are_weighted_by_the_shares():
  model = testing.mlp((4, 5, 3))
  kernel, bias = model.get_layer('hidden_0').get_weights()
  _, group, found = folded(model, [Fold(1, 3, 0.5), Fold(0, 3, 1 / 3)])
  refs = {ref.name: value for ref, value in found.items()}
  for name, old in (('kernel', kernel), ('bias', bias)):
    wanted = np.array(old)
    wanted[..., 3] = (old[..., 0] + old[..., 1] + old[..., 3]) / 3
    np.testing.assert_allclose(refs[name], wanted, rtol=1e-6)
  assert group.size == 5


@pytest.mark.parametrize('method', ['folding', 'fold_least_squares'])
def test_twins_fold_without_a_trace(method):
  model = make_twins(conv_norm(), 1, 3)
  if method == 'fold_least_squares':
    method = paoding.Method('ward', 'greedy', method)
  pruned = paoding.prune(
    model, 0.2, method=method, step_sparsity=0.2, verbose=0, distillation=False
  )
  x = np.random.default_rng(0).uniform(size=(9, 6, 6, 3)).astype(np.float32)
  np.testing.assert_allclose(pruned(x), model(x), rtol=1e-3, atol=1e-4)
  assert pruned.get_layer('first').filters == 4


@pytest.mark.parametrize('cosine', [1.0, 0.6, 0.0, -0.5])
def test_the_variance_is_that_of_the_mean(cosine):
  """White inputs: correlations are the cosines of kernels, exactly."""
  rng = np.random.default_rng(0)
  kernel = np.zeros((4, 3))
  kernel[0, 0], kernel[:2, 2] = 3.0, (cosine, np.sqrt(1 - cosine**2))
  kernel[3, 1] = 1.0
  inputs = keras.Input((4,))
  x = _layers.Dense(3, use_bias=False, name='dense')(inputs)
  x = _layers.BatchNormalization(name='norm', epsilon=1e-9)(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  model.get_layer('dense').set_weights([kernel])
  white = rng.normal(size=(200000, 4))
  seen = white @ kernel
  norm = model.get_layer('norm')
  gamma, beta = norm.get_weights()[:2]
  norm.set_weights([gamma, beta, seen.mean(0), seen.var(0)])
  params, _, found = folded(model, [Fold(2, 0, 0.25)])
  value = {ref.name: found[ref] for ref in found}
  made = white @ value['kernel']
  np.testing.assert_allclose(
    made[:, 0].mean(), value['moving_mean'][0], atol=0.01
  )
  np.testing.assert_allclose(
    made[:, 0].var(), value['moving_variance'][0], rtol=0.02
  )
  # What is not folded keeps its function and its statistics.
  np.testing.assert_array_equal(value['kernel'][:, 1], kernel[:, 1])
  before = {ref.name: params[ref] for ref in params if ref in found}
  np.testing.assert_allclose(
    value['moving_variance'][1], before['moving_variance'][1], rtol=1e-6
  )


def test_counts_are_remembered_from_step_to_step():
  """Two steps give the centroid that one step gives."""
  model = testing.mlp((4, 6, 3))
  kernel = np.zeros((4, 6), np.float32)
  kernel[0] = [0.0, 0.1, 0.3, 9.0, 20.0, 40.0]
  model.get_layer('hidden_0').set_weights([kernel, np.zeros(6, np.float32)])
  for step in (0.17, 0.34):
    pruned = paoding.prune(
      model, 0.34, method='folding', step_sparsity=step, verbose=0
    )
    found = pruned.get_layer('hidden_0').get_weights()[0][0]
    np.testing.assert_allclose(found.min(), 0.4 / 3, rtol=1e-5)


def test_bounds_hold_where_producers_change():
  model = testing.mlp((4, 9, 8, 3))
  x = testing.samples((4,), 3000, 0.0, 1.0).astype(np.float32)
  for method in ('folding', 'reconstruction'):
    pruned = paoding.prune(
      model,
      0.4,
      method=method,
      step_sparsity=0.2,
      verbose=0,
      distillation=False,
    )
    change = np.abs(pruned(x) - model(x)).max(0)
    bound = paoding.deviation_bound(model, pruned)
    assert np.all(change <= bound + 1e-5)
    assert np.all(change > 0)
