"""Maxima and clips as sums and ReLU: one function, bounds that hold, splits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.bounds import Walk, build_program
from tfmot_paoding.bounds.rectified import in_rectifiers
from tfmot_paoding.bounds.steps import CurvedStep
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics import activations
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Elementwise

L = keras.layers


def network(layer):
  """A layer behind convolutions: behind two of them if it joins."""
  inputs = keras.Input((4, 4, 2))
  x = L.Conv2D(3, 2)(inputs)
  if isinstance(layer, (L.Maximum, L.Minimum)):
    y = L.GlobalAveragePooling2D(keepdims=True)(L.Conv2D(3, 3)(inputs))
    x = [x, y, L.Conv2D(1, 2)(inputs)]
  x = L.Flatten()(layer(x))
  return testing.fill(keras.Model(inputs, L.Dense(2)(x)), 2)


LAYERS = {
  'pool': L.MaxPooling2D(2),
  'pool_same': L.MaxPooling2D(3, 2, padding='same'),
  'pool_one': L.MaxPooling2D(1, 2),
  'pool_all': L.GlobalMaxPooling2D(),
  'maximum': L.Maximum(),
  'minimum': L.Minimum(),
  'relu6': L.ReLU(0.4),
  'leaky6': L.ReLU(0.3, negative_slope=0.2),
  'none_left': L.ReLU(0.0),
  'no_top': L.ReLU(np.inf),
  'hard_sigmoid': L.Activation('hard_sigmoid'),
  'hard_tanh': lambda x: tf.clip_by_value(2 * x, -1.0, 1.0),
  'of_channels': lambda x: tf.reduce_min(x, -1, keepdims=True),
  'leaky_by_hand': lambda x: tf.maximum(0.3 * x, x),
}
EVERY = {'minimum', 'leaky6'}


def program_of(model):
  graph = build_graph(model)
  return graph.outputs[0], build_program(graph, read_params(graph))


@pytest.mark.parametrize('name', LAYERS)
def test_the_same_function_and_sound_bounds(name):
  model = network(LAYERS[name])
  value, program = program_of(model)
  before = len(program.steps)
  found = in_rectifiers(program)
  assert len(program.steps) == before
  curved = [s for s in found.steps if isinstance(s, CurvedStep)]
  assert all(step.op.rectifies and step.axis is None for step in curved)
  x = testing.draw((4, 4, 2), 3)
  outputs = model(x).numpy()
  # Of a single point every bound is that point.
  same = Walk(found, [Interval(x, x)], 'crown').bounds(value)
  np.testing.assert_allclose(same.low, outputs, atol=1e-5)
  np.testing.assert_allclose(same.high, outputs, atol=1e-5)
  moved = x + np.random.default_rng(0).uniform(-0.2, 0.2, (200, *x.shape))
  seen = model(moved.reshape(-1, *x.shape[1:])).numpy().reshape(200, 3, -1)
  methods = ['ibp', 'crown', 'alpha-crown'] if name in EVERY else ['crown']
  for method in methods:
    walk = Walk(found, [Interval(x - 0.2, x + 0.2)], method)
    (bounds,) = walk.outputs()
    assert np.all(seen >= bounds.low - 1e-5)
    assert np.all(seen <= bounds.high + 1e-5)


@pytest.mark.parametrize('name', ['pool', 'maximum', 'minimum', 'leaky6'])
def test_intervals_are_those_of_what_is_taken_apart(name):
  _, program = program_of(network(LAYERS[name]))
  x = testing.draw((4, 4, 2), 2)
  box = Interval(x - 0.3, x + 0.3)
  one, other = (
    Walk(each, [box], 'ibp').outputs()[0]
    for each in (program, in_rectifiers(program))
  )
  np.testing.assert_allclose(one.low, other.low, atol=1e-9)
  np.testing.assert_allclose(one.high, other.high, atol=1e-9)


def test_windows_stay_if_asked():
  _, program = program_of(network(LAYERS['pool']))
  steps = in_rectifiers(program, windows=False).steps
  assert all(a is b for a, b in zip(steps, program.steps, strict=True))


def test_a_clip_by_hand():
  """min(relu(z), 6) = 6 - relu(6 - relu(z)); of hard sigmoid, .2 z + .5."""
  z = tf.constant([-9.0, -1.0, 0.5, 2.0, 6.0, 7.0], tf.float64)
  for name, expected in (
    ('relu6', [0.0, 0.0, 0.5, 2.0, 6.0, 6.0]),
    ('hard_sigmoid', [0.0, 0.3, 0.6, 0.9, 1.0, 1.0]),
  ):
    row = Elementwise(activations.by_name(name)).rectifiers()
    assert all(op.linear or op.rectifies for op in row)
    y = z
    for op in row:
      y = op.transform({}, y) + op.intercept({}) if op.linear else op.run({}, y)
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize(
  'activation',
  [
    activations.rectifier(),
    activations.rectifier(-0.5, 1.0),  # -0.5 z passes 1 again below zero
    activations.by_name('tanh'),
  ],
)
def test_what_is_no_clip_is_not_taken_apart(activation):
  assert Elementwise(activation).rectifiers() == ()
