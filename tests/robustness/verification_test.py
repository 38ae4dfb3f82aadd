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
  for point in np.random.default_rng(0).uniform(-1, 1, (100, *x.shape)):
    moved = np.clip(x + epsilon * point, *RANGE)
    broken |= labels_of(model, moved) != y
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


# Where an activation is which line: from, to, its slope and its shift.
PIECES = {
  'relu': ((-np.inf, 0.0, 0.0, 0.0), (0.0, np.inf, 1.0, 0.0)),
  'clipped': (
    (-np.inf, 0.0, 0.25, 0.0),
    (0.0, 0.5, 1.0, 0.0),
    (0.5, np.inf, 0.0, 0.5),
  ),
  'hard_sigmoid': (
    (-np.inf, -2.5, 0.0, 0.0),
    (-2.5, 2.5, 0.2, 0.5),
    (2.5, np.inf, 0.0, 1.0),
  ),
}
ACTIVATIONS = {
  'relu': L.ReLU,
  'clipped': lambda: L.ReLU(0.5, negative_slope=0.25),
  'hard_sigmoid': lambda: L.Activation('hard_sigmoid'),
}


def mlp_of(layer, sizes, seed, gain=1.0):
  """An MLP with a layer behind each but the last; no class is ahead of all."""
  inputs = x = keras.Input(sizes[:1])
  for size in sizes[1:-1]:
    x = layer()(L.Dense(size)(x))
  model = testing.fill(keras.Model(inputs, L.Dense(sizes[-1])(x)), seed)
  *weights, bias = [gain * w for w in model.get_weights()]
  model.set_weights([*weights, bias])
  mean = model(draw(sizes[:1], 50, seed=seed)).numpy().mean(0)
  model.set_weights([*weights, bias - mean])
  return model


def least_lead(model, centre, epsilon, label, pieces):
  """The least lead in a ball, exactly: an LP for each pattern of an MLP."""
  weights = [w.astype(float) for w in model.get_weights()]
  layers = list(zip(weights[::2], weights[1::2], strict=True))
  low, high = np.maximum(centre - epsilon, -1), np.minimum(centre + epsilon, 1)

  def least(objective, limits, ends):
    found = linprog(objective, limits, ends, bounds=np.stack([low, high], 1))
    return found.fun if found.status == 0 else np.inf

  def behind(depth, kernel, bias, limits, ends):
    kernel, bias = kernel @ layers[depth][0], bias @ layers[depth][0]
    bias = bias + layers[depth][1]
    if depth == len(layers) - 1:
      return min(
        least(kernel[:, label] - kernel[:, other], limits, ends)
        + bias[label]
        - bias[other]
        for other in range(len(bias))
        if other != label
      )
    found = np.inf
    for pattern in itertools.product(pieces, repeat=len(bias)):
      first, last, slope, shift = np.array(pattern).T
      below, above = np.isfinite(first), np.isfinite(last)
      inside = np.concatenate([limits, -kernel.T[below], kernel.T[above]])
      until = [ends, (bias - first)[below], (last - bias)[above]]
      until = np.concatenate(until)
      if least(np.zeros(len(centre)), inside, until) == 0:
        moved = kernel * slope, bias * slope + shift
        found = min(found, behind(depth + 1, *moved, inside, until))
    return found

  count = len(centre)
  nothing = np.zeros((0, count)), np.zeros(0)
  return behind(0, np.eye(count), np.zeros(count), *nothing)


@pytest.mark.parametrize(
  ('name', 'seed', 'gain', 'epsilon'),
  [
    ('relu', 0, 1.0, 0.2),
    ('relu', 2, 1.0, 0.6),
    ('clipped', 2, 2.0, 0.4),
    ('hard_sigmoid', 2, 5.0, 0.2),
  ],
)
def test_answers_are_those_of_all_patterns(name, seed, gain, epsilon):
  model = mlp_of(ACTIVATIONS[name], (3, 3, 3, 3), seed, gain)
  x = draw((3,), 3, seed=seed)
  y = labels_of(model, x)
  found = robustness.verify(model, x, y, epsilon, RANGE, verbose=0)
  for answer, one, label in zip(found, x, y, strict=True):
    exact = least_lead(model, one, epsilon, label, PIECES[name])
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


