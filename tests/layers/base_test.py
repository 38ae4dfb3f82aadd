"""A user's own layer joins by a handler of a few lines."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.numerics import activations
from tfmot_paoding.ops import Elementwise, Opaque


class Doubled(keras.layers.Layer):
  """2 x, by a function that the package does not know."""

  def call(self, inputs):
    return 2.0 * tf.math.real(tf.complex(inputs, 1.0))


def model() -> keras.Model:
  hidden = keras.layers.Dense(6, activation='relu', name='hidden')
  layers = [keras.Input((4,)), hidden, Doubled(), keras.layers.Dense(2)]
  return testing.fill(keras.Sequential(layers))


@pytest.fixture
def registered():
  @paoding.register_handler(Doubled)
  class DoubledHandler(paoding.layers.LayerHandler):
    def lower(self, layer, path, in_shapes, out_shape):
      double = activations.Activation(
        'double', lambda z: 2 * z, lambda z: np.full_like(z, 2.0)
      )
      return [Elementwise(double)]

  yield
  del base._HANDLERS[Doubled]


def test_unknown_it_is_named_and_its_units_stay():
  with pytest.raises(ValueError, match=r'hidden.*Doubled'):
    paoding.prune(model(), 0.5, verbose=0)


def test_known_its_units_go(registered):
  original = model()
  small = paoding.prune(original, 0.5, method='l1', verbose=0)
  assert small.layers[0].units == 3
  bound = paoding.deviation_bound(original, small)
  x = np.random.default_rng(0).uniform(0, 1, (100, 4)).astype(np.float32)
  change = np.abs(original(x) - small(x)).max(0)
  assert np.all(change <= bound + 1e-5)


def test_opaque_names_the_layer():
  (op,) = base.opaque(keras.layers.Dense(2, name='x'), 'is odd')
  assert op == Opaque("Dense 'x' is odd")


def test_missing_weights_have_no_reference():
  layer = keras.layers.Dense(2, use_bias=False)
  layer.build((None, 3))
  assert base.weight_ref(('x',), layer, 'bias') is None
  assert base.weight_ref(('x',), layer, 'kernel').name == 'kernel'
