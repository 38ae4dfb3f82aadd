"""Layers that the converter blows up come as what devices have kernels for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.equal_forms import with_equal_forms
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.micro import check_micro

L = keras.layers


def patches(x, sizes, strides, padding):
  return tf.image.extract_patches(
    x, [1, *sizes, 1], [1, *strides, 1], [1, 1, 1, 1], padding
  )


CASES = {
  'upsampling 1': ((12, 4), lambda: L.UpSampling1D(3)),
  'upsampling 3': ((12, 3, 2, 2), lambda: L.UpSampling3D((2, 1, 3))),
  'repeat': ((5,), lambda: L.RepeatVector(12)),
  'cropping': ((5, 4, 6, 2), lambda: L.Cropping3D(((1, 2), (0, 1), (2, 1)))),
  'largest': ((5, 4, 6, 2), lambda: L.MaxPooling3D((2, 2, 3))),
  'mean': ((4, 4, 4, 2), lambda: L.AveragePooling3D(2)),
  'tf.repeat': ((12, 4), lambda: lambda x: tf.repeat(x, 3, -2)),
  'tf.tile': ((6, 4), lambda: lambda x: tf.tile(x, [1, 12, 2])),
  'tf.roll': ((9, 4), lambda: lambda x: tf.roll(x, -2, axis=1)),
  'patches': ((8, 6, 3), lambda: lambda x: patches(x, (2, 2), (2, 2), 'VALID')),
  'patches that overlap': (
    (7, 6, 2),
    lambda: lambda x: patches(x, (3, 2), (2, 1), 'SAME'),
  ),
  'selu': ((12,), lambda: L.Dense(5, activation='selu')),
  'tf.nn.selu': ((12,), lambda: tf.nn.selu),
  'mish': ((12,), lambda: L.Activation('mish')),
  'volume': (
    (5, 4, 6, 2),
    lambda: L.Conv3D(
      3, (3, 2, 3), (2, 1, 2), padding='same', activation='relu'
    ),
  ),
  'dilated volume': (
    (5, 6, 6, 2),
    lambda: L.Conv3D(3, 2, dilation_rate=(2, 1, 3), use_bias=False),
  ),
  'grouped volume': ((4, 4, 4, 4), lambda: L.Conv3D(6, 3, groups=2)),
  'overlapping largest': ((5, 4, 6, 2), lambda: L.MaxPooling3D(3, 1)),
  'overlapping mean': (
    (5, 4, 6, 2),
    lambda: L.AveragePooling3D((3, 2, 3), (2, 1, 2), padding='same'),
  ),
  'dilated': ((9, 8, 3), lambda: L.Conv2D(4, 3, dilation_rate=(2, 3))),
  'dilated line': (
    (12, 3),
    lambda: L.Conv1D(4, 3, dilation_rate=4, padding='same', activation='relu'),
  ),
  'causal': (
    (12, 3),
    lambda: L.Conv1D(4, 3, dilation_rate=2, padding='causal', use_bias=False),
  ),
  'dilated steps': (
    (3, 9, 2),
    lambda: L.TimeDistributed(L.Conv1D(3, 2, dilation_rate=3)),
  ),
}


def net(shape, layer) -> keras.Model:
  x = inputs = keras.Input(shape)
  x = L.Flatten()(layer()(x))
  return testing.fill(keras.Model(inputs, L.Dense(3)(x)))


@pytest.mark.parametrize(
  ('name', 'quantization'),
  [
    *((name, 'int8') for name in CASES),
    *((name, None) for name in ('upsampling 3', 'tf.tile', 'selu', 'causal')),
    ('grouped volume', None),
  ],
)
def test_they_run_in_tflite_micro_in_no_more_than_they_need(name, quantization):
  model = net(*CASES[name])
  data = paoding.convert_to_tflite(model, quantization, input_range=(-1, 1))
  operators = TFLiteFile(data).operator_counts
  wasteful = {'SPLIT', 'TILE', 'SPACE_TO_BATCH_ND', 'EXP'}
  if name not in ('tf.tile', 'tf.roll'):
    wasteful.add('CONCATENATION')
  if 'volume' in name:  # what depths read stands beside each other
    wasteful -= {'CONCATENATION', 'SPLIT'}
    assert 'DEQUANTIZE' not in operators
  assert not wasteful & set(operators)
  # Weights, and about 300 bytes an operator.
  least = (1 if quantization else 4) * model.count_params()
  assert len(data) < least + 450 * sum(operators.values()) + 1200
  pytest.importorskip('tflite_micro')
  check_micro(data)


@pytest.mark.parametrize('name', CASES)
def test_they_are_the_same_function(name):
  model = net(*CASES[name])
  other = with_equal_forms(model)
  assert other is not model
  x = testing.draw(model.input_shape[1:], 7).astype(np.float32)
  np.testing.assert_allclose(other(x), model(x), rtol=1e-5, atol=1e-5)


def test_volumes_of_real_numbers_keep_the_operator_that_litert_has():
  model = net(*CASES['volume'])
  found = [
    TFLiteFile(
      convert_unchecked(model, None, input_range=(-1, 1), micro=micro)
    ).operator_counts
    for micro in (False, True)
  ]
  assert 'CONV_3D' in found[0]
  assert 'CONV_3D' not in found[1]


DEPTHWISE = {
  'depthwise': ((9, 8, 3), lambda: L.DepthwiseConv2D(3, dilation_rate=2)),
  'depthwise line': (
    (12, 3),
    lambda: L.DepthwiseConv1D(
      3, dilation_rate=3, padding='same', depth_multiplier=2, activation='relu'
    ),
  ),
  'separable': (
    (9, 8, 3),
    lambda: L.SeparableConv2D(4, 3, dilation_rate=2, padding='same'),
  ),
  'separable line': (
    (12, 3),
    lambda: L.SeparableConv1D(
      4, 3, dilation_rate=2, padding='causal', activation='relu'
    ),
  ),
}


@pytest.mark.parametrize(
  ('name', 'quantization'),
  [*((name, 'int8') for name in DEPTHWISE), ('depthwise line', None)],
)
def test_depthwise_kernels_dilate_by_themselves(name, quantization):
  """Compared in the interpreter: TensorFlow's own has no such kernel."""
  model = net(*DEPTHWISE[name])
  data = paoding.convert_to_tflite(model, quantization, input_range=(-1, 1))
  assert 'SPACE_TO_BATCH_ND' not in TFLiteFile(data).operator_counts
  x = testing.draw(model.input_shape[1:], 30).astype(np.float32)
  found = paoding.tflite.compare_tflite(model, data, inputs=np.clip(x, -1, 1))
  assert found.mean < (0.03 if quantization else 1e-6)
  pytest.importorskip('tflite_micro')
  check_micro(data)


