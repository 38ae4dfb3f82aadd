"""Activations of Keras 3, those that tf_keras has no like of among them."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests.keras3_models import keras, randomized
from tfmot_paoding.keras3 import activations as lib

L = keras.layers


def squared_relu(x):
  return keras.ops.square(keras.ops.relu(x))


def model_with(activation):
  model = keras.Sequential(
    [keras.Input((5,)), L.Dense(8, activation, name='own'), L.Dense(3)]
  )
  for weight in randomized(model).weights:
    weight.assign(4.0 * weight)  # beyond the kinks
  return model


@pytest.mark.parametrize(
  'activation',
  ['celu', 'hard_sigmoid', 'mish', 'sparsemax', squared_relu]
  + [name for name in lib._FUNCTIONS if name != 'celu'],
)
def test_answers_are_those_of_keras_3(activation):
  model = model_with(activation)
  converted = paoding.from_keras3(model)
  x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
  wanted = np.asarray(model(x))
  np.testing.assert_allclose(converted(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'name', sorted(lib._FUNCTIONS.keys() - {'log_softmax', 'hard_shrink'})
)
def test_units_in_front_of_them_leave_and_it_goes_back(name):
  small = paoding.prune(
    model_with(name), 0.5, method='l1', input_range=(-1, 1), verbose=0
  )
  assert small.get_layer('own').units == 4
  x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
  back = paoding.to_keras3(small)
  np.testing.assert_allclose(back(x), small(x), rtol=1e-4, atol=1e-5)
