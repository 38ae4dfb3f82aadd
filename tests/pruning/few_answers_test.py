"""Pruned models that no longer answer as their originals are told of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning import few_answers as lib
from tfmot_paoding.pruning import running


def told(function):
  """What a call returns, and its warnings of few answers."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    made = function()
  return made, [
    str(w.message) for w in caught if w.category is lib.FewAnswersWarning
  ]


def classifier():
  """Ten classes, all of which it gives."""
  model = testing.mlp((12, 16, 16, 10))
  for layer in model.layers:
    layer.bias.assign(0.0 * layer.bias)
  return model


def run(wrapped, **settings):
  return paoding.run_schedule(wrapped, verbose=0, **settings)


def wrapped(model, method='l1', sparsity=0.8):
  schedule = paoding.ProgressiveSparsity(sparsity, 0.4)
  return paoding.prune_low_saliency(
    model, schedule, method, input_range=(-1.0, 1.0)
  )


@pytest.mark.parametrize('method', ['l1', 'reconstruction'])
def test_a_schedule_says_how_many_answers_are_left(method):
  model = classifier()
  history, (text,) = told(lambda: run(wrapped(model, method, 0.9)))
  assert 0 <= history.verdict.kept < lib.FEW
  assert f'{history.verdict.agreement:.1%}' in text
  assert history.verdict.inputs in text
  assert "drawn from the prior 'smooth'" in text
  assert ("method='reconstruction'" in text) == (method == 'l1')
  for advice in ('lower sparsity', '`data`', 'distillation'):
    assert advice in text


def test_a_model_that_answers_as_before_is_not_complained_of():
  model = testing.with_twins(testing.mlp((5, 16, 16, 3)))
  history, texts = told(lambda: run(wrapped(model, 'saliency', 0.5)))
  assert texts == []
  assert history.verdict.agreement == 1.0


def test_prune_warns_of_what_it_returns():
  model = classifier()
  settings = {'input_range': (-1.0, 1.0), 'verbose': 0}
  _, (text,) = told(lambda: paoding.prune(model, 0.8, method='l1', **settings))
  assert "method='reconstruction'" in text
  settings['distillation'] = False
  x = testing.samples((12,)).astype(np.float32)
  _, (text,) = told(lambda: paoding.prune(model, 0.9, data=x, **settings))
  assert f'{lib._MOST} unlabelled inputs that were passed' in text
  assert '`data`' not in text


def test_numbers_count_by_the_variance_that_is_left():
  model = testing.mlp((5, 16, 16, 1))
  history, (text,) = told(lambda: run(wrapped(model)))
  assert np.isnan(history.verdict.agreement)
  assert history.verdict.kept == history.verdict.explained < lib.FEW
  assert "of its outputs' variance" in text


def test_a_resumed_run_needs_the_original_for_a_verdict():
  model = testing.mlp((5, 16, 16, 3))
  made = wrapped(model)
  run(made, end_step=0)
  assert run(made, end_step=0).verdict is None
  verdict = run(made, original=model).verdict
  assert verdict.agreement < lib.FEW
  with pytest.raises(ValueError, match='other layers or shapes'):
    run(made, original=testing.mlp((5, 8, 16, 3)))


def test_inputs_that_have_one_answer_tell_little():
  model = testing.mlp((5, 16, 16, 3))
  model.layers[-1].bias.assign([0.0, 100.0, 0.0])
  verdict = lib.compare_answers(model, model, input_range=(-1.0, 1.0))
  assert verdict.is_blind
  assert verdict.kept == 1.0
  assert 'tells little' in str(verdict)


def test_where_answers_tell_little_logits_do():
  model = classifier()
  model.layers[-1].bias.assign([100.0] + [0.0] * 9)
  history, (text,) = told(lambda: run(wrapped(model, 'l1', 0.9)))
  assert history.verdict.agreement == 1.0
  assert history.verdict.kept < lib.FEW
  assert 'variance' in text


