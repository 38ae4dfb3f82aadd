"""Budgets: met on the real file with as little as can be, or not at all."""

from __future__ import annotations

import importlib.util
import sys
from typing import ClassVar

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import source
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.pruning import budget, budget_search, to_budget
from tfmot_paoding.pruning import pruned as pruned_lib
from tfmot_paoding.tflite.checks import AnswersError

_layers = keras.layers
needs_micro = pytest.mark.skipif(
  importlib.util.find_spec('tflite_micro') is None,
  reason='tflite-micro is not installed',
)


rough = pytest.mark.usefixtures('roughly')


def wide():
  return testing.mlp((32, 90, 70, 5))


def hourglass():
  """Memory peaks at the first convolution, weights lie in the last layers."""
  x = inputs = keras.Input((12, 12, 2))
  x = _layers.Conv2D(16, 3, padding='same', activation='relu', name='first')(x)
  x = _layers.Conv2D(8, 3, strides=3, activation='relu', name='second')(x)
  x = _layers.Flatten()(x)
  x = _layers.Dense(60, activation='relu', name='third')(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(4)(x)))


_SETTINGS = ('low_rank', 'cost')


def fitted(model, method='l1', distillation=None, **more):
  settings = {name: more.pop(name) for name in _SETTINGS if name in more}
  return paoding.prune_to_budget(
    model,
    paoding.Budget(**more, quantization=None),
    method=method,
    distillation=distillation,
    verbose=0,
    **settings,
  )


def bytes_at(model, sparsity):
  small = paoding.prune(model, sparsity, method='l1', verbose=0)
  return len(paoding.convert_to_tflite(small))


def test_flash_is_met_with_hardly_more_than_it_takes_in_few_conversions(
  monkeypatch,
):
  asked = []
  convert = budget_search.convert_unchecked

  def counted(*args, **kwargs):
    asked.append(args)
    return convert(*args, **kwargs)

  monkeypatch.setattr(budget_search, 'convert_unchecked', counted)
  model = wide()
  limit = len(paoding.convert_to_tflite(model)) // 2
  found = fitted(model, flash_bytes=limit)
  assert len(asked) <= 13  # halving took 17
  assert found.profile.bytes == len(found.data) <= limit
  # A little less pruning would not have done.
  assert found.profile.bytes > 0.97 * limit
  assert found.spread in ('uniform', 'global')
  assert found.sparsity.keys() == {'hidden_0', 'hidden_1'}
  widths = [layer.units for layer in found.model.layers[:-1]]
  for width, size, sparsity in zip(
    widths, (90, 70), found.sparsity.values(), strict=True
  ):
    assert width == size - int(size * sparsity + 1e-6)


def test_what_fits_write_beside_the_cut_is_made_room_for():
  """Biases that are zero take no bytes, until they are fitted."""
  model = testing.mlp((8, 40, 30, 3))
  for layer in model.layers:
    layer.bias.assign(np.zeros_like(layer.bias))
  limit = bytes_at(model, 0.25)
  found = fitted(model, 'reconstruction', distillation=False, flash_bytes=limit)
  assert 0.9 * limit < len(found.data) <= limit


@rough
def test_macs_are_met_without_any_interpreter(monkeypatch):
  model = wide()
  limit = paoding.report.count_macs(model) // 3
  found = fitted(model, macs=limit)
  assert paoding.report.count_macs(found.model) == found.profile.macs <= limit
  assert found.profile.arena_bytes is None
  assert found.profile.latency is None


@rough
@needs_micro
def test_an_arena_is_met_where_memory_peaks():
  model = hourglass()
  before = paoding.profile_tflite(
    paoding.convert_to_tflite(model), latency=False
  )
  found = fitted(model, arena_bytes=int(0.7 * before.arena_bytes))
  assert found.profile.arena_bytes <= 0.7 * before.arena_bytes
  assert found.spread == 'peaks'
  assert found.sparsity['first'] > 0.2
  assert found.sparsity['third'] < 0.05


