"""Terms of a descent against NumPy."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_paoding.inputs.recall_terms import EntryMoments
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
    moments.mismatch(tf.constant(x)).numpy(), slow, rtol=1e-5
  )


def test_nothing_is_amiss_with_samples_of_the_prior():
  whole = np.array([[-1.0, -1.0], [1.0, 1.0]]) * [3.0, 2.0]
  x = (_MEAN + np.stack([whole, -whole])).astype(np.float32)
  moments = EntryMoments.of(_PRIOR)
  assert moments.mismatch(tf.constant(x)).numpy() < 1e-6
