"""Photographs: crops of files that are there, in the range of the input."""

from __future__ import annotations

import socket
import sys

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import extras, inputs
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import photos as lib
from tfmot_paoding.inputs.photos import PhotosPrior
from tfmot_paoding.numerics.intervals import Interval

pytest.importorskip('skimage')
pytest.importorskip('sklearn')


def drawn(prior, shape, low=0.0, high=1.0, count=120):
  box = Interval(np.full(shape, low), np.full(shape, high))
  return prior.sample(box, count, np.random.default_rng(0))


@pytest.mark.parametrize(
  ('shape', 'low', 'high'),
  [
    ((32, 32, 3), 0.0, 255.0),
    ((28, 28, 1), -1.0, 1.0),
    ((12, 40), 0.0, 1.0),
    ((1, 1, 3), 0.0, 1.0),
    ((400, 300, 3), 0.0, 1.0),
  ],
)
def test_samples_of_any_size_in_the_range(shape, low, high, monkeypatch):
  def refused(*_):
    raise AssertionError('photographs are not downloaded')

  monkeypatch.setattr(socket.socket, 'connect', refused)
  x = drawn(PhotosPrior(), shape, low, high, 12 if shape[0] > 100 else 120)
  assert x.shape[1:] == shape
  assert low <= x.min() < x.max() <= high
  assert np.ptp(x) > 0.6 * (high - low)
  assert len(np.unique(x.reshape(len(x), -1), axis=0)) == len(x)
  if shape[-1] == 3:
    assert np.abs(x[..., 0] - x[..., 2]).mean() > 0.02 * (high - low)


def test_the_same_seed_gives_the_same():
  one, other = (drawn(PhotosPrior(), (9, 9, 3)) for _ in range(2))
  np.testing.assert_array_equal(one, other)


def test_a_spectrum_that_falls_as_that_of_photographs():
  x = drawn(PhotosPrior(), (32, 32, 1), count=400)[..., 0]
  power = np.square(np.abs(np.fft.fft2(x))).mean(0)
  slope = np.polyfit(
    np.log(np.arange(2, 16)), np.log(power[0, 2:16] + power[2:16, 0]), 1
  )[0]
  assert -2.8 < slope < -1.2


def test_crops_are_as_large_as_asked_and_whole():
  # A ramp tells where a crop begins and how far it reaches.
  ramp = np.tile(np.arange(300, dtype=np.float32)[None, :, None], (200, 1, 1))
  whole = PhotosPrior(crops=(1.0, 1.0))
  x = whole._cropped(ramp, 5, (20, 20), np.random.default_rng(0))[..., 0]
  np.testing.assert_allclose(np.diff(x, axis=2), 10.0, atol=0.1)
  assert np.ptp(x[:, 0, 0]) > 1  # at a place of its own each
  small = PhotosPrior(crops=(0.001, 0.001))
  x = small._cropped(ramp, 5, (20, 20), np.random.default_rng(0))[..., 0]
  np.testing.assert_allclose(np.diff(x, axis=2), 1.0, atol=0.01)


def test_what_is_made_smaller_is_averaged():
  noise = np.random.default_rng(0).uniform(size=(256, 256, 1))
  noise = noise.astype(np.float32)
  whole = PhotosPrior(crops=(1.0, 1.0))
  (x,) = whole._cropped(noise, 1, (16, 16), np.random.default_rng(1))
  means = noise.reshape(16, 16, 16, 16).mean((1, 3))
  np.testing.assert_allclose(x[..., 0], means, atol=1e-5)


def test_half_are_turned_and_brightness_differs(monkeypatch):
  ramp = np.tile(np.linspace(0, 0.5, 64, dtype=np.float32), (64, 1))
  monkeypatch.setattr(lib, '_photos', lambda in_colour: [ramp[..., None]])
  x = drawn(PhotosPrior(), (8, 8, 1), count=400)[..., 0]
  rising = x[:, 0, -1] > x[:, 0, 0]
  assert 0.4 < rising.mean() < 0.6
  plain = drawn(PhotosPrior((1.0, 1.0), 0.0, (1.0, 1.0)), (8, 8, 1), count=4)[
    ..., 0
  ]
  assert np.all(plain == plain[0])


@pytest.mark.parametrize('shape', [(9,), (9, 9, 2), (4, 4, 4, 3), ()])
def test_what_is_no_picture_is_refused(shape):
  assert not PhotosPrior().suits(shape)
  with pytest.raises(ValueError, match=r'Photographs are of the shape.*prior='):
    drawn(PhotosPrior(), shape)


@pytest.mark.parametrize(
  'settings',
  [
    {'crops': (0.0, 1.0)},
    {'crops': (0.5, 0.2)},
    {'crops': (0.5, 1.2)},
    {'brightness': (0.0, 1.0)},
    {'flipped': 1.5},
  ],
)
def test_bad_settings_are_refused(settings):
  with pytest.raises(ValueError, match='must be'):
    PhotosPrior(**settings)


@pytest.mark.parametrize(
  ('package', 'name'),
  [('skimage', 'scikit-image'), ('sklearn', 'scikit-learn')],
)
def test_a_missing_package_names_its_extra(package, name, monkeypatch):
  monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(ImportError, match=rf'{name}.*tfmot_paoding\[photos\]'):
    drawn(PhotosPrior(), (8, 8, 3))


def test_a_module_of_a_packages_name_is_not_the_package(tmp_path, monkeypatch):
  (tmp_path / 'skimage.py').touch()
  monkeypatch.delitem(sys.modules, 'skimage', raising=False)
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ImportError, match=r'scikit-image.*tfmot_paoding'):
    lib._photo(extras.SKIMAGE, 'data/moon.png')


def test_a_package_without_its_photographs_is_named(monkeypatch):
  monkeypatch.setattr(lib, '_IN_COLOUR', ((extras.SKIMAGE, 'data/no.png'),))
  with pytest.raises(FileNotFoundError, match=r'no\.png.*photos'):
    drawn(PhotosPrior(), (8, 8, 3))


def test_by_name_in_mixtures_and_on_sheets():
  pytest.importorskip('matplotlib')
  layers = keras.layers
  model = testing.fill(
    keras.Sequential(
      [keras.Input((12, 12, 3)), layers.Flatten(), layers.Dense(4)]
    )
  )
  (x,) = inputs.draw_samples(model, (0, 1), 8, prior=('photos', 'leaves'))
  (own,) = inputs.draw_samples(model, (0, 1), 4, prior='photos')
  assert all((x == one).all((1, 2, 3)).any() for one in own)
  assert inputs.draw_sheet(own)[:4] == b'\x89PNG'
