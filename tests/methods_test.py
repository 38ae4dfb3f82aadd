"""Methods: names, combinations, configs, a user's own parts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import methods as lib
from tfmot_paoding.criteria import criteria


def test_named_methods_are_the_papers_combinations():
  assert lib.method_names() == ['impact', 'l1', 'saliency', 'stochastic']
  assert lib.get_method('l1') == lib.Method('norm', 'greedy', 'none')
  assert lib.get_method('saliency') == lib.Method()
  assert lib.get_method('stochastic').selection == paoding.Annealing()


@pytest.mark.parametrize('name', lib.method_names())
def test_configs_make_a_round_trip(name):
  method = lib.get_method(name)
  config = json.loads(json.dumps(method.get_config()))
  assert lib.get_method(config) == method


def test_parts_may_be_objects():
  method = lib.Method(paoding.IntervalImpact(beta=0.5), 'annealing', 'none')
  assert lib.get_method(method) is method
  assert method.criterion.beta == 0.5


@pytest.mark.parametrize('bad', ['magic', None, 3, ['l1']])
def test_unknown_methods_list_the_known(bad):
  with pytest.raises(ValueError, match='impact, l1, saliency, stochastic'):
    lib.get_method(bad)


def test_unknown_parts_list_the_known():
  with pytest.raises(ValueError, match='Unknown criterion.*impact, norm'):
    lib.Method('magic')


def test_a_users_own_criterion_prunes():
  @criteria.register('test_weakest')
  @dataclasses.dataclass(frozen=True)
  class Weakest(paoding.Criterion):
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
