"""Keras 3 models: the same outputs on tf_keras, or an error that names why."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tests.keras3_models import (
  MODELS,
  branches,
  inputs_of,
  outputs_of,
  randomized,
)
from tests.processes import python, warm_code
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.compat import strip_pruning
from tfmot_paoding.keras3 import model as lib

keras = pytest.importorskip('keras', minversion='3')
L = keras.layers


@pytest.mark.parametrize('name', MODELS)
def test_outputs_and_names_are_the_same(name):
  model = randomized(MODELS[name]())
  before = [np.array(w) for w in model.weights]
  converted = paoding.from_keras3(model)
  assert isinstance(converted, keras2.Model)
  assert converted.name == model.name
  x = inputs_of(model)
  for want, got in zip(
    outputs_of(model, x), outputs_of(converted, x), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  names = {layer.name for layer in converted.layers}
  assert {x.name for x in model.layers if x.weights} <= names
  for old, weight in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(old, weight)


def test_integers_are_looked_up():
  model = keras.Sequential(
    [
      keras.Input((5,), dtype='int32'),
      L.Embedding(7, 4),
      L.TimeDistributed(L.Dense(3)),
    ]
  )
  x = np.random.default_rng(0).integers(0, 7, (4, 5)).astype('int32')
  found = paoding.from_keras3(randomized(model))(x)
  np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)


def test_masks_of_embeddings():
  model = keras.Sequential(
    [
      keras.Input((5,), dtype='int32'),
      L.Embedding(3, 4, mask_zero=True),
      L.LSTM(3),
    ]
  )
  x = inputs_of(model)[0]
  assert not x.all()
  found = paoding.from_keras3(randomized(model))(x)
  np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)


def test_batches_of_one_size():
  model = keras.Sequential(
    [keras.Input(batch_shape=(3, 5, 2)), L.LSTM(4, stateful=True)]
  )
  converted = paoding.from_keras3(randomized(model))
  assert converted.input_shape == (3, 5, 2)
  x = inputs_of(model)[0]
  model.layers[0].reset_states()
  converted.reset_states()
  np.testing.assert_allclose(converted(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_is_frozen_stays_frozen():
  inner = keras.Sequential(
    [keras.Input((4,)), L.Dense(4, name='one'), L.Dense(4, name='two')],
    name='inner',
  )
  inputs = keras.Input((4,))
  x = L.BatchNormalization(name='norm')(inner(inputs))
  model = keras.Model(inputs, L.Dense(2, 'hard_silu', name='end')(x))
  for frozen in ((), ('norm',), ('inner',), ('norm', 'end'), ('one',)):
    model.trainable = True
    for name in frozen:
      (inner if name == 'one' else model).get_layer(name).trainable = False
    converted = paoding.from_keras3(model)
    assert len(converted.trainable_weights) == len(model.trainable_weights)
    for old, new in ((model, converted), (inner, converted.get_layer('inner'))):
      for layer in old.layers:
        assert new.get_layer(layer.name).trainable == layer.trainable
  model.trainable = False
  inner.trainable = True
  converted = paoding.from_keras3(model)
  assert not converted.trainable
  assert converted.get_layer('inner').get_layer('one').trainable


@pytest.mark.parametrize('dtype', ['mixed_float16', 'float16', 'float64'])
def test_dtypes_are_kept(dtype):
  model = keras.Sequential([keras.Input((4,)), L.Dense(3, dtype=dtype)])
  converted = paoding.from_keras3(randomized(model))
  layer = converted.layers[-1]
  assert layer.dtype_policy.name == dtype
  assert layer.kernel.dtype == model.layers[-1].kernel.dtype
  x = inputs_of(model)[0]
  np.testing.assert_allclose(converted(x), model(x), rtol=1e-2)


def test_regularizers_and_constraints_survive():
  layer = L.Dense(
    3,
    kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2),
    kernel_constraint=keras.constraints.MaxNorm(2.0),
  )
  model = keras.Sequential([keras.Input((4,)), layer])
  found = paoding.from_keras3(model).layers[-1]
  assert isinstance(found.kernel_regularizer, keras2.regularizers.L1L2)
  np.testing.assert_allclose(found.kernel_regularizer.l2, 0.2)
  assert found.kernel_constraint.max_value == 2.0


def test_outputs_that_are_not_finite_are_the_same():
  inputs = keras.Input((3,))
  model = keras.Model(inputs, keras.ops.log(inputs - 2.0) / 0.0)
  x = inputs_of(model)[0]
  np.testing.assert_array_equal(paoding.from_keras3(model)(x), model(x))


def test_attention():
  inputs = keras.Input((5, 6))
  model = keras.Model(inputs, L.MultiHeadAttention(2, 3)(inputs, inputs))
  x = inputs_of(model)[0]
  found = paoding.from_keras3(randomized(model))(x)
  np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('use_bias', [True, False])
def test_heads_that_share_keys_and_values_get_their_own(use_bias):
  inputs = keras.Input((5, 6))
  layer = L.GroupQueryAttention(3, 4, 2, use_bias=use_bias, name='heads')
  x = layer(L.Dense(6)(inputs), inputs, use_causal_mask=True)
  model = randomized(keras.Model(inputs, L.Dense(2)(x)))
  with pytest.warns(UserWarning, match=r"'heads' .* parameters more"):
    made = paoding.from_keras3(model)
  x = inputs_of(model)[0]
  np.testing.assert_allclose(made(x), model(x), rtol=1e-4, atol=1e-5)
  small = paoding.prune(
    made, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
  )
  assert small.get_layer('heads').get_config()['num_heads'] == 2
  newer = paoding.to_keras3(small)
  np.testing.assert_allclose(
    np.asarray(newer(x)), small(x), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize(
  'setting', [{'sliding_window': 2}, {'use_gate': True}], ids=list
)
def test_what_shared_heads_have_beyond_that_is_named(setting):
  inputs = keras.Input((5, 6))
  layer = L.GroupQueryAttention(3, 4, 2, name='heads', **setting)
  model = keras.Model(inputs, layer(inputs, inputs))
  with pytest.raises(ValueError, match=rf"'heads' .*{next(iter(setting))}"):
    paoding.from_keras3(model)


@pytest.mark.parametrize('name', ['MobileNetV3Small', 'EfficientNetB0'])
def test_applications(name):
  make = getattr(keras.applications, name)
  model = randomized(make(weights=None, input_shape=(32, 32, 3), classes=5))
  converted = paoding.from_keras3(model)
  x = inputs_of(model)
  (want,), (got,) = outputs_of(model, x), outputs_of(converted, x)
  assert np.all(np.isfinite(want))
  np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_every_public_function_takes_them():
  model = randomized(branches())
  small = paoding.prune(
    model, 0.5, verbose=0, input_range=(0.0, 1.0), distillation=False
  )
  wrapped = paoding.prune_low_saliency(model, paoding.ProgressiveSparsity(0.5))
  paoding.run_schedule(wrapped, verbose=0)
  x = inputs_of(model)
  np.testing.assert_allclose(
    small(x[0]), strip_pruning(wrapped)(x[0]), rtol=1e-4, atol=1e-5
  )
  assert paoding.report.count_macs(small) < paoding.report.count_macs(model)
  assert np.all(paoding.deviation_bound(model, small) >= 0)
  assert len(paoding.convert_to_tflite(model)) > 0
  np.testing.assert_allclose(
    paoding.compact(model)(x[0]), model(x[0]), rtol=1e-4, atol=1e-5
  )


def test_functions_of_lambda_layers_are_kept():
  inputs = keras.Input((4,))
  x = L.Lambda(lambda x, by: x * by, arguments={'by': 3.0}, name='l')(inputs)
  model = keras.Model(inputs, L.Lambda(keras.ops.relu)(x))
  converted = paoding.from_keras3(model)
  x = np.linspace(-1, 1, 8).reshape(2, 4)
  np.testing.assert_allclose(converted(x), model(x))
  assert converted.get_layer('l').function is model.get_layer('l').function


class Own(keras.layers.Layer):
  def build(self, shape):
    self.scale = self.add_weight(name='scale')

  def call(self, x):
    return x * self.scale


class Subclassed(keras.Model):
  def call(self, x):
    return x


def with_layer(layer):
  inputs = keras.Input((4,))
  return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: with_layer(Own(name='mine')), None),
    (lambda: with_layer(L.Activation('mish')), None),
    (lambda: with_layer(L.Activation('glu', name='g')), None),
    (
      lambda: keras.Sequential(
        [keras.Input((4, 2)), L.GRU(2, activation='celu', name='g')]
      ),
      "GRU 'g' has no tf_keras counterpart with the activation 'celu' inside",
    ),
    (lambda: with_layer(keras.ops.cumsum), None),
    (lambda: Subclassed(name='sub'), "'sub' is subclassed, and nothing in it"),
    (lambda: keras.Sequential([L.Dense(2)], name='late'), 'is not built'),
    (lambda: L.Dense(2, name='only'), "Dense 'only' is no Sequential"),
  ],
)
def test_what_has_no_counterpart_is_named(make, message):
  model = make()
  if message is None:
    paoding.from_keras3(model)
    return
  with pytest.raises(ValueError, match=message):
    paoding.from_keras3(model)


@pytest.mark.parametrize(
  ('name', 'shape'),
  [
    ('ConvLSTM1D', (3, 6, 2)),
    ('ConvLSTM2D', (3, 6, 6, 2)),
    ('ConvLSTM3D', (2, 4, 4, 4, 2)),
  ],
)
def test_recurrent_layers_of_maps_become_those_of_tf_keras(name, shape):
  inputs = keras.Input(shape)
  made = getattr(L, name)(3, 3)(inputs)
  (layer,) = paoding.from_keras3(keras.Model(inputs, made)).layers[1:]
  assert type(layer) is getattr(keras2.layers, name)


def test_layers_that_take_other_settings_are_named(monkeypatch):
  def convert(layer, name):
    raise TypeError('no such setting')

  monkeypatch.setattr(lib, 'convert_layer', convert)
  model = with_layer(L.Dense(2, name='odd'))
  with pytest.raises(ValueError, match=r"Dense 'odd' .*\(no such setting\)"):
    paoding.from_keras3(model)


def test_layers_that_are_random_in_training_are_still_at_inference():
  inputs = keras.Input((8, 8, 3))
  x = L.GaussianNoise(0.5)(inputs)
  for cls in (L.RandomContrast, L.RandomBrightness, L.RandomRotation):
    x = cls(0.5)(x)
  model = keras.Model(inputs, L.Dropout(0.5)(x))
  x = inputs_of(model)[0]
  converted = paoding.from_keras3(model)
  for _ in range(3):
    np.testing.assert_allclose(converted(x, training=False), x, rtol=1e-5)


def test_layers_that_do_something_else_are_refused():
  model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
  model.layers[0].enable_lora(2)
  with pytest.raises(ValueError, match='gives other outputs'):
    paoding.from_keras3(randomized(model))


def test_other_models_are_returned_or_refused():
  model = testing.mlp()
  assert paoding.from_keras3(model) is model
  with pytest.raises(TypeError, match='Expected a Keras model'):
    paoding.from_keras3(3)


def test_models_are_told_apart():
  assert lib.is_keras3_model(keras.Sequential([L.Dense(2)]))
  assert lib.is_keras3_model(Subclassed())
  for thing in (L.Dense(2), testing.mlp(), keras2.layers.Dense(2), 3, None):
    assert not lib.is_keras3_model(thing)


_SCRIPT = """
{first}
{second}
import numpy as np
import keras
model = keras.Sequential([
    keras.Input((4,)), keras.layers.Dense(8, 'relu'), keras.layers.Dense(2)])
