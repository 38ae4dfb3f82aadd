"""Randomised smoothing: exact binomials, and a linear network's true radius."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras
from tfmot_paoding.robustness.smoothing import lower_bound


def tail(p, successes, draws):
  """P(at least so many successes), summed."""
  return sum(
    math.comb(draws, k) * p**k * (1 - p) ** (draws - k)
    for k in range(successes, draws + 1)
  )


@pytest.mark.parametrize(
  ('successes', 'draws'), [(3, 5), (90, 100), (100, 100)]
)
def test_bound_is_clopper_and_pearsons(successes, draws):
  p = lower_bound(successes, draws, 0.01)
  assert tail(p, successes, draws) == pytest.approx(0.01, rel=1e-6)


def test_bound_by_hand():
  assert lower_bound(0, 10, 0.01) == 0
  assert lower_bound(10, 10, 0.001) == pytest.approx(0.001**0.1)


def line():
  """Scores (x, 0): the boundary is x = 0."""
  model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
  model.set_weights([np.array([[1.0, 0.0]]), np.zeros(2)])
  return model


def test_radii_never_reach_beyond_the_boundary():
  """Of a linear classifier the smoothed one's radius is the distance."""
  x = np.linspace(-2, 2, 21)[:, None]
  found = robustness.smoothed(line(), x, 0.5, draws=2000)
  sure = found.answers >= 0
  np.testing.assert_array_equal(found.answers[sure], (x[sure, 0] < 0) * 1)
  assert np.all(found.radii <= np.abs(x[:, 0]) + 1e-9)
  near = np.abs(np.abs(x[:, 0]) - 0.6) < 0.1
  assert np.all(found.radii[near] > 0.8 * np.abs(x[near, 0]))
  assert found.answers[10] == -1
  assert found.radii[10] == 0


def test_certified_counts_right_answers_within_a_radius():
  x = np.array([[1.0], [1.0], [-1.0]])
  found = robustness.smoothed(line(), x, 0.25, draws=500)
  np.testing.assert_array_equal(
    found.certified([0, 1, 1], 0.3), [True, False, True]
  )
  assert not found.certified([0, 1, 1], 5.0).any()


def test_same_seed_same_radii():
  model = testing.mlp((5, 8, 3))
  x = np.zeros((3, 5))
  one, two = (
    robustness.smoothed(model, x, 0.3, draws=100, seed=1) for _ in range(2)
  )
  np.testing.assert_array_equal(one.radii, two.radii)


@pytest.mark.parametrize(
  'settings',
  [
    {'sigma': 0},
    {'sigma': None},
    {'failure': 1.5},
    {'draws': 0},
    {'draws': 1.5},
    {'guesses': 0},
    {'batch_size': 0},
  ],
)
def test_settings(settings):
  with pytest.raises(ValueError, match=f'`{next(iter(settings))}`'):
    robustness.smoothed(line(), [[0.0]], **{'sigma': 0.1, **settings})
