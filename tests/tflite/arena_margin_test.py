"""Tests of what CMSIS-NN's kernels need beside a measured arena."""

import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import arena_margin


def converted(layers, shape, quantization='int8'):
  model = testing.fill(keras.Sequential([keras.Input(shape), *layers]))
  return paoding.convert_to_tflite(model, quantization, input_range=(0, 1))


def test_matrices_need_a_sum_each_unit():
  """40 and 12 units of 4 bytes, each aligned to 16."""
  layers = [keras.layers.Dense(41, 'relu'), keras.layers.Dense(12)]
  assert arena_margin(converted(layers, (7,))) == 176 + 48


def test_of_convolutions_the_largest():
  """9 taps of 6 channels are 54 columns, 64 where they are aligned."""
  layers = [
    keras.layers.Conv2D(6, 3, activation='relu'),
    keras.layers.Conv2D(4, 3, activation='relu'),
    keras.layers.Flatten(),
    keras.layers.Dense(4),
  ]
  assert arena_margin(converted(layers, (8, 8, 2))) == 4 * 64 + 16


def test_depthwise_takes_a_block_of_channels():
  layers = [keras.layers.DepthwiseConv2D(3, padding='same')]
  assert arena_margin(converted(layers, (6, 6, 4))) == 4 * 9 * 124


@pytest.mark.parametrize('quantization', [None, 'dynamic'])
def test_real_numbers_need_nothing(quantization):
  layers = [keras.layers.Conv2D(6, 3), keras.layers.GlobalAveragePooling2D()]
  assert arena_margin(converted(layers, (6, 6, 4), quantization)) == 0


def test_sixteen_bits():
  """Columns of 16 bits, two of them; matrices keep no sums."""
  layers = [
    keras.layers.Conv2D(6, 3, activation='relu'),
    keras.layers.Flatten(),
    keras.layers.Dense(4),
  ]
  found = arena_margin(converted(layers, (6, 6, 2), 'int16x8'))
  assert found == 4 * 32


def test_what_is_no_file():
  with pytest.raises(ValueError, match='no .tflite'):
    arena_margin(b'model')
