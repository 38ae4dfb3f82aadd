"""Normalizations with gradients of few passes: the same as TensorFlow's."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.quick_norms import as_stored, channel_moments


@pytest.mark.parametrize('shape', [(5, 3), (1, 3), (4, 6, 2), (3, 4, 5, 6)])
def test_moments_and_their_gradients(shape):
  x = tf.constant(testing.samples(shape[1:], shape[0]), tf.float32) * 3 + 2
  weights = tf.constant(testing.samples((2, shape[-1])), tf.float32)[0]

  def gradient(moments):
    with tf.GradientTape() as tape:
      tape.watch(x)
      mean, variance = moments(x)
      total = tf.reduce_sum(weights * tf.stack([mean, tf.sqrt(variance + 1)]))
    return mean, variance, tape.gradient(total, x)

  axes = list(range(len(shape) - 1))
  wanted = gradient(lambda x: tf.nn.moments(x, axes))
  for traced in (channel_moments, tf.function(channel_moments)):
    for one, other in zip(gradient(traced), wanted, strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def _norm(shape, **kwargs):
  layer = keras.layers.BatchNormalization(**kwargs)
  layer.build((None, *shape))
  rng = np.random.default_rng(0)
  layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.weights])
  return layer


@pytest.mark.parametrize(
  'shape, kwargs',
  [
    ((3,), {}),
    ((6, 2), {'scale': False}),
    ((4, 5, 6), {'center': False}),
    ((4, 5, 6), {'axis': 1}),
    ((4, 5, 6), {'axis': [1, 3]}),
    ((4, 5, 6), {'dtype': 'mixed_float16'}),
  ],
)
def test_a_stored_normalization_and_its_gradient(shape, kwargs):
  layer = _norm(shape, **kwargs)
  call = functools.partial(layer, training=False)
  x = tf.constant(testing.samples(shape, 4), layer.compute_dtype)

  def gradient(call):
    with tf.GradientTape() as tape:
      tape.watch(x)
      made = call(x)
      total = tf.reduce_sum(tf.cast(made, tf.float32) ** 2)
    return made, tape.gradient(total, x)

  wanted = gradient(call)
  quick = functools.partial(as_stored, layer, call)
  tolerance = 1e-5 if x.dtype == tf.float32 else 1e-2
  for traced in (quick, tf.function(quick)):
    for one, other in zip(gradient(traced), wanted, strict=True):
      np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
