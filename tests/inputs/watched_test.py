"""What normalizations read, with and without a copy of the model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.watched import Watched
from tfmot_paoding.network.network import Network

L = keras.layers


class Counting(L.Layer):
  """Changes as it is called."""

  def build(self, shape):
    self.calls = self.add_weight(name='calls', trainable=False)

  def call(self, x):
    self.calls.assign_add(1.0)
    return x


def layers(*more):
  return [L.Input((6,)), *more, L.Dense(4), L.BatchNormalization(), L.Dense(2)]


def nested():
  return keras.Sequential([L.Input((6,)), keras.Sequential(layers())])


@pytest.mark.parametrize(
  ('make', 'shares'),
  [
    (lambda: keras.Sequential(layers()), True),
    (nested, False),
    (lambda: keras.Sequential(layers(Counting())), False),
  ],
  ids=['plain', 'nested', 'counting'],
)
def test_what_is_read_is_told_and_the_model_stays(make, shares):
  model = testing.fill(make())
  before = [w.numpy() for w in model.weights]
  watched = Watched(Network.of(model))
  own = {id(layer) for layer in model._flatten_layers()}
  (norm,) = watched.norms
  assert (id(norm) in own) is shares
  x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
  (output,), ((read_by, values),) = watched([tf.constant(x)])
  assert read_by is norm
  for old, new in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(old, new.numpy())
  np.testing.assert_allclose(output, model(x), atol=1e-6)
  np.testing.assert_allclose(norm(values), _normalized(model)(x), atol=1e-6)


def _normalized(model):
  """A model up to its normalization."""
  inside = model.layers[0] if len(model.layers) == 1 else model
  at = [type(layer) for layer in inside.layers].index(L.BatchNormalization)
  return keras.Sequential(inside.layers[: at + 1])


def test_a_layer_that_is_called_twice_tells_twice():
  norm, inputs = L.BatchNormalization(), keras.Input((3,))
  model = testing.fill(keras.Model(inputs, norm(L.ReLU()(norm(inputs)))))
  x = tf.constant([[1.0, -2.0, 3.0], [0.0, 1.0, 1.0]])
  _, seen = Watched(Network.of(model))([x])
  assert [layer for layer, _ in seen] == [norm, norm]
  read = {tuple(values.numpy().ravel()) for _, values in seen}
  assert read == {
    tuple(x.numpy().ravel()),
    tuple(tf.nn.relu(norm(x)).numpy().ravel()),
  }


def test_another_model_of_the_same_layers_is_not_told_of():
  norm, inputs = L.BatchNormalization(), keras.Input((3,))
  model = testing.fill(keras.Model(inputs, norm(inputs)))
  keras.Model(inputs, norm(L.ReLU()(inputs)))
  _, seen = Watched(Network.of(model))([tf.ones((2, 3))])
  assert len(seen) == 1
