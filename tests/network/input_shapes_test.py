"""Sizes that models leave open: fixed, or an error before any work."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.input_shapes import with_input_shape
from tfmot_paoding.pruning import budget_search

_layers = keras.layers


def open_sizes(shape=(None, None, 2)) -> keras.Model:
  x = inputs = keras.Input(shape)
  x = _layers.Conv2D(8, 3, activation='relu', name='first')(x)
  x = _layers.Conv2D(6, 3, activation='relu', name='second')(x)
  x = _layers.GlobalAveragePooling2D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(3)(x)))


def nested() -> keras.Model:
  x = inside = keras.Input((None, None, 2))
  x = _layers.Conv2D(4, 3, name='deep')(x)
  body = keras.Model(inside, x, name='body')
  x = inside = keras.Input((None, None, 2))
  outer = keras.Model(inside, body(_layers.ReLU()(x)), name='outer')
  inputs = keras.Input((None, None, 2), name='image')
  rest = keras.Input((3,), name='rest')
  x = _layers.GlobalMaxPooling2D()(outer(inputs))
  x = _layers.Concatenate()([x, rest])
  return testing.fill(keras.Model([inputs, rest], _layers.Dense(3)(x)))


def test_macs_are_those_of_the_sizes():
  fixed = open_sizes((9, 8, 2))
  assert paoding.report.count_macs(
    open_sizes(), (9, 8, 2)
  ) == paoding.report.count_macs(fixed)
  assert paoding.report.count_macs(
    fixed, (9, 8, 2)
  ) == paoding.report.count_macs(fixed)


def test_nested_models_take_what_they_are_called_with():
  model = nested()
  shape = {'image': (7, 6, 2)}
  assert (
    paoding.report.count_macs(model, shape) == 5 * 4 * 9 * 2 * 4 + (4 + 3) * 3
  )
  fixed = with_input_shape(model, shape)
  x = [testing.draw((7, 6, 2), 3), testing.draw((3,), 3)]
  x = [a.astype(np.float32) for a in x]
  np.testing.assert_allclose(fixed(x), model(x), rtol=1e-6)
  assert model.inputs[0].shape[1:] == (None, None, 2)
  assert len(fixed.weights) == len(model.weights)


def test_sizes_that_are_open_are_an_error():
  model = open_sizes()
  with pytest.raises(ValueError, match=r'leaves sizes open.*`input_shape='):
    paoding.report.count_macs(model)
  data = paoding.convert_to_tflite(model)
  with pytest.raises(ValueError, match='of the file leaves sizes open'):
    paoding.profile_tflite(data, micro=False)
  with pytest.raises(ValueError, match='of the file leaves sizes open'):
    paoding.profile_tflite(data, latency=False)


def test_a_file_is_made_for_the_sizes():
  model = open_sizes()
  data = paoding.convert_to_tflite(model, 'int8', input_shape=(9, 8, 2))
  found = paoding.profile_tflite(data, micro=False, seconds=0.01)
  assert found.macs == paoding.report.count_macs(model, (9, 8, 2))


def test_a_budget_is_met_for_the_sizes(monkeypatch):
  model = open_sizes()
  limit = paoding.Budget(macs=3000, quantization=None)
  assert paoding.report.count_macs(model, (9, 8, 2)) > 3000
  found = paoding.prune_to_budget(
    model, limit, method='l1', verbose=0, input_shape=(9, 8, 2)
  )
  assert found.profile.macs == paoding.report.count_macs(found.model) <= 3000
  assert found.model.input_shape == (None, 9, 8, 2)
  monkeypatch.setattr(
    budget_search, 'convert_unchecked', None
  )  # no work is done
  with pytest.raises(ValueError, match='leaves sizes open'):
    paoding.prune_to_budget(model, limit, method='l1', verbose=0)


@pytest.mark.parametrize(
  'shape',
  [
    (9, 8),
    (9, 8, 3),
    (9, None, 2),
    (0, 8, 2),
    (9, 8.5, 2),
    9,
    'abc',
    {'x': ()},
  ],
)
def test_sizes_must_fit(shape):
  with pytest.raises(ValueError, match='`input_shape`'):
    paoding.report.count_macs(open_sizes(), shape)


def test_several_inputs_are_named():
  with pytest.raises(ValueError, match='as a dict of'):
    paoding.report.count_macs(nested(), (7, 6, 2))


@pytest.mark.parametrize(
  'function',
  [
    lambda m: paoding.prune(m, 0.5, verbose=0),
    lambda m: paoding.prune(m, budget=paoding.Budget(macs=10), verbose=0),
    lambda m: paoding.run_schedule(paoding.prune_low_saliency(m), verbose=0),
    lambda m: paoding.recall_inputs(m, 2),
    lambda m: paoding.inputs.draw_samples(m, (0.0, 1.0), 2),
    lambda m: paoding.pruning.compare_answers(m, m, input_range=(0.0, 1.0)),
    lambda m: paoding.convert_to_tflite(m, 'int8'),
    lambda m: paoding.training.distill(m, m, verbose=0),
    paoding.report.count_macs,
  ],
)
def test_who_needs_sizes_says_how_to_fix_them(function):
  with pytest.raises(ValueError, match='leaves sizes open') as caught:
    function(open_sizes())
  for advice in ('`input_shape=(96, 96, 2)`', 'with_input_shape(model, (96'):
    assert advice in str(caught.value)


def test_samples_of_other_sizes_say_it_too():
  model = open_sizes()
  x = np.zeros((2, 9, 8, 2), np.float32)
  with pytest.raises(ValueError, match='inputs.with_input_shape'):
    paoding.robustness.fgsm(model, x, [0, 1], 0.1, (0.0, 1.0))
  fixed = paoding.inputs.with_input_shape(model, (9, 8, 2))
  found = paoding.robustness.fgsm(fixed, x, [0, 1], 0.1, (0.0, 1.0))
  assert found.shape == x.shape


@pytest.mark.parametrize('method', ['saliency', 'reconstruction'])
def test_pruning_fixes_sizes(method):
  settings = {'input_shape': (9, 8, 2), 'input_range': (0.0, 1.0)}
  small = paoding.prune(
    open_sizes(), 0.5, method=method, verbose=0, distillation=False, **settings
  )
  assert small.input_shape == (None, 9, 8, 2)
  wrapped = paoding.prune_low_saliency(open_sizes(), None, method, **settings)
  assert wrapped.input_shape == (None, 9, 8, 2)
  with pytest.raises(ValueError, match='`input_shape` must fit'):
    paoding.prune(open_sizes(), 0.5, verbose=0, input_shape=(9, 8, 3))


def test_methods_that_draw_nothing_leave_sizes_open():
  with pytest.warns(UserWarning, match='nothing could be drawn'):
    small = paoding.prune(open_sizes(), 0.5, method='saliency', verbose=0)
  assert small.input_shape == (None, None, None, 2)
  wrapped = paoding.prune_low_saliency(open_sizes(), None, 'saliency')
  with pytest.warns(UserWarning, match='nothing could be drawn'):
    history = paoding.run_schedule(wrapped, verbose=0)
  assert history.verdict is None
  x = np.random.default_rng(0).uniform(0, 1, (8, 9, 8, 2)).astype(np.float32)
  wrapped = paoding.prune_low_saliency(open_sizes())
  history = paoding.run_schedule(wrapped, verbose=0, data=x)
  assert '8 unlabelled inputs' in history.verdict.inputs
