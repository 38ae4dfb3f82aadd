"""Lines below and above functions: golden values, sampling, least area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing import ACTIVATIONS
from tfmot_paoding.numerics import activations, tangents
from tfmot_paoding.numerics.intervals import Interval

_ENDS = st.floats(-30, 30, allow_nan=False)


def interval(low, high) -> Interval:
  return Interval(np.array(low, float), np.array(high, float))


def at(line, *x):
  return (
    sum(slope * value for slope, value in zip(line.slopes, x, strict=True))
    + line.shift
  )


def assert_encloses(found, x: Interval, function, points=401) -> None:
  t = np.linspace(0, 1, points)
  z = x.low[..., None] + (x.high - x.low)[..., None] * t
  z = np.minimum(z, x.high[..., None])
  value = function(z)
  low = found.low.slopes[0][..., None] * z + found.low.shift[..., None]
  high = found.high.slopes[0][..., None] * z + found.high.shift[..., None]
  room = 1e-12 * (1 + np.abs(value))
  assert np.all(low <= value + room)
  assert np.all(value <= high + room)


class TestRectifier:
  def test_golden(self):
    # Active, inactive, mostly positive, mostly negative.
    x = interval([1, -3, -1, -3], [2, -1, 3, 1])
    found = tangents.of_activation(activations.rectifier(), x)
    np.testing.assert_allclose(found.low.slopes[0], [1, 0, 1, 0])
    np.testing.assert_allclose(found.low.shift, 0)
    np.testing.assert_allclose(found.high.slopes[0], [1, 0, 0.75, 0.25])
    np.testing.assert_allclose(found.high.shift, [0, 0, 0.75, 0.75])
    np.testing.assert_allclose(found.tilt.low, [1, 0, 0, 0])
    np.testing.assert_allclose(found.tilt.high, [1, 0, 1, 1])

  def test_steep_slope_below_is_concave(self):
    x = interval([-1.0], [1.0])
    found = tangents.of_rectifier(x, np.array(3.0))
    np.testing.assert_allclose(found.low.slopes[0], [2.0])
    np.testing.assert_allclose(found.low.shift, [-1.0])
    assert_encloses(found, x, lambda z: np.where(z < 0, 3 * z, z))

  @pytest.mark.parametrize('below', [-0.5, 0.0, 0.2, 1.0, 2.0])
  def test_every_slope_of_the_tilt_is_sound(self, below):
    x = interval([-2.0, -1.0], [1.0, 4.0])
    found = tangents.of_rectifier(x, np.array(below))
    z = np.linspace(x.low, x.high, 101)
    value = np.where(z < 0, below * z, z)
    for share in (0.0, 0.3, 1.0):
      slope = found.tilt.low + share * (found.tilt.high - found.tilt.low)
      assert np.all(slope * z + found.low.shift <= value + 1e-12)


@pytest.mark.parametrize('name', ACTIVATIONS)
@settings(max_examples=20, deadline=None)
@given(a=_ENDS, b=_ENDS)
def test_lines_enclose(name, a, b):
  x = interval([min(a, b)], [max(a, b)])
  activation = activations.by_name(name)
  found = tangents.of_activation(activation, x)
  assert_encloses(found, x, activation.value)


@pytest.mark.parametrize('name', ['sigmoid', 'tanh', 'gelu', 'silu', 'relu6'])
def test_area_is_near_the_least_of_all_lines(name):
  """Against every line on a fine grid of slopes, the slow way."""
  activation = activations.by_name(name)
  rng = np.random.default_rng(0)
  low = rng.uniform(-6, 4, 40)
  x = Interval(low, low + rng.uniform(0.1, 8, 40))
  found = tangents.of_activation(activation, x)
  z = x.low[:, None] + x.width[:, None] * np.linspace(0, 1, 801)
  value = activation.value(z)
  slopes = np.linspace(-1.2, 1.2, 481)
  gap = value[:, None] - slopes[None, :, None] * z[:, None]
  middle = x.centre
  best_high = (gap.max(-1) + slopes * middle[:, None]).min(1)
  best_low = (gap.min(-1) + slopes * middle[:, None]).max(1)
  room = 1e-3 * (value.max(1) - value.min(1)) + 1e-9
  assert np.all(at(found.high, middle) <= best_high + room)
  assert np.all(at(found.low, middle) >= best_low - room)


def test_product_with_a_slope_between_two():
  slopes, x = (
    interval([0, 0.2, -1], [1, 0.5, 2]),
    interval([-2, 1, -1], [1, 3, 2]),
  )
  found = tangents.of_product(slopes, x)
  # ReLU's difference: chord above from (-2, 0) to (1, 1), below to (1, 0).
  np.testing.assert_allclose(found.high.slopes[0][0], 1 / 3)
  np.testing.assert_allclose(found.low.slopes[0][0], 2 / 3)
  for share in np.linspace(0, 1, 11):
    slope = slopes.low + share * slopes.width
    z = np.linspace(x.low, x.high, 51)
    assert np.all(at(found.low, z) <= slope * z + 1e-12)
    assert np.all(slope * z <= at(found.high, z) + 1e-12)


@pytest.mark.parametrize('largest', [True, False])
def test_extreme_of_three(largest):
  rng = np.random.default_rng(1)
  low = rng.normal(size=(3, 50))
  parts = [Interval(a, a + rng.uniform(0, 2, 50)) for a in low]
  found = tangents.of_extreme(parts, largest)
  for _ in range(200):
    z = [rng.uniform(part.low, part.high) for part in parts]
    value = np.max(z, 0) if largest else np.min(z, 0)
    assert np.all(at(found.low, *z) <= value + 1e-12)
    assert np.all(value <= at(found.high, *z) + 1e-12)


def test_leader_that_none_can_pass_is_exact():
  parts = [interval([2.0], [3.0]), interval([0.0], [2.0])]
  found = tangents.of_extreme(parts, True)
  assert found.low.slopes[0] == found.high.slopes[0] == 1
  assert found.high.shift == 0


def test_largest_along_an_axis():
  rng = np.random.default_rng(2)
  low = rng.normal(size=(5, 4, 3))
  x = Interval(low, low + rng.uniform(0, 1, low.shape))
  found = tangents.of_largest(x, -2)
  for _ in range(200):
    z = rng.uniform(x.low, x.high)
    value = z.max(-2)
    below = (found.low.slopes[0] * z).sum(-2) + found.low.shift
    above = (found.high.slopes[0] * z).sum(-2) + found.high.shift
    assert np.all(below <= value + 1e-12)
    assert np.all(value <= above + 1e-12)


@settings(max_examples=100, deadline=None)
@given(ends=st.tuples(_ENDS, _ENDS, _ENDS, _ENDS))
def test_pair_encloses_the_product(ends):
  x = interval([min(ends[:2])], [max(ends[:2])])
  y = interval([min(ends[2:])], [max(ends[2:])])
  found = tangents.of_pair(x, y)
  for s in np.linspace(0, 1, 9):
    for t in np.linspace(0, 1, 9):
      a = np.clip(x.low + s * x.width, *x)
      b = np.clip(y.low + t * y.width, *y)
      assert at(found.low, a, b) <= a * b + 1e-9
      assert a * b <= at(found.high, a, b) + 1e-9


@pytest.mark.parametrize('name', ['relu', 'sigmoid', 'gelu'])
def test_unbounded_arguments_say_nothing(name):
  x = interval([-np.inf, 0.0], [np.inf, 1.0])
  found = tangents.of_activation(activations.by_name(name), x)
  assert found.low.shift[0] == -np.inf
  assert found.high.shift[0] == np.inf
  assert np.isfinite(found.low.shift[1])
