"""Maxima as sums and ReLU: the same function, bounds that hold, and splits."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.bounds import Walk, build_program
from tfmot_paoding.bounds.maxima import without_maxima
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers


def pooled(layer):
  inputs = keras.Input((4, 4, 2))
  x = layer(L.Conv2D(3, 2, activation='relu')(inputs))
  return testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))), 2)


LAYERS = [
  L.MaxPooling2D(2),
  L.MaxPooling2D(3, 2, padding='same'),
  L.MaxPooling2D(1, 2),
  L.GlobalMaxPooling2D(),
]


@pytest.mark.parametrize(
  ('layer', 'methods'),
  [
    (LAYERS[0], ['ibp', 'crown', 'alpha-crown']),
    *((layer, ['crown']) for layer in LAYERS[1:]),
  ],
  ids=range(len(LAYERS)),
)
def test_the_same_function_and_sound_bounds(layer, methods):
  model = pooled(layer)
  graph = build_graph(model)
  program = build_program(graph, read_params(graph))
  before = len(program.steps)
  found = without_maxima(program)
  assert len(program.steps) == before
  assert not any(getattr(s, 'axis', None) for s in found.steps)
  x = testing.draw((4, 4, 2), 3)
  (value,) = graph.outputs
  outputs = model(x).numpy()
  # Of a single point every bound is that point.
  same = Walk(found, [Interval(x, x)], 'crown').bounds(value)
  np.testing.assert_allclose(same.low, outputs, atol=1e-5)
  np.testing.assert_allclose(same.high, outputs, atol=1e-5)
  moved = x + np.random.default_rng(0).uniform(-0.2, 0.2, (200, *x.shape))
  seen = model(moved.reshape(-1, *x.shape[1:])).numpy().reshape(200, 3, -1)
  for method in methods:
    walk = Walk(found, [Interval(x - 0.2, x + 0.2)], method)
    (bounds,) = walk.outputs()
    assert np.all(seen >= bounds.low - 1e-5)
    assert np.all(seen <= bounds.high + 1e-5)


def test_intervals_are_those_of_maxima():
  graph = build_graph(pooled(L.MaxPooling2D(2)))
  program = build_program(graph, read_params(graph))
  x = testing.draw((4, 4, 2), 2)
  box = Interval(x - 0.3, x + 0.3)
  one, other = (
    Walk(each, [box], 'ibp').outputs()[0]
    for each in (program, without_maxima(program))
  )
  np.testing.assert_allclose(one.low, other.low, atol=1e-9)
  np.testing.assert_allclose(one.high, other.high, atol=1e-9)
