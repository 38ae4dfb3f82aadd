"""Low rank in a norm of one's own, against sums by hand and other searches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_paoding.numerics.low_rank import (
  losses,
  spectrum,
  spectrum_of_products,
  with_ridge,
)


def positive(rng, size):
  """Random moments, positive definite."""
  root = rng.normal(size=(size, size + 2))
  return root @ root.T / size + 0.1 * np.eye(size)


def slow_loss(error, moments, counts):
  """What an error counts, term by term."""
  n, m = error.shape
  total = 0.0
  for i in range(n):
    for j in range(n):
      for k in range(m):
        for q in range(m):
          total += error[i, k] * moments[i, j] * error[j, q] * counts[q, k]
  return total


def slow_nearest(matrix, moments, counts, rank, rng, starts=4, rounds=300):
  """The least loss of two factors, each fitted in turn to the other."""
  best = np.inf
  for _ in range(starts):
    right = rng.normal(size=(rank, matrix.shape[1]))
    for _ in range(rounds):
      left = (
        matrix @ counts @ right.T @ np.linalg.pinv(right @ counts @ right.T)
      )
      right = (
        np.linalg.pinv(left.T @ moments @ left) @ left.T @ moments @ matrix
      )
    best = min(best, slow_loss(left @ right - matrix, moments, counts))
  return best


def test_by_hand():
  # The second row is seen ten times as much as the first, so that it is kept
  # though its weight is smaller; the loss is the first's 4 of variance 1.
  matrix = np.diag([2.0, 1.0])
  found = spectrum(matrix, np.diag([1.0, 10.0]), np.eye(2))
  np.testing.assert_allclose(found.at(1), np.diag([0.0, 1.0]), atol=1e-12)
  np.testing.assert_allclose(found.losses, [14.0, 4.0, 0.0], atol=1e-12)
  # Where an error of the first column counts a hundred times, it is kept.
  found = spectrum(matrix, np.diag([1.0, 10.0]), np.diag([100.0, 1.0]))
  np.testing.assert_allclose(found.at(1), np.diag([2.0, 0.0]), atol=1e-12)


def test_losses_are_sums_of_what_is_left():
  np.testing.assert_allclose(losses(np.array([3.0, 2.0, 1.0])), [14, 5, 1, 0])


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_no_search_finds_a_nearer_one(rank):
  rng = np.random.default_rng(rank)
  matrix = rng.normal(size=(5, 4))
  moments, counts = positive(rng, 5), positive(rng, 4)
  found = spectrum(matrix, moments, counts)
  loss = slow_loss(found.at(rank) - matrix, moments, counts)
  np.testing.assert_allclose(loss, found.losses[rank], rtol=1e-9)
  slow = slow_nearest(matrix, moments, counts, rank, rng)
  np.testing.assert_allclose(loss, slow, rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_ranks_lose_less_and_less_and_the_last_nothing(seed, rows, columns):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(rows, columns))
  moments, counts = positive(rng, rows), positive(rng, columns)
  found = spectrum(matrix, moments, counts)
  assert len(found.losses) == min(rows, columns) + 1
  assert np.all(np.diff(found.losses) <= 1e-12)
  np.testing.assert_allclose(found.at(min(rows, columns)), matrix, atol=1e-8)
  # What stands in between is white.
  left, right = found.factors(1)
  np.testing.assert_allclose(left.T @ moments @ left, np.eye(1), atol=1e-8)
  np.testing.assert_allclose(left @ right, found.at(1))


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_moments_of_one_part_stand_for_all(seed, parts):
  rng = np.random.default_rng(seed)
  matrix, counts = rng.normal(size=(parts * 3, 4)), positive(rng, 4)
  one = positive(rng, 3)
  short = spectrum(matrix, one, counts)
  long = spectrum(matrix, np.kron(np.eye(parts), one), counts)
  np.testing.assert_allclose(short.losses, long.losses, atol=1e-8)
  np.testing.assert_allclose(short.at(2), long.at(2), atol=1e-6)


def test_the_loss_is_the_mean_error_on_samples():
  rng = np.random.default_rng(0)
  x, slopes = rng.normal(size=(3000, 6)), rng.normal(size=(3000, 4))
  x[:, 0] += x[:, 1]
  matrix = rng.normal(size=(6, 4))
  found = spectrum(matrix, x.T @ x / 3000, slopes.T @ slopes / 3000)
  errors = x @ (found.at(2) - matrix)
  # Of independent slopes: every error with every slope.
  moved = np.square(errors @ slopes.T).mean()
  np.testing.assert_allclose(moved, found.losses[2], rtol=1e-9)


def test_a_ridge_makes_moments_positive():
  moments = np.zeros((3, 3))
  moments[0, 0] = 3.0
  found = with_ridge(moments, 0.1)
  np.testing.assert_allclose(np.diag(found), [3.1, 0.1, 0.1])
  assert moments[1, 1] == 0.0  # the caller's is not changed
  np.linalg.cholesky(with_ridge(np.zeros((2, 2)), 0.1))


@given(st.integers(0, 10**6), st.integers(4, 9))
@settings(max_examples=30, deadline=None)
def test_products_tell_the_same_as_moments(seed, rows):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(rows, 4))
  moments, counts = positive(rng, rows), positive(rng, 4)
  one = spectrum(matrix, moments, counts)
  other = spectrum_of_products(matrix, matrix.T @ moments @ matrix, counts)
  np.testing.assert_allclose(other.values, one.values, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(other.at(2), one.at(2), atol=1e-5)
  left, _ = other.factors(2)
  np.testing.assert_allclose(left.T @ moments @ left, np.eye(2), atol=1e-5)


def test_products_of_low_rank_have_no_more_parts():
  rng = np.random.default_rng(0)
  matrix = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5))
  found = spectrum_of_products(matrix, matrix.T @ matrix, np.eye(5))
  assert len(found.values) == 2
  np.testing.assert_allclose(found.at(5), matrix, atol=1e-6)