from tfmot_paoding.compat import keras as inside
assert 'tf_keras' in inside.__name__
small = tfmot_paoding.prune(model, 0.5, method='l1', verbose=0)
assert small.layers[1].units == 4
import tf_keras
assert isinstance(small, tf_keras.Model)
"""


@pytest.mark.parametrize(
  'first', ['from tensorflow import keras as k; k.layers.Dense', 'import keras']
)
@pytest.mark.parametrize('before', [True, False])
def test_either_generation_may_be_imported_first(first, before):
  lines = [first, 'import tfmot_paoding']
  lines = lines if before else lines[::-1]
  script = _SCRIPT.format(first=lines[0], second=lines[1])
  # What is warm has imported the package before all else.
  done = python('-c', script) if before else warm_code(script)
  assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(
  not hasattr(L, 'RMSNormalization'), reason='a Keras 3 without it'
)
def test_root_mean_squares_are_pruned_and_go_back():
  inputs = keras.Input((4, 6))
  x = L.Dense(8, name='stream')(inputs)
  y = L.Dense(10, 'relu')(L.RMSNormalization(epsilon=0.1, name='norm')(x))
  x = L.RMSNormalization()(L.Add()([x, L.Dense(8)(y)]))
  model = randomized(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('stream').units == 4
  assert small.get_layer('norm').epsilon == pytest.approx(0.2)
  back = paoding.to_keras3(small)
  assert type(back.get_layer('norm')) is L.RMSNormalization
  x = np.random.default_rng(1).normal(size=(5, 4, 6)).astype(np.float32)
  np.testing.assert_allclose(
    np.asarray(back(x)), np.asarray(small(x)), atol=1e-5
  )


def test_padded_layer_normalization_goes_back():
  inputs = keras.Input((4, 6))
  x = L.Dense(8, name='stream')(inputs)
  y = L.Dense(10, 'relu')(L.LayerNormalization(name='norm')(x))
  x = L.LayerNormalization()(L.Add()([x, L.Dense(8)(y)]))
  model = randomized(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))))
  small = paoding.prune(model, {'stream': 0.5}, method='l1', verbose=0)
  assert small.get_layer('stream').units == 4
  back = paoding.to_keras3(small)
  assert type(back.get_layer('norm')) is L.LayerNormalization
  x = np.random.default_rng(1).normal(size=(5, 4, 6)).astype(np.float32)
  np.testing.assert_allclose(
    np.asarray(back(x)), np.asarray(small(x)), atol=1e-5
  )
