"""No argument is accepted and dropped, and none fails raw."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.inputs import recall_inputs
from tfmot_paoding.training import distill

_ALIKE = {
  'method': ['x', 3, None],
  'input_range': ['x', (1, 0), {'x': (0, 1)}],
  'seed': ['x', -1, 1.5, True, None],
  'cost': ['x', None],
  'floor': ['x', -1, None, True],
}
_OF_RUNS = {
  'verbose': ['x', 2, None],
  'data': ['x', 3, np.zeros((3, 4)), np.zeros(5), {}],
  'prior': ['x', 3, {}],
}
_OF_PRUNE = {
  **_ALIKE,
  **_OF_RUNS,
  'cost': ['x'],
  'step_sparsity': ['x', 0, 2, True],
  'distillation': ['x', 3, 0],
  'input_shape': ['x', 3],
}


def each(choices):
  """Pairs of a name and one bad value."""
  return [(name, bad) for name, some in choices.items() for bad in some]


def refused(function, name, **arguments):
  """Asserts that a call is refused, by the name of the argument."""
  with pytest.raises((TypeError, ValueError), match=f'`{name}'):
    function(**arguments)


@pytest.mark.parametrize(
  ('name', 'bad'),
  [
    *each(_OF_PRUNE),
    *each({'sparsity': ['x', 2, True], 'scope': ['x', None]}),
    ('cost', 'macs'),  # of a global scope alone
    ('floor', 0.2),
  ],
)
def test_prune_refuses(name, bad):
  settings = {'sparsity': 0.3, 'method': 'saliency', 'verbose': 0, name: bad}
  settings.setdefault('input_range', (-1.0, 1.0))
  refused(paoding.prune, name, model=testing.mlp(), **settings)


@pytest.mark.parametrize(
  ('name', 'bad'),
  [
    *each({**_OF_PRUNE, 'budget': ['x', 3]}),
    ('scope', 'nonsense'),
    ('scope', 'global'),  # a budget spreads the cut by itself
  ],
)
def test_budgets_refuse(name, bad):
  function = paoding.prune if name == 'scope' else paoding.prune_to_budget
  settings = {
    'budget': paoding.Budget(macs=10**6, quantization=None),
    'method': 'saliency',
    'input_range': (-1.0, 1.0),
    'verbose': 0,
    name: bad,
  }
  refused(function, name, model=testing.mlp(), **settings)


@pytest.mark.parametrize(
  ('name', 'bad'),
  each(
    {
      **_ALIKE,
      'pruning_schedule': ['x', 0.5],
      'pruning_policy': ['x'],
      'scope': ['x', None],
    }
  ),
)
def test_wrapping_refuses(name, bad):
  settings = {'input_range': (-1.0, 1.0), name: bad}
  refused(paoding.prune_low_saliency, name, to_prune=testing.mlp(), **settings)


@pytest.mark.parametrize('empty', [{}])
def test_dicts_that_name_no_layer_are_refused(empty):
  with pytest.raises(ValueError, match='must name a layer'):
    paoding.prune(testing.mlp(), empty, verbose=0)
  with pytest.raises(ValueError, match='must name a layer'):
    paoding.prune_low_saliency(testing.mlp(), empty)


@pytest.mark.parametrize('method', ['saliency', 'reconstruction'])
def test_runs_refuse(method):
  wrapped = paoding.prune_low_saliency(
    testing.mlp(),
    paoding.ProgressiveSparsity(0.3, 0.3, begin_step=2),
    method,
    input_range=(-1.0, 1.0),
  )
  for name, bad in each({**_OF_RUNS, 'end_step': ['x', -1, 1.5, 1]}):
    settings = {'wrapped': wrapped, 'verbose': 0, name: bad}
    refused(paoding.run_schedule, name, **settings)


@pytest.mark.parametrize(
  ('function', 'name', 'bad'),
  [
    (paoding.ProgressiveSparsity, 'step_sparsity', 'x'),
    (paoding.ProgressiveSparsity, 'begin_step', 1.5),
    (paoding.ProgressiveSparsity, 'frequency', 0),
    (recall_inputs, 'settings', 'x'),
    (recall_inputs, 'seed', 'x'),
    (paoding.deviation_bound, 'epsilon', 0.1),  # of samples alone
    (distill, 'settings', 'x'),
    (distill, 'seed', 'x'),
  ],
)
def test_so_do_others(function, name, bad):
  model = testing.mlp()
  settings = {
    paoding.ProgressiveSparsity: {'final_sparsity': 0.5},
    recall_inputs: {'model': model, 'count': 2},
    paoding.deviation_bound: {'original': model, 'pruned': model},
    distill: {'pruned': model, 'original': model, 'verbose': 0},
  }[function]
  refused(function, name, **settings, **{name: bad})


def test_a_prior_beside_data_is_told_of():
  x = testing.samples((5,)).astype(np.float32)
  settings = {'input_range': (-1.0, 1.0), 'verbose': 0, 'data': x}
  with pytest.warns(UserWarning, match='`prior` has no effect'):
    paoding.prune(
      testing.mlp(), 0.3, method='saliency', prior='smooth', **settings
    )


def test_data_for_a_method_that_does_not_fit_is_told_of():
  wrapped = paoding.prune_low_saliency(testing.mlp(), method='saliency')
  wrapped.compile('sgd', 'mse')
  callback = paoding.UpdatePruningStep(prior='smooth')
  x, y = np.ones((8, 5), np.float32), np.ones((8, 3), np.float32)
  with pytest.warns(UserWarning, match='`prior` has no effect'):
    wrapped.fit(x, y, verbose=0, callbacks=[callback])
