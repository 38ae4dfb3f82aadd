"""Verdicts: against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras


def test_distance_and_agreement_of_logits():
  one, two = testing.mlp(), testing.mlp(seed=1)
  x = testing.samples((5,), 300).astype(np.float32)
  found = paoding.report.judge(one, two, [x])
  a, b = (testing.answers(model, x) for model in (one, two))
  assert found.agreement == np.mean(a.argmax(1) == b.argmax(1))
  a, b = (z - z.mean(1, keepdims=True) for z in (a, b))
  np.testing.assert_allclose(
    found.distance, np.square(a - b).mean() / a.var(), rtol=1e-4
  )


def test_the_same_model_is_no_distance_away():
  model = testing.mlp()
  found = paoding.report.judge(model, model, [np.ones((3, 5), np.float32)])
  assert found.distance == 0
  assert found.agreement == 1


def test_several_outputs_add_up_and_values_have_no_agreement():
  a, b = keras.Input((3,)), keras.Input((2,))
  x = keras.layers.Concatenate()([a, b])
  outputs = [keras.layers.Dense(1, name=f'v{k}')(x) for k in range(2)]
  one = testing.fill(keras.Model([a, b], outputs))
  two = keras.models.clone_model(one)
  two.set_weights([2 * w for w in one.get_weights()])
  rng = np.random.default_rng(0)
  drawn = [rng.normal(size=(400, n)).astype(np.float32) for n in (3, 2)]
  found = paoding.report.judge(one, two, drawn)
  assert np.isnan(found.agreement)
  values = [np.ravel(v) for v in testing.answers(one, drawn)]
  wanted = sum(np.mean(v**2) / v.var() for v in values)
  np.testing.assert_allclose(found.distance, wanted, rtol=1e-3)


def test_columns_of_other_units_count_alike():
  one = testing.mlp((5, 8, 2))
  kernel = one.layers[-1].kernel
  kernel.assign(kernel * np.array([1000.0, 1.0]))
  two = keras.models.clone_model(one)
  two.set_weights(one.get_weights())
  kernel = two.layers[-1].kernel
  kernel.assign(kernel * np.array([1.0, 0.0]))  # the small one is lost
  x = testing.samples((5,), 100).astype(np.float32)
  assert paoding.report.judge(one, two, [x]).distance > 0.4


@pytest.mark.parametrize(
  'function',
  [
    lambda one, two, x: paoding.report.judge(one, two, [x]),
    lambda one, two, x: paoding.training.distill(one, two, data=x),
    lambda one, two, x: paoding.pruning.compare_answers(one, two, data=x),
  ],
)
def test_models_with_other_outputs_are_named(function):
  one, two = testing.mlp(), testing.mlp((5, 8, 6, 4))
  x = np.ones((8, 5), np.float32)
  with pytest.raises(
    ValueError, match=r'outputs of `original` have shapes \[\(3,\)\]'
  ):
    function(one, two, x)


class Sampled(keras.layers.Layer):
  """Draws at inference, too, as those of variational autoencoders."""

  def call(self, x):
    return x + tf.random.normal(tf.shape(x))


def test_a_model_that_draws_at_random_is_told():
  model = keras.Sequential(
    [keras.layers.Dense(4, input_shape=(3,)), Sampled(), keras.layers.Dense(2)]
  )
  x = [np.ones((6, 3), np.float32)]
  verdict = paoding.report.judge(model, model, x)
  assert verdict.draws
  assert 'the original draws at random' in str(verdict)


@pytest.mark.parametrize('layer', ['dropout', 'stateful'])
def test_what_draws_in_training_or_remembers_does_not(layer):
  inputs = keras.Input((5, 3), batch_size=2)
  x = keras.layers.Dropout(0.5)(inputs)
  if layer == 'stateful':
    x = keras.layers.LSTM(4, stateful=True, return_sequences=True)(x)
  model = keras.Model(inputs, keras.layers.Dense(2)(x))
  other = keras.models.clone_model(model)
  verdict = paoding.report.judge(model, other, [np.ones((2, 5, 3), np.float32)])
  assert verdict.distance > 0
  assert not verdict.draws
