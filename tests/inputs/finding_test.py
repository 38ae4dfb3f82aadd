"""Inputs that are found once serve pruning, conversion and comparison."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import inputs
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import recall, samples, source
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior, mirrored_eigh
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.few_answers import compare_answers


def normalized() -> keras.Model:
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(8, 3),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
      ]
    )
  )


@pytest.fixture
def recalls(monkeypatch):
  """The settings of every descent; one of few steps in their place."""
  asked, kept = [], samples.recalled

  def recalled(*given):
    *given, settings = given
    asked.append(settings or recall.RecallSettings())
    return kept(*given, recall.RecallSettings(steps=2))

  monkeypatch.setattr(samples, 'recalled', recalled)
  return asked


@pytest.fixture
def fits(monkeypatch):
  """The networks whose statistics were fitted."""
  asked, kept = [], source.told_priors

  def told(network):
    asked.append(network)
    return kept(network)

  monkeypatch.setattr(source, 'told_priors', told)
  return asked


def test_what_was_found_serves_all_that_is_done(recalls, fits):
  model = normalized()
  found = inputs.find_inputs(model, (0, 1), verbose=0)
  assert (len(recalls), len(fits)) == (1, 1)
  small = paoding.prune(
    model, 0.5, prior=found, distillation=False, verbose=0, input_range=(0, 1)
  )
  again = paoding.prune_low_saliency(
    model, method='reconstruction', input_range=(0, 1)
  )
  paoding.run_schedule(again, prior=found, verbose=0)
  for kept in (model, small):
    data = paoding.convert_to_tflite(kept, 'int8', prior=found)
    assert len(data)
  verdict = compare_answers(model, small, prior=found, verbose=0)
  assert verdict.kept > 0
  (x,) = inputs.draw_samples(model, None, 9, prior=found)
  np.testing.assert_array_equal(x, found.recollection[0][:9])
  assert (len(recalls), len(fits)) == (1, 1)


def test_what_was_found_for_another_is_refused(recalls):
  found = inputs.find_inputs(normalized(), (0, 1), verbose=0)
  with pytest.raises(ValueError, match='carried along have shapes'):
    paoding.convert_to_tflite(testing.mlp(), 'int8', prior=found)
  for other in ((0, 2), (-1, 1)):
    with pytest.raises(ValueError, match='`input_range` differs from that'):
      paoding.convert_to_tflite(
        normalized(), 'int8', prior=found, input_range=other
      )
    with pytest.raises(ValueError, match='`input_range` differs from that'):
      paoding.prune(normalized(), 0.5, prior=found, input_range=other)
  with pytest.warns(UserWarning, match='`prior` has no effect'):
    inputs.draw_samples(
      normalized(), (0, 1), 2, prior=found, data=np.zeros((4, 6, 6, 2))
    )


def test_ranges_take_a_short_descent(recalls):
  model = normalized()
  paoding.convert_to_tflite(model, 'int8', input_range=(0, 1))
  assert [one.steps for one in recalls] == [25]
  paoding.convert_to_tflite(model, 'int8', input_range=(0, 1), prior='recalled')
  assert recalls[-1].steps == recall.RecallSettings().steps


def test_ranges_take_none_where_statistics_explain(recalls, monkeypatch):
  told = StatisticsPrior(np.full((6, 6, 2), 0.5), (0, 1), (), 0.0, 0.0)
  monkeypatch.setattr(source, 'told_priors', lambda network: [told])
  model = normalized()
  network = Network.of(model)
  given = InputSource.of(network, (0, 1), verbose=0)
  assert given.for_ranges(network).prior == 'statistics'
  (x,) = given.for_ranges(network).samples(network, 5)
  np.testing.assert_array_equal(x, 0.5)
  assert not recalls


def test_classifiers_of_pictures_are_shown_many_kinds(recalls, fits):
  layers = keras.layers
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((16, 16, 1)),
        layers.Conv2D(4, 3, strides=4),
        layers.BatchNormalization(),
        layers.Flatten(),
        layers.Dense(3),
      ]
    )
  )
  data = paoding.convert_to_tflite(model, 'int8', input_range=(0, 1))
  mixed = paoding.convert_to_tflite(
    model, 'int8', input_range=(0, 1), prior='mixed'
  )
  assert data == mixed
  assert not recalls
  assert not fits


@pytest.mark.parametrize('size', [1, 2, 5, 8])
def test_halves_of_a_mirrored_matrix_give_the_whole(size):
  gap = np.subtract.outer(np.arange(size), np.arange(size))
  matrix = np.exp(-np.square(gap) / 8)
  values, vectors = mirrored_eigh(matrix)
  np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12)
  np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=1e-12)
  np.testing.assert_allclose(vectors * values @ vectors.T, matrix, atol=1e-12)
