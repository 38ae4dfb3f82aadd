"""The simulation of a network beside Keras."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import read_params
from tfmot_paoding.network.layer_runner import Simulation

_layers = keras.layers


def test_a_layer_called_twice_in_a_row_runs_twice():
  shared = _layers.Dense(4, 'tanh', name='shared')
  inputs = keras.Input((4,))
  x = _layers.Dense(3, name='end')(shared(shared(inputs)))
  model = testing.fill(keras.Model(inputs, x))
  x = testing.samples((4,), 20).astype(np.float32)
  run = Simulation(model, [x])
  out = run.graph.outputs[0]
  found = run.run(read_params(run.graph), [out])[out]
  np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)


def outputs_of(model, samples):
  run = Simulation(model, samples)
  found = run.run(read_params(run.graph), run.graph.outputs)
  return [found[value] for value in run.graph.outputs]


@pytest.mark.parametrize('axis', [1, 2, 3, [1, 3]])
def test_batch_norm_takes_the_statistics_of_its_own_axes(axis):
  inputs = keras.Input((4, 4, 4))
  norm = _layers.BatchNormalization(axis=axis)
  model = testing.fill(keras.Model(inputs, norm(inputs)))
  x = testing.samples((4, 4, 4), 50).astype(np.float32) ** 3 + np.arange(
    64, dtype=np.float32
  ).reshape(4, 4, 4)
  (found,) = outputs_of(model, [x])
  own = [axis] if isinstance(axis, int) else axis
  others = tuple(k for k in range(4) if k not in own)
  shape = [4 if k in own else 1 for k in range(4)]
  wanted = (x - x.mean(others, keepdims=True)) / np.sqrt(
    x.var(others, keepdims=True) + norm.epsilon
  )
  gamma, beta = (w.numpy().reshape(shape) for w in (norm.gamma, norm.beta))
  np.testing.assert_allclose(found, wanted * gamma + beta, atol=1e-4)


def test_batch_norm_along_another_axis_keeps_its_first_statistics():
  """It is not refreshed: what pruning moves in front of it stays moved."""
  inputs = keras.Input((3, 4))
  dense = _layers.Dense(4, name='first')
  x = _layers.BatchNormalization(axis=1)(dense(inputs))
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  run = Simulation(model, [testing.samples((3, 4), 50).astype(np.float32)])
  params, value = read_params(run.graph), run.graph.layer_calls[1].outputs[0]
  before = run.run(params, [value])[value]
  params = {
    ref: weight + (ref.name == 'bias' and ref.layer == ('first',))
    for ref, weight in params.items()
  }
  after = run.run(params, [value])[value]
  assert abs(after.mean() - before.mean()) > 0.1


@keras.utils.register_keras_serializable('simulation_test')
class Gate(_layers.Layer):
  """Two inputs, and a setting of the call."""

  def call(self, inputs, power=1.0, other=None):
    one, two = inputs
    found = one * tf.sigmoid(two) ** power
    return found if other is None else found + other


def unknown_layers():
  """Calls that the package knows nothing of, one behind another."""
  inputs = keras.Input((6, 4))
  x = _layers.MultiHeadAttention(2, 3)(inputs, inputs[:, 1:])
  a, b = tf.split(tf.roll(x, 1, axis=1), 2, axis=2)
  x = Gate()([a, b], power=2.0, other=x[..., 1:3])
  x = tf.nn.depth_to_space(tf.reshape(x, (-1, 1, 3, 4)), 2)
  x, h, c = _layers.LSTM(3, return_state=True)(tf.squeeze(x[:, :1], 1))
  return testing.fill(keras.Model(inputs, [_layers.Dense(2)(h), x, c - 2 * h]))


def test_what_is_not_known_is_called_as_keras_calls_it():
  model = unknown_layers()
  x = testing.samples((6, 4), 30).astype(np.float32)
  for found, wanted in zip(outputs_of(model, [x]), model(x), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_masks_pass_and_hidden_steps_do_not_count():
  inputs = keras.Input((5,), dtype='int32')
  x = _layers.Embedding(9, 4, mask_zero=True)(inputs)
  norm = _layers.BatchNormalization()
  x = _layers.LSTM(3)(norm(x))
  model = testing.fill(keras.Model(inputs, x))
  ids = np.random.default_rng(0).integers(0, 9, (60, 5))
  run = Simulation(model, [ids.astype(np.float32)])
  params = read_params(run.graph)
  ((mean, variance),) = run.statistics(params).values()
  table = model.layers[1].get_weights()[0]
  seen = table[ids[ids > 0]]
  np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(variance, seen.var(0), rtol=1e-4)
  # What Keras gives with these statistics stored.
  norm.moving_mean.assign(mean)
  norm.moving_variance.assign(variance)
  (found,) = outputs_of(model, [ids.astype(np.float32)])
  np.testing.assert_allclose(found, model(ids), rtol=1e-3, atol=1e-5)


def test_shared_batch_norm_runs_on_stored_statistics():
  inputs = keras.Input((4,))
  norm, dense = _layers.BatchNormalization(), _layers.Dense(4)
  model = testing.fill(keras.Model(inputs, norm(dense(norm(inputs)))))
  x = testing.samples((4,), 30).astype(np.float32)
  (found,) = outputs_of(model, [x])
  np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)
  run = Simulation(model, [x])
  ((mean, _),) = run.statistics(read_params(run.graph)).values()
  both = np.stack([x, dense(norm(x))])
  np.testing.assert_allclose(mean, both.mean((0, 1)), atol=1e-4)


def test_called_in_training_means_no_noise_and_own_statistics():
  inputs = keras.Input((4,))
  x = _layers.Dropout(0.5)(inputs, training=True)
  x = _layers.Dropout(0.5)(x, True)
  x = _layers.BatchNormalization()(x, training=True)
  model = testing.fill(keras.Model(inputs, x))
  x = testing.samples((4,), 200).astype(np.float32)
  (found,) = outputs_of(model, [x])
  norm = model.layers[-1]
  np.testing.assert_allclose(found.mean(0), norm.beta, atol=1e-3)
  np.testing.assert_allclose(found.std(0), np.abs(norm.gamma), rtol=1e-2)


def test_stateful_layers_of_a_fixed_batch_begin_anew_with_every_sample():
  inputs = keras.Input(batch_shape=(4, 5, 3))
  x = _layers.Bidirectional(_layers.GRU(3, stateful=True))(inputs)
  model = testing.fill(keras.Model(inputs, x))
  x = testing.samples((5, 3), 6).astype(np.float32)
  (found,) = outputs_of(model, [x])
  wanted = []
  for part in np.split(x, 3):
    model.reset_states()
    wanted.append(model(part))
  np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-5)


def branched():
  """A network with a residual, a layer used twice, and two outputs."""
  inputs = keras.Input((6, 6, 3))
  shared = _layers.Conv2D(4, 3, padding='same', name='shared')
  first = _layers.Conv2D(4, 3, padding='same', name='first')(inputs)
  early = _layers.Dense(2, name='early')(_layers.Flatten()(first))
  norm = _layers.BatchNormalization(name='norm')
  x = _layers.ReLU()(norm(shared(_layers.ReLU()(first))))
  x = _layers.Add()([x, first])
  x = _layers.Conv2D(5, 3, activation='relu', name='second')(x)
  x = _layers.GlobalAveragePooling2D()(x)
  late = _layers.Dense(3, name='late')(x)
  return testing.fill(keras.Model(inputs, [early, late]))


@pytest.mark.parametrize('changed', ['first', 'shared', 'norm', 'second', None])
@pytest.mark.parametrize('before', ['first', 'shared', 'second', 'late'])
def test_runs_from_where_it_stands_find_what_whole_runs_find(before, changed):
  model, x = branched(), testing.samples((6, 6, 3), 20).astype(np.float32)
  run, fresh = Simulation(model, [x]), Simulation(model, [x])
  params = read_params(run.graph)
  run.stand_before(params, [(before,)])
  if changed:
    params = {
      ref: value * 1.5 if ref.layer == (changed,) else value
      for ref, value in params.items()
    }
  wanted = {value for call in run.graph.layer_calls for value in call.outputs}
  for some in (run.graph.outputs, wanted, run.graph.inputs):
    found, whole = run.run(params, some), fresh.run(params, some)
    assert found.keys() == whole.keys() == set(some)
    for value in some:
      np.testing.assert_array_equal(found[value], whole[value])


def test_a_run_begins_where_it_stands(monkeypatch):
  model, x = branched(), testing.samples((6, 6, 3), 20).astype(np.float32)
  run, ran = Simulation(model, [x]), []
  params = read_params(run.graph)
  real = Simulation._run_layer

  def noted(self, number, call, *args):
    ran.append(call.path[-1])
    return real(self, number, call, *args)

  monkeypatch.setattr(Simulation, '_run_layer', noted)
  run.stand_before(params, [('late',), ('second',)])
  assert 'first' in ran
  assert 'second' not in ran
  ran.clear()
  run.stand_before(params, [('late',)])
  assert 'second' in ran
  assert 'shared' not in ran
  ran.clear()
  run.run(params, run.graph.outputs)
  assert 'late' in ran
  assert 'second' not in ran
