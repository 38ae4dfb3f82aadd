"""Compaction: the same outputs from smaller layers."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_layers = keras.layers
X = testing.samples((5,), 100).astype(np.float32)


def as_layers(activation):
  """Activations as layers, dropout and batch normalization between."""
  inputs = keras.Input((5,))
  x = inputs
  for k, width in enumerate((8, 6)):
    x = _layers.Dense(width, name=f'hidden_{k}')(x)
    x = _layers.BatchNormalization()(x)
    x = _layers.Activation(activation)(x)
    x = _layers.Dropout(0.5)(x)
  outputs = _layers.Dense(3, activation='softmax')(x)
  return testing.fill(keras.Model(inputs, outputs))


def through_reshapes(activation):
  """An image flattened, units reshaped to one row and back."""
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((5,)),
        _layers.Reshape((5, 1)),
        _layers.Dense(6, activation, name='per_position'),
        _layers.Flatten(),
        _layers.Dense(8, activation, name='flat'),
        _layers.Reshape((1, 8)),
        _layers.Dense(4, activation, name='row'),
        _layers.Reshape((-1,)),
        _layers.Dense(3),
      ]
    )
  )


BUILDERS = {
  'fused': lambda name: testing.mlp((5, 8, 6, 3), name),
  'no bias': lambda name: testing.mlp((5, 8, 6, 3), name, use_bias=False),
  'norm before': lambda name: testing.with_batch_norm(True, name),
  'norm after': lambda name: testing.with_batch_norm(False, name),
  'layers': as_layers,
  'reshapes': through_reshapes,
}


def pruned(model, sparsity=0.5, method='saliency'):
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(sparsity, 0.5), method, (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  return wrapped


def assert_same(one, two, relative=1e-5, x=X):
  a, b = testing.answers(one, x), testing.answers(two, x)
  np.testing.assert_allclose(a, b, rtol=0, atol=relative * np.abs(a).max())


def hidden(model):
  return [x.units for x in model.layers if isinstance(x, _layers.Dense)][:-1]


@pytest.mark.parametrize(
  ('build', 'activation'), testing.paired(BUILDERS, testing.TAME)
)
def test_wrapped_stripped_and_compact_agree(build, activation):
  model = BUILDERS[build](activation)
  wrapped = pruned(model)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert_same(wrapped, stripped)
  assert_same(stripped, small)
  assert hidden(small) == [units // 2 for units in hidden(model)]


@pytest.mark.parametrize(
  ('method', 'sparsity'),
  testing.paired(paoding.methods.method_names(), [0.25, 0.9]),
)
def test_every_method_and_sparsity(method, sparsity):
  model = testing.mlp((5, 20, 10, 3), 'gelu')
  stripped = strip_pruning(pruned(model, sparsity, method))
  small = paoding.compact(stripped)
  assert_same(stripped, small)
  kept = [round(20 * (1 - sparsity)), 10 - int(10 * sparsity)]
  assert hidden(small) == kept
  shapes = [w.shape for w in small.get_weights()]
  assert shapes == [
    (5, kept[0]), (kept[0],), (kept[0], kept[1]), (kept[1],), (kept[1], 3),
    (3,),
  ]  # fmt: skip


def test_names_and_structure_stay():
  model = as_layers('relu')
  small = paoding.compact(pruned(model))
  assert [x.name for x in small.layers] == [x.name for x in model.layers]
  assert [type(x) for x in small.layers] == [type(x) for x in model.layers]
  assert small.name == model.name


def test_a_wrapped_model_is_taken_with_its_masks():
  wrapped = pruned(testing.mlp())
  layer = wrapped.layers[0]
  layer.layer.kernel.assign(np.ones_like(layer.layer.kernel))
  small = paoding.compact(wrapped)
  assert hidden(small) == [4, 3]


def test_the_callers_model_stays_as_it_was():
  stripped = strip_pruning(pruned(testing.mlp()))
  before = stripped.get_weights()
  paoding.compact(stripped)
  for old, new in zip(before, stripped.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)
  assert hidden(stripped) == [8, 6]


@pytest.mark.parametrize('build', BUILDERS)
def test_a_model_without_dead_units_stays_whole(build):
  model = BUILDERS[build]('tanh')
  small = paoding.compact(model)
  assert small.count_params() == model.count_params()
  np.testing.assert_array_equal(small(X), model(X))


@pytest.mark.parametrize(
  ('file', 'activation'),
  testing.paired(['model.h5', 'model.keras', 'saved'], ['relu', 'tanh']),
)
def test_stripped_saved_loaded_and_fine_tuned(tmp_path, file, activation):
  stripped = strip_pruning(pruned(testing.mlp((5, 8, 6, 3), activation)))
  stripped.save(tmp_path / file)
  loaded = keras.models.load_model(tmp_path / file)
  loaded.compile('adam', 'mse')
  loaded.fit(X, np.ones((len(X), 3)), epochs=2, verbose=0)
  small = paoding.compact(loaded)
  assert_same(loaded, small)
  assert hidden(small) == [4, 3]  # both sides were zero, so they stayed dead


def test_fine_tuned_sigmoids_come_back_and_are_not_dropped():
  stripped = strip_pruning(pruned(testing.mlp((5, 8, 6, 3), 'sigmoid')))
  stripped.compile('adam', 'mse')
  stripped.fit(X, np.ones((len(X), 3)), epochs=2, verbose=0)
  assert_same(stripped, paoding.compact(stripped))


class TestConstantUnits:
  """Units without incoming weights, read by consumers."""

  def model(self, activation='sigmoid', use_bias=True):
    model = testing.mlp((5, 8, 6, 3), activation)
    if not use_bias:
      config = model.get_config()
      for layer in config['layers'][2:]:
        layer['config']['use_bias'] = False
      rest = keras.Sequential.from_config(config)
      rest.set_weights([w for k, w in enumerate(model.get_weights())
                        if k not in (3, 5)])  # fmt: skip
      model = rest
    kernel, bias = model.layers[0].get_weights()
    kernel[:, [1, 4]] = 0
    model.layers[0].set_weights([kernel, bias])
    return model

  @pytest.mark.parametrize('activation', ['sigmoid', 'relu', 'softplus'])
  def test_they_move_into_the_bias(self, activation):
    model = self.model(activation)
    small = paoding.compact(model)
    assert hidden(small) == [6, 6]
    assert_same(model, small)

  def test_without_a_bias_to_take_them_they_stay(self):
    model = self.model(use_bias=False)
    small = paoding.compact(model)
    assert hidden(small) == [8, 6]
    assert_same(model, small)

  def test_zeros_need_no_bias(self):
    model = self.model('tanh', use_bias=False)
    kernel, bias = model.layers[0].get_weights()
    bias[[1, 4]] = 0
    model.layers[0].set_weights([kernel, bias])
    small = paoding.compact(model)
    assert hidden(small) == [6, 6]
    assert_same(model, small)

  def test_constants_run_through_batch_norm_and_layers(self):
    model = testing.with_batch_norm(False, 'sigmoid')
    norm = model.get_layer('norm_0')
    gamma, *rest = norm.get_weights()
    gamma[[0, 5]] = 0
    norm.set_weights([gamma, *rest])
    small = paoding.compact(model)
    assert hidden(small) == [6, 6]
    assert_same(model, small)

  def test_a_constant_makes_the_next_layer_constant(self):
    model = self.model()
    kernel, bias = model.layers[1].get_weights()
    kernel[[0, 2, 3, 5, 6, 7], 2] = 0  # unit 2 sees only the constant ones
    model.layers[1].set_weights([kernel, bias])
    small = paoding.compact(model)
    assert hidden(small) == [6, 5]
    assert_same(model, small)

  def test_one_unit_always_stays(self):
    model = self.model()
    model.layers[0].set_weights([np.zeros((5, 8)), np.ones(8)])
    small = paoding.compact(model)
    assert hidden(small)[0] == 1
    assert_same(model, small)
    model.layers[1].set_weights([np.zeros((8, 6)), np.ones(6)])
    small = paoding.compact(model)
    assert hidden(small) == [1, 1]
    assert_same(model, small)


def test_a_group_may_cross_the_border_of_a_nested_model():
  inner_in = keras.Input((4,))
  x = _layers.Dense(6, 'relu', name='deep')(inner_in)
  inner = keras.Model(inner_in, x, name='inner')
  sequential = keras.Sequential(
    [keras.Input((6,)), _layers.Dense(8, 'tanh', name='last')], name='seq'
  )
  inputs = keras.Input((5,))
  y = sequential(inner(_layers.Dense(4, name='front')(inputs)))
  model = testing.fill(keras.Model(inputs, _layers.Dense(3)(y)))
  stripped = strip_pruning(pruned(model))
  small = paoding.compact(stripped)
  assert_same(stripped, small)
  assert small.get_layer('front').units == 2
  assert small.get_layer('inner').input_shape == (None, 2)
  assert small.get_layer('inner').get_layer('deep').units == 3
  assert small.get_layer('seq').input_shape == (None, 3)
  assert small.get_layer('seq').get_layer('last').units == 4


def test_float16_weights():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((5,), dtype='float16'),
        _layers.Dense(8, 'relu', dtype='float16'),
        _layers.Dense(3, dtype='float16'),
      ]
    )
  )
  stripped = strip_pruning(pruned(model))
  small = paoding.compact(stripped)
  assert hidden(small) == [4]
  assert all(w.dtype == np.float16 for w in small.get_weights())
  assert_same(stripped, small, 1e-2)


def test_trainable_flags_stay():
  model = testing.mlp()
  model.layers[0].trainable = False
  small = paoding.compact(pruned(model))
  assert [x.trainable for x in small.layers] == [False, True, True]


def test_models_of_dicts_inside_one_another_stay_whole():
  layers = keras.layers

  def pair():
    return {name: keras.Input((5,), name=name) for name in 'ab'}

  inputs = pair()
  x = layers.Dense(4)(layers.Add()(list(inputs.values())))
  inside = keras.Model(inputs, {'y': layers.Dense(2)(x), 'z': x}, name='inside')
  inputs = pair()
  middle = keras.Model(inputs, inside(inputs), name='middle')
  x = inputs = keras.Input((5,))
  x = layers.Dense(5)(layers.Dense(8, 'relu', name='hidden')(x))
  model = keras.Model(inputs, middle({'a': x, 'b': x})['y'])
  testing.fill(model)
  small = paoding.prune(model, 0.5, 'saliency', input_range=(0, 1), verbose=0)
  assert small.get_layer('hidden').units == 4
  whole = paoding.prune(model, 0.0, verbose=0, input_range=(0, 1))
  x = testing.samples((5,)).astype(np.float32)
  np.testing.assert_allclose(whole(x), model(x), rtol=1e-5, atol=1e-5)


def test_units_leave_behind_a_model_for_each_step():
  """Built, it says in its config for what; a copy of it does not yet."""
  each = keras.Sequential(
    [
      keras.Input((6, 6, 1)),
      _layers.Conv2D(4, 3, activation='relu'),
      _layers.Flatten(),
      _layers.Dense(5, activation='relu'),
    ],
    name='each',
  )
  inputs = keras.Input((3, 6, 6, 1))
  x = _layers.TimeDistributed(each, name='steps')(inputs)
  x = _layers.LSTM(8, name='hidden')(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  stripped = strip_pruning(pruned(model))
  small = paoding.compact(stripped)
  assert small.get_layer('hidden').units == 4
  x = np.random.default_rng(0).uniform(size=(4, 3, 6, 6, 1)).astype('f4')
  np.testing.assert_allclose(small(x), stripped(x), rtol=1e-5, atol=1e-6)
