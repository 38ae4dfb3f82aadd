"""Costs of files: hand-counted, and against the Keras model."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


def profile(model, quantization=None, **settings):
  data = paoding.convert_to_tflite(model, quantization)
  return data, paoding.profile_tflite(data, micro=False, **settings)


def test_a_dense_network_by_hand():
  data, found = profile(testing.mlp((5, 8, 6, 3)), latency=False)
  assert found.bytes == len(data)
  assert found.macs == 5 * 8 + 8 * 6 + 6 * 3
  assert found.macs_by_operator == {'FULLY_CONNECTED': found.macs}
  assert found.operators['FULLY_CONNECTED'] == 3
  # All weights and biases, and nothing much beside them.
  stored = 4 * (5 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3)
  assert stored <= found.weight_bytes <= stored + 64
  # The two widest neighbours are alive at once.
  assert found.peak_activation_bytes == 4 * (8 + 6)
  assert found.latency is None


def test_convolutions_by_hand():
  x = inputs = keras.Input((8, 8, 2))
  x = keras.layers.Conv2D(4, 3, use_bias=False)(x)  # 6 x 6
  x = keras.layers.DepthwiseConv2D(3, padding='same', use_bias=False)(x)
  x = keras.layers.Conv2DTranspose(5, 2, strides=2, use_bias=False)(x)  # 12
  model = testing.fill(keras.Model(inputs, x))
  _, found = profile(model, latency=False)
  assert found.macs_by_operator == {
    'CONV_2D': 36 * 9 * 2 * 4,
    'DEPTHWISE_CONV_2D': 36 * 9 * 4,
    'TRANSPOSE_CONV': 36 * 4 * 4 * 5,
  }
  assert found.macs == paoding.report.count_macs(model)


def recurrent(kind):
  x = inputs = keras.Input((7, 3))
  x = keras.layers.Bidirectional(kind(5))(x)
  return testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))


def test_a_recurrent_network_by_hand():
  """Each gate multiplies by its two kernels at every step of time."""
  model = recurrent(keras.layers.LSTM)
  _, found = profile(model, latency=False)
  lstm = 2 * 7 * 4 * (3 * 5 + 5 * 5)
  assert found.macs_by_operator == {
    'UNIDIRECTIONAL_SEQUENCE_LSTM': lstm,
    'FULLY_CONNECTED': 10 * 2,
  }
  assert found.macs == paoding.report.count_macs(model)


def test_weights_within_loops_count():
  model = recurrent(keras.layers.GRU)
  _, found = profile(model, latency=False)
  assert found.operators['WHILE'] == 2
  kernels = 2 * 3 * (3 * 5 + 5 * 5) + 10 * 2
  assert found.weight_bytes > 4 * kernels
  assert paoding.report.count_macs(model) == 7 * (kernels - 10 * 2) + 10 * 2


def test_integers_take_a_quarter():
  model = testing.mlp((50, 80, 60, 3))
  _, real = profile(model, latency=False)
  _, int8 = profile(model, 'int8', latency=False)
  assert int8.macs == real.macs
  assert int8.peak_activation_bytes == real.peak_activation_bytes / 4
  assert int8.weight_bytes < 0.35 * real.weight_bytes


def test_a_branch_stays_alive_until_it_is_read():
  """x (16) feeds a (16) and then the sum: three of them at once at the end."""
  inputs = keras.Input((16,))
  x = keras.layers.Dense(16, activation='relu')(inputs)
  y = keras.layers.Dense(16, activation='relu')(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Add()([x, y])))
  _, found = profile(model, latency=False)
  assert found.peak_activation_bytes == 4 * 16 * 3


def test_latency_is_compared_in_one_run():
  small, large = testing.mlp((5, 8, 3)), testing.mlp((500, 2000, 2000, 3))
  other = paoding.convert_to_tflite(large)
  data = paoding.convert_to_tflite(small)
  found = paoding.profile_tflite(data, other, micro=False, seconds=0.05)
  assert found.latency.runs >= 10
  assert found.latency.median > 0
  assert found.latency.spread >= 0
  assert found.latency_ratio < 0.5


@pytest.mark.parametrize('data', [b'', b'nonsense' * 9, b'\0' * 100])
def test_other_bytes_are_refused(data):
  with pytest.raises(ValueError, match='no .tflite'):
    paoding.profile_tflite(data, micro=False)


def test_signatures_map_names_to_places():
  a, b = keras.Input((3,), name='zz'), keras.Input((4,), name='aa')
  x = keras.layers.Concatenate()([a, b])
  outputs = [keras.layers.Dense(n, name=f'out{n}')(x) for n in (5, 2)]
  model = testing.fill(keras.Model([a, b], outputs))
  file = TFLiteFile(paoding.convert_to_tflite(model))
  for of_inputs, order, sizes in (
    (True, file.inputs, {'zz': 3, 'aa': 4}),
    (False, file.outputs, {'out5': 5, 'out2': 2}),
  ):
    found = file.signature(of_inputs)
    assert {
      name: file.tensors[order[place]].size for name, place in found.items()
    } == sizes
  assert np.all([t.buffer >= 0 for t in file.tensors])
