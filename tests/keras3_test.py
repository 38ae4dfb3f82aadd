"""Keras 3 models: the same outputs on tf_keras, or an error that names why."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.compat import strip_pruning

keras = pytest.importorskip('keras', minversion='3')
L = keras.layers


def randomized(model, seed=0):
  rng = np.random.default_rng(seed)
  for weight in model.weights:
    if not str(weight.dtype).startswith('float'):  # a seed's state
      continue
    value = rng.normal(size=weight.shape) * 0.3
    weight.assign(np.abs(value) + 0.5 if 'variance' in weight.path else value)
  return model


def inputs_of(model, seed=0):
  rng = np.random.default_rng(seed)
  return [
    rng.integers(0, 2, (3, *x.shape[1:])).astype(str(x.dtype))
    if str(x.dtype) in ('bool', 'int32')
    else rng.uniform(0, 1, (3, *x.shape[1:])).astype(str(x.dtype))
    for x in model.inputs
  ]


def outputs_of(model, x):
  found = model(x if len(x) > 1 else x[0], training=False)
  if isinstance(found, dict):
    found = [found[key] for key in sorted(found)]
  found = found if isinstance(found, (list, tuple)) else [found]
  return [np.asarray(y) for y in found]


def branches():
  inputs = keras.Input((8, 8, 3), name='image')
  x = L.Conv2D(4, 3, padding='same', name='conv')(inputs)
  y = L.ReLU(6.0)(L.BatchNormalization(name='norm')(x))
  x = L.Add()([x, L.DepthwiseConv2D(3, padding='same')(y)])
  x = L.Concatenate()([x, y])
  return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def nested():
  a, b = keras.Input((4,), name='a'), keras.Input((4,), name='b')
  inner = keras.Sequential(
    [keras.Input((4,)), L.Dense(4, 'relu', name='deep')], name='inner'
  )
  shared = L.Dense(4, name='shared')
  x = L.Add()([inner(a), inner(b)])
  x = L.Concatenate()([shared(x), shared(a)])
  return keras.Model([a, b], [L.Dense(2, name='one')(x), L.Multiply()([a, b])])


def operations():
  inputs = keras.Input((6, 6, 3))
  x = L.Conv2D(4, 3, name='conv')(inputs)
  y = keras.ops.relu(x * 2.0 + 1.0) - x / 3.0
  y = keras.ops.reshape(y, (-1, 16, 4))
  return keras.Model(inputs, keras.ops.mean(y * y, axis=1))


def named_outputs():
  inputs = keras.Input((4,))
  return keras.Model(inputs, {'b': L.Dense(2)(inputs), 'a': L.Dense(3)(inputs)})


def merged(x):
  return keras.Model(
    x,
    [
      L.Dot(axes=(1, 1))([x, x]),
      L.Average()([x, 2.0 * x]),
      L.Maximum()([x, 1.0 - x]),
      L.Minimum()([x, 1.0 - x]),
      L.Subtract()([x, x * x]),
      L.Concatenate(axis=1)([x, x]),
      L.Attention()([x, x]),
      L.RepeatVector(3)(L.Flatten()(x)),
    ],
  )


def sequential(*layers):
  return lambda: keras.Sequential([keras.Input(layers[0]), *layers[1]()])


def more_operations():
  inputs = keras.Input((4, 6))
  ops = keras.ops
  x = [
    ops.clip(inputs, 0.2, 0.8) ** 2,
    ops.gelu(inputs) - ops.leaky_relu(-inputs, 0.3),
    ops.hard_sigmoid(4 * inputs - 2) * ops.hard_silu(inputs * 2 / 3),
    ops.squeeze(ops.expand_dims(ops.elu(-inputs, 0.5), 1), 1),
    ops.log(inputs + 1.0) * ops.rsqrt(inputs + 1.0),
    ops.cast(ops.cast(inputs, 'int32') + 1, 'float32') * inputs,
    inputs - ops.max(inputs, axis=1, keepdims=True),
  ]
  y = ops.sum(ops.stack(x, axis=1), axis=1)
  return keras.Model(inputs, [y[:, 1], y[..., ::-1], y])


def states():
  inputs = keras.Input((5, 3))
  x, *state = L.LSTM(4, return_state=True)(inputs)
  y = L.LSTM(4, go_backwards=True)(inputs, initial_state=state)
  return keras.Model(inputs, [x, y])


def keyword_tensors():
  query, value = keras.Input((5, 6)), keras.Input((4, 6))
  mask = keras.Input((5, 4), dtype='bool')
  x, scores = L.MultiHeadAttention(2, 3, value_dim=4, output_shape=5)(
    query, value=value, attention_mask=mask, return_attention_scores=True
  )
  return keras.Model([query, value, mask], [x, scores])


def named_inputs():
  a, b = keras.Input((4,), name='a'), keras.Input((4,), name='b')
  inner = keras.Model({'b': b, 'a': a}, {'sum': a + b, 'a': L.Dense(3)(a)})
  c = keras.Input((4,), name='c')
  found = inner({'a': c, 'b': 2.0 * c})
  return keras.Model([c], [found['sum'], found['a'], c])


def twice():
  deep = L.Dense(4, name='deep')
  inputs = keras.Input((4,))
  inner = keras.Model(inputs, L.Dense(4)(deep(inputs)), name='inner')
  outer = keras.Input((4,))
  return keras.Model(outer, inner(deep(inner(outer))))


MODELS = {
  'branches': branches,
  'more operations': more_operations,
  'states': states,
  'keyword tensors': keyword_tensors,
  'named inputs': named_inputs,
  'twice': twice,
  'merging': lambda: merged(keras.Input((4, 3))),
  'masks': sequential(
    (5, 3),
    lambda: [
      L.Masking(0.5),
      L.GRU(4, return_sequences=True),
      L.RNN(L.LSTMCell(4), return_sequences=True),
      L.SimpleRNN(2),
    ],
  ),
  'recurrent layers inside others': sequential(
    (5, 3),
    lambda: [
      L.Masking(0.5),
      L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode='sum'),
      L.Bidirectional(
        L.LSTM(4, return_sequences=True),
        backward_layer=L.LSTM(4, return_sequences=True, go_backwards=True),
      ),
      L.RNN([L.LSTMCell(4), L.GRUCell(3)]),
    ],
  ),
  'sizes': sequential(
    (8, 9, 3),
    lambda: [
      L.Resizing(6, 7, crop_to_aspect_ratio=True),
      L.CenterCrop(4, 5),
      L.Reshape((20, 3)),
      L.ZeroPadding1D(2),
    ],
  ),
  'one and three axes': sequential(
    (8, 8, 8, 2),
    lambda: [
      L.Conv3D(4, 2),
      L.MaxPooling3D(),
      L.Conv3DTranspose(2, 2),
      L.ZeroPadding3D(1),
      L.UpSampling3D(2),
      L.TimeDistributed(L.Conv2D(2, 3, groups=2, strides=2)),
      L.Reshape((-1, 8)),
      L.SeparableConv1D(4, 2),
      L.Conv1DTranspose(3, 2, strides=2),
      L.DepthwiseConv1D(2),
      L.AveragePooling1D(2),
      L.Cropping1D(1),
      L.GlobalMaxPooling1D(keepdims=True),
    ],
  ),
  'nested': nested,
  'operations': operations,
  'named outputs': named_outputs,
  'recurrent': sequential(
    (5, 3),
    lambda: [
      L.LSTM(3, return_sequences=True),
      L.GRU(2, return_sequences=True),
      L.Bidirectional(L.LSTM(2)),
    ],
  ),
  'convolutions': sequential(
    (8, 8, 3),
    lambda: [
      L.Rescaling(1 / 3.0),
      L.Conv2D(4, 3, activation='silu', kernel_regularizer='l2'),
      L.DepthwiseConv2D(3, depth_multiplier=2),
      L.SeparableConv2D(5, 1),
      L.Conv2DTranspose(3, 2),
      L.LeakyReLU(0.2),
      L.PReLU(shared_axes=[1, 2]),
      L.MaxPooling2D(),
      L.ZeroPadding2D(1),
      L.Cropping2D(1),
      L.UpSampling2D(2),
      L.Permute((3, 1, 2)),
      L.Reshape((-1,)),
      L.Dropout(0.2),
      L.Dense(3, 'softmax'),
    ],
  ),
  'normalizations': sequential(
    (8, 4),
    lambda: [
      L.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4]),
      L.LayerNormalization(),
      L.GroupNormalization(2),
      L.BatchNormalization(),
      L.SpatialDropout1D(0.1),
      L.Conv1D(3, 2, padding='causal', dilation_rate=2),
      L.Flatten(),
    ],
  ),
  'activations': sequential(
    (8,),
    lambda: [
      *(
        L.Activation(name)
        for name in ('relu', 'gelu', 'elu', 'selu', 'tanh', 'softplus')
      ),
      *(L.Activation(name) for name in ('softsign', 'leaky_relu', 'relu6')),
      L.Dense(4, 'hard_sigmoid'),
      L.Dense(4, 'hard_silu'),
      L.ELU(0.5),
    ],
  ),
}


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


@pytest.mark.parametrize(
  'name', ['MobileNetV2', 'MobileNetV3Small', 'EfficientNetB0', 'ResNet50V2']
)
def test_applications(name):
  make = getattr(keras.applications, name)
  model = randomized(make(weights=None, input_shape=(64, 64, 3), classes=5))
  converted = paoding.from_keras3(model)
  x = inputs_of(model)
  (want,), (got,) = outputs_of(model, x), outputs_of(converted, x)
  assert np.all(np.isfinite(want))
  np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_every_public_function_takes_them():
  model = randomized(branches())
  small = paoding.prune(model, 0.5, verbose=0, input_range=(0.0, 1.0))
  wrapped = paoding.prune_low_saliency(model, paoding.ProgressiveSparsity(0.5))
  paoding.run_schedule(wrapped, verbose=0)
  x = inputs_of(model)
  np.testing.assert_allclose(
    small(x[0]), strip_pruning(wrapped)(x[0]), rtol=1e-4, atol=1e-5
  )
  assert paoding.count_macs(small) < paoding.count_macs(model)
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
    (lambda: with_layer(Own(name='mine')), "Own 'mine' has no tf_keras"),
    (lambda: with_layer(L.Activation('mish')), None),
    (lambda: with_layer(L.Activation('glu', name='g')), "Activation 'g'"),
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


def test_layers_that_take_other_settings_are_named(monkeypatch):
  def convert(layer, name):
    raise TypeError('no such setting')

  monkeypatch.setattr(paoding.keras3, 'convert_layer', convert)
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
  assert paoding.keras3.is_keras3_model(keras.Sequential([L.Dense(2)]))
  assert paoding.keras3.is_keras3_model(Subclassed())
  for thing in (L.Dense(2), testing.mlp(), keras2.layers.Dense(2), 3, None):
    assert not paoding.keras3.is_keras3_model(thing)


_SCRIPT = """
{first}
{second}
import numpy as np
import keras
model = keras.Sequential([
    keras.Input((4,)), keras.layers.Dense(8, 'relu'), keras.layers.Dense(2)])
small = tfmot_paoding.prune(model, 0.5, verbose=0)
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
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