@pytest.mark.parametrize('times', [3, 7, 41, 49, 100])
def test_no_entry_is_rounded_into_its_neighbour(times):
  x = inputs = keras.Input((9, 1))
  model = keras.Model(inputs, L.UpSampling1D(times)(x))
  x = np.arange(9, dtype=np.float32).reshape(1, 9, 1)
  for made in (model, with_equal_forms(model)):
    np.testing.assert_array_equal(made(x), np.repeat(x, times, 1))


def test_what_has_no_equal_form_is_left():
  plain = testing.mlp()
  assert with_equal_forms(plain) is plain
  inputs = keras.Input((None, 2))
  x = L.GlobalAveragePooling1D()(L.UpSampling1D(2)(inputs))
  model = keras.Model(inputs, x)
  x = np.ones((1, 5, 2), np.float32)
  np.testing.assert_array_equal(with_equal_forms(model)(x), model(x))
  inputs = keras.Input((None, 5, 5, 1))
  x = L.GlobalAveragePooling3D()(L.Conv3D(2, 2)(inputs))
  model = keras.Model(inputs, x)
  x = np.ones((1, 3, 5, 5, 1), np.float32)
  np.testing.assert_array_equal(with_equal_forms(model)(x), model(x))


@pytest.mark.parametrize('activation', ['selu', 'mish'])
@pytest.mark.parametrize('ends', [(0, 1), (-3, -1)])
def test_activations_of_one_sign_have_integers(activation, ends):
  x = inputs = keras.Input((12,))
  model = keras.Model(inputs, L.Activation(activation)(x))
  data = paoding.convert_to_tflite(model, 'int8', input_range=ends)
  x = testing.samples((12,), 30, *map(float, ends)).astype(np.float32)
  found = paoding.tflite.compare_tflite(model, data, inputs=x)
  assert found.largest < 0.03