@rough
@needs_micro
def test_all_limits_hold_at_once():
  model = hourglass()
  before = paoding.profile_tflite(
    paoding.convert_to_tflite(model), latency=False
  )
  limits = {
    'flash_bytes': int(0.6 * before.bytes),
    'arena_bytes': int(0.8 * before.arena_bytes),
    'macs': int(0.5 * before.macs),
  }
  found = fitted(model, **limits)
  after = paoding.profile_tflite(found.data, latency=False)
  assert after.bytes <= limits['flash_bytes']
  assert after.arena_bytes <= limits['arena_bytes']
  assert after.macs <= limits['macs']
  assert paoding.Budget(**limits).is_met(after)


def test_a_model_that_fits_already_is_left_as_it_is():
  model = wide()
  found = fitted(model, flash_bytes=10**6)
  assert found.sparsity == {}
  assert found.verdict.distance == 0
  for one, two in zip(
    found.model.get_weights(), model.get_weights(), strict=True
  ):
    np.testing.assert_array_equal(one, two)


def test_what_cannot_be_met_says_how_near_it_came():
  with pytest.raises(
    paoding.pruning.BudgetError, match='cannot be met'
  ) as caught:
    fitted(wide(), flash_bytes=1000)
  nearest = caught.value.nearest
  assert 1000 < nearest.bytes < bytes_at(wide(), 0.5)
  assert f'flash_bytes of 1000 (nearest: {nearest.bytes}' in str(caught.value)


@rough
def test_the_spread_whose_answers_are_nearest_is_taken(monkeypatch):
  """Nearest on other inputs than its verdict is of."""
  model, seen = wide(), []
  kept = Nearness.gap_of

  def gap_of(nearness, small):
    seen.append((kept(nearness, small), small))
    return seen[-1][0]

  monkeypatch.setattr(Nearness, 'gap_of', gap_of)
  found = fitted(model, 'saliency', flash_bytes=bytes_at(model, 0.4))
  assert len(seen) == 2
  gap, small = min(seen, key=lambda one: one[0])
  assert found.model is small
  assert found.verdict.divergence != gap


