"""Sequences drawn as pictures are, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs.prior import Prior
from tfmot_paoding.inputs.rows import RowsPrior, picture_of
from tfmot_paoding.inputs.strokes import StrokesPrior
from tfmot_paoding.numerics.intervals import Interval


def box(*shape: int) -> Interval:
  return Interval(np.zeros(shape), np.ones(shape))


def test_neighbours_in_a_row_are_more_alike_than_the_ends():
  rng = np.random.default_rng(0)
  x = RowsPrior(Prior()).sample(box(12, 16), 400, rng)
  assert x.shape == (400, 12, 16)
  alike = np.corrcoef(x[:, 3].T)
  assert alike[4, 5] > 0.8
  assert abs(alike[0, 15]) < 0.2
  # Without an order all features of a row are as much alike as any two.
  flat = np.corrcoef(Prior().sample(box(12, 16), 400, rng)[:, 3].T)
  assert abs(flat[4, 5] - flat[0, 15]) < 0.1


def test_pictures_are_drawn_as_they_are():
  prior = Prior(scale=1.0)
  found, same = (
    one.sample(box(8, 8, 1), 5, np.random.default_rng(2))
    for one in (RowsPrior(prior), prior)
  )
  np.testing.assert_array_equal(found, same)


def test_it_suits_what_its_pictures_suit():
  assert RowsPrior(StrokesPrior()).suits((20, 30))
  assert RowsPrior(StrokesPrior()).suits((400,))
  assert not RowsPrior(StrokesPrior()).suits((20,))


@pytest.mark.parametrize(
  ('shape', 'picture'),
  [
    ((20, 30), (20, 30, 1)),
    ((784,), (28, 28, 1)),
    ((3072,), (32, 32, 3)),
    ((48,), (4, 4, 3)),
    ((100, 3, 2), (100, 3, 2)),
    ((50,), None),
    ((), ()),
  ],
)
def test_what_picture_they_are(shape, picture):
  assert picture_of(shape) == picture


@pytest.mark.parametrize('side, channels', [(12, 1), (8, 3)])
def test_a_vector_is_a_picture_row_by_row(side, channels):
  prior, size = Prior(scale=1.5), side * side * channels
  found = RowsPrior(prior).sample(box(size), 5, np.random.default_rng(3))
  same = prior.sample(box(side, side, channels), 5, np.random.default_rng(3))
  np.testing.assert_array_equal(found, same.reshape(5, size))


def test_a_vector_that_is_no_square_is_refused():
  assert not RowsPrior(Prior()).suits((50,))
  with pytest.raises(ValueError, match='50 entries is no picture'):
    RowsPrior(Prior()).sample(box(50), 5, np.random.default_rng(3))


def test_rows_are_of_a_prior():
  with pytest.raises(ValueError, match='must be a prior'):
    RowsPrior('mixed')
