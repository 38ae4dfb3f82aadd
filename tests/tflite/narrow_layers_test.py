"""Layers on grids of four bits: their own constants, means, and files."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import narrow_layers as lib
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.litert import run_tflite


@pytest.fixture(scope='module')
def model() -> keras.Model:
  """Two layers whose biases are the same zeros."""
  layers = keras.layers
  model = keras.Sequential(
    [
      keras.Input((6, 6, 2)),
      layers.Conv2D(8, 3, activation='relu'),
      layers.Conv2D(8, 3, activation='relu'),
      layers.Flatten(),
      layers.Dense(8, use_bias=False),
    ]
  )
  rng = np.random.default_rng(3)
  for layer in model.layers:
    layer.set_weights(
      [rng.normal(size=w.shape) * (w.ndim > 1) for w in layer.get_weights()]
    )
  return model


@pytest.fixture(scope='module')
def x(model):
  return {model.input_names[0]: testing.draw((6, 6, 2), 60).astype(np.float32)}


@pytest.fixture(scope='module')
def narrow(model, x):
  data = convert_unchecked(model, None, input_range=(0, 1))
  return lib.narrow_layers(data, x)


def written(data: bytes, layers) -> bytes:
  made = bytearray(data)
  for layer in layers:
    for begin, content in layer.contents.items():
      made[begin : begin + len(content)] = content.tobytes()
  return bytes(made)


def test_the_file_answers_as_before_and_each_layer_has_places_alone(
  model, x, narrow
):
  data, layers = narrow
  (made,) = run_tflite(data, x, outputs=model.output_names)
  np.testing.assert_allclose(made, testing.answers(model, x), atol=1e-4)
  assert [layer.size for layer in layers] == [144, 576, 256]
  places = [begin for layer in layers for begin in layer.contents]
  assert len(set(places)) == len(places) >= 5


def test_writing_a_layer_changes_it_alone_and_little(model, x, narrow):
  data, layers = narrow
  before = testing.answers(model, x)
  for layer in layers:
    (made,) = run_tflite(written(data, [layer]), x, outputs=model.output_names)
    off = np.square(made - before).mean() / before.var()
    assert 0 < off < 0.02


def test_biases_keep_the_means_that_weights_move():
  rng = np.random.default_rng(0)
  seen = rng.normal(3, 1, (50, 6))
  weights, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
  moments = lib.Moments(50, seen.sum(0), seen.T @ seen)
  made, moved = lib.fitted(weights, bias, moments)
  before, after = seen @ weights.T + bias, seen @ made.T + moved
  np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-5)
  alone, none = lib.fitted(weights, None, moments)
  assert none is None
  # Without a bias the mean is among what the weights are fitted to.
  means = [np.square((seen @ (x - weights).T).mean(0)) for x in (alone, made)]
  assert means[0].sum() < 0.5 * means[1].sum()
