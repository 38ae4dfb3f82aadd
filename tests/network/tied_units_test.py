"""Units in blocks and in several calls: whole workflows on small networks.

A reshape divides a producer's channels among positions, a shuffle mixes blocks
of them, a shared encoder reads two inputs: what is tied leaves together, and
the wrapped, the stripped and the compact model answer alike.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers
_METHODS = ('l1', 'saliency', 'impact', 'stochastic', 'reconstruction')


def decoder():
  """A Dense layer reshaped to a volume, then transposed convolutions."""
  inputs = keras.Input((6,))
  x = _layers.Dense(3 * 3 * 6, name='seed')(inputs)
  x = _layers.BatchNormalization()(x)
  x = _layers.Reshape((3, 3, 6))(_layers.ReLU()(x))
  x = _layers.Conv2DTranspose(
    4, 3, 2, padding='same', activation='relu', name='up'
  )(x)
  return keras.Model(inputs, _layers.Conv2D(1, 3, name='end')(x))


def volume_with_norm():
  """Batch normalization and upsampling behind the reshape."""
  inputs = keras.Input((5,))
  x = _layers.Dense(2 * 2 * 6, 'tanh', name='seed')(inputs)
  x = _layers.Reshape((2, 2, 6))(x)
  x = _layers.UpSampling2D()(_layers.BatchNormalization()(x))
  x = _layers.Conv2D(4, 3, activation='relu', name='conv')(x)
  return keras.Model(inputs, _layers.Dense(2, name='end')(_layers.Flatten()(x)))


def shuffle():
  """Grouped convolutions with their channels shuffled between them."""
  inputs = keras.Input((5, 5, 3))
  x = _layers.Conv2D(8, 3, activation='relu', name='first')(inputs)
  x = _layers.Conv2D(8, 1, groups=2, activation='relu', name='blocks')(x)
  x = _layers.Reshape((3, 3, 2, 4))(x)
  x = _layers.Reshape((3, 3, 8))(_layers.Permute((1, 2, 4, 3))(x))
  x = _layers.Conv2D(6, 1, groups=2, activation='relu', name='mixed')(x)
  x = _layers.GlobalAveragePooling2D()(x)
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def siamese():
  """One encoder, a nested model, for two inputs."""
  encoder = keras.Sequential(
    [
      _layers.Dense(8, 'relu', input_shape=(5,), name='one'),
      _layers.Dense(6, 'relu', name='two'),
    ],
    name='encoder',
  )
  inputs = keras.Input((5,)), keras.Input((5,))
  x = _layers.Subtract()([encoder(one) for one in inputs])
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def siamese_convolutions():
  """Shared convolutions with batch normalization, on unlike lengths."""
  conv = _layers.Conv1D(6, 3, padding='same', name='conv')
  norm, again = _layers.BatchNormalization(), _layers.Conv1D(4, 3, name='again')
  pool = _layers.GlobalAveragePooling1D()
  inputs = keras.Input((9, 2)), keras.Input((6, 2))
  x = [pool(again(tf.nn.relu(norm(conv(one))))) for one in inputs]
  x = _layers.Concatenate()(x)
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def recurrence():
  """A layer that reads what it has made itself."""
  inputs = keras.Input((4,))
  shared = _layers.Dense(8, 'relu', name='shared')
  x = shared(shared(_layers.Dense(8, 'relu', name='before')(inputs)))
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def gated():
  """Halves of the channels, the one a gate of the other."""
  inputs = keras.Input((6, 3))
  value, gate = tf.split(_layers.Conv1D(12, 3)(inputs), 2, axis=-1)
  x = _layers.Flatten()(value * tf.sigmoid(gate))
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def gated_across():
  """Channels that lie on another axis as each meets a gate of its own."""
  inputs = keras.Input((6, 3))
  x = _layers.Conv1D(8, 3, activation='relu', name='first')(inputs)
  gate = _layers.GlobalAveragePooling1D()(x)
  gate = _layers.Dense(8, 'sigmoid', name='gate')(gate)
  x = _layers.Permute((2, 1))(x) * _layers.Reshape((8, 1))(gate)
  x = _layers.Flatten()(_layers.Permute((2, 1))(x))
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def chunks():
  """Parts of unlike size, some of them read twice."""
  inputs = keras.Input((5,))
  x = _layers.Dense(16, 'relu', name='whole')(inputs)
  one, two, three = tf.split(x, [4, 4, 8], -1)
  y = _layers.Dense(4, 'relu', name='part')(two)
  x = _layers.Concatenate()([one, y, three, x[:, 8:]])
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def shuffle_by_functions():
  """A channel shuffle written in TensorFlow."""
  inputs = keras.Input((4, 4, 3))
  x = _layers.Conv2D(8, 2, activation='relu', name='first')(inputs)
  x = tf.transpose(tf.reshape(x, (-1, 3, 3, 2, 4)), (0, 1, 2, 4, 3))
  x = tf.reshape(x, (-1, 3, 3, 8))
  x = _layers.Flatten()(_layers.Conv2D(6, 2, name='second')(x))
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def tokens():
  """The first and the last step, and some between."""
  inputs = keras.Input((7, 4))
  x = _layers.Dense(8, 'relu', name='steps')(inputs)
  mean = _layers.GlobalAveragePooling1D()(x[:, 1:-2])
  x = _layers.Concatenate()([x[:, 0], x[:, -1], mean])
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


_MODELS = (
  decoder,
  volume_with_norm,
  shuffle,
  siamese,
  siamese_convolutions,
  recurrence,
  gated,
  gated_across,
  chunks,
  shuffle_by_functions,
  tokens,
)


def inputs_for(model, count=32):
  rng = np.random.default_rng(3)
  arrays = [
    rng.uniform(size=(count, *tensor.shape[1:])).astype(np.float32)
    for tensor in model.inputs
  ]
  return arrays if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize(
  ('make', 'method'),
  [*testing.paired(_MODELS, _METHODS), *testing.paired(_MODELS, _METHODS[1:])],
  ids=lambda value: getattr(value, '__name__', value),
)
def test_all_forms_answer_alike_within_the_bound(make, method):
  model = testing.fill(make())
  schedule = paoding.ProgressiveSparsity(0.5, 0.25)
  wrapped = paoding.prune_low_saliency(model, schedule, method=method)
  history = paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = inputs_for(model)
  before, pruned = testing.answers(model, x), testing.answers(wrapped, x)
  for other in (stripped, small):
    np.testing.assert_allclose(
      testing.answers(other, x), pruned, rtol=1e-5, atol=1e-5
    )
  assert np.abs(pruned - before).max() <= history.bound[-1] * 1.00001
  assert set(history.left_alone) == {'end'}
  assert history.units_removed[-1] >= 0.4 * history.units
  assert small.count_params() < 0.7 * model.count_params()


def pooled_by_attention():
  """Steps weighed by shares, which are laid out once for each channel."""
  inputs = keras.Input((5, 3))
  repeat = _layers.RepeatVector(8, name='repeat')
  pooled = []
  for k in range(2):
    x = _layers.LSTM(8, return_sequences=True, name=f'steps{k}')(inputs)
    shares = _layers.Flatten()(_layers.Dense(1, name=f'score{k}')(x))
    shares = repeat(_layers.Activation('softmax')(shares))
    pooled.append(_layers.Multiply()([x, _layers.Permute((2, 1))(shares)]))
  x = tf.reduce_sum(_layers.Concatenate()(pooled), 1)
  return keras.Model(inputs, _layers.Dense(2, name='end')(x))


def test_shares_of_attention_are_repeated_for_the_channels_left():
  """All calls of the layer that repeats them lose the same ones."""
  model = testing.fill(pooled_by_attention())
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5), method='saliency'
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(strip_pruning(wrapped))
  assert small.get_layer('repeat').n == 4
  assert small.get_layer('steps0').units == 4
  assert not any(name.startswith('steps') for name in history.left_alone)
  x = inputs_for(model)
  pruned = testing.answers(wrapped, x)
  np.testing.assert_allclose(testing.answers(small, x), pruned, atol=1e-5)
  gap = np.abs(pruned - testing.answers(model, x)).max()
  assert gap <= paoding.deviation_bound(model, small, (0, 1)).max()


def doubled(model):
  """The model with each unit's twin in the second half of its layer."""
  for layer in model.layers:
    if layer.name not in ('one', 'two', 'seed', 'conv', 'encoder'):
      continue
    if isinstance(layer, keras.Model):
      doubled(layer)
      continue
    kernel, bias = layer.get_weights()
    size = 6 if layer.name == 'seed' else len(bias)  # channels behind reshape
    kernel = kernel.reshape(*kernel.shape[:-1], -1, size)
    bias = bias.reshape(-1, size)
    for value in (kernel, bias):
      value[..., size // 2 :] = value[..., : size // 2]
    layer.set_weights([kernel.reshape(layer.kernel.shape), bias.ravel()])
  return model


def unlike(size):
  """Batch normalization's weights, alike in both halves."""
  rng = np.random.default_rng(5)
  half = rng.uniform(0.5, 1.5, (4, size // 2))
  return list(np.concatenate([half, half], 1))


@pytest.mark.parametrize('method', _METHODS[1:])
@pytest.mark.parametrize(
  'make', (siamese, volume_with_norm), ids=lambda make: make.__name__
)
def test_twins_leave_without_a_trace(make, method):
  model = doubled(testing.fill(make()))
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.set_weights(unlike(6))
  small = paoding.prune(
    model, 0.5, method=method, verbose=0, distillation=False
  )
  x = inputs_for(model)
  before = testing.answers(model, x)
  np.testing.assert_allclose(
    testing.answers(small, x), before, atol=2e-3 * before.std()
  )
  assert small.count_params() < 0.6 * model.count_params()


def test_a_constant_of_one_call_alone_stays():
  """A unit whose input is constant in one call, and not in the other."""
  shared = _layers.Dense(3, 'relu', name='shared')
  inputs = keras.Input((4,)), keras.Input((4,))
  dead = _layers.Dense(4, name='dead')(inputs[0])
  alive = _layers.Dense(4, name='alive')(inputs[1])
  x = _layers.Subtract()([shared(dead), shared(alive)])
  model = testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(x)))
  layer = model.get_layer('dead')
  layer.set_weights([0 * layer.kernel.numpy(), np.arange(1.0, 5.0)])
  small = paoding.compact(model)
  x = inputs_for(model)
  np.testing.assert_allclose(
    testing.answers(small, x), testing.answers(model, x), atol=1e-5
  )
  assert small.get_layer('shared').kernel.shape == (4, 3)


def test_units_that_are_asked_for_by_number_stay():
  inputs = keras.Input((5,))
  y = _layers.Dense(6, 'relu', name='units')(inputs)
  by_number = tf.reshape(y[:, 1], (-1, 1))
  y = _layers.Concatenate()([y[..., 3:], by_number])
  model = testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(y)))
  (group,) = find_groups(build_graph(model)).groups
  assert group.producers[0].units.tolist() == [-1, -1, -1, 0, 1, 2]


def test_the_compact_model_asks_for_what_is_left(tmp_path):
  model = testing.fill(chunks())
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  small.save(tmp_path / 'small.keras')
  again = keras.models.load_model(tmp_path / 'small.keras')
  x = inputs_for(model)
  wanted = testing.answers(small, x)
  np.testing.assert_allclose(testing.answers(again, x), wanted, atol=1e-6)
  data = paoding.convert_to_tflite(small)
  (found,) = paoding.tflite.run_tflite(
    data, {small.input_names[0]: x}, outputs=['end']
  )
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  assert model.get_layer('part').kernel.shape == (4, 4)
  assert small.get_layer('part').kernel.shape == (2, 2)
