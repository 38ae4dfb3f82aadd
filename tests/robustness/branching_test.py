"""Which neuron is split: estimates by hand, and settings that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.robustness import BranchSettings
from tfmot_paoding.robustness.branching import candidates, estimates

NEURONS = Interval(np.array([-1.0, -3.0, 1.0, -2.0]), np.array([1, 1, 2, 2.0]))
BIASES = np.array([0.5, 0.0, 1.0, -1.0])
# Of neuron 2, which is on, nothing is to be gained.
COEFFICIENTS = np.array([[-2.0, -4.0, -9.0, 1.0]])


def test_estimates_by_hand():
  gains, intercepts = estimates(COEFFICIENTS, NEURONS, BIASES)
  # Chords of slope 1/2, 1/4 and 1/2; they meet zero at 1/2, 3/4 and 1.
  np.testing.assert_allclose(intercepts[0, [0, 1, 3]], [1.0, 3.0, 0.0])
  # max(-1 (1/2 - 1), -1/2) - 1; 0 - 3; max(-1 (1/2 - 1), -1/2).
  np.testing.assert_allclose(gains[0, [0, 1, 3]], [0.5, 3.0, 0.5])


@pytest.mark.parametrize(
  ('rule', 'wanted'), [('babsr', [1]), ('fsb', [1, 0, 1, 0])]
)
def test_candidates(rule, wanted):
  settings = BranchSettings(rule=rule, candidates=2)
  signs = np.zeros((1, 4), np.int8)
  found = candidates(COEFFICIENTS, signs, NEURONS, BIASES, settings)
  np.testing.assert_array_equal(found, [wanted])


def test_what_is_split_is_no_candidate():
  settings = BranchSettings(rule='babsr')
  signs = np.array([[0, 1, 0, 0], [1, 1, 0, -1]], np.int8)
  rows = COEFFICIENTS.repeat(2, 0)
  found = candidates(rows, signs, NEURONS, BIASES, settings)
  np.testing.assert_array_equal(found, [[0], [-1]])


def test_no_neurons():
  none = np.zeros((2, 0))
  ends = Interval(none[0], none[0])
  found = candidates(none, none, ends, none[0], BranchSettings())
  np.testing.assert_array_equal(found[:, 0], [-1, -1])


@pytest.mark.parametrize(
  'setting',
  [
    {'rule': 'widest'},
    {'batch_size': 1},
    {'candidates': 0},
    {'most_open': None},
  ],
)
def test_bad_settings_are_named(setting):
  with pytest.raises(ValueError, match=f'`{next(iter(setting))}`'):
    BranchSettings(**setting)
