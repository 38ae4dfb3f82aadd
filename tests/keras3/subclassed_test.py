"""Subclassed Keras 3 models: traced, or refused with what cannot be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests.keras3_models import randomized
from tfmot_paoding.compat import keras as keras2

keras = pytest.importorskip('keras', minversion='3')
L, ops = keras.layers, keras.ops


def data(*shape):
  return np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)


class Block(L.Layer):
  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.wide, self.narrow = L.Dense(6, 'relu', name='wide'), L.Dense(4)
    self.norm, self.drop = L.BatchNormalization(), L.Dropout(0.5)

  def call(self, x, training=None):
    y = self.drop(self.narrow(self.wide(x)), training=training)
    return ops.relu(self.norm(y, training=training) + x)


class Net(keras.Model):
  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.stem = L.Dense(4, name='stem')
    self.blocks = [Block(name=f'block{k}') for k in range(2)]
    self.head = keras.Sequential([L.Dense(8, 'relu', name='in'), L.Dense(2)])

  def call(self, x, training=None):
    x = self.stem(x)
    for block in self.blocks:
      x = block(x, training=training)
    return self.head(x)


class Functions(keras.Model):
  """Of TensorFlow's functions, not of keras.ops."""

  def __init__(self):
    super().__init__()
    self.first, self.hidden = L.Dense(6, name='first'), L.Dense(8)
    self.out = L.Dense(2)

  def call(self, x):
    y = tf.nn.relu(self.hidden(tf.nn.relu(self.first(x))))
    y = tf.concat([y, tf.reduce_mean(y, axis=-1, keepdims=True)], -1)
    return self.out(tf.reshape(y, (-1, 9)))


class Two(keras.Model):
  def __init__(self):
    super().__init__()
    self.a, self.b = L.Dense(6, 'relu'), L.Dense(6, 'relu')
    self.out = L.Dense(2)

  def call(self, left, right):
    return {'sum': self.out(self.a(left) + self.b(right)), 'left': self.a(left)}


class OnlyInTraining(keras.Model):
  def __init__(self):
    super().__init__()
    self.hidden, self.drop = L.Dense(8, 'relu'), L.Dropout(0.5)
    self.out = L.Dense(3)

  def call(self, x, training=False):
    x = self.hidden(x)
    if training:
      x = self.drop(x, training=training)
    return self.out(x)


