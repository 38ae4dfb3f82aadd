"""Live bounds against the sound ones, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tests.testing import draw
from tfmot_paoding.bounds import NoRelaxationError, Walk, build_program
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.training.live import Box, LiveBounds

L = keras.layers


def rectified_conv():
  inputs = keras.Input((6, 6, 2))
  x = L.Conv2D(4, 3, padding='same', strides=2, activation='relu')(inputs)
  x = L.BatchNormalization()(x)
  y = L.ReLU()(L.DepthwiseConv2D(3, padding='same', dilation_rate=2)(x))
  x = L.AveragePooling2D(2, padding='same')(L.Add()([x, y]))
  x = L.LeakyReLU(0.1)(x)
  return testing.fill(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))))


MODELS = {
  'mlp': lambda: testing.mlp((5, 8, 6, 3)),
  'sigmoid': lambda: testing.mlp((5, 8, 6, 3), 'sigmoid'),
  'batch norm': testing.with_batch_norm,
  'rectified conv': rectified_conv,
  'max pooling': testing.conv_net,
  'squeezed': testing.squeezed,
}


def both(model, epsilon, method):
  """The live bounds and the sound ones, in the same boxes."""
  graph = build_graph(model)
  value = graph.outputs[0]
  x = draw(model.input_shape[1:], 3)
  box = Interval(x - epsilon, x + epsilon)
  walk = Walk(build_program(graph, read_params(graph)), [box], method)
  live = LiveBounds(graph, value, linear=method != 'ibp')
  ends = [tf.constant(end, tf.float32) for end in box]
  params = live.params()
  return live, params, live.forward(params, [Box(*ends)]), walk, value


@pytest.mark.parametrize('name', MODELS)
def test_intervals_are_the_sound_ones(name):
  _, _, bounds, walk, value = both(MODELS[name](), 0.05, 'ibp')
  sound = walk.bounds(value)
  np.testing.assert_allclose(bounds[value].low, sound.low, atol=1e-4)
  np.testing.assert_allclose(bounds[value].high, sound.high, atol=1e-4)


@pytest.mark.parametrize('name', ['mlp', 'rectified conv'])
def test_linear_leads_are_crown_ibps(name):
  live, params, bounds, walk, value = both(MODELS[name](), 0.05, 'crown-ibp')
  rows = np.broadcast_to([[1.0, -1, 0], [0, 1, -1]], (3, 2, 3))
  found = live.linear_leads(params, bounds, tf.constant(rows, tf.float32))
  sound = walk.lower(value, rows.copy())
  # The sound ones are met with intervals as well.
  assert np.all(found.numpy() <= sound + 1e-4)
  close = np.isclose(found.numpy(), sound, atol=1e-3)
  assert close.mean() > 0.5


def test_leads_take_the_last_product_along():
  live, params, bounds, walk, value = both(MODELS['mlp'](), 0.1, 'ibp')
  rows = np.broadcast_to([[1.0, -1, 0]], (3, 1, 3))
  found = live.leads(params, bounds, tf.constant(rows, tf.float32)).numpy()
  apart = walk.lower(value, rows.copy())
  assert np.all(found >= apart - 1e-5)
  assert np.all(found > apart + 1e-3)


@pytest.mark.parametrize('linear', [False, True])
def test_gradients_are_those_of_small_steps(linear):
  model = MODELS['rectified conv']()
  live, _, _, _, _ = both(model, 0.05, 'crown-ibp')
  x = draw((6, 6, 2), 2)
  box = Box(*(tf.constant(e, tf.float32) for e in (x - 0.05, x + 0.05)))
  rows = tf.constant(np.broadcast_to([[1.0, -1, 0]], (2, 1, 3)), tf.float32)
  kernel = model.layers[1].kernel

  def loss():
    params = live.params()
    bounds = live.forward(params, [box])
    run = live.linear_leads if linear else live.leads
    return tf.reduce_sum(run(params, bounds, rows))

  @tf.function  # as in `fit`
  def gradient_of():
    with tf.GradientTape() as tape:
      value = loss()
    return tape.gradient(value, kernel)

  gradient = gradient_of().numpy()
  step = np.random.default_rng(0).normal(size=kernel.shape)
  start, size = kernel.numpy(), 1e-3
  ends = []
  for sign in (1, -1):
    kernel.assign(start + sign * size * step)
    ends.append(float(loss()))
  slope = (ends[0] - ends[1]) / (2 * size)
  assert slope == pytest.approx((gradient * step).sum(), rel=0.05, abs=0.05)


@pytest.mark.parametrize(
  ('activation', 'linear'), [('gelu', False), ('sigmoid', True)]
)
def test_layers_without_such_bounds_are_named(activation, linear):
  model = testing.mlp((5, 8, 3), activation)
  graph = build_graph(model)
  with pytest.raises(NoRelaxationError, match=f"'hidden_0'.*{activation}"):
    LiveBounds(graph, graph.outputs[0], linear)


@pytest.mark.parametrize('name', ['batch norm', 'rectified conv'])
def test_batch_norm_takes_its_batchs_statistics_while_it_trains(name):
  model = MODELS[name]()
  graph = build_graph(model)
  live = LiveBounds(graph, graph.outputs[0])
  x = tf.constant(draw(model.input_shape[1:], 16), tf.float32)
  params = live.params()
  trained = live.in_training(params, [x])
  low, high = live.forward(trained, [Box(x, x)])[graph.outputs[0]]
  answer = model(x, training=True)
  np.testing.assert_allclose(low, answer, atol=1e-4)
  np.testing.assert_allclose(high, answer, atol=1e-4)
  # A layer that does not train keeps its moving ones, as Keras has it.
  model.trainable = False
  frozen = live.in_training(live.params(), [x])
  low, _ = live.forward(frozen, [Box(x, x)])[graph.outputs[0]]
  np.testing.assert_allclose(low, model(x, training=True), atol=1e-4)
