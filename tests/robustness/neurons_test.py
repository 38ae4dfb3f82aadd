"""Unstable neurons around samples, counted."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tests.testing import conv_net, draw
from tfmot_paoding import robustness

RANGE = (-1.0, 1.0)


def test_by_hand():
  model = testing.two_layer(
    [[1.0, 1.0, 1.0]], [0.0, 5.0, -5.0], [[1.0], [1.0], [1.0]]
  )
  (layer,) = robustness.neuron_stability(model, [[0.0], [0.9]], 0.5, RANGE)
  assert layer.neurons == 3
  # The first unit crosses zero around 0, but not around 0.9.
  assert (layer.unstable, layer.active, layer.inactive) == (0.5, 1.5, 1.0)
  assert layer.fraction == pytest.approx(1 / 6)
  (whole,) = robustness.neuron_stability(model, input_range=RANGE)
  assert (whole.unstable, whole.active, whole.inactive) == (1, 1, 1)


def test_everything_is_counted_once():
  model = conv_net()
  x = draw(model.input_shape[1:], 3)
  (layer,) = robustness.neuron_stability(model, x, 0.05, RANGE)
  assert layer.unstable + layer.active + layer.inactive == layer.neurons == 48
  assert 0 < layer.unstable < 48


def test_tighter_bounds_and_smaller_balls_leave_fewer():
  model = testing.mlp((5, 16, 16, 3))
  x = draw((5,), 5)
  counts = {
    (method, epsilon): sum(
      layer.unstable
      for layer in robustness.neuron_stability(model, x, epsilon, RANGE, method)
    )
    for method in ('ibp', 'crown')
    for epsilon in (0.02, 0.2)
  }
  assert counts['crown', 0.2] < counts['ibp', 0.2]
  assert counts['ibp', 0.02] < counts['ibp', 0.2]


def test_a_neuron_that_samples_flip_is_unstable():
  model = testing.mlp((5, 16, 3))
  x = draw((5,), 1)
  z = np.clip(x + np.random.default_rng(0).uniform(-0.1, 0.1, (500, 5)), -1, 1)
  kernel, bias = model.layers[0].get_weights()
  on = z @ kernel + bias > 0
  flipped = (on.any(0) & ~on.all(0)).sum()
  (layer,) = robustness.neuron_stability(model, x, 0.1, RANGE, 'crown')
  assert layer.unstable >= flipped > 0


def test_smooth_networks_have_none():
  model = testing.mlp((5, 8, 3), 'tanh')
  assert robustness.neuron_stability(model, draw((5,)), 0.1, RANGE) == []
