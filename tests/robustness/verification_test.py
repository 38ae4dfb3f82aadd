"""Definite answers against CROWN's, PGD's, and all patterns of a network."""

from __future__ import annotations

import importlib.util
import itertools
import types

import numpy as np
import pytest
from scipy.optimize import linprog

from tests import testing
from tests.testing import draw
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras
from tfmot_paoding.robustness import branch_and_bound, marabou

L = keras.layers
RANGE = (-1.0, 1.0)
needs_marabou = pytest.mark.skipif(
  importlib.util.find_spec('maraboupy') is None,
  reason='needs maraboupy, which has wheels for Python up to 3.11',
)


def labels_of(model, x):
  return model(x.astype(np.float32)).numpy().argmax(-1)


def check(model, x, epsilon, method='bab', **options):
  """Answers that contradict neither certificates nor attacks."""
  y = labels_of(model, x)
  found = robustness.verify(
    model, x, y, epsilon, RANGE, method, seconds=30, **options
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
      slack = 1e-4 if method == 'marabou' else 0.0
      assert np.delete(scores, label).max() >= scores[label] - slack
  return [answer.verdict for answer in found]


@needs_marabou
@pytest.mark.parametrize('helped', [False, True])
def test_definite_answers_where_bounds_and_attacks_leave_a_gap(helped):
  model = testing.mlp((5, 12, 12, 3), seed=3)
  verdicts = check(model, draw((5,), 10), 0.3, 'marabou', helped=helped)
  assert 'unknown' not in verdicts
  assert {'robust', 'broken'} == set(verdicts)


@needs_marabou
def test_help_does_not_change_answers():
  model = testing.mlp((5, 10, 10, 3), seed=5)
  x = draw((5,), 8)
  answers = [
    check(model, x, 0.25, 'marabou', helped=helped) for helped in (True, False)
  ]
  assert answers[0] == answers[1]


@needs_marabou
def test_convolutions_pooling_sums_and_leaky_relu():
  inputs = keras.Input((4, 4, 1))
  x = L.Conv2D(2, 2, activation='relu')(inputs)
  y = L.LeakyReLU(0.1)(L.Conv2D(2, 3, padding='same')(x))
  x = L.MaxPooling2D(2, padding='same')(L.Add()([x, y]))
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))), 1)
  verdicts = check(model, draw((4, 4, 1), 4), 0.1, 'marabou', helped=False)
  assert 'unknown' not in verdicts


@needs_marabou
def test_sigmoids():
  model = testing.mlp((3, 4, 2), 'sigmoid', seed=1)
  verdicts = check(model, draw((3,), 3), 0.05, 'marabou')
  assert 'robust' in verdicts


@needs_marabou
def test_time_runs_out():
  model = testing.mlp((20, 60, 60, 60, 3), seed=2)
  x = draw((20,), 1)
  (found,) = robustness.verify(
    model,
    x,
    labels_of(model, x),
    0.6,
    RANGE,
    'marabou',
    seconds=1,
    helped=False,
  )
  assert found.verdict in ('unknown', 'broken')
  assert found.seconds < 30


@needs_marabou
@pytest.mark.parametrize('activation', ['gelu', 'tanh'])
def test_activations_that_marabou_does_not_know_are_named(activation):
  model = testing.mlp((5, 8, 3), activation)
  with pytest.raises(ValueError, match=activation):
    robustness.verify(model, draw((5,), 1), [0], 0.1, RANGE, 'marabou')


def test_a_missing_solver_names_its_extra(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, *rest: None if name == 'maraboupy' else find(name, *rest),
  )
  with pytest.raises(ImportError, match=r'tfmot_paoding\[verify\]'):
    robustness.verify(
      testing.mlp((5, 8, 3)), draw((5,), 1), [0], 0.1, RANGE, 'marabou'
    )


@needs_marabou
def test_a_solver_that_ends_without_an_answer_is_told_of(monkeypatch, tmp_path):
  broken = tmp_path / 'worker.py'
  broken.write_text("raise ImportError('a library is missing')")
  monkeypatch.setattr(marabou, '_WORKER', str(broken))
  model, x = testing.mlp((5, 8, 3)), draw((5,), 1)
  with pytest.warns(UserWarning, match='ended without.*library is missing'):
    (found,) = robustness.verify(
      model, x, labels_of(model, x), 0.1, RANGE, 'marabou', helped=False
    )
  assert found.verdict == 'unknown'


@pytest.mark.parametrize(
  ('options', 'named'),
  [
    ({'seconds': 0}, '`seconds`'),
    ({'seconds': '60'}, '`seconds`'),
    ({'seconds': None}, '`seconds`'),
    ({'method': 'milp'}, '`method`'),
    ({'helped': True}, '`helped`'),
    ({'method': 'marabou', 'settings': robustness.BranchSettings()}, 'Leave'),
  ],
)
def test_arguments_that_are_bad_or_of_no_effect_are_named(options, named):
  with pytest.raises(ValueError, match=named):
    robustness.verify(
      testing.mlp((5, 8, 3)), draw((5,), 1), [0], 0.1, RANGE, **options
    )