@pytest.mark.parametrize('softplus', [L.Activation('softplus'), tf.nn.softplus])
@pytest.mark.parametrize('mode', [None, 'int8', 'int16x8'])
def test_softplus_has_steps_for_all_it_gives(softplus, mode):
  """By e^x real numbers overflow, and 8 bits were 40 % of the spread off."""
  inputs = keras.Input((12,))
  model = keras.Model(inputs, softplus(inputs))
  data = convert_unchecked(model, mode, input_range=(-99.0, 99.0))
  x = testing.samples((12,), 30, -99.0, 99.0).astype(np.float32)
  found = paoding.tflite.compare_tflite(model, data, inputs=x)
  assert found.largest < {None: 1e-6, 'int8': 0.02, 'int16x8': 1e-3}[mode]


def test_tiles_by_what_is_known_later_are_left():
  inputs = keras.Input((3, 4))
  count = tf.shape(inputs)[1]
  x = tf.tile(inputs, [1, count, 1])
  x = tf.reduce_mean(x, 1)
  model = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  made = with_equal_forms(model)
  x = testing.draw((3, 4), 5).astype(np.float32)
  np.testing.assert_allclose(made(x), model(x), atol=1e-6)


def test_an_lstm_that_drops_states_in_training_is_one_operator():
  inputs = keras.Input((5, 3))
  x = L.LSTM(4, return_sequences=True, recurrent_dropout=0.2)(inputs)
  x = L.Bidirectional(L.LSTM(3, recurrent_dropout=0.1, name='l'))(x)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(x)))
  data = paoding.convert_to_tflite(model, 'int8', input_range=(0.0, 1.0))
  counts = TFLiteFile(data).operator_counts
  assert 'WHILE' not in counts
  assert counts['UNIDIRECTIONAL_SEQUENCE_LSTM'] == 3


ENCODINGS = {
  'one of several': ((1,), 'one_hot'),
  'a number alone': ((), 'one_hot'),
  'several of them': ((4,), 'multi_hot'),
  'how many of each': ((4,), 'count'),
}


@pytest.mark.parametrize('quantization', [None, 'int8'])
@pytest.mark.parametrize('name', ENCODINGS)
def test_categories_have_a_file(name, quantization):
  shape, mode = ENCODINGS[name]
  number, category = keras.Input((3,)), keras.Input(shape, dtype='int32')
  encoded = L.CategoryEncoding(5, output_mode=mode)(category)
  x = L.Dense(8, 'relu')(L.Concatenate()([number, encoded]))
  model = testing.fill(keras.Model([number, category], L.Dense(2)(x)))
  rng = np.random.default_rng(0)
  x = [rng.uniform(size=(9, 3)).astype('f4'), rng.integers(0, 5, (9, *shape))]
  np.testing.assert_allclose(with_equal_forms(model)(x), model(x), atol=1e-6)
  data = convert_unchecked(model, quantization, input_range=(0, 4))
  by_name = dict(zip(model.input_names, x, strict=True))
  found = paoding.tflite.compare_tflite(model, data, inputs=by_name)
  assert found.largest < (0.1 if quantization else 1e-6)
  pytest.importorskip('tflite_micro')
  check_micro(data)
