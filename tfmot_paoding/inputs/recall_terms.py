"""How far a batch of inputs is from what it shall be: terms of a descent."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior
from tfmot_paoding.replicas import WHOLE, Part

Array = np.ndarray

# Of the largest variance, the least one that is asked for: that of entries
# which the statistics hardly depend on is told badly.
_LEAST_VARIANCE = 0.0025


@dataclasses.dataclass(frozen=True, eq=False)
class EntryMoments:
  """The mean and variance of entries, over a batch and some axes.

  Attributes:
    axes: Of a batch, its first axis included.
    mean: Of the shape of an input, the axes at size 1.
    variance: Likewise.
  """

  axes: tuple[int, ...]
  mean: Array
  variance: Array

  @classmethod
  def of(cls, prior: StatisticsPrior) -> EntryMoments:
    """Those of a prior, over its stationary axes."""
    axes = prior.stationary
    mean = np.mean(prior.mean, axes, keepdims=True)
    between = np.var(prior.mean, axes, keepdims=True)
    variance = np.mean(prior.variance(), axes, keepdims=True) + between
    variance = np.maximum(variance, _LEAST_VARIANCE * variance.max())
    return cls(
      (0, *(axis + 1 for axis in axes)),
      mean.astype(np.float32),
      variance.astype(np.float32),
    )

  def mismatch(self, x: tf.Tensor, part: Part = WHOLE) -> tf.Tensor:
    """Distance of a batch's moments from these.

    In units of the deviations, the mean over entries of squares.

    Args:
      x: Shape (batch, ...).
      part: The rows of the batch that it has.
    """
    found = part.moments(x, self.axes, keepdims=True)
    return _moments_gap(found, (self.mean, self.variance))


def statistics_mismatch(
  layer: keras.layers.Layer, values: tf.Tensor, part: Part = WHOLE
) -> tf.Tensor:
  """Distance of a batch's mean and deviation from the stored ones.

  In units of the stored deviation, the mean over channels of squares.

  Args:
    layer: The normalization.
    values: What it reads.
    part: The rows of the batch that these are.
  """
  values = tf.cast(values, tf.float32)
  rank = len(values.shape)
  axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
  others = [k for k in range(rank) if k != axis % rank]
  stored = (
    tf.cast(layer.moving_mean, tf.float32),
    tf.cast(layer.moving_variance, tf.float32) + layer.epsilon,
  )
  return _moments_gap(part.moments(values, others), stored)


def _moments_gap(found: tuple, wanted: tuple) -> tf.Tensor:
  """Distance of means and deviations from wanted ones, a scalar.

  In units of the wanted deviations, the mean over entries of squares.

  Args:
    found: Means and variances.
    wanted: Means and variances.
  """
  shift = tf.square(found[0] - wanted[0]) / wanted[1]
  ratio = tf.sqrt((found[1] + 1e-9) / wanted[1])
  return tf.reduce_mean(shift) + tf.reduce_mean(tf.square(ratio - 1.0))


def total_variation(x: tf.Tensor) -> tf.Tensor:
  """Mean absolute difference of neighbours, along every axis but the last."""
  loss = tf.zeros([])
  for axis in range(1, len(x.shape) - 1):
    size = x.shape[axis]
    if size > 1:
      ahead = tf.gather(x, tf.range(1, size), axis=axis)
      behind = tf.gather(x, tf.range(size - 1), axis=axis)
      loss += tf.reduce_mean(tf.abs(ahead - behind))
  return loss
