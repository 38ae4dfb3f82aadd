"""A mixture gives each part its share; every named prior gives samples."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs.leaves import LeavesPrior
from tfmot_paoding.inputs.mixture import MixturePrior
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.prior import GaussianPrior
from tfmot_paoding.inputs.strokes import StrokesPrior
from tfmot_paoding.numerics.intervals import Interval


def test_parts_have_equal_shares_in_random_order():
  parts = [GaussianPrior(mean, 1e-6) for mean in (0.0, 5.0, 9.0)]
  box = Interval(np.zeros(2), np.ones(2))
  x = MixturePrior(parts).sample(box, 8, np.random.default_rng(0))
  nearest = np.rint(x[:, 0]).astype(int)
  assert sorted(nearest) == [0, 0, 0, 5, 5, 5, 9, 9]
  assert nearest.tolist() != sorted(nearest)


def test_parts_are_priors():
  for parts in ((), (3,)):
    with pytest.raises(ValueError, match='at least one'):
      MixturePrior(parts)


@pytest.mark.parametrize('name', sorted(NAMED_PRIORS))
def test_every_named_prior_gives_samples_of_images(name):
  if name == 'photos':
    pytest.importorskip('skimage')
    pytest.importorskip('sklearn')
  box = Interval(np.full((12, 12, 1), -1.0), np.full((12, 12, 1), 2.0))
  prior = NAMED_PRIORS[name]
  x = prior.sample(box, 9, np.random.default_rng(0))
  assert x.shape == (9, 12, 12, 1)
  assert np.all(np.isfinite(x))
  assert x.std() > 0.05


def test_parts_that_mean_nothing_take_no_part():
  vector = Interval(np.zeros(6), np.ones(6))
  x = NAMED_PRIORS['mixed'].sample(vector, 10, np.random.default_rng(0))
  assert x.shape == (10, 6)
  alone = MixturePrior((LeavesPrior(), StrokesPrior()))
  assert not alone.suits((6,))
  with pytest.raises(ValueError, match='No part of the mixture'):
    alone.sample(vector, 3, np.random.default_rng(0))
