"""Noise whose power falls with frequency: its spectrum, its variance."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs.spectra import SpectralPrior, spectral_noise
from tfmot_paoding.numerics.intervals import Interval


@pytest.mark.parametrize('shape', [(64, 1), (63, 2), (16, 9, 1), (4, 6, 5, 1)])
@pytest.mark.parametrize('exponent', [0.0, 1.0, 1.75])
def test_its_variance_is_one(shape, exponent):
  count = 3000
  noise = spectral_noise(
    (count, *shape), np.full(count, exponent), np.random.default_rng(0)
  )
  assert noise.shape == (count, *shape)
  assert np.mean(np.square(noise)) == pytest.approx(1.0, abs=0.08)


def test_its_amplitude_falls_with_frequency():
  exponents = np.repeat([0.5, 1.5], 4000)
  noise = spectral_noise((8000, 64, 1), exponents, np.random.default_rng(0))
  power = np.square(np.abs(np.fft.rfft(noise[..., 0], axis=1)))
  for exponent in (0.5, 1.5):
    mean = power[exponents == exponent].mean(0)[1:-1]
    slope = np.polyfit(np.log(np.arange(1, 32)), np.log(mean), 1)[0]
    assert slope == pytest.approx(-2 * exponent, abs=0.05)


def test_samples_stay_in_the_range_around_the_value_nearest_to_zero():
  box = Interval(np.full((50, 3), -1.0), np.full((50, 3), 4.0))
  prior = SpectralPrior(deviations=(0.05, 0.1))
  x = prior.sample(box, 400, np.random.default_rng(0))
  assert x.shape == (400, 50, 3)
  assert x.min() >= -1.0
  assert abs(x.mean()) < 0.1
  assert 0.15 < x.std() < 0.45
  flat = x.reshape(-1, 3)
  assert np.corrcoef(flat.T)[0, 1] == pytest.approx(0.5, abs=0.08)


def test_bad_settings_and_vectors_are_refused():
  for settings in (
    {'deviations': (0.5, 0.1)},
    {'deviations': (0.0, 0.1)},
    {'exponents': (2.0, 1.0)},
    {'channels': 1.5},
  ):
    with pytest.raises(ValueError, match='must be'):
      SpectralPrior(**settings)
  box = Interval(np.zeros(5), np.ones(5))
  with pytest.raises(ValueError, match='vector of features'):
    SpectralPrior().sample(box, 2, np.random.default_rng(0))
