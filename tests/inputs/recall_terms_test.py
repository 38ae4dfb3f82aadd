"""Terms of a descent against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.recall_terms import EntryMoments, mismatch
from tfmot_paoding.inputs.statistics_prior import FieldPart, StatisticsPrior

_MEAN = np.array([[0.0, 5.0], [2.0, 5.0]])
_PRIOR = StatisticsPrior(_MEAN, (0,), (FieldPart(0.0, np.diag([3.0, 2.0])),))


def test_moments_of_a_prior_are_over_its_stationary_axes():
  moments = EntryMoments.of(_PRIOR)
  assert moments.axes == (0, 1)
  np.testing.assert_allclose(moments.mean, [[1.0, 5.0]])
  # Positions differ by 1 around the mean of the first entry.
  np.testing.assert_allclose(moments.variance, [[10.0, 4.0]])


def test_an_entry_that_hardly_counts_may_vary():
  prior = StatisticsPrior(
    np.zeros(2), (), (FieldPart(0.0, np.diag([10.0, 0.0])),)
  )
  np.testing.assert_allclose(EntryMoments.of(prior).variance, [100.0, 0.25])


def test_the_mismatch_is_in_deviations():
  x = np.random.default_rng(0).normal(2.0, 3.0, (50, 2, 2)).astype(np.float32)
  moments = EntryMoments.of(_PRIOR)
  slow = 0.0
  for entry, (mean, variance) in enumerate([(1.0, 10.0), (5.0, 4.0)]):
    own = x[:, :, entry]
    slow += (own.mean() - mean) ** 2 / variance / 2
    slow += (own.std() / variance**0.5 - 1) ** 2 / 2
  np.testing.assert_allclose(
    mismatch([moments], [tf.constant(x)]).numpy(), slow, rtol=1e-5
  )


def test_nothing_is_amiss_with_samples_of_the_prior():
  whole = np.array([[-1.0, -1.0], [1.0, 1.0]]) * [3.0, 2.0]
  x = (_MEAN + np.stack([whole, -whole])).astype(np.float32)
  moments = EntryMoments.of(_PRIOR)
  assert mismatch([moments], [tf.constant(x)]).numpy() < 1e-6


def normalization(shape, axis=-1):
  layer = keras.layers.BatchNormalization(axis, epsilon=0.0)
  layer.build((None, *shape))
  rng = np.random.default_rng(shape[0])
  layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
  layer.moving_variance.assign(rng.uniform(1, 4, layer.moving_mean.shape))
  return layer


def test_what_a_normalization_stored_by_hand():
  layer = normalization((2,))
  layer.moving_mean.assign([1.0, 0.0])
  layer.moving_variance.assign([4.0, 1.0])
  # Means 3 and 0, deviations 2 and 3: shift (2/2)^2 = 1 and 0, ratio 1 and 3.
  x = tf.constant([[1.0, -3.0], [5.0, 3.0]])
  found = mismatch([EntryMoments.stored(layer)], [x])
  assert float(found) == pytest.approx(0.5 + 2.0, rel=1e-5)


def test_the_gradient_that_is_told_is_the_one_that_is_derived():
  rng = np.random.default_rng(0)
  shapes = [(5, 3), (2, 4, 6)]
  layers = [normalization(shapes[0]), normalization(shapes[1], axis=1)]
  wanted = [EntryMoments.stored(layer) for layer in layers]
  xs = [
    tf.constant(rng.normal(size=(7, *shape)), tf.float32) for shape in shapes
  ]

  # A batch of unknown size has TensorFlow derive it.
  def gap(*xs):
    return mismatch(wanted, xs)

  unsized = tf.function(
    gap, [tf.TensorSpec((None, *shape)) for shape in shapes], autograph=False
  )
  values, slopes = [], []
  for function in (gap, unsized):
    with tf.GradientTape() as tape:
      tape.watch(xs)
      values.append(function(*xs))
    slopes.append(tape.gradient(values[-1], xs))
  np.testing.assert_allclose(*values, rtol=1e-5)
  for told, derived in zip(*slopes, strict=True):
    np.testing.assert_allclose(told, derived, atol=1e-7)