def test_a_separable_network_with_relu6_is_split():
  inputs = keras.Input((6, 6, 1))
  x = inputs
  for layer in (L.Conv2D(3, 3, 2), L.DepthwiseConv2D(2), L.Conv2D(4, 1)):
    x = L.ReLU(6.0)(L.BatchNormalization()(layer(x)))
  x = L.GlobalAveragePooling2D()(x)
  model = testing.fill(keras.Model(inputs, L.Dense(3)(x)), 1)
  # Some units lie above 6, some cross it.
  weights = model.get_weights()
  model.set_weights([w * 4 if w.ndim == 4 else w for w in weights])
  verdicts = check(model, draw((6, 6, 1), 2), 0.1)
  assert 'unknown' not in verdicts


def extremes(seed):
  """Three lines against each other, cut off, then the least of what reads them.

  No class is ahead of the other everywhere.
  """
  inputs = keras.Input((2,))
  x = L.ReLU(0.5)(L.Maximum()([L.Dense(3)(inputs) for _ in range(3)]))
  x = L.Minimum()([L.Dense(3)(x), L.Dense(1)(x)])
  model = testing.fill(keras.Model(inputs, L.Dense(2)(x)), seed)
  *weights, bias = model.get_weights()
  mean = model(draw((2,), 50)).numpy().mean(0)
  model.set_weights([*weights, bias - mean])
  return model


def test_clips_maxima_and_minima_by_a_grid():
  model, epsilon = extremes(5), 0.2
  x = draw((2,), 6)
  y = labels_of(model, x)
  found = robustness.verify(model, x, y, epsilon, RANGE)
  line = np.linspace(-epsilon, epsilon, 81)
  grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
  for answer, one, label in zip(found, x, y, strict=True):
    scores = model(np.clip(one + grid, *RANGE).astype(np.float32)).numpy()
    least = (scores[:, label] - scores[:, 1 - label]).min()
    assert answer.verdict == ('robust' if least > 0 else 'broken')
    assert answer.low is None or answer.low <= least + 1e-6
  assert {answer.verdict for answer in found} == {'robust', 'broken'}


@needs_marabou
def test_clips_maxima_and_minima_agree_with_marabou():
  model = extremes(5)
  x = draw((2,), 3)
  first = check(model, x, 0.3)
  assert 'unknown' not in first
  assert first == check(model, x, 0.3, 'marabou')


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
    (robustness.BranchSettings(most_subdomains=20), 300),
    (robustness.BranchSettings(most_open=3), 300),
  ):
    (found,) = robustness.verify(
      model, x, y, 0.35, RANGE, seconds=seconds, settings=settings
    )
    assert found.verdict == 'unknown'
    assert found.low < 0 < found.high
    assert found.seconds < 300  # on a busy machine, too


@pytest.mark.parametrize(
  'method', ['bab', pytest.param('marabou', marks=needs_marabou)]
)
def test_an_interrupt_keeps_what_is_decided(method, monkeypatch):
  model = testing.mlp((4, 10, 10, 2), seed=7)
  x = draw((4,), 3, seed=1)
  solver = {
    'bab': branch_and_bound.BranchAndBound,
    'marabou': marabou._Encoding,
  }[method]
  decide, asked = solver.decide, []

  def interrupted(self, *arguments):
    asked.append(arguments)
    if len(asked) == 2:
      raise KeyboardInterrupt
    return decide(self, *arguments)

  monkeypatch.setattr(solver, 'decide', interrupted)
  with pytest.warns(UserWarning, match='2 of 3 were not decided'):
    found = robustness.verify(
      model, x, labels_of(model, x), 1e-3, RANGE, method
    )
  assert [one.verdict for one in found] == ['robust', 'unknown', 'unknown']
  assert found[0].seconds > found[1].seconds == 0


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
