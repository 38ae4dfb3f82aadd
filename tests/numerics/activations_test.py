"""Activations against Keras's own, and their ranges against dense sampling."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.testing import ACTIVATIONS
from tfmot_paoding.compat import keras
from tfmot_paoding.numerics import activations, tangents
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Elementwise

_VARIANTS = {
  **{name: activations.by_name(name) for name in activations.names()},
  'leaky': activations.rectifier(0.2),
  'leaky, turning': activations.rectifier(-0.3),
  'clipped leaky': activations.rectifier(0.1, 2.0),
  'elu 2': activations.elu(2.0),
  'elu .5': activations.elu(0.5),
}
_KERAS = {
  **{name: keras.activations.get(name) for name in ACTIVATIONS},
  'gelu_tanh': lambda x: keras.activations.gelu(x, approximate=True),
  'leaky': keras.layers.LeakyReLU(0.2),
  'clipped leaky': keras.layers.ReLU(2.0, negative_slope=0.1),
  'elu 2': keras.layers.ELU(2.0),
  'elu .5': keras.layers.ELU(0.5),
}


@pytest.mark.parametrize('name', sorted(_KERAS))
def test_value_is_that_of_keras(name):
  z = np.linspace(-6, 6, 241).astype(np.float32)
  wanted = np.asarray(_KERAS[name](tf.constant(z)))
  np.testing.assert_allclose(
    _VARIANTS[name].value(z.astype(np.float64)), wanted, rtol=2e-5, atol=2e-6
  )


@pytest.mark.parametrize('name', sorted(_VARIANTS))
def test_slope_is_the_finite_difference(name):
  activation = _VARIANTS[name]
  z = np.linspace(-5, 5, 1001) + 1e-4  # beside the kinks
  step = 1e-6
  wanted = (activation.value(z + step) - activation.value(z - step)) / step / 2
  np.testing.assert_allclose(activation.slope(z), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', sorted(_VARIANTS))
@given(
  low=st.floats(-8, 8), width=st.one_of(st.floats(0, 0.2), st.floats(0, 12))
)
def test_ranges_are_sound_and_tight(name, low, width):
  activation = _VARIANTS[name]
  z = np.linspace(low, low + width, 2001)
  ends = np.array(low), np.array(low + width)
  for function, found in (
    (activation.value, activation.value_range(*ends)),
    (activation.slope, activation.slope_range(*ends)),
  ):
    seen = function(z)
    if function is activation.slope:
      inside = [k for k in activation.kinks if low < k[0] < low + width]
      seen = np.concatenate([seen, *[np.array(k[1:]) for k in inside]])
    slack = 1e-9 * (1 + np.abs(seen).max())
    assert found[0] <= seen.min() + slack
    assert found[1] >= seen.max() - slack
    # At an end, the slope on the kink's far side is taken in as well.
    ends_at_kink = any(k[0] in (low, low + width) for k in activation.kinks)
    if function is activation.value or not ends_at_kink:
      tight = 1e-3 * (1 + np.abs(seen).max()) * (1 + width)
      assert found[0] >= seen.min() - tight
      assert found[1] <= seen.max() + tight


@pytest.mark.parametrize('name', sorted(_VARIANTS))
def test_secants_lie_in_the_slope_range_across_kinks(name):
  activation = _VARIANTS[name]
  rng = np.random.default_rng(0)
  low = rng.uniform(-4, 3, 500)
  high = low + rng.uniform(0, 5, 500)
  x, y = rng.uniform(low, high), rng.uniform(low, high)
  small, large = activation.slope_range(low, high)
  rise = activation.value(y) - activation.value(x)
  run = y - x
  product = np.stack([small * run, large * run])
  assert np.all(rise >= product.min(0) - 1e-9)
  assert np.all(rise <= product.max(0) + 1e-9)


def test_relu_slopes_by_hand():
  relu = activations.rectifier()
  low, high = np.array([1.0, -2.0, -1.0]), np.array([3.0, -1.0, 1.0])
  small, large = relu.slope_range(low, high)
  assert small.tolist() == [1, 0, 0]
  assert large.tolist() == [1, 0, 1]


def test_extremes_of_large_arguments_are_finite():
  z = np.array([-1e6, 1e6])
  for name, activation in _VARIANTS.items():
    with np.errstate(over='ignore'):
      ends = np.stack([activation.value(z), activation.slope(z)])
    assert np.isfinite(ends).all() != activation.overflows, name


def test_unknown_name_is_none():
  assert activations.by_name('mystery') is None


def test_a_square_root_says_nothing_below_zero():
  root = activations.square_root()
  x = Interval(np.array([-1.0, 0.0, 1.0]), np.array([4.0, 4.0, 4.0]))
  bounds = Elementwise(root).bounds({}, x)
  assert (bounds.low[0], bounds.high[0]) == (-np.inf, np.inf)
  np.testing.assert_allclose(bounds.low[1:], [0, 1], atol=1e-12)
  np.testing.assert_allclose(bounds.high[1:], [2, 2])
  slopes = Elementwise(root).slopes(x)
  np.testing.assert_allclose(slopes.low[1:], 0.25)
  np.testing.assert_allclose(slopes.high, [np.inf, np.inf, 0.5])
  at = np.linspace(np.maximum(x.low, 0.0), x.high, 11)
  low, high, _ = tangents.of_activation(root, x)
  for line, sign in ((low, -1), (high, 1)):
    gap = sign * (line.slopes[0] * at + line.shift - np.sqrt(at))
    assert np.all(gap >= -1e-12)
