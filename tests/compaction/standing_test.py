"""A schedule that was broken off is told of wherever the model goes next."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_X = testing.samples((5,), 40).astype(np.float32)
_Y = np.arange(len(_X)) % 3
_Short = paoding.pruning.UnfinishedWarning


def fit(wrapped, epochs, callback=None):
  """Ten steps an epoch."""
  wrapped.compile('sgd', _LOSS)
  callbacks = [] if callback is None else [callback]
  wrapped.fit(
    _X, _Y, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks
  )
  return wrapped


def wrapped(begin_step=0):
  schedule = paoding.ProgressiveSparsity(0.5, 0.125, begin_step, 10)
  return paoding.prune_low_saliency(
    testing.mlp((5, 16, 8, 3)), schedule, 'saliency', input_range=(-1.0, 1.0)
  )


def told(function):
  """What a call returns, and what it says of broken off schedules."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    made = function()
  return made, [str(w.message) for w in caught if w.category is _Short]


def test_training_that_ends_early_says_where_the_model_stands():
  model = wrapped()
  _, (text,) = told(lambda: fit(model, 2, paoding.UpdatePruningStep()))
  assert "'hidden_0', 'hidden_1'" in text
  assert 'a sparsity of 0.375, of 0.5 that is asked for' in text
  assert 'at training step 20' in text
  _, texts = told(lambda: fit(model, 2, paoding.UpdatePruningStep()))
  assert texts == []
  assert told(lambda: paoding.compact(strip_pruning(model)))[1] == []


def test_so_does_training_that_ends_before_it_begins():
  _, (text,) = told(lambda: fit(wrapped(100), 2, paoding.UpdatePruningStep()))
  assert 'a sparsity of 0, of 0.5' in text


@pytest.mark.parametrize('callback', [tfmot, paoding])
def test_compact_says_it_whatever_was_fitted_since(callback):
  if callback is tfmot:
    callback = tfmot.sparsity.keras
  model = fit(wrapped(), 1, callback.UpdatePruningStep())
  fit(model, 3)  # removes nothing, and TFMOT does not complain any more
  small, (text,) = told(lambda: paoding.compact(strip_pruning(model)))
  assert small.get_layer('hidden_0').units == 12
  assert 'a sparsity of 0.25, of 0.5' in text
  assert 'without the callback it removes nothing' in text
  _, (text,) = told(lambda: paoding.convert_to_tflite(strip_pruning(model)))
  assert 'a sparsity of 0.25, of 0.5' in text
  # What it says to do is enough.
  told(lambda: paoding.run_schedule(model, verbose=0))
  small, texts = told(lambda: paoding.compact(strip_pruning(model)))
  assert small.get_layer('hidden_0').units == 8
  assert texts == []


def test_a_file_says_it_too(tmp_path):
  model = wrapped()
  told(lambda: paoding.run_schedule(model, end_step=0, verbose=0))
  model.save(tmp_path / 'part.keras')
  loaded = keras.models.load_model(tmp_path / 'part.keras', compile=False)
  _, (text,) = told(lambda: paoding.compact(strip_pruning(loaded)))
  assert 'a sparsity of 0.125, of 0.5' in text


def test_a_schedule_whose_steps_never_reach_its_sparsity_has_ended():
  decay = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 0, 25, frequency=10)
  model = paoding.prune_low_saliency(
    testing.mlp((5, 16, 8, 3)), decay, 'saliency', input_range=(-1.0, 1.0)
  )
  told(lambda: paoding.run_schedule(model, verbose=0))
  assert told(lambda: paoding.compact(strip_pruning(model)))[1] == []
