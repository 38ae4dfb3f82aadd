"""Units whose kernels are zero give their bias, in integers too."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import idle_rows as lib


def net() -> keras.Model:
  """A unit of each layer whose kernel is zero, and whose bias is not."""
  layers = keras.layers
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 6, 2)),
        layers.Conv2D(6, 3, activation='relu'),
        layers.DepthwiseConv2D(3, activation='relu'),
        layers.Flatten(),
        layers.Dense(12, activation='relu'),
        layers.Dense(4),
      ]
    )
  )
  for index, unit in ((0, 2), (1, 3), (3, 5)):
    kernel, bias = model.layers[index].get_weights()
    kernel = kernel.reshape(*kernel.shape[:2], -1) if index == 1 else kernel
    kernel[..., unit], bias[unit] = 0, 5
    shape = model.layers[index].get_weights()[0].shape
    model.layers[index].set_weights([kernel.reshape(shape), bias])
  return model


@pytest.mark.parametrize('quantization', ['int8', 'int4x8'])
def test_a_bias_beside_zeros_is_what_it_was(quantization):
  """It was the largest integer, and answers were off by .4 of their spread."""
  model = net()
  data = paoding.convert_to_tflite(model, quantization, input_range=(0, 1))
  x = {model.input_names[0]: testing.draw((6, 6, 2), 40).astype(np.float32)}
  assert paoding.tflite.compare_tflite(model, data, inputs=x).mean < 0.08


def test_the_least_weight_by_hand():
  """5 in steps of 1/255 times the row's is 2^30 at 127 of 5 * 255 * 2^-30."""
  rows, bias = np.zeros((2, 3), np.float32), np.array([5.0, 0.0], np.float32)
  made = lib._with_least(rows, bias, 1 / 255)
  np.testing.assert_allclose(made[0], [5 * 255 * 127 / 2**30, 0, 0], rtol=1e-6)
  np.testing.assert_array_equal(made[1], 0)
  assert lib._with_least(np.ones((2, 3), np.float32), bias, 1 / 255) is None