def test_settings_of_another_kind():
  with pytest.raises(TypeError, match='BranchSettings'):
    robustness.verify(
      testing.mlp((5, 8, 3)), draw((5,), 1), [0], 0.1, RANGE, settings={}
    )


def least_lead(model, centre, epsilon, label):
  """The least lead in a ball, exactly: an LP for each pattern of an MLP."""
  weights = [w.astype(float) for w in model.get_weights()]
  low, high = np.maximum(centre - epsilon, -1), np.minimum(centre + epsilon, 1)
  count = sum(len(b) for b in weights[1:-2:2])
  least = np.inf
  for signs in itertools.product([-1.0, 1.0], repeat=count):
    kernel, bias = np.eye(len(centre)), np.zeros(len(centre))
    limits, ends, at = [], [], 0
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
      kernel, bias = kernel @ w, bias @ w + b
      sign = np.array(signs[at : at + len(b)])
      at += len(b)
      limits.append(-(kernel * sign).T)
      ends.append(bias * sign)
      kernel, bias = kernel * (sign > 0), bias * (sign > 0)
    kernel, bias = kernel @ weights[-2], bias @ weights[-2] + weights[-1]
    for other in range(kernel.shape[1]):
      if other == label:
        continue
      found = linprog(
        kernel[:, label] - kernel[:, other],
        np.concatenate(limits),
        np.concatenate(ends),
        bounds=np.stack([low, high], 1),
      )
      if found.status == 0:
        least = min(least, found.fun + bias[label] - bias[other])
  return least


@pytest.mark.parametrize('seed', range(3))
def test_answers_are_those_of_all_patterns(seed):
  model = testing.mlp((3, 3, 3, 3), seed=seed)
  x = draw((3,), 3, seed=seed)
  y = labels_of(model, x)
  epsilon = (0.2, 0.4, 0.6)[seed]
  found = robustness.verify(model, x, y, epsilon, RANGE, verbose=0)
  for answer, one, label in zip(found, x, y, strict=True):
    exact = least_lead(model, one, epsilon, label)
    assert answer.verdict == ('robust' if exact > 0 else 'broken')
    if answer.low is not None:
      assert answer.low <= exact + 1e-9
    assert answer.high is None or answer.high >= exact - 1e-5
    if answer.verdict == 'robust':
      assert answer.low > 0
      assert answer.gap == answer.high - answer.low


def test_answers_where_bounds_and_attacks_leave_a_gap():
  model = testing.mlp((5, 12, 12, 3), seed=3)
  settings = robustness.BranchSettings(intermediate=None)
  verdicts = check(model, draw((5,), 12), 0.5, settings=settings)
  assert set(verdicts) == {'robust', 'broken'}


@pytest.mark.parametrize('rule', ['fsb', 'babsr'])
def test_splits_decide_what_bounds_do_not(rule):
  model = testing.mlp((5, 12, 12, 3), seed=3)
  x = draw((5,), 12, seed=1)
  y = labels_of(model, x)
  settings = robustness.BranchSettings(rule=rule, intermediate=None)
  found = robustness.verify(model, x, y, 0.5, RANGE, settings=settings)
  assert all(answer.verdict != 'unknown' for answer in found)
  split = [answer for answer in found if answer.subdomains > 2]
  assert split
  assert all(answer.unstable > 0 for answer in split)
  sure = robustness.certified(model, x, y, 0.5, RANGE, 'alpha-crown')
  proved = np.array([answer.verdict == 'robust' for answer in found])
  assert np.all(proved | ~sure)
  assert np.any(proved & ~sure)


@needs_marabou
def test_branch_and_bound_agrees_with_marabou():
  model = testing.mlp((5, 12, 12, 3), seed=3)
  x = draw((5,), 10, seed=1)
  first = check(model, x, 0.5)
  assert first == check(model, x, 0.5, 'marabou')
  assert set(first) == {'robust', 'broken'}


def test_convolutions_sums_norms_and_leaky_relu_are_split():
  inputs = keras.Input((4, 4, 1))
  x = L.Conv2D(2, 2, activation='relu', padding='same')(inputs)
  y = L.LeakyReLU(0.1)(L.Conv2D(2, 3, padding='same')(x))
  x = L.BatchNormalization()(L.Add()([x, y]))
  x = L.PReLU()(L.Conv2D(2, 3)(x))
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))), 1)
  verdicts = check(model, draw((4, 4, 1), 6), 0.2)
  assert 'unknown' not in verdicts


