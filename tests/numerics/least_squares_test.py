"""Least squares under signs against a search over all sets of zeros."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_paoding.numerics.least_squares import (
  folds,
  non_negative,
  ridge,
  simplest,
)


def slow_non_negative(matrix, target):
  """Every set of unknowns that are not 0; the best without a negative one."""
  best = np.zeros(matrix.shape[1])
  for count in range(1, matrix.shape[1] + 1):
    for chosen in itertools.combinations(range(matrix.shape[1]), count):
      x = np.zeros(matrix.shape[1])
      x[list(chosen)] = np.linalg.lstsq(matrix[:, chosen], target, None)[0]
      if x.min() >= 0 and _error(matrix, x, target) < _error(
        matrix, best, target
      ):
        best = x
  return best


def _error(matrix, x, target):
  return np.square(matrix @ x - target).sum()


def test_a_negative_unknown_becomes_zero():
  # Free, x would be (3, -1); with x2 = 0 the best x1 is (2 + 4) / 2.
  matrix = np.array([[1.0, 1.0], [1.0, -1.0]])
  np.testing.assert_allclose(
    non_negative(matrix, np.array([2.0, 4.0])), [3.0, 0.0]
  )
  assert not non_negative(matrix, np.array([-1.0, -1.0])).any()


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_nothing_is_better(seed):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(6, 5)) + rng.choice([0, 2])
  target = rng.normal(size=6)
  x = non_negative(matrix, target)
  assert x.min() >= 0
  slow = slow_non_negative(matrix, target)
  np.testing.assert_allclose(
    _error(matrix, x, target), _error(matrix, slow, target), rtol=1e-7
  )
  # From what is least without the last unknown, as from nothing.
  start = np.append(non_negative(matrix[:, :-1], target), 0.0)
  np.testing.assert_allclose(
    non_negative(matrix, target, start), x, rtol=1e-7, atol=1e-9
  )


def test_a_map_is_found_again():
  rng = np.random.default_rng(0)
  source, matrix = rng.normal(3.0, 1.0, (500, 4)), rng.normal(size=(4, 2))
  found, added = ridge(source, source @ matrix + [1.0, -2.0])
  np.testing.assert_allclose(found, matrix, rtol=0.01)
  means = source.mean(0)
  np.testing.assert_allclose(
    means @ found + added, means @ matrix + [1.0, -2.0], rtol=1e-9
  )


def test_columns_that_are_alike_or_idle_share_a_map():
  x = np.arange(8.0)
  source = np.stack([x, x, 0 * x], 1)
  found, _ = ridge(source, 2 * x[:, None])
  np.testing.assert_allclose(found[:, 0], [1, 1, 0], rtol=0.01)
  found, added = ridge(0 * source, 2 * x[:, None])
  assert not found.any()
  assert added == 7.0


def test_every_equation_is_left_out_once():
  for count in (2, 5, 12):
    np.testing.assert_array_equal(sum(folds(count)), np.ones(count))
  assert [left_out.any() for left_out in folds(1)] == [False]


def test_the_simplest_within_the_noise_is_taken():
  errors = np.array([[1.0, 3.0], [0.9, 2.9], [9.0, 9.0]])
  assert simplest(errors, np.array([1, 2, 0])) == 0
  assert simplest(errors, np.array([2, 1, 0])) == 1
  assert simplest(errors, np.array([2, 1, 0]), 81.0) == 2
