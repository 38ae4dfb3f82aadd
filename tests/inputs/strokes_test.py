"""Strokes: thin lines on an empty ground, in the range of the input."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs import strokes as lib
from tfmot_paoding.inputs.strokes import StrokesPrior
from tfmot_paoding.numerics.intervals import Interval


def drawn(prior, shape, low=0.0, high=1.0, count=200):
  box = Interval(np.full(shape, low), np.full(shape, high))
  return prior.sample(box, count, np.random.default_rng(0))


def test_lines_on_an_empty_ground():
  x = drawn(StrokesPrior(), (28, 28, 1))
  ink = np.mean(x > 0, (1, 2, 3))
  assert np.all(ink > 0)
  assert 0.03 < np.median(ink) < 0.4
  assert x.max((1, 2, 3)).min() > 0.65
  assert x.max() <= 1.0


def test_distances_against_the_obvious_loop():
  curves = np.random.default_rng(0).uniform(0, 9, (3, 24, 2))
  found = lib._distances(curves, (9, 7))
  for n, row, column in np.ndindex(3, 9, 7):
    gaps = np.linalg.norm(curves[n] - (row, column), axis=1)
    assert found[n, row, column] == pytest.approx(gaps.min(), abs=1e-5)


@pytest.mark.parametrize(
  ('low', 'high', 'ground', 'ink'), [(-1, 3, 0, 3), (-5, -1, -1, -5)]
)
def test_the_ground_is_the_value_nearest_to_zero(low, high, ground, ink):
  x = drawn(StrokesPrior(brightness=(1.0, 1.0)), (14, 14), low, high)
  assert np.median(x) == ground
  assert np.abs(x - ink).min() < 1e-6


def test_bad_settings_and_other_ranks_are_refused():
  with pytest.raises(ValueError, match='must be'):
    StrokesPrior(strokes=(3, 1))
  with pytest.raises(ValueError, match='drawn on images'):
    drawn(StrokesPrior(), (9,))
