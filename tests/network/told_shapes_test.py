"""What a copy's layers say of their shapes is what a trace comes to."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network.cloning import clone_with, copied, fresh_layer
from tfmot_paoding.network.told_shapes import told, untraced

L = keras.layers
_MAP, _ROW, _FLAT = (7, 6, 4), (6, 4), (4,)
_LAYERS = [
  (_FLAT, lambda: L.Dense(3, 'relu')),
  (_MAP, lambda: L.Dense(3)),
  (_ROW, lambda: L.Conv1D(3, 2, 2, 'causal', dilation_rate=1)),
  (_MAP, lambda: L.Conv2D(6, (3, 2), (2, 1), 'same', groups=2)),
  ((4, *_MAP), lambda: L.Conv3D(2, 2)),
  (_ROW, lambda: L.DepthwiseConv1D(2, depth_multiplier=2)),
  (_MAP, lambda: L.DepthwiseConv2D(3, 2, 'same', depth_multiplier=2)),
  (_ROW, lambda: L.SeparableConv1D(3, 2)),
  (_MAP, lambda: L.SeparableConv2D(3, 2, 2)),
  (_MAP, lambda: L.Conv2DTranspose(3, 3, 2, 'same', output_padding=1)),
  (_MAP, lambda: L.Conv2DTranspose(3, 3, 2, 'valid')),
  (_ROW, lambda: L.LSTM(3)),
  (_ROW, lambda: L.LSTM(3, return_sequences=True, return_state=True)),
  (_ROW, lambda: L.GRU(3, return_state=True)),
  (_ROW, lambda: L.SimpleRNN(3, return_sequences=True, unroll=True)),
  (_MAP, lambda: L.BatchNormalization()),
  (_MAP, lambda: L.BatchNormalization(axis=1)),
  (_ROW, lambda: L.LayerNormalization()),
  (_MAP, lambda: L.Activation('sigmoid')),
  (_MAP, lambda: L.ReLU(6)),
  (_MAP, lambda: L.LeakyReLU()),
  (_MAP, lambda: L.ELU()),
  (_MAP, lambda: L.PReLU(shared_axes=[1, 2])),
  (_ROW, lambda: L.Softmax(1)),
  (_ROW, lambda: L.MaxPooling1D(4, 2, 'same')),
  (_MAP, lambda: L.MaxPooling2D()),
  (_ROW, lambda: L.AveragePooling1D()),
  (_MAP, lambda: L.AveragePooling2D(3, 2)),
  (_ROW, lambda: L.GlobalAveragePooling1D(keepdims=True)),
  (_MAP, lambda: L.GlobalAveragePooling2D()),
  (_ROW, lambda: L.GlobalMaxPooling1D()),
  (_MAP, lambda: L.GlobalMaxPooling2D(keepdims=True)),
  (_MAP, lambda: L.Flatten()),
  (_MAP, lambda: L.Reshape((-1, 8))),
  (_MAP, lambda: L.Permute((3, 1, 2))),
  (_FLAT, lambda: L.RepeatVector(3)),
  (_ROW, lambda: L.ZeroPadding1D((1, 2))),
  (_MAP, lambda: L.ZeroPadding2D(((1, 0), (0, 2)))),
  (_ROW, lambda: L.Cropping1D(1)),
  (_MAP, lambda: L.Cropping2D(((1, 0), (0, 2)))),
  (_ROW, lambda: L.UpSampling1D(3)),
  (_MAP, lambda: L.UpSampling2D((2, 3))),
  # In float16 it answers in float32.
  (_MAP, lambda: L.UpSampling2D(2, interpolation='bilinear')),
]


@pytest.fixture(autouse=True, scope='module')
def _models_made_shortly():
  """Instead of that of all tests: here Keras's own way is what counts."""
  with compat.without_forms_for_gpus():
    yield


@keras.utils.register_keras_serializable('told_shapes')
def _first(x):
  return x[..., :2]


@pytest.mark.parametrize(
  'batch, dtype', [(None, 'float32'), (2, 'mixed_float16')]
)
def test_as_if_traced(batch, dtype):
  inputs = {shape: keras.Input(shape, batch) for shape, _ in _LAYERS}
  outputs = []
  for shape, make in _LAYERS:
    layer = make()
    layer = type(layer).from_config({**layer.get_config(), 'dtype': dtype})
    outputs += tf.nest.flatten(layer(inputs[shape]))
  _check(keras.Model(list(inputs.values()), outputs))


