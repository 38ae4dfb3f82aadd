"""Marabou's answers against CROWN's and PGD's, with and without help."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests import testing
from tests.testing import draw
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras

L = keras.layers
RANGE = (-1.0, 1.0)
needs_marabou = pytest.mark.skipif(
  importlib.util.find_spec('maraboupy') is None,
  reason='needs maraboupy, which has wheels for Python up to 3.11',
)


def labels_of(model, x):
  return model(x.astype(np.float32)).numpy().argmax(-1)


def check(model, x, epsilon, helped):
  """Answers that contradict neither certificates nor attacks."""
  y = labels_of(model, x)
  found = robustness.verify(
    model, x, y, epsilon, RANGE, seconds=30, helped=helped
  )
  proved = robustness.certified(model, x, y, epsilon, RANGE)
  attacked = robustness.pgd(model, x, y, epsilon, RANGE, 20, 3)
  broken = labels_of(model, attacked) != y
  for answer, label, sure, fell, one in zip(
    found, y, proved, broken, x, strict=True
  ):
    assert not (answer.verdict == 'broken' and sure)
    assert not (answer.verdict == 'robust' and fell)
    if answer.example is not None:
      assert np.abs(answer.example - one).max() <= epsilon + 1e-6
      scores = model(answer.example[None]).numpy()[0]
      assert np.delete(scores, label).max() >= scores[label] - 1e-4
  return [answer.verdict for answer in found]


@needs_marabou
@pytest.mark.parametrize('helped', [False, True])
def test_definite_answers_where_bounds_and_attacks_leave_a_gap(helped):
  model = testing.mlp((5, 12, 12, 3), seed=3)
  verdicts = check(model, draw((5,), 10), 0.3, helped)
  assert 'unknown' not in verdicts
  assert {'robust', 'broken'} == set(verdicts)


@needs_marabou
def test_help_does_not_change_answers():
  model = testing.mlp((5, 10, 10, 3), seed=5)
  x = draw((5,), 8)
  assert check(model, x, 0.25, True) == check(model, x, 0.25, False)


@needs_marabou
def test_convolutions_pooling_sums_and_leaky_relu():
  inputs = keras.Input((4, 4, 1))
  x = L.Conv2D(2, 2, activation='relu')(inputs)
  y = L.LeakyReLU(0.1)(L.Conv2D(2, 3, padding='same')(x))
  x = L.MaxPooling2D(2, padding='same')(L.Add()([x, y]))
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))), 1)
  verdicts = check(model, draw((4, 4, 1), 4), 0.1, False)
  assert 'unknown' not in verdicts


@needs_marabou
def test_sigmoids():
  model = testing.mlp((3, 4, 2), 'sigmoid', seed=1)
  verdicts = check(model, draw((3,), 3), 0.05, True)
  assert 'robust' in verdicts


@needs_marabou
def test_time_runs_out():
  model = testing.mlp((20, 60, 60, 60, 3), seed=2)
  x = draw((20,), 1)
  (found,) = robustness.verify(
    model, x, labels_of(model, x), 0.6, RANGE, seconds=1, helped=False
  )
  assert found.verdict in ('unknown', 'broken')
  assert found.seconds < 30


@needs_marabou
@pytest.mark.parametrize('activation', ['gelu', 'tanh'])
def test_activations_that_marabou_does_not_know_are_named(activation):
  model = testing.mlp((5, 8, 3), activation)
  with pytest.raises(ValueError, match=activation):
    robustness.verify(model, draw((5,), 1), [0], 0.1, RANGE)


def test_a_missing_solver_names_its_extra(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, *rest: None if name == 'maraboupy' else find(name, *rest),
  )
  with pytest.raises(ImportError, match=r'tfmot_paoding\[verify\]'):
    robustness.verify(testing.mlp((5, 8, 3)), draw((5,), 1), [0], 0.1, RANGE)


@needs_marabou
def test_seconds():
  with pytest.raises(ValueError, match='`seconds`'):
    robustness.verify(
      testing.mlp((5, 8, 3)), draw((5,), 1), [0], 0.1, RANGE, seconds=0
    )
