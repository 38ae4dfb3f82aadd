"""Weights on a grid: by hand, beside a slow reference, and never worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_paoding.tflite import grid_rounding as lib


def random_case(seed: int, units=5, width=9) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(seed)
  mixed = rng.normal(size=(40, 3)) @ rng.normal(size=(3, width))
  seen = mixed + 0.1 * rng.normal(size=(40, width))
  return rng.normal(size=(units, width)), np.cov(seen.T)


def test_two_weights_alone_by_hand():
  """7 and 4 steps; least squares make one 9/65, of 7 * 1 + 4 * .5 over 65."""
  made = lib.on_grid(np.array([[1.0, 0.5]]))
  np.testing.assert_allclose(made, [[63 / 65, 36 / 65]])


def test_what_one_rounding_adds_another_takes_away():
  """Inputs that are always alike: the sum of the weights is what counts."""
  rows = np.array([[1.0, 0.47, 0.32, 0.33, 0.33]])
  alike, apart = np.ones((5, 5)), np.eye(5)
  together, alone = lib.on_grid(rows, alike), lib.on_grid(rows, apart)
  assert abs((together - rows).sum()) < 0.3 * abs((alone - rows).sum())


def feedback_by_elimination(row, step, cost) -> np.ndarray:
  """One weight after the other, the inverse of what is left worked out anew."""
  left, found = row.copy(), np.zeros_like(row)
  open_ones = sorted(range(len(row)), key=lambda j: (-cost[j, j], j))
  largest = np.abs(row).argmax()
  while open_ones:
    j = open_ones[0]
    multiple = np.clip(np.rint(left[j] / step), -7, 7)
    if j == largest:
      multiple = 7 * np.sign(row[j])
    inverse = np.linalg.inv(cost[np.ix_(open_ones, open_ones)])
    error = (left[j] - multiple * step) / inverse[0, 0]
    left[open_ones] -= error * inverse[0]
    found[j] = multiple
    open_ones.pop(0)
  return found


@pytest.mark.parametrize('block', [4, 64])
def test_columns_are_made_up_for_as_by_elimination(block, monkeypatch):
  monkeypatch.setattr(lib, '_BLOCK', block)
  rows, covariance = random_case(1)
  cost, steps = lib.damped(covariance), np.abs(rows).max(1) / 8
  made = lib._with_feedback(rows, steps, cost, np.abs(rows).argmax(1))
  for row, step, found in zip(rows, steps, made, strict=True):
    np.testing.assert_array_equal(
      found, feedback_by_elimination(row, step, cost)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12))
def test_rows_are_on_their_grid_and_cost_no_more_than_nearest(
  seed, units, width
):
  rows, covariance = random_case(seed, units, width)
  covariance = np.reshape(covariance, (width, width))
  made = lib.on_grid(rows, covariance)
  steps = np.abs(made).max(1, keepdims=True) / 7
  multiples = made / steps
  np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-9)
  seventh = np.abs(rows).max(1, keepdims=True) / 7
  nearest = np.rint(rows / seventh) * seventh
  cost = lib.damped(covariance)
  before, after = (
    np.einsum('ij,jk,ik->i', e, cost, e) for e in (nearest - rows, made - rows)
  )
  assert np.all(after <= before * (1 + 1e-9) + 1e-18)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12))
def test_one_step_for_all_rows_is_found_again_in_the_largest(
  seed, units, width
):
  rows, covariance = random_case(seed, units, width)
  covariance = np.reshape(covariance, (width, width))
  made = lib.on_grid(rows, covariance, one_step=True)
  multiples = made / (np.abs(made).max() / 7)
  np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-9)
  seventh = np.abs(rows).max() / 7
  nearest = np.rint(rows / seventh) * seventh
  cost = lib.damped(covariance)
  before, after = (
    np.einsum('ij,jk,ik->', e, cost, e) for e in (nearest - rows, made - rows)
  )
  assert after <= before * (1 + 1e-9) + 1e-18


def test_one_step_by_hand():
  """7, 4 and 3 steps of one: 1 * 7 + .5 * 4 + .45 * 3 = 10.35 over 74."""
  made = lib.on_grid(np.array([[1.0, 0.5], [0.45, 0.0]]), one_step=True)
  step = 10.35 / 74
  np.testing.assert_allclose(made, [[7 * step, 4 * step], [3 * step, 0.0]])


def test_units_of_zeros_and_inputs_that_never_move_are_no_matter():
  rows = np.array([[0.0, 0.0, 0.0], [0.5, -0.2, 0.1]])
  made = lib.on_grid(rows, np.zeros((3, 3)))
  np.testing.assert_array_equal(made[0], 0)
  assert np.abs(made[1] - rows[1]).max() < 0.5 / 7