@needs_marabou
def test_max_pooling_is_split_by_its_comparisons():
  inputs = keras.Input((4, 4, 1))
  x = L.Conv2D(2, 2, activation='relu')(inputs)
  x = L.MaxPooling2D(2, padding='same')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))), 4)
  x = draw((4, 4, 1), 3)
  first = check(model, x, 0.4)
  assert 'unknown' not in first
  second = check(model, x, 0.4, 'marabou')
  for one, other in zip(first, second, strict=True):
    assert other in (one, 'unknown')


def test_max_pooling_that_need_not_be_split_is_bounded_as_it_is():
  inputs = keras.Input((4, 4, 1))
  x = L.Conv2D(2, 2, activation='relu')(inputs)
  x = L.MaxPooling2D(2, padding='same')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))), 4)
  x = draw((4, 4, 1), 6)
  y = labels_of(model, x)
  sure = robustness.certified(model, x, y, 0.05, RANGE)
  found = robustness.verify(model, x, y, 0.05, RANGE)
  layers = robustness.neuron_stability(model, x[sure], 0.05, RANGE)
  assert sure.sum() > 2
  for answer, proved in zip(found, sure, strict=True):
    if proved:
      assert (answer.verdict, answer.subdomains) == ('robust', 2)
      assert answer.unstable <= layers[0].neurons
      assert answer.low > 0


@pytest.mark.parametrize(
  ('left', 'steps', 'expected'),
  [(60.0, 10, True), (40.0, 10, False), (60.0, None, False)],
)
def test_slopes_of_neurons_are_optimised_in_half_of_the_time(
  left, steps, expected
):
  """Eleven times there and back at a second each are 22 seconds."""
  intermediate = steps and robustness.AlphaSettings(steps, intermediate=True)
  solver = object.__new__(branch_and_bound.BranchAndBound)
  solver._settings = robustness.BranchSettings(intermediate=intermediate)
  search = types.SimpleNamespace(seconds_left=left)
  assert solver._tightens(1.0, search) == expected


@pytest.mark.parametrize('label', [0, 1])
def test_one_sigmoid_for_two_classes(label):
  model = testing.mlp((4, 8, 1), activation='sigmoid', seed=2)
  x = draw((4,), 8)
  logits = keras.Model(model.inputs, model.layers[-2].output)(x).numpy()
  kernel, _ = model.layers[-1].get_weights()
  model.layers[-1].set_weights([kernel, -(logits @ kernel).mean(0)])
  x = x[(model(x.astype(np.float32)).numpy()[:, 0] > 0.5) == label]
  found = robustness.verify(model, x, [label] * len(x), 0.3, RANGE)
  assert 'unknown' not in {answer.verdict for answer in found}
  for answer in found:
    if answer.example is not None:
      at = model(answer.example[None]).numpy()[0, 0]
      assert at <= 0.5 if label else at >= 0.5


def test_a_network_without_neurons_and_one_that_answers_wrong():
  model = testing.mlp((4, 3), seed=1)
  x = draw((4,), 2)
  y = labels_of(model, x)
  found = robustness.verify(model, x, [y[0], 1 - min(y[1], 1)], 1e-3, RANGE)
  assert [answer.verdict for answer in found] == ['robust', 'broken']
  assert found[0].unstable == 0
  assert found[1].subdomains == 0


def test_limits_are_told():
  model = testing.mlp((20, 60, 60, 60, 3), seed=2)
  x = draw((20,), 1)
  y = labels_of(model, x)
  for settings, seconds in (
    (robustness.BranchSettings(), 0.5),
    (robustness.BranchSettings(most_subdomains=20), 60),
    (robustness.BranchSettings(most_open=3), 60),
  ):
    (found,) = robustness.verify(
      model, x, y, 0.35, RANGE, seconds=seconds, settings=settings
    )
    assert found.verdict == 'unknown'
    assert found.low < 0 < found.high
    assert found.seconds < 20


def test_what_cannot_be_split_is_named_and_relaxed_if_asked():
  inputs = keras.Input((5,))
  x = L.Dense(8, 'relu')(inputs)
  x = L.Dense(6, 'tanh', name='curved')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(x)), 2)
  x = draw((5,), 6)
  with pytest.raises(ValueError, match=r"'curved'.*relax_the_rest"):
    robustness.verify(model, x, labels_of(model, x), 0.1, RANGE)
  settings = robustness.BranchSettings(relax_the_rest=True)
  verdicts = check(model, x, 0.1, settings=settings)
  assert 'robust' in verdicts


def test_a_bar_tells_of_subdomains(capsys):
  model = testing.mlp((4, 10, 10, 2), seed=7)
  x = draw((4,), 2, seed=1)
  robustness.verify(model, x, labels_of(model, x), 0.4, RANGE, verbose=1)
  assert '2/2' in capsys.readouterr().out
