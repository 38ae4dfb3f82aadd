"""Lessons that lead nearer, and those that lead away."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.network import Network
from tfmot_paoding.training import nearing
from tfmot_paoding.training.nearing import comes_nearer, leads_away

L = keras.layers
X = np.random.default_rng(5).random((300, 6)).astype(np.float32)


def numbers_net() -> keras.Model:
  """Three outputs that go up and down together: a softmax sees little of it."""
  model = testing.mlp((6, 64, 3))
  layer = model.layers[-1]
  kernel, bias = layer.get_weights()
  layer.set_weights([kernel + 3 * np.abs(kernel[:, :1]), bias])
  return model


def moved(model: keras.Model, by: float) -> keras.Model:
  """The same with a constant added to all outputs."""
  copy = keras.models.clone_model(model)
  copy.set_weights(model.get_weights())
  kernel, bias = copy.layers[-1].get_weights()
  copy.layers[-1].set_weights([kernel, bias + by])
  return copy


def source_of(network: Network, data=None) -> InputSource:
  return InputSource.of(network, (0.0, 1.0), data=data).settled(network)


@pytest.mark.parametrize('data', [None, X])
def test_scores_that_all_move_are_numbers_that_are_lost(data):
  model = numbers_net()
  network, small = Network.of(model), moved(model, 0.1)
  source = source_of(network, data)
  assert leads_away(network, small, moved(model, 5.0), source)
  assert not leads_away(network, small, small, source)
  assert not leads_away(network, small, model, source)
  model.compile('adam', 'sparse_categorical_crossentropy')
  network = Network.of(model)  # surely of classes
  assert not leads_away(network, small, moved(model, 5.0), source)


def test_inputs_of_open_sizes_are_judged_on_those_that_there_are():
  inputs = keras.Input((None, 2))
  x = L.GlobalAveragePooling1D()(L.Conv1D(6, 3, activation='relu')(inputs))
  model = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  network = Network.of(model)
  source = source_of(network, testing.draw((9, 2), 32).astype(np.float32))
  small = moved(model, 1.0)
  assert leads_away(network, small, moved(model, 5.0), source)
  assert not leads_away(network, small, moved(model, 1.5), source)


def test_numbers_come_nearer_clearly_or_not_at_all():
  model = testing.mlp((6, 16, 1))
  network = Network.of(model)
  source = source_of(network)
  near, far = moved(model, 0.1), moved(model, 1.0)
  assert comes_nearer(network, far, near, source)
  assert not comes_nearer(network, near, far, source)
  assert not comes_nearer(network, near, moved(model, 0.095), source)
  assert comes_nearer(network, near, far, source_of(network, X))


@pytest.mark.parametrize(
  ('before', 'after', 'is_nearer'),
  [
    ((0.05, 0.067), (0.043, 0.044), True),  # together
    ((0.007, 0.013), (0.003, 0.017), True),  # further away on one kind
    ((0.36, 0.89), (0.19, 0.74), True),  # far on the other one
    ((0.9, 0.89), (0.55, 0.54), False),
    ((0.007, 0.010), (0.001, 0.017), False),  # much further
    ((0.05, 0.05), (0.045, 0.044), False),  # hardly
    ((37.0, 136.0), (0.2, 12.0), False),  # nothing is left of it on one kind
    ((0.0, 0.0), (0.0, 0.0), False),
  ],
)
def test_two_kinds_of_inputs_tell_together(
  before, after, is_nearer, monkeypatch
):
  found = iter(np.stack([before, after], 1).ravel())
  monkeypatch.setattr(
    nearing, 'judge', lambda *_: Verdict(float(next(found)), float('nan'))
  )
  model = testing.mlp((6, 8, 1))
  network = Network.of(model)
  kept = comes_nearer(network, model, model, source_of(network))
  assert kept == is_nearer


def test_a_lesson_keeps_numbers_that_are_shaped_like_scores():
  model = numbers_net()
  small = paoding.prune(
    model, 0.75, input_range=(0, 1), verbose=0, distillation=False
  )
  student = paoding.training.distill(
    model, small, input_range=(0, 1), verbose=0
  )
  wanted, before, after = (one(X).numpy() for one in (model, small, student))
  gaps = [np.square(found - wanted).mean() for found in (before, after)]
  assert gaps[1] < gaps[0]
