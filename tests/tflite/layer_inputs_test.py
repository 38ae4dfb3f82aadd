"""What layers read, beside TensorFlow's convolutions and Keras's numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import layer_inputs as lib
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


@pytest.mark.parametrize(
  ('kernel', 'strides', 'dilations'),
  [
    ((3, 2), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (1, 1)),
    ((3, 3), (2, 3), (1, 1)),
    ((2, 3), (1, 1), (2, 2)),
  ],
)
@pytest.mark.parametrize('same', [False, True])
def test_windows_times_a_kernel_are_a_convolution(
  kernel, strides, dilations, same
):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 9, 7, 3))
  weights = rng.normal(size=(*kernel, 3, 4))
  expected = tf.nn.conv2d(
    x, weights, strides, 'SAME' if same else 'VALID', dilations=dilations
  )
  seen = lib.windows(x, kernel, strides, dilations, same=same)
  np.testing.assert_allclose(
    seen @ weights.reshape(-1, 4), np.reshape(expected, (-1, 4)), atol=1e-12
  )


def net() -> keras.Model:
  layers = keras.layers
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 5, 2)),
        layers.Conv2D(4, 3, padding='same', activation='relu'),
        layers.Conv2D(4, 1, groups=2),
        layers.Flatten(),
        layers.Dense(3),
      ]
    )
  )


def test_moments_are_those_of_what_keras_hands_on():
  model = net()
  data = convert_unchecked(model, None, input_range=(0, 1))
  file = TFLiteFile(data)
  numbers = [
    number
    for number, op in enumerate(file.operators)
    if op.name in ('CONV_2D', 'FULLY_CONNECTED')
  ]
  x = testing.draw((6, 5, 2), 12).astype(np.float32)
  found = lib.moments_of(data, numbers, {model.input_names[0]: x})
  inner = keras.Model(model.inputs, model.layers[-2].output)(x).numpy()
  last, first = found[numbers[-1]], found[numbers[0]]
  np.testing.assert_allclose(last.mean, inner.mean(0), atol=1e-5)
  np.testing.assert_allclose(
    last.covariance, np.cov(inner.T, bias=True), atol=1e-5
  )
  seen = lib.windows(x, (3, 3), same=True)
  np.testing.assert_allclose(
    first.squares, seen.T @ seen / len(seen), rtol=1e-4
  )
  grouped = [n for n in numbers if file.operators[n].name == 'CONV_2D'][1:]
  assert not set(grouped) & set(found)


def test_of_large_pictures_every_column_is_seen():
  found: dict[int, lib.Moments] = {}
  sides = 64, 32
  rows = np.array(list(itertools.product(range(sides[0]), range(sides[1]))))
  lib._add(found, 0, rows)
  assert found[0].count <= 256
  np.testing.assert_allclose(found[0].mean, rows.mean(0), rtol=0.05)
