"""Priors: moments by sampling against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs.prior import GaussianPrior, Prior, VariedPrior
from tfmot_paoding.numerics.intervals import Interval


def box(shape, low=0.0, high=1.0):
  return Interval(np.full(shape, low), np.full(shape, high))


def drawn(prior, shape, count=20000, low=0.0, high=1.0, seed=0):
  rng = np.random.default_rng(seed)
  return prior.sample(box(shape, low, high), count, rng)


@pytest.mark.parametrize(
  ('low', 'high', 'base', 'reach'),
  [
    (0, 1, 0, 1),
    (-1, 1, 0, 1),
    (2, 5, 2, 3),
    (-124, 26, 0, 124),
    (-5, -1, -1, 4),
  ],
)
def test_it_stands_at_the_value_nearest_to_zero(low, high, base, reach):
  x = drawn(Prior(deviation=0.5, mean=0.1), (4,), low=low, high=high)
  np.testing.assert_allclose(x.mean(), base + 0.1 * reach, atol=0.02 * reach)
  np.testing.assert_allclose(x.std(), 0.5 * reach, rtol=0.02)


def test_correlations_are_the_formulas():
  prior = Prior(deviation=1.0, scale=1.5, channels=0.6)
  x = drawn(prior, (3, 4, 2)).reshape(20000, -1)
  found = np.corrcoef(x.T)
  places = np.array(list(np.ndindex(3, 4, 2)))
  gaps = np.square(places[:, None, :2] - places[None, :, :2]).sum(-1)
  same = places[:, None, 2] == places[None, :, 2]
  wanted = np.exp(-gaps / (2 * 1.5**2)) * np.where(same, 1.0, 0.6)
  np.testing.assert_allclose(found, wanted, atol=0.04)


def test_vectors_and_a_scale_of_zero_are_independent():
  for prior, shape in ((Prior(), (6,)), (Prior(scale=0.0), (3, 2, 1))):
    x = drawn(prior, shape).reshape(20000, -1)
    np.testing.assert_allclose(np.corrcoef(x.T), np.eye(6), atol=0.03)


def test_varied_samples_differ_in_size_and_half_are_cut():
  x = drawn(VariedPrior(), (8, 8, 1), 4000)
  assert x[::2].min() == 0.0
  assert x[::2].max() <= 1.0
  assert x[1::2].min() < -0.3
  sizes = x[1::2].reshape(2000, -1).std(1)
  assert sizes.max() > 4 * sizes.min()


@pytest.mark.parametrize('full', [True, False])
def test_a_gaussian_has_the_moments_it_is_given(full):
  root = np.random.default_rng(1).normal(size=(6, 6))
  covariance = root @ root.T if full else np.arange(1.0, 7.0)
  mean = np.arange(6.0).reshape(2, 3)
  x = drawn(GaussianPrior(mean, covariance), (2, 3), 100000)
  np.testing.assert_allclose(x.mean(0), mean, atol=0.05)
  wanted = covariance if full else np.diag(covariance)
  np.testing.assert_allclose(
    np.cov(x.reshape(-1, 6).T), wanted, atol=0.03 * np.max(wanted)
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: Prior(deviation=0.0), '`deviation` must be positive'),
    (lambda: Prior(channels=1.5), '`channels` in'),
    (lambda: GaussianPrior(0.0, np.ones((2, 3))), r'got \(2, 3\)'),
    (lambda: GaussianPrior(0.0, -np.ones(2)), 'positive semidefinite'),
    (lambda: GaussianPrior(0.0, np.full(2, np.nan)), 'finite'),
    (
      lambda: drawn(GaussianPrior(0.0, np.ones(4)), (3,), 2),
      'has 3 entries',
    ),
  ],
)
def test_bad_priors_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
