"""What layers read, beside TensorFlow's convolutions and Keras's numbers."""

from __future__ import annotations

import itertools

import numpy as np

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.ops.windows import window
from tfmot_paoding.tflite import layer_inputs as lib
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


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
  over = window('same', (3, 3), (1, 1), (1, 1), (6, 5))
  seen = over.patches(x, np.arange(len(x) * 6 * 5))
  np.testing.assert_allclose(
    first.squares, seen.T @ seen / len(seen), rtol=1e-4
  )
  grouped = [n for n in numbers if file.operators[n].name == 'CONV_2D'][1:]
  assert not set(grouped) & set(found)


def test_of_large_pictures_every_column_is_seen():
  sides = 64, 32
  places = np.array(list(itertools.product(range(sides[0]), range(sides[1]))))
  chosen = lib._chosen(len(places))
  assert len(chosen) <= 256
  np.testing.assert_allclose(places[chosen].mean(0), places.mean(0), rtol=0.05)
