"""Dead leaves: their statistics, their edges, and windows against the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tfmot_paoding.inputs import leaves as lib
from tfmot_paoding.inputs.leaves import BLOBS, LeavesPrior
from tfmot_paoding.numerics.intervals import Interval

SHAPES = [(40, 2), (17, 12, 1), (40, 3, 1), (16, 16, 3), (6, 7, 5, 2)]


def drawn(prior, shape, count=64, low=0.0, high=1.0, seed=0):
  box = Interval(np.full(shape, low), np.full(shape, high))
  return prior.sample(box, count, np.random.default_rng(seed))


@pytest.mark.parametrize('shape', SHAPES)
def test_they_fill_the_range_and_come_from_the_generator(shape):
  x = drawn(LeavesPrior(), shape, low=-2.0, high=6.0)
  assert x.shape == (64, *shape)
  assert -2.0 <= x.min() < -1.0
  assert 5.0 < x.max() <= 6.0
  assert abs(x.mean() - 2.0) < 0.8
  np.testing.assert_array_equal(
    x, drawn(LeavesPrior(), shape, low=-2.0, high=6.0)
  )
  assert not np.array_equal(x, drawn(LeavesPrior(), shape, seed=1) * 8 - 2)


@pytest.mark.parametrize('shape', SHAPES)
def test_a_window_shows_what_the_whole_canvas_shows(shape, monkeypatch):
  # Windows only save time: with none the same samples come out.
  prior = LeavesPrior(least=1.0)
  found = drawn(prior, shape)
  monkeypatch.setattr(lib, '_WINDOWS', (1.0,))
  np.testing.assert_allclose(found, drawn(prior, shape), atol=1e-5)


def test_one_leaf_is_a_disc_of_its_radius():
  prior = LeavesPrior(
    leaves=(1, 1),
    least=6.0,
    largest=6 / 64,
    aspect=0.0,
    gradient=0.0,
    texture=0.0,
    contrast=(1.0, 1.0),
    ground=0.0,
  )
  x = drawn(prior, (64, 64, 1), 200)
  inside = (x > 0.99 * x.max((1, 2, 3), keepdims=True)).sum((1, 2, 3))
  whole = inside[np.all(x[:, [0, -1]] == 0, (1, 2, 3))]
  # Discs and boxes of half the side 6.
  near = np.minimum(abs(whole - np.pi * 36), abs(whole - 144))
  assert np.mean(near < 25) > 0.6


def test_radii_follow_the_power_law():
  share = np.linspace(0, 1, 20001)
  for power in (1.0, 1.5, 3.0):
    r = lib._power_law(share, power, 1.5, 16.0)
    assert r[0] == pytest.approx(1.5)
    assert r[-1] == pytest.approx(16.0)
    counts, edges = np.histogram(r, np.geomspace(1.5, 16, 8))
    middles = np.sqrt(edges[1:] * edges[:-1])
    slope = np.polyfit(np.log(middles), np.log(counts / np.diff(edges)), 1)[0]
    assert slope == pytest.approx(-power, abs=0.05)


def test_rotations_are_rotations_of_all_directions():
  found = lib._rotations(4000, 2, np.random.default_rng(0))
  np.testing.assert_allclose(
    found @ found.swapaxes(1, 2), np.tile(np.eye(2), (4000, 1, 1)), atol=1e-12
  )
  angles = np.arctan2(found[:, 1, 0], found[:, 0, 0])
  counts, _ = np.histogram(angles, 8, (-np.pi, np.pi))
  assert counts.min() > 400


def test_edges_are_sharp_and_regions_even():
  """Steps between neighbours are mostly small and sometimes large."""
  x = drawn(LeavesPrior(texture=0.02), (32, 32, 1), 200)
  gaps = np.diff(x[..., 0], axis=1).ravel()
  kurtosis = np.mean(gaps**4) / np.mean(gaps**2) ** 2
  assert kurtosis > 8  # of a Gaussian 3


def test_blobs_lie_on_an_empty_ground():
  x = drawn(BLOBS, (28, 28, 1), 200)
  assert 0.6 < np.mean(x == 0) < 0.97
  assert x.max() > 0.8


def test_what_has_no_positions_is_refused():
  with pytest.raises(ValueError, match="prior='smooth'"):
    drawn(LeavesPrior(), (7,))


@pytest.mark.parametrize(
  'settings',
  [
    {'leaves': (5, 2)},
    {'leaves': (0, 2)},
    {'contrast': (0.0, 1.0)},
    {'least': 0.0},
    {'power': -1.0},
    {'largest': 0.0},
    {'aspect': -0.1},
  ],
)
def test_settings_are_checked(settings):
  with pytest.raises(ValueError, match='must be'):
    LeavesPrior(**settings)


def test_settings_make_a_round_trip():
  prior = LeavesPrior(leaves=(2, 9), ground=0.3)
  assert LeavesPrior.from_config(prior.get_config()) == prior
  assert dataclasses.replace(prior, ground=None).ground is None
