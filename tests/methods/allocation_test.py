"""Global budgets: by scores, and by the errors that fits leave."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.methods.allocation import Allocation, allocate
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups


def setting(model):
  graph = build_graph(model)
  params, boxes = read_params(graph), testing.box(graph)
  groups = find_groups(graph).groups
  alive = {group.name: np.ones(group.size, bool) for group in groups}
  fits = testing.fitting(model, graph, params, boxes)
  return graph, groups, params, alive, boxes, fits


def allocated(model, sparsity, fitted=True, **settings):
  graph, groups, params, alive, boxes, fits = setting(model)
  found = allocate(
    Allocation('global', **settings),
    sparsity,
    NetworkView(graph, params, boxes, fitting=fits if fitted else None),
    groups,
    alive,
  )
  return {name[-1]: count for name, count in found.items()}


@pytest.mark.parametrize('fitted', [True, False])
@pytest.mark.parametrize('sparsity', [0.1, 0.37, 0.6])
def test_it_sums_to_the_fraction(sparsity, fitted):
  found = allocated(testing.mlp((5, 12, 9, 3)), sparsity, fitted)
  assert sum(found.values()) == int(21 * sparsity)


def test_copies_go_first_where_fits_see_them():
  """Half of a layer is a mixture of the rest: exact to leave out."""
  model = testing.mlp((5, 8, 8, 3), 'linear')
  kernel, bias = model.get_layer('hidden_1').get_weights()
  mix = np.random.default_rng(0).normal(size=(4, 4))
  kernel[:, 4:], bias[4:] = kernel[:, :4] @ mix, bias[:4] @ mix
  model.get_layer('hidden_1').set_weights([kernel, bias])
  found = allocated(model, 0.25)
  assert found['hidden_1'] == 4
  assert found['hidden_0'] == 0


def test_a_dearer_saving_buys_more_error():
  """Twice the parameters a unit: the wide side gives more for the same."""
  model = testing.mlp((5, 10, 10, 3))
  wide = testing.mlp((200, 10, 10, 3))
  assert allocated(wide, 0.4)['hidden_0'] >= allocated(model, 0.4)['hidden_0']
  assert allocated(wide, 0.4)['hidden_0'] > allocated(wide, 0.4)['hidden_1']


def test_floors_hold_with_fits():
  found = allocated(testing.mlp((5, 12, 9, 3)), 0.6, floor=0.5)
  assert found['hidden_0'] <= 6
  assert found['hidden_1'] <= 4


def test_the_whole_way_with_reconstruction():
  model = testing.mlp((6, 16, 12, 3))
  pruned = paoding.prune(
    model,
    0.5,
    method='reconstruction',
    input_range=(-1.0, 1.0),
    scope='global',
    verbose=0,
    distillation=False,
  )
  widths = [layer.units for layer in pruned.layers[:-1]]
  assert sum(widths) == 14
  x = testing.samples((6,), 20).astype(np.float32)
  assert np.all(np.isfinite(pruned(x)))
