"""Methods: names, combinations, configs, a user's own parts."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.methods import named as lib
from tfmot_paoding.methods.compensation import compensations
from tfmot_paoding.methods.criteria import criteria
from tfmot_paoding.methods.selection import selections


def test_named_methods_are_the_papers_combinations():
  assert set(lib.method_names()) >= {
    'folding',
    'impact',
    'l1',
    'lbyl',
    'neuron_merging',
    'reconstruction',
    'saliency',
    'stability',
    'stochastic',
  }
  assert lib.get_method('l1') == lib.Method('norm', 'greedy', 'none')
  assert lib.get_method('saliency') == lib.Method()
  assert lib.get_method('stochastic').selection == paoding.methods.Annealing()


@pytest.mark.parametrize('name', lib.method_names())
def test_configs_make_a_round_trip(name):
  method = lib.get_method(name)
  config = json.loads(json.dumps(method.get_config()))
  assert lib.get_method(config) == method


def test_alternatives_ask_for_samples_to_judge_on():
  plain = lib.Method('norm', 'greedy', 'none')
  judged = lib.Method('norm', 'greedy', 'none', alternatives=(lib.Method(),))
  assert not plain.needs_samples
  assert judged.needs_samples
  assert lib.get_method(judged.get_config()) == judged


def test_parts_may_be_objects():
  method = lib.Method(
    paoding.methods.IntervalImpact(beta=0.5), 'annealing', 'none'
  )
  assert lib.get_method(method) is method
  assert method.criterion.beta == 0.5


@pytest.mark.parametrize('bad', ['magic', None, 3, ['l1']])
def test_unknown_methods_list_the_known(bad):
  with pytest.raises(ValueError, match=', '.join(lib.method_names())):
    lib.get_method(bad)


def test_unknown_parts_list_the_known():
  with pytest.raises(
    ValueError, match='Unknown criterion.*' + ', '.join(criteria.names())
  ):
    lib.Method('magic')


def test_a_users_own_criterion_prunes():
  @criteria.register('test_weakest')
  @dataclasses.dataclass(frozen=True)
  class Weakest(paoding.methods.Criterion):
    def scores(self, view, units):
      return np.abs(view.outgoing[units]).sum(1)

  try:
    paoding.register_method('test_weakest', lib.Method('test_weakest'))
    model = testing.mlp((5, 8, 3))
    weights = np.abs(model.layers[1].get_weights()[0]).sum(1)
    small = paoding.prune(
      model,
      0.25,
      method=lib.Method('test_weakest', 'greedy', 'none'),
      step_sparsity=1.0,
      verbose=0,
    )
    kept = np.sort(np.argsort(weights)[2:])
    np.testing.assert_array_equal(
      small.layers[1].get_weights()[0], model.layers[1].get_weights()[0][kept]
    )
    with pytest.raises(ValueError, match='is taken'):
      paoding.register_method('test_weakest', lib.Method('norm'))
  finally:
    del criteria._classes['test_weakest']
    del lib._NAMED['test_weakest']


def test_a_users_own_selection_and_compensation_prune():
  @paoding.register_selection('test_last')
  @dataclasses.dataclass(frozen=True)
  class Last(paoding.methods.Selection):
    def propose(self, view, criterion, budget, rng):
      for unit in range(view.size - 1, view.size - 1 - budget, -1):
        yield unit, 0

  @paoding.register_compensation('test_double')
  @dataclasses.dataclass(frozen=True)
  class Double(paoding.methods.Compensation):
    times: float = 2.0

    def absorb(self, view, removed, kept):
      for _ in range(int(self.times)):
        view.absorb(removed, kept)
      return kept

  try:
    method = lib.Method('norm', 'test_last', Double(3.0))
    config = json.loads(json.dumps(method.get_config()))
    assert lib.get_method(config) == method
    model = testing.mlp((5, 8, 3))
    kernel = model.layers[1].get_weights()[0]
    small = paoding.prune(
      model, 0.25, method=method, step_sparsity=1.0, verbose=0
    )
    wanted = kernel[:6].copy()
    wanted[0] += 3 * (kernel[6] + kernel[7])
    np.testing.assert_allclose(
      small.layers[1].get_weights()[0], wanted, rtol=1e-6
    )
  finally:
    del selections._classes['test_last']
    del compensations._classes['test_double']


@pytest.mark.parametrize(
  'function',
  [
    paoding.prune,
    paoding.prune_low_saliency,
    paoding.prune_to_budget,
    paoding.PruneLowSaliency,
  ],
)
def test_the_default_is_the_same_everywhere(function):
  default = inspect.signature(function).parameters['method'].default
  assert default == lib.DEFAULT_METHOD == 'reconstruction'
