"""Interval arithmetic by hand and by sampling."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval

_ENDS = st.tuples(st.floats(-9, 9), st.floats(0, 9))


def interval(low, high) -> Interval:
  return Interval(np.array(low, float), np.array(high, float))


def test_by_hand():
  a, b = interval([-1, 2], [3, 4]), interval([0, -5], [1, -4])
  assert intervals.add(a, b).low.tolist() == [-1, -3]
  assert intervals.subtract(a, b).high.tolist() == [3, 9]
  assert intervals.multiply(a, b).low.tolist() == [-1, -20]
  assert intervals.scale(a, np.array([-2.0, 1])).low.tolist() == [-6, 2]
  assert intervals.hull(a, b).high.tolist() == [3, 4]
  assert intervals.intersect(a, interval([0, 0], [9, 3])).high.tolist() == [
    3,
    3,
  ]
  assert a.centre.tolist() == [1, 3]
  assert a.radius.tolist() == [2, 1]
  assert b.magnitude.tolist() == [1, 5]
  assert b.width.tolist() == [1, 1]


@given(x=_ENDS, y=_ENDS, s=st.floats(0, 1), t=st.floats(0, 1))
def test_operations_contain_every_member(x, y, s, t):
  a, b = interval(x[0], x[0] + x[1]), interval(y[0], y[0] + y[1])
  p, q = x[0] + s * x[1], y[0] + t * y[1]
  slack = 1e-9
  for found, value in (
    (intervals.add(a, b), p + q),
    (intervals.subtract(a, b), p - q),
    (intervals.multiply(a, b), p * q),
    (intervals.scale(a, np.array(q)), p * q),
    (intervals.hull(a, b), p),
    (intervals.hull(a, b), q),
  ):
    assert found.low - slack <= value <= found.high + slack


def test_touching_intervals_never_intersect_to_an_empty_one():
  found = intervals.intersect(interval(0, 1), interval(1 + 1e-16, 2))
  assert found.low <= found.high
  found = intervals.intersect(interval(0, 1), interval(1.5, 2))
  assert found.low <= found.high


def test_affine_is_exact_at_the_worst_corner():
  kernel = np.array([[1.0, -2.0], [3.0, 0.5]])
  found = intervals.affine(interval([-1, 0], [1, 2]), kernel, np.array([1, 0]))
  # 1 + [-1, 1] + 3 [0, 2] and -2 [-1, 1] + .5 [0, 2].
  np.testing.assert_allclose(found.low, [0, -2], atol=1e-12)
  np.testing.assert_allclose(found.high, [8, 3], atol=1e-12)


def test_affine_rounds_outwards():
  # Exact sums from integers: 1e16 + 1 - 1e16 rounds to 0 or 2 in float64.
  kernel = np.array([[1e16], [1.0], [-1e16]])
  point = interval([1, 1, 1], [1, 1, 1])
  found = intervals.affine(point, kernel)
  assert found.low[0] <= 1 <= found.high[0]


@given(seed=st.integers(0, 99))
def test_affine_contains_samples(seed):
  rng = np.random.default_rng(seed)
  kernel, bias = rng.normal(size=(7, 4)), rng.normal(size=4)
  low = rng.normal(size=(2, 7))
  high = low + rng.uniform(0, 1, (2, 7))
  found = intervals.affine(Interval(low, high), kernel, bias)
  x = rng.uniform(low, high, (50, 2, 7))
  y = x @ kernel + bias
  assert np.all((y >= found.low) & (y <= found.high))


def test_unbounded_members_stay_inside():
  inf = np.inf
  everything = interval([-inf, 0], [inf, inf])
  kernel = np.array([[0.0, 1.0], [2.0, 0.0]])
  with np.errstate(all='ignore'):
    found = [
      intervals.affine(everything, kernel, np.ones(2)),
      intervals.multiply(everything, interval([0, 0], [0, 1])),
      intervals.scale(everything, np.array([0.0, -1.0])),
      intervals.add(everything, interval([-inf, 1], [inf, inf])),
      intervals.subtract(everything, everything),
    ]
  for one in found:
    assert not np.any(np.isnan(one.low))
    assert not np.any(np.isnan(one.high))
  # 0 times any number is 0; x and y in [0, inf) may be any distance apart.
  product = found[1]
  assert product.low[0] <= 0 <= product.high[0]
  assert product.high[1] == inf
  assert found[2].high[1] >= 0
  assert found[4].low[1] == -inf
  assert found[4].high[1] == inf


def test_large_kernels_are_taken_in_blocks(monkeypatch):
  rng = np.random.default_rng(0)
  kernel, bias = rng.normal(size=(30, 11)), rng.normal(size=11)
  x = intervals.Interval(-rng.random((4, 30)), rng.random((4, 30)))
  whole = [intervals.affine(x, kernel, b) for b in (bias, 0.0)]
  monkeypatch.setattr(intervals, '_LARGE', 50)
  parts = [intervals.affine(x, kernel, b) for b in (bias, 0.0)]
  np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_compression_keeps_what_differs():
  low = np.zeros((3, 4, 2))
  low[:, 1] = -1.0
  found = intervals.compressed(intervals.Interval(low, np.ones((3, 4, 2))))
  assert found.low.shape == (1, 4, 2)
  np.testing.assert_array_equal(np.broadcast_to(found.low, low.shape), low)
