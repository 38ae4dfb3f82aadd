"""Batch normalization by the statistics of the samples at hand."""

from __future__ import annotations

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.inner_runner import with_mask
from tfmot_paoding.replicas import WHOLE, Part

Moments = tuple[tf.Tensor, tf.Tensor]

# Of the fused operation, on some devices.
_LEAST_EPSILON = 1.001e-5


def normalized_by_its_own(
  layer: keras.layers.Layer, x: tf.Tensor, part: Part = WHOLE
) -> tuple[tf.Tensor, Moments]:
  """The tensor normalized by its own moments, and these.

  Args:
    layer: The normalization.
    x: What it reads.
    part: Which rows of a batch that is, whose moments it takes.
  """
  is_image = part.rows is None and x.shape.rank == 4 and _axes(layer, x) == [3]
  is_plain = x.dtype == tf.float32 and not hasattr(x, '_keras_mask')
  if not (is_image and is_plain and layer.epsilon >= _LEAST_EPSILON):
    moments = _moments(layer, x, part)
    return normalized(layer, x, moments), moments
  # One operation, a fifth of the time.
  channels = x.shape[-1:]
  beta, gamma = (
    default(channels) if weight is None else tf.cast(weight, tf.float32)
    for weight, default in ((layer.beta, tf.zeros), (layer.gamma, tf.ones))
  )
  made, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
    x=x,
    scale=gamma,
    offset=beta,
    mean=[],
    variance=[],
    epsilon=layer.epsilon,
    is_training=True,
  )
  # It gives the variance of the population that it was drawn from.
  count = x.shape.num_elements() // channels[0]
  return made, (mean, variance * ((count - 1) / count))


def _moments(layer: keras.layers.Layer, x: tf.Tensor, part: Part) -> Moments:
  """Mean and variance over all axes but those that are normalized.

  Steps that a mask hides do not count, as in training.
  """
  mask = getattr(x, '_keras_mask', None)
  x = tf.cast(x, tf.float32)
  axes = [k for k in range(x.shape.rank) if k not in _axes(layer, x)]
  if mask is None or not part.total(tf.math.count_nonzero(mask)):
    return part.moments(x, axes, keepdims=True)
  weights = tf.cast(mask, tf.float32)
  weights = tf.reshape(
    weights,
    tf.concat([tf.shape(mask), [1] * (x.shape.rank - mask.shape.rank)], 0),
  )
  return part.moments(x, axes, weights, keepdims=True)


def normalized(
  layer: keras.layers.Layer, x: tf.Tensor, moments: Moments
) -> tf.Tensor:
  """The normalized tensor, hidden steps hidden as before."""
  shape = [
    x.shape[k] if k in _axes(layer, x) else 1 for k in range(len(x.shape))
  ]
  beta, gamma = (
    None if weight is None else tf.reshape(tf.cast(weight, tf.float32), shape)
    for weight in (layer.beta, layer.gamma)
  )
  made = tf.nn.batch_normalization(
    tf.cast(x, tf.float32), *moments, beta, gamma, layer.epsilon
  )
  return with_mask(tf.cast(made, x.dtype), x)


def _axes(layer: keras.layers.Layer, x: tf.Tensor) -> list[int]:
  """The axes that batch normalization keeps apart, counted from the front.

  Inside a TimeDistributed the tensor has axes more than the layer knows of.
  """
  more = x.shape.rank - layer.input_spec.ndim
  return [axis + more for axis in layer.axis]
