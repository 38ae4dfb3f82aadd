"""Names, call arguments and states of Keras 3 that tf_keras sees otherwise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests.keras3_models import inputs_of, outputs_of, randomized
from tfmot_paoding.compat import keras as keras2

keras = pytest.importorskip('keras', minversion='3')
L, ops = keras.layers, keras.ops


def functional(apply, shape=(8,)):
  inputs = keras.Input(shape)
  return keras.Model(inputs, apply(inputs))


def states_of(layer):
  states = keras.tree.flatten(getattr(layer, 'states', None))
  return [state for state in states if state is not None]


def agree(model, converted):
  x = inputs_of(model)
  for want, got in zip(
    outputs_of(model, x), outputs_of(converted, x), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def sums(x):
  keras.backend.clear_session()
  y = L.Dense(8, 'relu', name='first')(x)
  z = L.Add()([x, y])  # the layer and the operation are both 'add'
  return L.Dense(2)(L.Dense(8, 'relu', name='second')(z + y) * z)


def all_twice(x):
  keras.backend.clear_session()
  for layer, operation in (
    (L.Subtract, ops.subtract),
    (L.Multiply, ops.multiply),
    (L.Maximum, ops.maximum),
    (L.Minimum, ops.minimum),
  ):
    x = operation(layer()([x, 2.0 * x]), x)
  x = ops.concatenate([L.Concatenate()([x, x]), x], -1)
  x = ops.softmax(L.Softmax()(x))
  x = ops.reshape(L.Reshape((4, 6))(x), (-1, 4, 6))
  x = ops.transpose(L.Permute((2, 1))(x), (0, 2, 1))
  return ops.hard_silu(L.ELU(0.5)(ops.elu(x, 0.5)))


def shared_operation(x):
  add = (x + x)._keras_history.operation
  return L.Dense(2)(add(add(L.Dense(8)(x), x), L.Add(name='add_9')([x, x])))


def named_as_tensorflow_names(x):
  return L.Dense(4, name='tf.math.multiply')(
    L.Dense(4, name='tf.math.multiply_1')(x * 2.0) * 3.0
  )


def inner_names_outside(x):
  inner = keras.Sequential([keras.Input((8,)), L.Dense(8, name='d')], name='i')
  return L.Dense(2, name='d')(inner(x) + L.Dense(8, name='D')(x))


@pytest.mark.parametrize(
  'apply',
  [
    sums,
    all_twice,
    shared_operation,
    named_as_tensorflow_names,
    inner_names_outside,
  ],
)
def test_names_that_meet_are_told_apart(apply):
  model = randomized(functional(apply))
  converted = paoding.from_keras3(model)
  agree(model, converted)
  names = [layer.name for layer in converted.layers]
  assert len(set(names)) == len(names)
  assert {x.name for x in model.layers if x.weights} <= set(names)


def test_residual_networks_are_pruned():
  def blocks(x):
    keras.backend.clear_session()
    y = L.Dense(8, name='out')(L.Dense(10, 'relu', name='inner')(x))
    z = L.Add()([x, y])
    return L.Dense(2)(z + L.Dense(8)(L.Dense(6, 'relu', name='second')(z)))

  small = paoding.prune(
    randomized(functional(blocks)), 0.5, verbose=0, distillation=False
  )
  assert small.get_layer('inner').units == 5
  assert small.get_layer('second').units == 3


@pytest.mark.parametrize('name', ['größe', 'my layer', '_x', 'a:b', '日本'])
def test_names_that_tensorflow_refuses_are_replaced(name):
  model = randomized(
    functional(lambda x: L.Dense(2)(L.Dense(6, 'relu', name=name)(x)))
  )
  with pytest.warns(UserWarning, match=f"takes no name like '{name}'"):
    converted = paoding.from_keras3(model)
  agree(model, converted)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    assert (
      paoding.prune(model, 0.5, method='l1', verbose=0).layers[1].units == 3
    )


def test_replaced_names_are_told_apart():
  model = randomized(
    functional(lambda x: L.Dense(2, name='日')(L.Dense(2, name='本')(x)))
  )
  with pytest.warns(UserWarning, match='takes no name like'):
    agree(model, paoding.from_keras3(model))


def test_names_of_inputs_and_inner_models_are_replaced():
  inner = keras.Sequential(
    [keras.Input((4,), name='ein gang'), L.Dense(4)], name='mein modell'
  )
  inputs = keras.Input((4,), name='bild größe')
  model = randomized(keras.Model(inputs, inner(inputs), name='über'))
  with pytest.warns(UserWarning, match='takes no name like'):
    converted = paoding.from_keras3(model)
  agree(model, converted)
  assert len(paoding.convert_to_tflite(converted)) > 0


@pytest.mark.parametrize(
  'layer', [L.BatchNormalization(), L.Dropout(0.5)], ids=['norm', 'dropout']
)
def test_training_of_one_call_is_what_keras3_makes_of_it(layer):
  # predict, evaluate and fit of Keras 3 override it.
  model = randomized(
    functional(lambda x: L.Dense(2)(layer(L.Dense(6)(x), training=True)))
  )
  with pytest.warns(UserWarning, match=f'training=True.*{layer.name}'):
    converted = paoding.from_keras3(model)
  x = inputs_of(model)[0]
  np.testing.assert_allclose(
    converted.predict(x, verbose=0),
    model.predict(x, verbose=0),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  'layer',
  [
    lambda: L.LSTM(4, stateful=True, return_sequences=True),
    lambda: L.GRU(4, stateful=True),
    lambda: L.SimpleRNN(4, stateful=True),
    lambda: L.Bidirectional(L.LSTM(4, stateful=True)),
    lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3)], stateful=True),
  ],
)
def test_states_of_recurrent_layers_are_left_as_they_are(layer):
  model = randomized(
    keras.Sequential([keras.Input(batch_shape=(3, 5, 2)), layer(), L.Dense(2)])
  )
  x = inputs_of(model)[0]
  model(x)
  states = [s for x in model._flatten_layers() for s in states_of(x)]
  before = [np.array(state) for state in states]
  assert all(value.any() for value in before)
  converted = paoding.from_keras3(model)
  for old, state in zip(before, states, strict=True):
    np.testing.assert_array_equal(old, state)
  for state in states:
    state.assign(np.zeros(state.shape))  # Keras 3 resets no stacked cells
  for _ in range(2):  # the states go on alike, from zero
    np.testing.assert_allclose(converted(x), model(x), rtol=1e-4, atol=1e-5)


def test_mixed_precision_of_operations():
  keras.config.set_dtype_policy('mixed_float16')
  try:
    model = randomized(
      functional(
        lambda x: L.Dense(2, dtype='float32')(
          L.BatchNormalization()(L.Add()([L.Dense(8)(x), x]) + x * 2)
        )
      )
    )
  finally:
    keras.config.set_dtype_policy('float32')
  x = inputs_of(model)[0]
  found = paoding.from_keras3(model)
  np.testing.assert_allclose(found(x), model(x), rtol=1e-2, atol=1e-2)


OPERATIONS = {
  'split': lambda x: ops.split(x, 2, axis=-1)[0],
  'all parts': lambda x: sum(ops.split(x, 4, axis=-1)),
  'parts of other sizes': lambda x: ops.split(x, [2, 5], axis=-1)[1],
  'unstack': lambda x: ops.unstack(ops.reshape(x, (-1, 2, 4)), axis=1)[1],
  'top_k': lambda x: ops.top_k(x, 2)[0],
  'moments': lambda x: x - ops.moments(x, [1], keepdims=True)[0],
  'einsum': lambda x: ops.einsum('bi,bj->bij', x, x),
  'where': lambda x: ops.where(x > 0.5, x, 0.1 * x),
  'flip': lambda x: ops.flip(x, axis=1),
  'roll': lambda x: ops.roll(x, 2, axis=1),
  'pad': lambda x: ops.pad(x, [[0, 0], [1, 2]]),
  'take': lambda x: ops.take(x, np.array([1, 3]), axis=1),
  'tile': lambda x: ops.tile(x, [1, 2]),
  'repeat': lambda x: ops.repeat(x, 2, axis=1),
  'var': lambda x: ops.var(x, axis=1, keepdims=True),
  'std': lambda x: ops.std(x, axis=1, keepdims=True),
  'logsumexp': lambda x: ops.logsumexp(x, axis=1, keepdims=True),
  'log_softmax': lambda x: ops.log_softmax(x),
  'argmax': lambda x: ops.cast(ops.argmax(x, axis=1), 'float32'),
  'celu': lambda x: ops.celu(x - 1.0),
  'negative indices': lambda x: ops.take(x, np.array([-1, 3]), axis=1),
  'outer products': lambda x: ops.einsum('bi,bj->bji', x, x),
  'attention': lambda x: ops.einsum(
    'bqhd,bkhd->bhqk', *[ops.reshape(x, (-1, 2, 2, 2))] * 2
  ),
  'glu': lambda x: ops.glu(x),
  'softsign': lambda x: ops.softsign(x),
  'sin': lambda x: ops.sin(x),
  'sign': lambda x: ops.sign(x),
  'cumsum': lambda x: ops.cumsum(x, axis=1),
  'transposition': lambda x: ops.transpose(ops.reshape(x, (-1, 2, 4)))[0],
  'swapaxes': lambda x: ops.swapaxes(ops.reshape(x, (-1, 2, 4)), 1, 2),
  'stop_gradient': lambda x: ops.stop_gradient(x),
  'normalize': lambda x: ops.normalize(x, axis=-1),
  'average_pool': lambda x: ops.average_pool(x[..., None], 2, 2),
  'rms_normalization': lambda x: ops.rms_normalization(x),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_without_an_entry_are_their_tensorflow_functions(name):
  model = randomized(
    functional(lambda x: OPERATIONS[name](L.Dense(8, 'relu')(x)))
  )
  converted = paoding.from_keras3(model)
  agree(model, converted)
  clone = keras2.models.clone_model(converted)
  clone.set_weights(converted.get_weights())
  agree(model, clone)
