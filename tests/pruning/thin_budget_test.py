"""Budgets that are met by thinner layers, alone or behind fewer units."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tests.pruning.budget_test import bytes_at, fitted, hourglass, wide
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning import budget_search
from tfmot_paoding.pruning.budget import Cut
from tfmot_paoding.pruning.thinning import Thinner

_layers = keras.layers


pytestmark = pytest.mark.usefixtures('roughly')


def slim():
  """A network whose layers are of low rank by themselves."""
  model = testing.mlp((32, 60, 50, 5))
  rng = np.random.default_rng(1)
  for layer in model.layers[:2]:
    rows, columns = layer.kernel.shape
    kernel = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, columns))
    layer.kernel.assign(kernel / np.sqrt(3 * rows))
  return model


def thinner_of(model, **settings):
  network = Network.of(model)
  source = InputSource.of(network, (-1.0, 1.0)).settled(network)

  def prune(sparsity):
    return paoding.prune(
      model, sparsity, method='l1', input_range=(-1.0, 1.0), verbose=0
    )

  settings = {'cost': 'parameters', 'multiple_of': None, **settings}
  return Thinner(network, prune, source, **settings)


def test_where_layers_are_of_low_rank_ranks_go_and_no_units():
  model = slim()
  limit = bytes_at(model, 0.5)
  found = fitted(model, flash_bytes=limit, low_rank=True)
  assert found.spread == 'low_rank'
  assert found.profile.bytes == len(found.data) <= limit
  assert set(found.ranks) == {'hidden_0', 'hidden_1'}
  assert not any(found.sparsity.values())
  for name, rank in found.ranks.items():
    assert found.model.get_layer(f'{name}_low_rank').units == rank
    assert found.model.get_layer(name).units == model.get_layer(name).units
  assert found.verdict.distance < 0.01


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_the_nearest_of_all_ways_is_taken(monkeypatch):
  ends, tried = [], []
  real = budget_search._in_earnest

  def noted(fitter, found, ways):
    ends.append(found)
    for spread, cut in found:
      tried.append((ways.gap(ways.earnest(cut)), spread))
    return real(fitter, found, ways)

  monkeypatch.setattr(budget_search, '_in_earnest', noted)
  model = wide()
  limit = bytes_at(model, 0.5)
  found = fitted(model, flash_bytes=limit, low_rank=True)
  spreads, cuts = zip(*ends[0], strict=True)
  assert spreads == ('uniform', 'global', 'low_rank', 'both', 'both')
  assert found.spread == min(tried)[1]
  alone = np.array(list(cuts[1].sparsity.values()))
  for both, part in zip(cuts[3:], (0.5, 0.75), strict=True):
    assert 0 < both.saved < 1
    np.testing.assert_allclose(list(both.sparsity.values()), part * alone)


@pytest.mark.skipif(
  importlib.util.find_spec('tflite_micro') is None,
  reason='tflite-micro is not installed',
)
@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_what_chains_take_of_an_arena_counts():
  model = hourglass()
  data = paoding.convert_to_tflite(model)
  whole = paoding.profile_tflite(data, latency=False)
  limits = {
    'arena_bytes': int(0.8 * whole.arena_bytes),
    'flash_bytes': whole.bytes // 2,
  }
  found = fitted(model, low_rank=True, **limits)
  assert found.profile.arena_bytes <= limits['arena_bytes']
  assert found.profile.bytes <= limits['flash_bytes']
  # Chains alone take no less memory.
  assert found.spread != 'low_rank'


def test_quick_models_are_as_large_as_those_in_earnest():
  model = hourglass()
  for cut in (Cut({}, 0.4), Cut({'third': 0.5, 'second': 0.25}, 0.3)):
    thinner = thinner_of(model)
    sizes = [
      [weight.shape for weight in made(cut).weights]
      for made in (thinner.quick, thinner.earnest)
    ]
    assert sizes[0] == sizes[1]
    assert thinner.ranks(cut)


def test_ranks_end_at_the_multiples_of_widths():
  ranks = thinner_of(wide(), multiple_of=4).ranks(Cut({}, 0.5))
  assert ranks
  assert all(rank % 4 == 0 for rank in ranks.values())


def test_more_than_can_be_saved_is_the_most():
  thinner = thinner_of(wide())
  assert set(thinner.ranks(Cut({}, 0.99)).values()) == {1}


def test_without_a_layer_for_it_that_is_told():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 4)),
        _layers.LSTM(16, name='lstm'),
        _layers.Dense(3, name='last'),
      ]
    )
  )
  limit = paoding.report.count_macs(model) // 2
  with pytest.warns(UserWarning, match='`low_rank` has no effect'):
    found = fitted(model, macs=limit, low_rank=True)
  assert not found.ranks


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match='`low_rank` must be True or False'):
    fitted(wide(), macs=100, low_rank='x')
