"""The deviation bound: sound for every form of a pruned model."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import deviation as lib
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.driver import Driver
from tfmot_paoding.graph import build_graph, read_params
from tfmot_paoding.groups import find_groups

# float32 inference is off by this much of its values.
_FLOAT32 = 1e-4


def models():
  for name in ('relu', 'sigmoid', 'tanh', 'gelu', 'silu', 'elu', 'softplus'):
    yield name, testing.mlp((5, 12, 10, 3), name)
  yield 'softmax', testing.mlp((5, 12, 3), 'relu', activation='softmax')
  yield 'sigmoid out', testing.mlp((5, 12, 3), 'relu', activation='sigmoid')
  yield 'no bias', testing.mlp((5, 12, 10, 3), 'relu', use_bias=False)
  yield 'norm before', testing.with_batch_norm(True)
  yield 'norm after', testing.with_batch_norm(False, 'tanh')


MODELS = dict(models())


def forms(model, method='saliency'):
  """The wrapped, stripped, compact and a fine-tuned model."""
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.2), method, (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  tuned = keras.models.clone_model(small)
  rng = np.random.default_rng(0)
  tuned.set_weights(
    [
      w + 0.01 * rng.normal(size=w.shape) * (w != 0)
      for w in small.get_weights()
    ]
  )
  return {
    'wrapped': wrapped,
    'stripped': stripped,
    'compact': small,
    'tuned': tuned,
  }


@pytest.mark.parametrize('name', MODELS)
def test_it_bounds_every_form(name):
  model = MODELS[name]
  x = testing.samples((5,), 2000).astype(np.float32)
  old = model.predict(x, verbose=0)
  found = {}
  for form, pruned in forms(model).items():
    found[form] = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
    moved = np.abs(pruned.predict(x, verbose=0) - old)
    assert found[form].shape == (3,)
    slack = _FLOAT32 * (1 + np.abs(old).max())
    assert np.all(moved.max(0) <= found[form] + slack), form
    assert moved.max() > 0
  np.testing.assert_allclose(found['stripped'], found['wrapped'], rtol=1e-6)
  # Without biases the matching of units is a guess, as sound but not the same.
  same = 0.15 if name == 'no bias' else 1e-6
  np.testing.assert_allclose(found['compact'], found['wrapped'], rtol=same)


@pytest.mark.parametrize('method', ['l1', 'impact', 'stochastic'])
def test_it_bounds_every_method(method):
  model = MODELS['relu']
  x = testing.samples((5,), 2000).astype(np.float32)
  pruned = forms(model, method)['compact']
  bound = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
  moved = np.abs(model.predict(x, verbose=0) - pruned.predict(x, verbose=0))
  assert np.all(moved.max(0) <= bound + _FLOAT32)


def test_an_unpruned_model_has_not_moved():
  model = MODELS['relu']
  same = keras.models.clone_model(model)
  same.set_weights(model.get_weights())
  assert paoding.deviation_bound(model, same).max() == 0


def test_removing_a_duplicate_moves_nothing():
  model = testing.mlp((5, 12, 3), 'relu')
  kernel, bias = model.layers[0].get_weights()
  kernel[:, 1::2], bias[1::2] = kernel[:, ::2], bias[::2]
  model.layers[0].set_weights([kernel, bias])
  small = paoding.prune(model, 0.5, 'saliency', verbose=0)
  assert small.layers[0].units == 6
  # What is left is the rounding of the merged float32 weights.
  assert paoding.deviation_bound(model, small).max() < 1e-5


def test_a_smaller_box_gives_a_smaller_bound():
  model = MODELS['relu']
  pruned = forms(model)['compact']
  wide = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
  narrow = paoding.deviation_bound(model, pruned, (-0.1, 0.1))
  assert np.all(narrow < wide)


def test_several_outputs_give_several_bounds():
  inputs = keras.Input((5,))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  model = keras.Model(
    inputs,
    [keras.layers.Dense(2, name='a')(x), keras.layers.Dense(4, name='b')(x)],
  )
  testing.fill(model)
  small = paoding.prune(model, 0.5, verbose=0)
  found = paoding.deviation_bound(model, small)
  assert [bound.shape for bound in found] == [(2,), (4,)]


def test_other_models_are_refused():
  model = MODELS['relu']
  with pytest.raises(ValueError, match='differ in structure'):
    paoding.deviation_bound(model, MODELS['sigmoid out'])
  with pytest.raises(ValueError, match='20 units in the pruned model'):
    paoding.deviation_bound(model, testing.mlp((5, 20, 10, 3), 'relu'))
  with pytest.raises(ValueError, match='not a pruned form'):
    paoding.deviation_bound(model, testing.mlp((6, 12, 10, 3), 'relu'))


def test_unknown_layers_have_no_bound():
  model = keras.Sequential(
    [
      keras.Input((4,)),
      keras.layers.Dense(4),
      keras.layers.LayerNormalization(name='strange'),
      keras.layers.Dense(2),
    ]
  )
  with pytest.raises(ValueError, match='strange'):
    paoding.deviation_bound(model, model)


@given(seed=st.integers(0, 200), left=st.integers(1, 5))
def test_matching_is_the_best_that_keeps_order(seed, left):
  rng = np.random.default_rng(seed)
  original, pruned = rng.normal(size=(3, 6)), rng.normal(size=(3, left))
  found = lib.match_units(original, pruned, ('x',))

  def cost(kept):
    return np.square(original[:, kept] - pruned).sum()

  best = min(cost(list(k)) for k in itertools.combinations(range(6), left))
  assert np.all(np.diff(found) > 0)
  assert cost(found) == pytest.approx(best)


def test_matching_finds_the_units_that_stayed():
  rng = np.random.default_rng(0)
  original = rng.normal(size=(10, 40))
  kept = np.sort(rng.permutation(40)[:17])
  found = lib.match_units(original, original[:, kept], ('x',))
  np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize('method', ['saliency', 'impact'])
def test_merges_are_read_off_the_weights(method):
  # Consumers of many units, so that no row is a sum of others by chance.
  model = testing.mlp((20, 24, 60, 50), 'relu')
  graph = build_graph(model)
  before = read_params(graph)
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.1), method
  )
  driver = Driver(wrapped)
  for step in range(5):
    driver.step(step)
  after = read_params(driver.graph)
  found = lib.recover_merges(find_groups(graph), before, after)
  for group in driver.groups:
    value = group.consumers[0].node.inputs[0]
    np.testing.assert_array_equal(found[value], driver._merged[group.name])


def test_another_activation_in_the_same_place_is_refused():
  with pytest.raises(ValueError, match='differ in structure'):
    paoding.deviation_bound(MODELS['relu'], MODELS['tanh'])
