"""A model's outputs for many batches, before and behind its trace."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network import answering
from tfmot_paoding.network.answering import Answering


class Branching(keras.layers.Layer):
  """Another branch by what comes, which only autograph traces."""

  def call(self, x):
    if tf.reduce_sum(x) > 0:
      return x
    return 2 * x


class Counting(keras.layers.Layer):
  """Counts in Python how often it is called."""

  def __init__(self, dynamic):
    super().__init__(dynamic=dynamic)
    self.calls = 0

  def call(self, x):
    self.calls += 1
    return x

  def compute_output_shape(self, shape):
    return shape


def _model(*layers):
  return keras.Sequential([keras.Input((3,)), *layers])


def _batches(count=answering._EAGER + 3):
  rng = np.random.default_rng(0)
  return [rng.normal(size=(2, 3)).astype(np.float32) for _ in range(count)]


def test_the_same_before_and_behind_the_trace():
  model = _model(keras.layers.Dense(4, 'relu'), keras.layers.Dense(2))
  asked = Answering(model)
  for x in _batches():
    (found,) = asked([x])
    np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)
  assert asked._traced is not None


def test_weights_that_change_meanwhile_count():
  model = _model(keras.layers.Dense(2))
  asked = Answering(model)
  for x in _batches():
    asked([x])
  model.set_weights([2 * w for w in model.get_weights()])
  x = np.ones((5, 3), np.float32)  # another size of batch, too
  np.testing.assert_allclose(asked([x])[0], model(x), rtol=1e-5)


def test_layers_that_branch_are_rewritten():
  model = _model(Branching())
  asked = Answering(model)
  for x in _batches():
    np.testing.assert_allclose(asked([x])[0], model(x))
  assert asked._traced is not None


def test_several_inputs_and_outputs():
  a, b = keras.Input((2,)), keras.Input((2,))
  model = keras.Model([a, b], [a + b, a * b])
  asked = Answering(model)
  for k in range(answering._EAGER + 2):
    x = [np.full((1, 2), k, np.float32), np.full((1, 2), 3.0, np.float32)]
    added, times = asked(x)
    np.testing.assert_allclose(added, x[0] + 3)
    np.testing.assert_allclose(times, x[0] * 3)


@pytest.mark.parametrize('eager', ['dynamic', 'asked for'])
def test_what_runs_python_each_time_is_not_traced(eager):
  layer = Counting(eager == 'dynamic')
  model = _model(layer)
  if eager == 'asked for':
    model.compile(run_eagerly=True)
  asked, before = Answering(model), layer.calls
  for x in _batches():
    np.testing.assert_allclose(asked([x])[0], x)
  assert layer.calls - before == len(_batches())
