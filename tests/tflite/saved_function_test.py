"""The converter makes the same file of it as of TensorFlow's SavedModel."""

from __future__ import annotations

import contextvars

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.saved_function import save_function
from tfmot_paoding.tflite.serving import converter_of, serving

_L = keras.layers
_TABLE = tf.constant(np.arange(15, dtype=np.float32).reshape(3, 5))


def convolutional() -> keras.Model:
  model = keras.Sequential(
    [
      _L.Conv2D(4, 3, activation='relu', input_shape=(6, 6, 2)),
      _L.BatchNormalization(),
      _L.Flatten(),
      _L.Dense(3),
    ]
  )
  return testing.fill(model)


def recurrent() -> keras.Model:
  return keras.Sequential(
    [
      _L.LSTM(4, return_sequences=True, input_shape=(5, 3)),
      _L.GRU(3),
      _L.Dense(2),
    ]
  )


def of_two_ends() -> keras.Model:
  """Names whose order is not that in which they are given."""
  right, left = _L.Input((3,), name='right'), _L.Input((5,), name='left')
  hidden = _L.Dense(4, activation='relu')(left)
  both = _L.Concatenate()([hidden, right])
  return keras.Model(
    [right, left], [_L.Dense(2, name='z')(both), _L.Dense(3, name='a')(both)]
  )


def without_variables() -> keras.Model:
  return keras.Sequential([_L.ReLU(input_shape=(4,)), _L.Softmax()])


def with_a_shared_layer() -> keras.Model:
  x = _L.Input((3,))
  layer = _L.Dense(3, activation='tanh')
  return keras.Model(x, layer(layer(x)))


@pytest.mark.parametrize(
  'make',
  [
    convolutional,
    recurrent,
    of_two_ends,
    without_variables,
    with_a_shared_layer,
  ],
)
def test_the_file_is_the_same_byte_for_byte(make):
  model = make()
  function = serving(model)
  theirs = converter_of(model, function, tf.lite.TFLiteConverter).convert()
  assert converter_of(model, function).convert() == theirs


def _function(body, *variables: tf.Variable):
  """A function of a number of rows of three, named as a model's are."""
  found = tf.function(lambda x: {'out': body(x)}).get_concrete_function(
    tf.TensorSpec((None, 3), tf.float32, 'x')
  )
  owner = tf.Module()
  owner.held = variables
  return found, owner


def test_constants_from_outside_are_written_too(tmp_path):
  function, _ = _function(lambda x: x @ _TABLE)
  save_function(function, str(tmp_path))
  x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  again = tf.saved_model.load(str(tmp_path)).signatures['serving_default']
  np.testing.assert_allclose(again(x=x)['out'], x @ _TABLE, rtol=1e-6)


def test_variables_keep_their_values_and_their_order(tmp_path):
  first, second = (tf.Variable(float(k), name='same') for k in (2, 3))
  function, _ = _function(lambda x: second * x - first, first, second)
  graph, (given,) = save_function(function, str(tmp_path))
  assert given.graph is graph
  assert given.shape.as_list() == [None, 3]
  again = tf.saved_model.load(str(tmp_path)).signatures['serving_default']
  x = np.array([[1, -2, 0.5]], np.float32)
  np.testing.assert_array_equal(again(x=x)['out'], 3 * x - 2)


def test_tables_are_left_to_tensorflow(tmp_path):
  table = tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer([1, 2], [3.0, 4.0]), 0.0
  )
  function, _ = _function(lambda x: table.lookup(tf.cast(x, tf.int32)))
  with pytest.raises(ValueError, match='neither a variable nor a constant'):
    save_function(function, str(tmp_path))


def test_files_have_no_forms_for_gpus(monkeypatch):
  """Each is a second graph of a layer, and no file knows of it."""
  asked = contextvars.copy_context()  # other than in all other tests
  asked.run(compat._FORMS_FOR_GPUS.set, True)
  seen = []
  register = compat._kept_if_asked(lambda *_, **__: seen.append(1))
  monkeypatch.setattr(compat.gru_lstm_utils, 'function_register', register)
  model = recurrent()
  asked.run(serving, model)
  assert not seen
