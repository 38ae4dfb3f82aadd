"""Hidden values are those that Keras computes, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.hidden_values import hidden_values


def nested():
  inner = testing.conv_net(seed=3)
  x = keras.layers.Rescaling(0.5)(inputs := keras.Input((7, 6, 2)))
  outputs = keras.layers.Dense(2)(inner(x))
  return testing.fill(keras.Model(inputs, outputs))


@pytest.mark.parametrize(
  'make', [testing.conv_net, testing.pooled, testing.sequence, nested]
)
def test_outputs_are_the_models(make):
  model = make()
  graph = build_graph(model)
  x = testing.draw(model.input_shape[1:]).astype(np.float32)
  found = hidden_values(graph, [tf.constant(x)], graph.outputs)
  np.testing.assert_allclose(
    found[graph.outputs[0]], testing.answers(model, x), atol=1e-6
  )


def test_those_on_the_way_are_what_layers_give_also_in_a_function():
  model = testing.conv_net()
  graph = build_graph(model)
  x = testing.draw((7, 6, 2)).astype(np.float32)
  names = [layer.name for layer in model.layers[1:]]
  wanted = {name: graph.layer_outputs[(name,)][0] for name in names}
  run = tf.function(lambda a: hidden_values(graph, [a], wanted.values()))
  found = run(tf.constant(x))
  outputs = [model.get_layer(name).output for name in names]
  goals = keras.Model(model.inputs, outputs)(x, training=False)
  for name, goal in zip(names, goals, strict=True):
    np.testing.assert_allclose(found[wanted[name]], goal, atol=1e-6)


def test_a_layer_that_is_called_as_in_training_is():
  """Whatever the model does; so it is where the model itself is called."""
  inputs = keras.Input((6, 6, 2))
  x = keras.layers.Conv2D(4, 3, activation='relu')(inputs)
  x = keras.layers.BatchNormalization()(x, training=True)
  x = keras.layers.GlobalAveragePooling2D()(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  graph = build_graph(model)
  x = testing.draw((6, 6, 2)).astype(np.float32)
  found = hidden_values(graph, [tf.constant(x)], graph.outputs)
  np.testing.assert_allclose(
    found[graph.outputs[0]], testing.answers(model, x), atol=1e-6
  )


def test_gradients_come_through():
  model = testing.conv_net()
  graph = build_graph(model)
  x = tf.constant(testing.draw((7, 6, 2)).astype(np.float32))
  with tf.GradientTape(persistent=True) as tape:
    ours = tf.reduce_sum(
      hidden_values(graph, [x], graph.outputs)[graph.outputs[0]]
    )
    theirs = tf.reduce_sum(model(x))
  for variable in model.trainable_variables:
    np.testing.assert_allclose(
      tape.gradient(ours, variable), tape.gradient(theirs, variable), atol=1e-5
    )