class TestFilesThatAnswerOtherwise:
  @pytest.fixture(autouse=True)
  def refused(self, monkeypatch, roughly):
    """So many files are refused."""
    left, real = [0], budget_search.convert_to_tflite

    def convert(*args, **kwargs):
      if left[0]:
        left[0] -= 1
        raise AnswersError('The file differs.')
      return real(*args, **kwargs)

    monkeypatch.setattr(budget_search, 'convert_to_tflite', convert)
    return left

  def test_a_cut_is_passed_over_with_a_word(self, refused):
    model = wide()
    limit = bytes_at(model, 0.4)
    refused[0] = 1
    with pytest.warns(UserWarning, match='is passed over. The file differs'):
      found = fitted(model, 'saliency', flash_bytes=limit)
    assert found.profile.bytes <= limit

  @pytest.mark.filterwarnings('ignore:A cut')
  def test_where_no_other_is_left_that_is_why(self, refused):
    model = wide()
    limit = bytes_at(model, 0.4)
    refused[0] = 9
    with pytest.raises(AnswersError, match='The file differs'):
      fitted(model, 'saliency', flash_bytes=limit)

  @pytest.mark.filterwarnings('ignore:A cut')
  def test_what_was_too_large_before_is_told_first(self, refused, monkeypatch):
    model = wide()
    limit = bytes_at(model, 0.4)
    convert = budget_search.convert_to_tflite
    tightened = budget_search._Fitter.tightened

    def too_large(*args, **kwargs):
      data = convert(*args, **kwargs) + bytes(limit // 2)
      made.append(len(data))
      return data

    def second_round(*args):
      refused[0] = 9
      return tightened(*args)

    made = []
    monkeypatch.setattr(budget_search, 'convert_to_tflite', too_large)
    monkeypatch.setattr(budget_search._Fitter, 'tightened', second_round)
    with pytest.raises(
      paoding.pruning.BudgetError, match=f'of {limit} .*The file dif'
    ) as told:
      fitted(model, 'saliency', flash_bytes=limit)
    assert told.value.nearest.bytes == min(made)


class FakeWays:
  """Models are names, and a lesson makes of each what is written here."""

  teaches = True
  gaps: ClassVar = {'a': 1, 'b': 1.9, 'c': 3, "a'": 0.8, "b'": 0.5, "c'": 0.1}

  def gap(self, model: str) -> float:
    return self.gaps[model]

  def polish(self, model: str) -> str:
    return model + "'"


@pytest.mark.parametrize(
  ('models', 'teaches', 'expected'),
  [
    ('ab', True, ["b'", "a'"]),
    ('ac', True, ["a'", "c'"]),
    ('abc', True, ["b'", "a'", "c'"]),
    ('ab', False, ["a'", "b'"]),
    ('a', True, ["a'"]),
  ],
)
def test_rivals_are_told_apart_after_their_lessons(models, teaches, expected):
  ways = FakeWays()
  ways.teaches = teaches
  tried = [
    budget_search._Tried.of('', budget.Cut(), model, ways) for model in models
  ]
  made = budget_search._taught(tried, ways)
  assert [one.model for one in made] == expected


@rough
@pytest.mark.parametrize(('near', 'lessons'), [(0, 1), (np.inf, 2)])
def test_those_near_to_the_nearest_are_distilled(near, lessons, monkeypatch):
  monkeypatch.setattr(budget_search, '_NEAR', near)
  calls, kept = [], pruned_lib.taught
  monkeypatch.setattr(
    pruned_lib, 'taught', lambda *args: calls.append(1) or kept(*args)
  )
  model = wide()
  found = paoding.prune_to_budget(
    model,
    paoding.Budget(
      macs=paoding.report.count_macs(model) // 2, quantization=None
    ),
    method='saliency',
    verbose=0,
    distillation=paoding.training.DistillSettings(steps=20, samples=64),
  )
  assert len(calls) == lessons
  assert found.profile.macs <= paoding.report.count_macs(model) // 2


@rough
def test_prune_takes_a_budget():
  limit = len(paoding.convert_to_tflite(wide(), 'int8')) // 2
  budget = paoding.Budget(flash_bytes=limit)  # of an int8 file
  small = paoding.prune(wide(), method='l1', budget=budget, verbose=0)
  assert len(paoding.convert_to_tflite(small, 'int8')) <= limit
  for arguments in ({}, {'sparsity': 0.5, 'budget': budget}):
    with pytest.raises(ValueError, match='either `sparsity` or `budget`'):
      paoding.prune(wide(), **arguments)


def test_it_says_what_answers_were_compared_on(monkeypatch):
  monkeypatch.setattr(source, 'knows_leaves', lambda *_: True)
  model = hourglass()
  found = fitted(model, 'reconstruction', macs=paoding.report.count_macs(model))
  assert "drawn from the prior 'leaves', without data" in found.verdict.inputs


@rough
def test_same_seed_same_model():
  one, two = (
    fitted(wide(), flash_bytes=9000, method='stochastic') for _ in '12'
  )
  assert one.sparsity == two.sparsity
  for a, b in zip(
    one.model.get_weights(), two.model.get_weights(), strict=True
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('limits', 'message'),
  [
    ({}, 'needs a limit'),
    ({'flash_bytes': 0}, '`flash_bytes` must be positive'),
    ({'arena_bytes': -5}, '`arena_bytes` must be positive'),
    ({'macs': float('nan')}, '`macs` must be positive'),
    ({'latency_ratio': True}, '`latency_ratio` must be positive'),
    ({'flash_bytes': '64k'}, '`flash_bytes` must be positive'),
    ({'macs': 5, 'quantization': 'int2'}, '`quantization` must be None, .dyn'),
  ],
)
def test_nonsense_is_refused(limits, message):
  with pytest.raises(ValueError, match=message):
    paoding.Budget(**limits)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'step_sparsity': 0.0}, '`step_sparsity` must'),
    ({'distillation': 'yes'}, '`distillation` must'),
    ({'cost': 'time'}, 'cost'),
    ({'floor': -1}, 'floor'),
    ({'method': 'magic'}, 'magic'),
    ({'seed': -1}, '`seed` must'),
  ],
)
def test_bad_settings_are_told_before_any_work(monkeypatch, settings, message):
  monkeypatch.setattr(InputSource, 'samples', None)
  budget = paoding.Budget(flash_bytes=5000, quantization=None)
  with pytest.raises(ValueError, match=message):
    paoding.prune_to_budget(wide(), budget, verbose=0, **settings)