def test_what_merges():
  first, second = keras.Input(_MAP), keras.Input(_MAP)
  row, flat = keras.Input((1, 4)), keras.Input(_FLAT)
  outputs = [L.Concatenate(axis)([first, second]) for axis in (1, -1)]
  for kind in (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum):
    outputs.append(kind()([first, second]))
  outputs += [L.Add()([L.Reshape((7, 24))(first), L.Dense(24)(row)])]
  outputs += [L.Multiply()([first, flat])]
  _check(keras.Model([first, second, row, flat], outputs))


def test_masks_states_and_activations_of_a_users_go_on():
  x, state = keras.Input((6, 4)), keras.Input((3,))
  masked = L.Masking()(x)
  rows = L.GRU(3, return_sequences=True)(masked, initial_state=state)
  rows = L.Dense(5, activation=_first)(rows)
  _check(keras.Model([x, state], [rows, L.LSTM(4)(rows)]))


def test_maps_of_any_size_and_shared_layers():
  x = keras.Input((None, None, 3))
  conv = L.Conv2D(3, 3, padding='same', activation=L.PReLU(shared_axes=[1, 2]))
  y = L.Add()([conv(x), conv(conv(x))])
  model = keras.Model(x, L.UpSampling2D()(y))
  _check(model)


def test_functions_of_tensors_and_of_shapes():
  x = keras.Input((4, 3))
  y = L.Dense(6)(x)
  y = tf.reshape(y * tf.nn.relu(y[:, 1:2]), (-1, tf.shape(y)[2], 4))
  one, other = tf.split(tf.concat([y, tf.exp(y)], -1), 2, axis=-1)
  _check(keras.Model(x, [one, other, tf.argmax(one, -1)]))
  batch = tf.shape(one)[0]
  _check(keras.Model(x, [tf.tile([[[1.0]]], (batch, 2, 1)), one]))
  # Whole numbers stand for shapes, which may be others in a copy.
  wide = L.Dense(6)(x)
  model = keras.Model(x, tf.reshape(x, (-1, 2 * tf.shape(wide)[2])))
  assert model.output_shape == (None, 12)

  def make_layer(layer, _):
    config = layer.get_config()
    if config.get('units') == 6:
      config['units'] = 4
    return fresh_layer(layer, config)

  assert clone_with(model, make_layer).output_shape == (None, 8)


def test_layers_are_as_they_were():
  model = keras.Sequential([L.Input(_FLAT), L.Dense(3)])
  called = []

  def make_layer(layer, _):
    called.append(fresh_layer(layer))
    return called[-1]

  clone_with(model, make_layer)
  assert called
  assert all('call' not in vars(layer) for layer in called)


def test_nothing_is_left_of_it():
  with told():
    layer = L.Dense(3)
    layer(keras.Input(_FLAT))
  assert 'call' not in vars(layer)
  np.testing.assert_array_equal(layer(np.zeros((2, 4))), np.zeros((2, 3)))


def test_a_subclass_is_traced():
  class Own(L.Dense):
    def call(self, inputs):
      return super().call(inputs)[..., :2]

  layer = Own(3)
  with untraced() as spare:
    spare(layer, layer)
    assert layer(keras.Input(_FLAT)).shape == (None, 2)
  with told():
    assert layer(keras.Input(_FLAT)).shape == (None, 2)


def _check(model: keras.Model) -> None:
  """Whether a copy's tensors are what Keras's own makes of it."""
  clones = [copied(model), keras.models.clone_model(model)]
  with told():
    clones.append(keras.models.clone_model(model))
  first, traced, last = (_tensors(clone) for clone in clones)
  assert first == traced == last
  for clone in clones[1:]:
    clone.set_weights(model.get_weights())
  rng = np.random.default_rng(0)
  x = [
    tf.constant(
      rng.normal(size=[2, *(size or 5 for size in x.shape[1:])]),
      x.dtype,
    )
    for x in model.inputs
  ]
  for one, *others in zip(*[clone(x) for clone in clones], strict=True):
    for other in others:
      np.testing.assert_array_equal(one, other)


def _tensors(model: keras.Model) -> list:
  found = []
  for layer in model.layers:
    for node in layer.inbound_nodes:
      for x in tf.nest.flatten(node.outputs):
        mask = getattr(x, '_keras_mask', None)
        found.append(
          (
            x.shape.as_list(),
            x.dtype,
            mask is not None and mask.shape.as_list(),
          )
        )
  return found
