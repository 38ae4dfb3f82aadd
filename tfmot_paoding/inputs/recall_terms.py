"""How far a batch of inputs is from what it shall be: terms of a descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

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

  A batch shall have them: its inputs, or what a normalization reads of them.

  Attributes:
    axes: Of a batch, its first axis included.
    mean: Of the shape of a batch, the axes at size 1; or that of an input.
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

  @classmethod
  def stored(cls, layer: keras.layers.Layer) -> EntryMoments:
    """Those of what a batch normalization reads, as training stored them.

    Args:
      layer: It; built.
    """
    rank = layer.input_spec.ndim
    own = {axis % rank for axis in np.atleast_1d(layer.axis)}
    mean, variance = (
      np.asarray(keras.backend.get_value(moment), np.float32)
      for moment in (layer.moving_mean, layer.moving_variance)
    )
    shape = [layer.input_spec.axes[k] if k in own else 1 for k in range(rank)]
    return cls(
      tuple(k for k in range(rank) if k not in own),
      mean.reshape(shape),
      variance.reshape(shape) + np.float32(layer.epsilon),
    )

  @property
  def size(self) -> int:
    """How many entries there are."""
    return self.mean.size


def mismatch(
  wanted: Sequence[EntryMoments],
  batches: Sequence[tf.Tensor],
  part: Part = WHOLE,
) -> tf.Tensor:
  """Distance of the moments of batches from wanted ones.

  In units of the wanted deviations, the mean over entries of squares; the sum
  over the batches.

  Args:
    wanted: The moments of each batch.
    batches: Shape (samples, ...) each.
    part: Which samples of the batch they hold.
  """
  batches = [tf.cast(x, tf.float32) for x in batches]
  if not batches:
    return tf.zeros([])
  wanted = _AllMoments(wanted)
  if part.rows is None and all(x.shape.is_fully_defined() for x in batches):
    return wanted.of_whole(batches)
  means, variances = zip(
    *(
      part.moments(x, axes, keepdims=True)
      for x, axes in zip(batches, wanted.axes, strict=True)
    ),
    strict=True,
  )
  return wanted.gap(_flat(means), _flat(variances))[0]


class _AllMoments:
  """Moments of several batches, one vector of the entries of all."""

  def __init__(self, wanted: Sequence[EntryMoments]):
    self.axes = [one.axes for one in wanted]
    self._sizes = [one.size for one in wanted]
    self._shapes = [one.mean.shape for one in wanted]
    self._mean = np.concatenate([one.mean.ravel() for one in wanted])
    self._variance = np.concatenate([one.variance.ravel() for one in wanted])
    # Of every batch the mean over its entries.
    self._weight = self._each([1 / size for size in self._sizes])

  def gap(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple:
    """Their distance, and the shifts and ratios of deviations by entry.

    Args:
      mean: That of every entry.
      variance: Likewise.
    """
    shift = (mean - self._mean) * self._variance**-0.5
    ratio = tf.sqrt((variance + 1e-9) * (1 / self._variance))
    squares = tf.square(shift) + tf.square(ratio - 1.0)
    return tf.reduce_sum(squares * self._weight), shift, ratio

  def of_whole(self, batches: Sequence[tf.Tensor]) -> tf.Tensor:
    """The distance of whole batches, whose gradient is told.

    What TensorFlow derives for it were most of the operations of a descent, and
    to trace these takes longer than to run a short one.

    Args:
      batches: Of sizes that are known.
    """
    # What the moments of an entry are means of.
    taken = self._each(
      [
        size / x.shape.num_elements()
        for size, x in zip(self._sizes, batches, strict=True)
      ]
    )
    share = 2 * taken * self._weight
    by_mean = share * self._variance**-0.5
    by_variance = share / self._variance

    @tf.custom_gradient
    def gap(*batches: tf.Tensor) -> tuple[tf.Tensor, Callable]:
      means = self._means(batches)
      centred = [x - mean for x, mean in zip(batches, means, strict=True)]
      variances = self._means([tf.square(x) for x in centred])
      value, shift, ratio = self.gap(_flat(means), _flat(variances))

      def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
        level = self._parts(upstream * by_mean * shift)
        slope = self._parts(upstream * by_variance * (1 - 1 / ratio))
        return [
          x * slope + level
          for x, slope, level in zip(centred, slope, level, strict=True)
        ]

      return value, gradient

    return gap(*batches)

  def _means(self, batches: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Of the entries of each batch, which keep their axes."""
    return [
      tf.reduce_mean(x, axes, keepdims=True)
      for x, axes in zip(batches, self.axes, strict=True)
    ]

  def _each(self, numbers: Sequence[float]) -> Array:
    """A number of each batch, for every entry of it."""
    return np.repeat(np.array(numbers, np.float32), self._sizes)

  def _parts(self, entries: tf.Tensor) -> list[tf.Tensor]:
    """What a vector of all entries has of each batch, as `_means`."""
    return [
      tf.reshape(x, shape)
      for x, shape in zip(
        tf.split(entries, self._sizes), self._shapes, strict=True
      )
    ]


def _flat(parts: Sequence[tf.Tensor]) -> tf.Tensor:
  return tf.concat([tf.reshape(x, [-1]) for x in parts], 0)


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
