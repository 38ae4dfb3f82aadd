"""Chains are read as the layers that they stand for, and bounded as such."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.chains import multiplied_out
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.matching import are_twins, pair_models

_layers = keras.layers
SETTINGS = {'input_range': (-1.0, 1.0), 'verbose': 0, 'distillation': False}


def mlp():
  return testing.mlp((6, 12, 12, 3), 'relu')


def beside():
  """A chain in one branch moves what Keras puts beside it."""
  inputs = keras.Input((7, 7, 3))
  x = _layers.Conv2D(8, 3, padding='same', name='stem')(inputs)
  y = _layers.Conv2D(
    10, 3, 2, padding='same', activation='relu', name='window'
  )(x)
  z = _layers.Conv2D(10, 1, 2, name='point')(x)
  z = _layers.ReLU(name='behind')(z)
  x = _layers.GlobalAveragePooling2D()(_layers.Add()([y, z]))
  return testing.fill(keras.Model(inputs, _layers.Dense(3, name='classes')(x)))


CASES = {
  'mlp': (mlp, {'hidden_0': 2, 'hidden_1': 3}),
  'point': (beside, {'point': 2}),
  'window': (beside, {'window': (3, 4)}),
  'front': (beside, {'window': (3, None), 'stem': 4}),
}


@functools.cache
def case(name):
  make, ranks = CASES[name]
  model = make()
  return model, paoding.factorize(model, ranks=ranks, **SETTINGS)


pytestmark = pytest.mark.filterwarnings(
  'ignore::tfmot_paoding.pruning.FewAnswersWarning'
)


@pytest.mark.parametrize('name', CASES)
def test_they_are_layers_of_other_kernels(name):
  model, small = case(name)
  graph, other = build_graph(model), build_graph(small)
  assert not are_twins(graph, other)
  found = multiplied_out(graph, other)
  assert are_twins(graph, found.graph)
  told = {}
  for layer, ranks in CASES[name][1].items():
    given = ranks if isinstance(ranks, tuple) else (ranks,)
    told[layer,] = tuple(rank for rank in given if rank)
  assert found.ranks == told
  whole = keras.models.clone_model(model)
  for ref, value in found.params.items():
    variable = getattr(whole.get_layer(ref.layer[0]), ref.name)
    variable.assign(value)
  x = testing.samples(model.input_shape[1:], 8).astype(np.float32)
  np.testing.assert_allclose(
    testing.answers(whole, x), testing.answers(small, x), atol=2e-5
  )


@pytest.mark.parametrize('name', CASES)
def test_how_far_outputs_move_is_bounded(name):
  model, small = case(name)
  bound = paoding.deviation_bound(model, small, (-1.0, 1.0))
  x = testing.samples(model.input_shape[1:], 500).astype(np.float32)
  moved = np.abs(testing.answers(small, x) - testing.answers(model, x)).max(0)
  assert np.all(moved > 0)
  assert np.all(moved <= bound + 1e-4)
  near = paoding.deviation_bound(
    model, small, (-1.0, 1.0), x=x[:3], epsilon=0.01, method='crown-ibp'
  )
  moved = np.abs(testing.answers(small, x) - testing.answers(model, x))[:3]
  assert np.all(moved <= near + 1e-4)
  assert np.all(near <= bound)


def test_units_leave_and_layers_are_thin():
  model = mlp()
  pruned = paoding.prune(model, 0.25, method='saliency', **SETTINGS)
  thin = paoding.factorize(pruned, ranks={'hidden_1': 2}, **SETTINGS)
  x = testing.samples((6,), 500).astype(np.float32)
  bound = paoding.deviation_bound(model, thin, (-1.0, 1.0))
  moved = np.abs(testing.answers(thin, x) - testing.answers(model, x)).max(0)
  assert np.all(moved <= bound + 1e-4)
  again = paoding.prune(
    paoding.factorize(model, ranks={'hidden_1': 4}, **SETTINGS),
    {'hidden_0': 0.25, 'hidden_1_low_rank': 0.5},
    method='saliency',
    **SETTINGS,
  )
  bound = paoding.deviation_bound(model, again, (-1.0, 1.0))
  moved = np.abs(testing.answers(again, x) - testing.answers(model, x)).max(0)
  assert np.all(moved <= bound + 1e-4)


def _with_a_layer(**settings):
  """The MLP with one more layer, which is no link of a chain."""
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((6,)),
        _layers.Dense(12, activation='relu', name='hidden_0'),
        _layers.Dense(4, name='more', **settings),
        _layers.Dense(12, activation='relu', name='hidden_1'),
        _layers.Dense(3, name='logits'),
      ]
    )
  )


@pytest.mark.parametrize(
  'settings', [{'activation': 'relu', 'use_bias': False}, {'use_bias': True}]
)
def test_what_is_no_chain_is_refused_as_before(settings):
  other = _with_a_layer(**settings)
  with pytest.raises(ValueError, match='differ in structure'):
    pair_models(mlp(), other)


def test_what_is_read_elsewhere_is_no_link():
  inputs = keras.Input((6,))
  x = _layers.Dense(12, activation='relu', name='hidden_0')(inputs)
  thin = _layers.Dense(4, use_bias=False, name='more')(x)
  y = _layers.Dense(12, activation='relu', name='hidden_1')(thin)
  y = _layers.Dense(3, name='logits')(y)
  other = testing.fill(keras.Model(inputs, [y, thin]))
  found = multiplied_out(build_graph(mlp()), build_graph(other))
  assert not found.ranks
