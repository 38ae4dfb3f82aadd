"""The deviation bound: sound for every form of a pruned model."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.bounds import deviation as lib
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network import matching
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.pruning.driver import Driver

# float32 inference is off by this much of its values.
_FLOAT32 = 1e-4


MODELS = {
  **{
    name: functools.partial(testing.mlp, (5, 12, 10, 3), name)
    for name in ('relu', 'sigmoid', 'tanh', 'gelu', 'silu', 'elu', 'softplus')
  },
  'softmax': lambda: testing.mlp((5, 12, 3), 'relu', activation='softmax'),
  'sigmoid out': lambda: testing.mlp((5, 12, 3), 'relu', activation='sigmoid'),
  'no bias': lambda: testing.mlp((5, 12, 10, 3), 'relu', use_bias=False),
  'norm before': lambda: testing.with_batch_norm(True),
  'norm after': lambda: testing.with_batch_norm(False, 'tanh'),
}


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
  model = MODELS[name]()
  x = testing.samples((5,), 2000).astype(np.float32)
  old = testing.answers(model, x)
  found = {}
  for form, pruned in forms(model).items():
    found[form] = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
    moved = np.abs(testing.answers(pruned, x) - old)
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
  model = MODELS['relu']()
  x = testing.samples((5,), 2000).astype(np.float32)
  pruned = forms(model, method)['compact']
  bound = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
  moved = np.abs(testing.answers(model, x) - testing.answers(pruned, x))
  assert np.all(moved.max(0) <= bound + _FLOAT32)


def test_an_unpruned_model_has_not_moved():
  model = MODELS['relu']()
  same = keras.models.clone_model(model)
  same.set_weights(model.get_weights())
  assert paoding.deviation_bound(model, same).max() == 0


def test_removing_a_duplicate_moves_nothing():
  model = testing.mlp((5, 12, 3), 'relu')
  kernel, bias = model.layers[0].get_weights()
  kernel[:, 1::2], bias[1::2] = kernel[:, ::2], bias[::2]
  model.layers[0].set_weights([kernel, bias])
  small = paoding.prune(model, 0.5, method='saliency', verbose=0)
  assert small.layers[0].units == 6
  # What is left is the rounding of the merged float32 weights.
  assert paoding.deviation_bound(model, small).max() < 1e-5


def test_a_smaller_box_gives_a_smaller_bound():
  model = MODELS['relu']()
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
  small = paoding.prune(model, 0.5, verbose=0, distillation=False)
  found = paoding.deviation_bound(model, small)
  assert [bound.shape for bound in found] == [(2,), (4,)]


def test_other_models_are_refused():
  model = MODELS['relu']()
  with pytest.raises(ValueError, match='differ in structure'):
    paoding.deviation_bound(model, MODELS['sigmoid out']())
  with pytest.raises(ValueError, match='20 units in the pruned model'):
    paoding.deviation_bound(model, testing.mlp((5, 20, 10, 3), 'relu'))
  with pytest.raises(ValueError, match='not a pruned form'):
    paoding.deviation_bound(model, testing.mlp((6, 12, 10, 3), 'relu'))


def test_unknown_layers_have_no_bound():
  model = keras.Sequential(
    [
      keras.Input((4,)),
      keras.layers.Dense(4),
      keras.layers.Lambda(tf.sin, name='strange'),
      keras.layers.Dense(2),
    ]
  )
  with pytest.raises(ValueError, match='strange'):
    paoding.deviation_bound(model, model)


@given(seed=st.integers(0, 200), left=st.integers(1, 5))
def test_matching_is_the_best_that_keeps_order(seed, left):
  rng = np.random.default_rng(seed)
  original, pruned = rng.normal(size=(3, 6)), rng.normal(size=(3, left))
  found = matching.match_units(original, pruned, ('x',))

  def cost(kept):
    return np.square(original[:, kept] - pruned).sum()

  best = min(cost(list(k)) for k in itertools.combinations(range(6), left))
  assert np.all(np.diff(found) > 0)
  assert cost(found) == pytest.approx(best)


def test_matching_finds_the_units_that_stayed():
  rng = np.random.default_rng(0)
  original = rng.normal(size=(10, 40))
  kept = np.sort(rng.permutation(40)[:17])
  found = matching.match_units(original, original[:, kept], ('x',))
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
  found = matching.recover_merges(graph, find_groups(graph), before, after)
  for group in driver.groups:
    value = group.consumers[0].node.inputs[0]
    np.testing.assert_array_equal(found[value], driver._merged[group.name])


def test_another_activation_in_the_same_place_is_refused():
  with pytest.raises(ValueError, match='differ in structure'):
    paoding.deviation_bound(MODELS['relu'](), MODELS['tanh']())


def twins(make):
  """Two models of the same weights from two settings of one layer."""
  made = [
    testing.fill(
      keras.Sequential(
        [
          keras.Input((5,)),
          keras.layers.Dense(6, name='hidden'),
          make(setting),
          keras.layers.Dense(3, name='end'),
        ]
      )
    )
    for setting in (0, 1)
  ]
  made[1].set_weights(made[0].get_weights())
  return made


_OTHERWISE = {
  'activation': lambda s: keras.layers.Activation(
    ['relu', 'tanh'][s], name='x'
  ),
  'upper end': lambda s: keras.layers.ReLU([1.0, 2.0][s], name='x'),
  'negative slope': lambda s: keras.layers.LeakyReLU([0.1, 0.3][s], name='x'),
  'alpha': lambda s: keras.layers.ELU([1.0, 0.5][s], name='x'),
  'epsilon': lambda s: keras.layers.BatchNormalization(
    epsilon=[1e-3, 1.0][s], name='x'
  ),
}


@pytest.mark.parametrize('name', _OTHERWISE)
def test_the_same_weights_in_another_function_are_refused(name):
  one, two = twins(_OTHERWISE[name])
  x = testing.samples((5,)).astype(np.float32)
  assert np.abs(one(x) - two(x)).max() > 0.05
  with pytest.raises(ValueError, match="differ in structure, first at 'x'"):
    paoding.deviation_bound(one, two, (-1.0, 1.0))
  again, _ = twins(_OTHERWISE[name])
  assert paoding.deviation_bound(one, again, (-1.0, 1.0)).max() == 0


def test_the_same_layers_in_another_wiring_are_refused():
  def wired(swapped):
    inputs = keras.Input((4,), name='start')
    left = keras.layers.Dense(4, name='left')(inputs)
    right = keras.layers.Dense(4, name='right')(inputs)
    ends = (right, left) if swapped else (left, right)
    outputs = [
      keras.layers.Dense(2, name=f'end_{k}')(end) for k, end in enumerate(ends)
    ]
    return testing.fill(keras.Model(inputs, outputs))

  one, two = wired(False), wired(True)
  for layer in one.layers:
    two.get_layer(layer.name).set_weights(layer.get_weights())
  with pytest.raises(ValueError, match='differ in structure'):
    paoding.deviation_bound(one, two, (-1.0, 1.0))


def test_overflow_gives_infinite_bounds():
  model = testing.mlp((3, 4, 4, 4, 3), 'exponential')
  for layer in model.layers:
    layer.set_weights([20 * w for w in layer.get_weights()])
  small = paoding.prune(
    model, 0.5, method='saliency', input_range=(-9.0, 9.0), verbose=0
  )
  with np.errstate(all='ignore'):
    bound = paoding.deviation_bound(model, small, (-9.0, 9.0))
  assert np.all(bound == np.inf)


def on_sequences():
  """A consumer at every position, and one over all positions."""
  inputs = keras.Input((4, 5))
  x = keras.layers.Dense(12, 'relu', name='a')(inputs)
  y = keras.layers.Dense(10, 'tanh', name='b')(x)
  flat = keras.layers.Flatten()(x)
  return testing.fill(
    keras.Model(
      inputs,
      [
        keras.layers.Dense(3, name='each')(y),
        keras.layers.Dense(2, name='all')(flat),
      ],
    )
  )


@pytest.mark.parametrize('method', paoding.methods.method_names())
def test_it_bounds_networks_on_sequences(method):
  model = on_sequences()
  x = testing.samples((4, 5), 500).astype(np.float32)
  old = testing.answers(model, x)
  found = {}
  made = forms(model, method)
  for form, pruned in made.items():
    found[form] = paoding.deviation_bound(model, pruned, (-1.0, 1.0))
    assert [bound.shape for bound in found[form]] == [(4, 3), (2,)]
    new = testing.answers(pruned, x)
    for bound, was, now in zip(found[form], old, new, strict=True):
      moved = np.abs(now - was).max(0)
      assert moved.max() > 0
      assert np.all(moved <= bound + _FLOAT32 * (1 + np.abs(was).max())), form
  # Of units that moved the matching is a guess, sound but not the same.
  kernel, small = (
    one.get_layer('a').kernel.numpy() for one in (model, made['compact'])
  )
  stayed = (small[:, :, None] == kernel[:, None]).all(0).any(1)
  assert stayed.all() or paoding.methods.get_method(method).moves_units
  same = 1e-6 if stayed.all() else 0.15
  for one, two in zip(found['compact'], found['wrapped'], strict=True):
    np.testing.assert_allclose(one, two, rtol=same)


@given(
  seed=st.integers(0, 10_000),
  name=st.sampled_from(testing.ACTIVATIONS),
  noise=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_changes_by_merges_and_noise_stay_in_the_bound(seed, name, noise):
  # Float64 throughout, so that nothing hides behind float32's rounding.
  rng = np.random.default_rng(seed)
  graph = build_graph(_by_activation(name))
  before = {
    ref: rng.normal(size=value.shape) / np.sqrt(len(value))
    for ref, value in read_params(graph).items()
  }
  grouping = find_groups(graph)
  after = dict(before)
  for group in grouping.groups:
    ref = group.consumers[0].node.op.kernel
    kernel = after[ref].copy()
    units = rng.permutation(group.size)
    for gone, kept in zip(units[:3], units[3:6], strict=True):
      kernel[kept] += kernel[gone]
      kernel[gone] = 0
    after[ref] = kernel
  for ref, value in after.items():
    after[ref] = value + noise * rng.normal(size=value.shape) * (value != 0)
  low = rng.uniform(-1, 0.5)
  width = rng.choice([0.0, 0.3, 2.0])
  bound_of = lib.ChangeBound(
    graph, before, testing.box(graph, low, low + width)
  )
  told = matching.recover_merges(graph, grouping, before, after)
  x = testing.samples((5,), 100, low, low + width, seed)
  out = graph.outputs[0]
  moved = (
    testing.forward(graph, after, x)[out]
    - testing.forward(graph, before, x)[out]
  )
  for merges in (told, {v: np.roll(m, 1) for v, m in told.items()}, {}):
    (change,) = bound_of(after, merges)
    testing.assert_inside(moved, change)
    if width == 0:
      np.testing.assert_allclose(change.low, moved[0], rtol=1e-6, atol=1e-8)
      np.testing.assert_allclose(change.high, moved[0], rtol=1e-6, atol=1e-8)


@functools.cache
def _by_activation(name):
  return testing.mlp((5, 9, 8, 3), name)


def test_units_tied_across_blocks_are_matched_as_one():
  # Found by random networks: their blocks had been matched apart.
  inputs = keras.Input((9, 3))
  x = keras.layers.Conv1D(8, 1, name='first')(inputs)
  x = keras.layers.Conv1D(12, 1, groups=2, name='grouped')(x)
  x = keras.layers.Conv1D(5, 1, groups=1, name='last')(x)
  x = keras.layers.GlobalMaxPooling1D()(x)
  model = keras.Model(inputs, keras.layers.Dense(2)(x))
  for seed in range(12):
    testing.fill(model, seed)
    kernel, bias = model.get_layer('first').get_weights()
    # Twins in one block, but not in the other.
    kernel[..., :4], bias[:4] = kernel[..., :1], bias[0]
    model.get_layer('first').set_weights([kernel, bias])
    small = paoding.prune(
      model, 0.7, method='l1', input_range=(-1.0, 1.0), verbose=0
    )
    bound = paoding.deviation_bound(model, small, (-1.0, 1.0))
    x = testing.samples((9, 3), 50).astype(np.float32)
    moved = np.abs(np.asarray(small(x)) - np.asarray(model(x))).max(0)
    assert np.all(moved <= bound + 1e-4)