def check(model, *inputs, **settings):
  model(*inputs)
  randomized(model)
  before = [np.array(w) for w in model.weights]
  names = [x.name for x in model._flatten_layers()]
  nodes = [len(x._inbound_nodes) for x in model._flatten_layers()]
  made = paoding.from_keras3(model, **settings)
  assert names == [x.name for x in model._flatten_layers()]
  assert nodes == [len(x._inbound_nodes) for x in model._flatten_layers()]
  for old, weight in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(old, weight)
  assert isinstance(made, keras2.Model)
  found = made(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
  for want, got in zip(
    tf.nest.flatten(model(*inputs)), tf.nest.flatten(found), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  return made


def test_blocks_are_opened_and_pruned():
  model, x = Net(name='net'), data(3, 5)
  made = check(model, x)
  assert made.name == 'net'
  assert made.get_layer('block1').get_layer('wide').units == 6
  small = paoding.prune(model, 0.5, verbose=0, distillation=False)
  assert small.get_layer('block1').get_layer('wide').units == 3
  back = paoding.to_keras3(small)
  np.testing.assert_allclose(back(x), small(x), rtol=1e-5, atol=1e-6)


def test_functions_of_tensorflow():
  model, x = Functions(), data(3, 5)
  check(model, x)
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('first').units == 3


def test_several_inputs_and_layers_of_training_alone():
  shapes = {'left': (4,), 'right': (5,)}
  check(Two(), data(3, 4), data(3, 5), input_shape=shapes)
  model = Two()
  model(data(3, 4), data(3, 5))
  with pytest.raises(ValueError, match='shapes by argument'):
    paoding.from_keras3(model)  # Keras 3 keeps one shape
  made = check(OnlyInTraining(), data(3, 4))
  assert sum(isinstance(x, keras2.layers.Dropout) for x in made.layers) == 1


def test_shapes_from_an_argument():
  small = paoding.prune(Net(), 0.5, method='l1', verbose=0, input_shape=(5,))
  assert small.input_shape == (None, 5)
  with pytest.raises(ValueError, match='input_shape='):
    paoding.from_keras3(Net())
  model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
  with pytest.raises(ValueError, match='`input_shape`'):
    paoding.from_keras3(model, input_shape=(5,))


def branch_on_values(self, x):
  y = self.out(x)
  if ops.sum(x) > 0:
    return y
  return 2 * y


def branch_on_training(self, x, training=False):
  y = self.out(x)
  if training:
    return y
  return ops.softmax(y)


@pytest.mark.parametrize(
  ('call', 'statement'),
  [(branch_on_values, 'if ops.sum'), (branch_on_training, 'if training:')],
)
def test_what_cannot_be_traced_is_shown(call, statement):
  def make(self):
    keras.Model.__init__(self, name='odd')
    self.out = L.Dense(3)

  model = type('Odd', (keras.Model,), {'__init__': make, 'call': call})()
  model(data(2, 4))
  with pytest.raises(ValueError, match=statement) as caught:
    paoding.from_keras3(randomized(model), input_shape=(4,))
  assert "'odd' is subclassed" in str(caught.value)


def test_weights_outside_of_layers_are_named():
  class Loose(keras.Model):
    def __init__(self):
      super().__init__()
      self.loose = self.add_weight(shape=(4,), name='loose')
      self.out = L.Dense(2)

    def call(self, x):
      return self.out(x * self.loose)

  model = Loose()
  model(data(2, 4))
  with pytest.raises(ValueError, match="weight '.*loose' outside"):
    paoding.from_keras3(model)


def test_losses_that_a_call_adds_are_told_of():
  class Sparse(keras.Model):
    def __init__(self):
      super().__init__(name='sparse')
      self.hidden, self.out = L.Dense(6), L.Dense(2)

    def call(self, x):
      x = self.hidden(x)
      self.add_loss(keras.ops.mean(x**2))
      return self.out(x)

  model = Sparse()
  model(data(2, 4))
  with pytest.warns(UserWarning, match=r"'sparse' adds.*add_loss"):
    made = paoding.from_keras3(model)
  np.testing.assert_allclose(made(data(2, 4)), model(data(2, 4)), atol=1e-5)


def test_inputs_go_by_the_same_names_each_time():
  model = Functions()
  model(data(2, 5))
  assert paoding.from_keras3(model).input_names == ['input_1']
  assert paoding.from_keras3(model).input_names == ['input_1']


class Sampling(L.Layer):
  """As variational autoencoders have it."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.seed_generator = keras.random.SeedGenerator(1)

  def call(self, inputs):
    mean, log_variance = inputs
    shape = ops.shape(mean)[0], ops.shape(mean)[1]
    noise = keras.random.normal(shape, seed=self.seed_generator)
    return mean + ops.exp(log_variance / 2) * noise


def _encoder():
  inputs = keras.Input((6,))
  x = L.Dense(8, 'relu', name='hidden')(inputs)
  mean, log_variance = L.Dense(2)(x), L.Dense(2)(x)
  sampled = Sampling(name='sampling')([mean, log_variance])
  return keras.Model(inputs, [mean, log_variance, sampled])


def test_a_layer_that_cannot_be_traced_is_run_as_it_is():
  model, x = randomized(_encoder()), data(4, 6)
  made = paoding.from_keras3(model)
  for ours, theirs in list(zip(made(x), model(x), strict=True))[:2]:
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
  assert not np.array_equal(made(x)[2], made(x)[2])
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('hidden').units == 4


def test_a_layer_called_in_two_ways_has_its_weights_once():
  class Mixed(L.Layer):
    def __init__(self, **kwargs):
      super().__init__(**kwargs)
      self.wide, self.narrow = L.Dense(6, 'relu', name='wide'), L.Dense(4)

    def call(self, x, other=None, factor=1.0):
      y = self.narrow(self.wide(x)) * factor
      return y if other is None else y + other

  first, second = keras.Input((4,)), keras.Input((4,))
  layer = Mixed(name='mixed')
  x = layer(layer(layer(first), other=second), factor=2.0)
  model = randomized(keras.Model([first, second], L.Dense(2)(x)))
  inputs = [data(3, 4), data(3, 4) - 1]
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.count_params() < model.count_params()
  made = paoding.from_keras3(model)
  np.testing.assert_allclose(made(inputs), model(inputs), rtol=1e-4)
  assert len(made.weights) == len(model.weights)