def test_where_a_prior_is_blind_inputs_are_recalled():
  model = testing.with_batch_norm()
  # The inputs that it has seen lie where no prior looks.
  for norm in ('norm_0', 'norm_1'):
    layer = model.get_layer(norm)
    layer.moving_mean.assign(layer.moving_mean + 2.0)
  bias = model.layers[-1].bias
  x = testing.samples((5,)).astype(np.float32) * 0.1
  low = testing.answers(model, x).mean(0)
  bias.assign(bias - low + [0.0, 5.0, 0.0])
  verdict = lib.compare_answers(model, model, input_range=(-0.1, 0.1))
  assert verdict.inputs == '64 inputs recalled from the model, without data'


def test_a_budget_has_a_verdict_of_somebodys_inputs(monkeypatch):
  monkeypatch.setattr(lib, 'FEW', 1.1)  # even what is left whole
  budget = paoding.Budget(macs=10**6, quantization=None)
  fitted, (text,) = told(
    lambda: paoding.prune_to_budget(
      testing.mlp(), budget, method='l1', input_range=(-1.0, 1.0), verbose=0
    )
  )
  assert str(fitted.verdict) in text
  assert "inputs drawn from the prior 'smooth'" in fitted.verdict.inputs


def test_whole_numbers_are_said_to_be_drawn_evenly():
  inputs = keras.Input((6,))
  x = keras.layers.Embedding(9, 4)(inputs)
  x = keras.layers.Dense(8, activation='relu')(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  assert 'drawn evenly' in lib.compare_answers(model, model).inputs


@pytest.mark.parametrize('known', [True, False])
def test_who_knows_vectors_as_pictures_is_judged_on_these(known, monkeypatch):
  monkeypatch.setattr(lib, 'knows_rows', lambda *_: known)
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [keras.Input((64,)), keras.layers.Dense(8), keras.layers.Dense(3)]
  )
  verdict = lib.compare_answers(model, model, input_range=(0, 1), verbose=0)
  assert ("'RowsPrior'" in verdict.inputs) is known
  assert ("'smooth'" in verdict.inputs) is not known


def seen(kept, information, inputs=''):
  return Verdict(0.0, kept, inputs=inputs, information=information)


@pytest.mark.parametrize(
  'own, other, taken',
  [
    ((0.98, 2.3), (0.86, 1.2), 'other'),  # the worse of two that tell
    ((0.81, 2.3), (0.93, 1.2), 'own'),
    ((0.85, 2.3), (0.10, 0.1), 'own'),  # fields that it does not know
    ((0.99, 0.1), (0.95, 1.2), 'other'),
    ((0.99, 0.0), (0.50, 1.2), 'own'),  # nothing to compare with
    ((0.99, float('nan')), (0.50, 1.2), 'own'),  # numbers, no classes
  ],
)
def test_the_worse_verdict_counts_where_inputs_tell(
  own, other, taken, monkeypatch
):
  monkeypatch.setattr(lib, 'judged', lambda *_: seen(*other, 'other'))
  network = Network.of(classifier())
  source = InputSource.of(network, (-1.0, 1.0))
  found = lib.beside_another(network, network.model, source, seen(*own, 'own'))
  assert found.inputs == taken


def test_what_was_learned_on_is_not_all_that_is_judged_on(monkeypatch):
  asked = []

  def judged(original, pruned, samples, source):
    asked.append(source.prior)
    return seen(0.9, 1.0, str(source.prior))

  monkeypatch.setattr(lib, 'judged', judged)
  monkeypatch.setattr(running, 'judged', judged)
  model = testing.with_batch_norm()
  run(wrapped(model, 'reconstruction', 0.3))
  assert asked == [None, 'varied']
  x = testing.samples((5,)).astype(np.float32)
  asked.clear()
  run(wrapped(model, 'reconstruction', 0.3), data=x)
  assert len(asked) == 1  # a user's own inputs are all there are