@pytest.mark.parametrize(
  ('limits', 'cost', 'wanted'),
  [
    ({'macs': 10**5}, None, 'macs'),
    ({'macs': 10**5}, 'parameters', 'parameters'),
    ({'macs': 10**5, 'flash_bytes': 9000}, None, 'parameters'),
    ({'flash_bytes': 9000}, None, 'parameters'),
  ],
)
def test_units_are_weighed_by_what_is_limited(
  monkeypatch, limits, cost, wanted
):
  asked = []

  def weighed(network, schedule, manner, source):
    asked.append(manner.allocation.cost)
    raise InterruptedError

  monkeypatch.setattr(to_budget, 'wrap', weighed)
  with pytest.raises(InterruptedError):
    fitted(hourglass(), cost=cost, **limits)
  assert asked == [wanted]


def test_cycles_are_told_by_multiply_accumulates():
  cycles = {'npu_cycles': 10**5, 'npu': 'ethos-u55-128'}
  assert paoding.Budget(**cycles).cost == 'macs'
  assert paoding.Budget(**cycles, flash_bytes=9000).cost == 'parameters'


def test_a_missing_extra_is_told_before_any_work(monkeypatch):
  monkeypatch.setattr(InputSource, 'samples', None)
  monkeypatch.setitem(sys.modules, 'tflite_micro', None)
  budget = paoding.Budget(arena_bytes=5000, quantization=None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[micro\]'):
    paoding.prune_to_budget(wide(), budget, verbose=0)


@rough
@pytest.mark.parametrize('given', [{}, {'step_sparsity': 0.2}])
def test_a_budget_is_searched_by_the_same_steps_whoever_is_asked(
  given, monkeypatch
):
  steps = []

  def kept(network, sparsity, manner, step, *rest):
    steps.append(step)
    return pruned_lib.pruned(network, sparsity, manner, step, *rest)

  monkeypatch.setattr(to_budget, 'pruned', kept)
  budget = paoding.Budget(macs=2500, quantization=None)
  for function, more in (
    (paoding.prune_to_budget, {'budget': budget}),
    (paoding.prune, {'budget': budget}),
  ):
    function(
      testing.mlp((32, 90, 5)),
      method='l1',
      input_range=(0.0, 1.0),
      distillation=False,
      verbose=0,
      **more,
      **given,
    )
  # 1 is of models that are only measured.
  assert set(steps) == {1.0, given.get('step_sparsity', 0.1)}


@rough
@pytest.mark.parametrize('multiple_of', [16, {'hidden_0': 16}])
def test_widths_in_multiples(multiple_of):
  model = wide()
  limit = bytes_at(model, 0.4)
  found = paoding.prune_to_budget(
    model,
    paoding.Budget(flash_bytes=limit, quantization=None),
    method='l1',
    verbose=0,
    multiple_of=multiple_of,
  )
  assert len(found.data) <= limit
  widths = [layer.units for layer in found.model.layers[:-1]]
  assert widths[0] % 16 == 0
  if multiple_of == 16:
    assert widths[1] % 16 == 0
  for width, size, sparsity in zip(
    widths, (90, 70), found.sparsity.values(), strict=True
  ):
    assert sparsity == pytest.approx(1 - width / size)


@rough
def test_one_fraction_is_met_at_the_stairs_nearest_to_it(monkeypatch):
  """A quarter less is too much, and 16 units have no stair but 8 below."""
  seen, kept = [], budget_search._in_earnest

  def in_earnest(fitter, found, ways):
    seen.append(dict(found)['uniform'].sparsity)
    return kept(fitter, found, ways)

  monkeypatch.setattr(budget_search, '_in_earnest', in_earnest)
  paoding.prune_to_budget(
    testing.mlp((32, 16, 32, 64, 5)),
    paoding.Budget(
      macs=32 * 16 + 16 * 24 + 24 * 40 + 40 * 5, quantization=None
    ),
    method='l1',
    verbose=0,
    multiple_of=8,
  )
  assert list(seen[0].values()) == [0, 0.25, 0.375]


def test_auto_is_what_the_device_works_in():
  flash, arena = paoding.Budget(flash_bytes=9), paoding.Budget(arena_bytes=9)
  assert flash.settled_multiple('auto') == 'xnnpack'
  assert arena.settled_multiple('auto') == 'cmsis-nn'
  assert arena.settled_multiple({'a': 'auto', 'b': 3}) == {
    'a': 'cmsis-nn',
    'b': 3,
  }
  assert arena.settled_multiple(7) == 7
  assert arena.settled_multiple(None) is None
