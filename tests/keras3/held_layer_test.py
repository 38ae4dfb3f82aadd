"""Tests of Keras 3 layers that tf_keras has no counterpart of."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_model_optimization.sparsity.keras import strip_pruning

import tfmot_paoding as paoding
from tfmot_paoding import compat
from tfmot_paoding.keras3 import held_layer

keras = pytest.importorskip('keras')
L = keras.layers


class Token(L.Layer):
  """A weight of its own, and layers with weights that do not train."""

  def __init__(self, width, **kwargs):
    super().__init__(**kwargs)
    self.width = width
    self.norm = L.BatchNormalization()
    self.dropout = L.Dropout(0.5)

  def build(self, shape):
    self.norm.build(shape)
    self.token = self.add_weight(name='token', shape=(1, 1, self.width))
    self.shift = self.add_weight(name='shift', shape=(self.width,))

  def compute_output_shape(self, shape):
    return shape[0], shape[1] + 1, shape[2]

  def call(self, x, scale=None, training=None):
    x = self.dropout(self.norm(x, training=training), training=training)
    if scale is not None:
      x = x * scale
    token = keras.ops.broadcast_to(
      self.token, (keras.ops.shape(x)[0], 1, self.width)
    )
    return keras.ops.concatenate([token, x + self.shift], 1)


def _filled(model, seed=0):
  rng = np.random.default_rng(seed)
  for variable in model.weights:
    variable.assign(rng.uniform(0.3, 1, variable.shape))
  return model


def _network():
  inputs = keras.Input((8, 8, 3))
  x = L.Conv2D(6, 4, 4, activation='relu', name='first')(inputs)
  x = Token(6, name='token')(L.Reshape((4, 6))(x))
  x = L.Dense(16, activation='relu', name='inner')(x)
  x = L.GlobalAveragePooling1D()(x)
  return _filled(keras.Model(inputs, L.Dense(3)(x)))


def _images(seed=1):
  rng = np.random.default_rng(seed)
  return rng.uniform(size=(5, 8, 8, 3)).astype(np.float32)


def test_it_is_what_the_layer_is():
  model, x = _network(), _images()
  before = [np.array(w) for w in model.weights]
  converted = paoding.from_keras3(model)
  np.testing.assert_allclose(converted(x), model(x), rtol=1e-5)
  layer, ours = model.get_layer('token'), converted.get_layer('token')
  assert len(ours.trainable_weights) == len(layer.trainable_weights) == 4
  assert len(ours.non_trainable_weights) == 2
  with tf.GradientTape(persistent=True) as tape:
    totals = [tf.reduce_sum(tf.sin(m(x))) for m in (model, converted)]
  ours, theirs = (
    tape.gradient(total, weights)
    for total, weights in zip(
      totals,
      ([layer.token.value, layer.shift.value], ours.trainable_weights[:2]),
      strict=True,
    )
  )
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
  for one, other in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('method', ['l1', 'reconstruction'])
def test_units_stop_at_it(method):
  model, x = _network(), _images()
  how = {'method': method, 'input_range': (0.0, 1.0)}
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5), **how
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  assert 'HeldLayer' in history.left_alone['first']
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.get_layer('inner').units == 8
  assert small.get_layer('first').filters == 6
  for other in (stripped, small):
    np.testing.assert_allclose(other(x), wrapped(x), rtol=1e-4)
  back = paoding.to_keras3(small)
  assert type(back.get_layer('token')) is Token
  np.testing.assert_allclose(back(x), small(x), rtol=1e-5)
  interpreter = tf.lite.Interpreter(
    model_content=paoding.convert_to_tflite(small)
  )
  interpreter.allocate_tensors()
  interpreter.set_tensor(interpreter.get_input_details()[0]['index'], x[:1])
  interpreter.invoke()
  found = interpreter.get_tensor(interpreter.get_output_details()[0]['index'])
  np.testing.assert_allclose(found, small(x[:1]), rtol=1e-4)


def test_several_arguments_and_training():
  first, second = keras.Input((4, 6)), keras.Input((4, 6))
  layer = Token(6)
  model = _filled(
    keras.Model(
      [first, second], layer(layer(first, second)[:, :4], scale=second)
    )
  )
  converted = paoding.from_keras3(model)
  x = list(np.random.default_rng(0).uniform(size=(2, 3, 4, 6)).astype('f4'))
  np.testing.assert_allclose(converted(x), model(x), rtol=1e-5)
  gap = np.abs(converted(x, training=True) - converted(x, training=True))
  assert gap.max() > 0.1  # dropout


def test_a_copy_learns_for_itself():
  converted = paoding.from_keras3(_network())
  copy = compat.keras.models.clone_model(converted)
  copy.set_weights(converted.get_weights())
  before = converted.get_weights()
  copy.compile('sgd', 'mse')
  copy.fit(_images(), np.zeros((5, 3)), verbose=0)
  for one, other in zip(before, converted.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
  moved = copy.get_layer('token').get_weights()[0]
  assert np.any(moved != converted.get_layer('token').get_weights()[0])


def test_files_name_the_class(tmp_path, monkeypatch):
  converted, path = paoding.from_keras3(_network()), tmp_path / 'model.keras'
  converted.save(path)
  with pytest.raises(ValueError, match='Token'):
    paoding.load_model(path)
  x = _images()
  loaded = compat.keras.models.load_model(path)
  np.testing.assert_allclose(loaded(x), converted(x), rtol=1e-6)
  monkeypatch.setattr(held_layer, '_CLASSES', {})
  with pytest.raises(TypeError, match='Convert the Keras 3 model'):
    compat.keras.models.load_model(path)


def test_what_holds_such_a_layer_is_held_with_it():
  inputs = keras.Input((3, 4, 6))
  x = L.TimeDistributed(Token(6), name='steps')(inputs)
  model = _filled(keras.Model(inputs, L.Dense(2)(x)))
  converted = paoding.from_keras3(model)
  assert type(converted.get_layer('steps')) is held_layer.HeldLayer
  x = np.random.default_rng(0).uniform(size=(2, 3, 4, 6)).astype('f4')
  np.testing.assert_allclose(converted(x), model(x), rtol=1e-5)


def test_what_cannot_be_made_anew_is_named():
  class Closed(L.Layer):
    def __init__(self, function):
      super().__init__(name='closed')
      self._function = function

    def build(self, shape):
      self.scale = self.add_weight(name='scale')

    def call(self, x):
      return self._function(x) * self.scale

  inputs = keras.Input((4,))
  model = keras.Model(inputs, Closed(lambda x: x)(inputs))
  with pytest.raises(ValueError, match=r"Closed 'closed'.*get_config"):
    paoding.from_keras3(model)
