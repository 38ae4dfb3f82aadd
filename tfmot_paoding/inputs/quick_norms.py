"""Batch normalization on the way of a descent, in few passes over its input.

What a fused operation's gradient also finds for the scale and the offset, and
what moments in general keep, is most of a step's time behind small
convolutions. Here the gradient is one pass, or two.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfmot_paoding.compat import keras

# Of the fused operation, which divides by nothing less.
_EPSILON = 1.001e-5


def channel_moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Mean and variance of each channel, as `tf.nn.moments` of all other axes.

  Args:
    x: Shape (..., channels), float32, with at least one entry a channel.

  Returns:
    Two of shape (channels,), with a gradient of two passes.
  """
  return _channel_moments(x)


@tf.custom_gradient
def _channel_moments(x: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable]:
  channels = x.shape[-1]
  count = tf.cast(tf.size(x) // channels, tf.float32)
  _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
    x=tf.reshape(x, [-1, 1, 1, channels]),
    scale=tf.ones([channels]),
    offset=tf.zeros([channels]),
    mean=[],
    variance=[],
    epsilon=_EPSILON,
    is_training=True,
  )
  # It gives the variance of the population that the entries were drawn from.
  variance *= tf.maximum(count - 1.0, 1.0) / count

  def gradient(of_mean: tf.Tensor, of_variance: tf.Tensor) -> tf.Tensor:
    slope = 2.0 * of_variance / count
    return x * slope + (of_mean / count - mean * slope)

  return (mean, variance), gradient


def as_stored(
  layer: keras.layers.BatchNormalization, call: Callable, x: tf.Tensor
) -> tf.Tensor:
  """What a normalization by stored statistics makes; its weights stand still.

  Args:
    layer: The normalization.
    call: What makes it, of one tensor.
    x: What it reads.

  Returns:
    The same, with a gradient of one pass that leads to `x` alone.
  """
  shape = [x.shape[k] if k in layer.axis else 1 for k in range(x.shape.rank)]
  scale = tf.math.rsqrt(
    tf.cast(layer.moving_variance, tf.float32) + layer.epsilon
  )
  if layer.gamma is not None:
    scale *= tf.cast(layer.gamma, tf.float32)

  @tf.custom_gradient
  def normalized(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    slope = tf.cast(tf.reshape(scale, shape), x.dtype)
    return call(x), lambda upstream, variables=None: _alone(
      upstream * slope, variables
    )

  return normalized(x)


def _alone(gradient: tf.Tensor, variables: list | None) -> tuple:
  """A gradient, and none of the weights that were read on the way."""
  return gradient if variables is None else (gradient, [None] * len(variables))
