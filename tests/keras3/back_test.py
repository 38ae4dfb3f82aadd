"""The way back: tf_keras models as Keras 3 models with the same outputs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests.keras3_models import MODELS, inputs_of, outputs_of, randomized
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.inputs.ranges import resolve_range
from tfmot_paoding.network.network import Network

keras = pytest.importorskip('keras', minversion='3')
L, L2 = keras.layers, keras2.layers


def agree(wanted, found, x, tolerance=1e-6):
  for want, got in zip(
    outputs_of(wanted, x), outputs_of(found, x), strict=True
  ):
    want = want.astype(np.float64)
    scale = np.abs(want).max(initial=1.0)
    np.testing.assert_allclose(got / scale, want / scale, atol=tolerance)


@pytest.mark.parametrize('name', MODELS)
def test_there_and_back(name, tmp_path):
  model = randomized(MODELS[name]())
  there = paoding.from_keras3(model)
  before = [w.numpy() for w in there.weights]
  back = paoding.to_keras3(there)
  assert isinstance(back, keras.Model)
  assert not isinstance(back, keras2.Model)
  assert back.name == model.name
  x = inputs_of(model)
  agree(there, back, x)
  names = {layer.name for layer in back.layers}
  assert {layer.name for layer in model.layers if layer.weights} <= names
  for old, weight in zip(before, there.weights, strict=True):
    np.testing.assert_array_equal(old, weight)
  if name == 'twice':  # Keras 3 loads no layer that two models share
    return
  back.save(tmp_path / 'model.keras')
  agree(back, keras.models.load_model(tmp_path / 'model.keras'), x)


def test_pruned_models_are_saved_loaded_and_exported(tmp_path):
  inputs = keras.Input((8, 8, 3))
  x = L.Conv2D(6, 3, activation='relu', name='conv')(inputs)
  x = L.BatchNormalization()(L.Conv2D(6, 3, padding='same', name='deep')(x) + x)
  x = L.Dense(8, 'relu', name='wide')(L.GlobalAveragePooling2D()(x))
  model = randomized(keras.Model(inputs, L.Dense(2, name='out')(x)))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  back = paoding.to_keras3(small)
  assert back.get_layer('wide').units == 4
  x = inputs_of(model)
  agree(small, back, x)
  back.save(tmp_path / 'small.keras')
  agree(small, keras.models.load_model(tmp_path / 'small.keras'), x)
  back.export(tmp_path / 'served', verbose=False)
  served = tf.saved_model.load(tmp_path / 'served')
  np.testing.assert_allclose(served.serve(x[0]), small(x[0]), atol=1e-5)
  back.compile('adam', 'mse')
  back.fit(x[0], np.zeros((3, 2)), verbose=0)


def test_layers_of_applications_go_back(tmp_path):
  """As ConvNeXt and InceptionResNet have them."""
  from keras.src.applications import convnext, inception_resnet_v2

  inputs = keras.Input((8, 8, 3))
  x = L.Conv2D(6, 3, name='stem')(inputs)
  y = L.Dense(8, 'gelu', name='wide')(L.LayerNormalization()(x))
  y = convnext.LayerScale(0.5, 6, name='scale')(L.Dense(6)(y))
  x = x + convnext.StochasticDepth(0.2, name='depth')(y)
  y = L.Conv2D(6, 1, name='branch')(x)
  x = inception_resnet_v2.CustomScaleLayer(0.3, name='custom')([x, y])
  outputs = L.Dense(2)(L.GlobalAveragePooling2D()(x))
  model = randomized(keras.Model(inputs, outputs))
  small = paoding.prune(model, {'wide': 0.5}, method='l1', verbose=0)
  back = paoding.to_keras3(small)
  for name in ('scale', 'depth', 'custom'):
    assert type(back.get_layer(name)) is type(model.get_layer(name))
  x = inputs_of(model)
  agree(small, back, x)
  back.save(tmp_path / 'small.keras')
  agree(small, keras.models.load_model(tmp_path / 'small.keras'), x)


def functional(apply, shape=(4, 6), **kwargs):
  inputs = keras2.Input(shape, **kwargs)
  return keras2.Model(inputs, apply(inputs))


FUNCTIONS = {
  'arithmetic': lambda x: (x * 2.0 + 1.0 - x / 3.0) ** 2.0 + (-x),
  'two of a name': lambda x: L2.Add(name='tf.math.multiply')([x * 2.0, x]) * 3,
  'lists': lambda x: tf.math.add(x, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
  'constants': lambda x: x * np.arange(6.0, dtype=np.float32) + tf.ones(6),
  'activations': lambda x: (
    tf.nn.relu(x)
    + tf.nn.gelu(x)
    + tf.nn.silu(x)
    + tf.nn.leaky_relu(-x)
    + tf.sigmoid(x)
    + tf.tanh(x)
    + tf.nn.softmax(x)
  ),
  'shapes': lambda x: tf.squeeze(
    tf.transpose(tf.reshape(tf.expand_dims(x, 1), (-1, 1, 6, 4)), (0, 2, 1, 3)),
    2,
  ),
  'reductions': lambda x: (
    x
    - tf.reduce_mean(x, axis=-1, keepdims=True)
    + tf.reduce_max(x, [1, 2], True)
  ),
  'slices': lambda x: tf.concat([x[:, 1:, ::2], x[:, :-1, :3]], -1),
  'one entry': lambda x: x[:, 0] + x[..., 1, :],
  'parts': lambda x: sum(tf.split(x, 3, axis=-1)),
  'uneven parts': lambda x: tf.split(x, [1, 5], axis=-1)[1],
  'products': lambda x: tf.matmul(x, x, transpose_b=True),
  'stacks': lambda x: tf.stack(tf.unstack(x, axis=1), axis=2),
  'casts': lambda x: tf.cast(x > 0.5, tf.float32) * tf.clip_by_value(x, 0, 0.7),
  'choices': lambda x: tf.where(x > 0.5, x, tf.zeros_like(x)),
  'orders': lambda x: (
    tf.sort(x, direction='DESCENDING')
    + tf.reverse(x, [1, 2])
    + tf.roll(x, [1, 2], [1, 2])
    + tf.math.top_k(x, 6).values
    + tf.cast(tf.argsort(x, axis=1, direction='DESCENDING'), tf.float32)
    + tf.cast(tf.argmax(x, axis=1), tf.float32)[:, None]
  ),
  'edges': lambda x: (
    tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=2.0)
    + tf.pad(x, [[0, 0], [1, 2], [0, 1]], 'REFLECT')
  ),
  'repeats': lambda x: tf.repeat(x, 2, axis=1),
  'choices of many': lambda x: tf.one_hot(tf.argmax(x, -1), 6),
  'einsum': lambda x: tf.einsum('bij,bkj->bik', x, x),
  'tensordot': lambda x: tf.tensordot(x, tf.ones((6, 4, 2)), [[2, 1], [0, 1]]),
  'bands': lambda x: tf.linalg.band_part(x, 1, 0),
  'pooling': lambda x: (
    tf.nn.max_pool1d(x, 2, 1, 'SAME')[:, :2]
    + tf.nn.avg_pool1d(x, 2, 2, 'VALID')
  ),
  'lengths': lambda x: (
    tf.nn.l2_normalize(x, -1) + tf.norm(x, axis=-1)[..., None]
  ),
  'patches': lambda x: tf.image.extract_patches(
    x[..., None], [1, 2, 3, 1], [1, 1, 2, 1], [1, 1, 1, 1], 'SAME'
  ),
  'resizing': lambda x: tf.image.resize(x[..., None], (8, 8)),
  'sizes': lambda x: tf.reshape(x, (tf.shape(x)[0], 24)),
  'arithmetic of sizes': lambda x: tf.reshape(
    tf.reshape(x, tf.stack([tf.shape(x)[0] * tf.shape(x)[1], 6])),
    [tf.shape(x)[0], 8, tf.shape(x)[2] // 2],
  ),
  'sizes as numbers': lambda x: (
    x / tf.cast(tf.shape(x)[-1], tf.float32)
    + tf.cast(tf.range(tf.shape(x)[-1]), tf.float32)
  ),
  'a model a step': lambda x: L2.TimeDistributed(
    keras2.Sequential(
      [keras2.Input((6,)), L2.Dense(5, 'relu'), L2.Dense(2)], name='each'
    ),
    name='steps',
  )(x),
  'indices': lambda x: tf.gather(x, [2, 0], axis=2),
  'hard sigmoid': lambda x: L2.Dense(3, 'hard_sigmoid')(4.0 * x - 2.0),
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions(name, tmp_path):
  model = functional(FUNCTIONS[name])
  back = paoding.to_keras3(model)
  x = [np.random.default_rng(1).uniform(0, 1, (3, 4, 6)).astype(np.float32)]
  agree(model, back, x)
  back.save(tmp_path / 'model.keras')
  agree(back, keras.models.load_model(tmp_path / 'model.keras'), x)


def test_subclassed_models_and_masks():
  class Tokens(keras2.Model):
    def __init__(self):
      super().__init__()
      self.table = L2.Embedding(9, 4, mask_zero=True)
      self.rnn = L2.Bidirectional(L2.LSTM(3))

    def call(self, ids):
      return self.rnn(self.table(ids))

  x = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
  model = Tokens()
  model(x)
  agree(model, paoding.to_keras3(model), [x])


@pytest.mark.parametrize('kind', ['bilinear', 'bicubic'])
def test_what_lies_between_whole_numbers_is_rounded_or_not_as_it_was(kind):
  """Keras 3 gives whole numbers for whole numbers, tf_keras does not."""
  x = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 1), np.uint8)
  for library in (keras, keras2):
    inputs = library.Input((6, 6, 1), dtype='uint8')
    y = library.layers.Resizing(4, 4, kind)(inputs)
    y = library.layers.UpSampling2D(interpolation=kind)(y)
    model = library.Model(inputs, library.layers.Rescaling(1 / 255)(y))
    there = paoding.from_keras3(model) if library is keras else model
    agree(model, there, x)
    agree(there, paoding.to_keras3(there), x)
    if kind == 'bilinear':
      with pytest.warns(UserWarning, match='0 to 255 .*by Rescaling'):
        resolve_range(Network.of(there), None)


def test_what_is_frozen_and_half_precision_stay():
  model = keras2.Sequential(
    [
      L2.Input((4,)),
      L2.Dense(3, dtype='mixed_float16', trainable=False, name='half'),
      L2.Dense(2, kernel_regularizer='l2', name='end'),
    ]
  )
  back = paoding.to_keras3(model)
  assert back.get_layer('half').dtype_policy.name == 'mixed_float16'
  assert not back.get_layer('half').trainable
  assert len(back.trainable_weights) == 2
  assert back.get_layer('end').kernel_regularizer is not None


def test_what_has_no_counterpart_is_named():
  wrapped = paoding.prune_low_saliency(
    keras2.Sequential([L2.Input((4,)), L2.Dense(6, 'relu'), L2.Dense(2)])
  )
  with pytest.raises(ValueError, match='strip_pruning'):
    paoding.to_keras3(wrapped)
  with pytest.raises(ValueError, match="Lambda 'l'.*its function is code"):
    paoding.to_keras3(functional(L2.Lambda(lambda x: x, name='l')))
  with pytest.raises(ValueError, match=r'for tf\.nn\.lrn|local_response'):
    paoding.to_keras3(functional(tf.nn.local_response_normalization, (4, 6, 2)))
  with pytest.raises(TypeError, match='tf_keras model'):
    paoding.to_keras3(3)
  model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
  assert paoding.to_keras3(model) is model


OPERATIONS = {
  'log_sigmoid': lambda ops, x: ops.log_sigmoid(x),
  'norm': lambda ops, x: ops.norm(x, axis=-1),
  'flip': lambda ops, x: ops.flip(x, axis=1),
  'pad': lambda ops, x: ops.pad(x, ((0, 0), (1, 1), (0, 0))),
  'argmax': lambda ops, x: ops.cast(
    ops.argmax(x, -1, keepdims=True), 'float32'
  ),
  'one_hot': lambda ops, x: ops.one_hot(ops.cast(x[:, 0], 'int32'), 3),
  'tril': lambda ops, x: ops.tril(x),
  'einsum': lambda ops, x: ops.einsum('bij,bkj->bik', x, x),
  'top_k': lambda ops, x: ops.top_k(x, 2)[0],
  'average_pool': lambda ops, x: ops.average_pool(x, 2),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_what_operations_of_keras_3_have_become_goes_back(name):
  inputs = keras.Input((4, 6))
  model = keras.Model(inputs, OPERATIONS[name](keras.ops, inputs))
  x = [np.random.default_rng(1).uniform(-1, 1, (3, 4, 6)).astype(np.float32)]
  agree(model, paoding.to_keras3(paoding.from_keras3(model)), x)


@pytest.mark.parametrize(
  'apply',
  [
    lambda x: tf.concat([x, tf.zeros([tf.shape(x)[0], 1, 6])], 1),
    lambda x: x / tf.cast(tf.shape(x)[0], tf.float32),
  ],
)
def test_what_depends_on_an_open_size_is_refused_by_name(apply):
  with pytest.raises(ValueError, match='a size that the model leaves open'):
    paoding.to_keras3(functional(apply))


def test_directions_of_unlike_widths_are_named():
  inputs = keras2.Input((4, 3))
  both = L2.Bidirectional(
    L2.GRU(3), backward_layer=L2.GRU(2, go_backwards=True), name='both'
  )
  model = keras2.Model(inputs, both(inputs))
  with pytest.raises(ValueError, match="'both'.* 3 units forward and 2 back"):
    paoding.to_keras3(model)
