"""Settings by position, beside the arithmetic they stand for, on samples."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import ops
from tfmot_paoding.numerics.intervals import Interval

_SHAPE = (4, 3)
_SHAPES = [
  ((4, 3), (4, 3)),
  ((4, 1), (4, 1)),
  ((1, 3), (4, 1)),
  ((1, 1), (4, 3)),
]


def numbers(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(params=_SHAPES, ids=str)
def table(request):
  scale, shift = request.param
  return ops.Table(numbers(0, *scale), numbers(1, *shift))


@pytest.fixture(params=[_SHAPE, (1, 3)], ids=str)
def box(request):
  low = numbers(2, *request.param)
  return Interval(low, low + np.abs(numbers(3, *request.param)))


def drawn(box, count=200, seed=5):
  share = np.random.default_rng(seed).random((count, *_SHAPE))
  return box.low + share * (box.high - box.low)


def value(table, x):
  return table.scale * x + table.shift


def test_bounds(table, box):
  testing.assert_inside(value(table, drawn(box)), table.bounds({}, box))


def test_differences(table, box):
  x, y = drawn(box), drawn(box, seed=6)
  d = Interval((y - x).min(0), (y - x).max(0))
  found = table.difference({}, d, box, box)
  testing.assert_inside(value(table, y) - value(table, x), found)


def test_gains(table, box):
  """What arrives of a movement by at most one upwards, at one output each."""
  shape = table.bounds({}, box).low.shape
  up = np.eye(np.prod(shape)).reshape(*shape, -1)
  back = table.pullback({}, ops.Gain(up, np.zeros_like(up)), box)
  factor = np.broadcast_to(table.scale, shape).ravel()
  for k, one in enumerate(factor):
    assert back.up[..., k].sum() == pytest.approx(max(one, 0))
    assert back.down[..., k].sum() == pytest.approx(max(-one, 0))


def test_pairs(table, box):
  left, right = np.array([0, 1, 2]), np.array([1, 2, 0])
  x = drawn(box)
  gap = x[..., left] - x[..., right]
  by_pair = Interval(gap.min((0, 1)), gap.max((0, 1)))
  ends = [
    Interval(box.low.min(0)[units], box.high.max(0)[units])
    for units in (left, right)
  ]
  found = table.pair({}, by_pair, *ends, left, right)
  y = value(table, x)
  apart = (y[..., left] - y[..., right]).reshape(-1, 3)
  testing.assert_inside(apart, found)


def test_tables_are_one_if_their_settings_are():
  one, two = numbers(0, 4, 3), numbers(1, 4, 3)
  assert ops.Table(one, two) == ops.Table(one.copy(), two.copy())
  assert ops.Table(one, two) != ops.Table(two, one)
  assert ops.Table(one, two) != ops.Table(one.reshape(1, 12), two)
  assert len({ops.Table(one, two), ops.Table(one.copy(), two.copy())}) == 1
