"""Numbers that change while a model trains."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.training.ramps import (
  Ramp,
  check_number,
  end_of,
  value_at,
)


@pytest.mark.parametrize(
  ('step', 'value'), [(0, 1), (10, 1), (15, 2), (20, 3), (99, 3)]
)
def test_goes_in_a_straight_line(step, value):
  assert float(Ramp(1.0, 3.0, 10, 20)(step)) == pytest.approx(value)


@pytest.mark.parametrize(('begin', 'end'), [(5, 5), (6, 5), (-1, 5)])
def test_ramps_that_end_before_they_begin(begin, end):
  with pytest.raises(ValueError, match='end after it begins'):
    Ramp(0, 1, begin, end)


def test_numbers_are_themselves():
  assert float(value_at(0.5, 3)) == 0.5
  assert end_of(0.5, Ramp(0, 1, 2, 9), Ramp(0, 1, 2, 4)) == 9
  assert end_of(1.0) == 0


@pytest.mark.parametrize('bad', [-1, float('nan'), 2.0, Ramp(0, 3, 1, 2)])
def test_numbers_out_of_range(bad):
  with pytest.raises(ValueError, match='`share` must lie in'):
    check_number(bad, 'share', most=1.0)


def test_numbers_without_an_upper_limit():
  with pytest.raises(ValueError, match='`share` must be finite and at least 0'):
    check_number(-1, 'share')


def test_numbers_of_numpy():
  for one in (np.float32(0.5), np.float64(0.5), np.int64(1)):
    check_number(one, 'share')
    assert float(value_at(one, tf.constant(0))) == one


def test_no_numbers():
  with pytest.raises(TypeError, match='`share`'):
    check_number('x', 'share')
