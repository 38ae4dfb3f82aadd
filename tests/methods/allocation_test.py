"""Global budgets: by scores, and by the errors that fits leave."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.methods import allocation
from tfmot_paoding.methods.allocation import Allocation, allocate, losses
from tfmot_paoding.methods.answer_curves import answer_curve
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.wrapped import Wrapped


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
  model = testing.mlp((8, 8, 8, 3), 'linear')
  kernel, bias = model.get_layer('hidden_1').get_weights()
  mix = np.random.default_rng(0).normal(size=(4, 4))
  kernel[:, 4:], bias[4:] = kernel[:, :4] @ mix, bias[:4] @ mix
  model.get_layer('hidden_1').set_weights([kernel, bias])
  found = allocated(model, 0.25)
  assert found['hidden_1'] == 4
  assert found['hidden_0'] == 0


def test_a_dearer_saving_buys_more_error(monkeypatch):
  """Twice the parameters a unit: the wide side gives more for the same."""
  monkeypatch.setattr(
    allocation, 'answer_curve', lambda *given: np.arange(given[-1] + 1) ** 2.0
  )
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


def test_what_cannot_be_measured_is_spread_by_weights(monkeypatch):
  model = testing.mlp((5, 12, 9, 3))
  monkeypatch.setattr(NetworkView, 'unseen', lambda *_: 'nothing is seen')
  with pytest.warns(UserWarning, match="'hidden_0' is .*: nothing is seen"):
    found = allocated(model, 0.4)
  assert found == allocated(model, 0.4, fitted=False)


@pytest.mark.parametrize('fitted', [True, False])
def test_losses_of_single_groups_ascend_to_the_floor(fitted):
  graph, groups, params, alive, boxes, fits = setting(
    testing.mlp((5, 12, 9, 3))
  )
  found = losses(
    Allocation('global', floor=0.5),
    NetworkView(graph, params, boxes, fitting=fits if fitted else None),
    groups,
    alive,
  )
  assert [len(curve) for curve in found.values()] == [7, 5]
  for curve in found.values():
    assert np.all(np.diff(curve) >= 0)
    assert np.all(np.diff(curve, 2) >= -1e-12)
    assert curve[-1] > curve[0]


def test_a_driver_adds_the_losses_of_its_groups():
  model = testing.mlp((5, 12, 9, 3))
  wrapped = paoding.prune_low_saliency(
    model, input_range=(-1, 1), scope='global', floor=0.2
  )
  driver = Driver(Wrapped.of(wrapped))
  first, second = (
    driver.loss({name: 0.5}) for name in ('hidden_0', 'hidden_1')
  )
  assert driver.loss({}) == 0
  assert 0 < first < driver.loss({'hidden_0': 0.75})
  both = driver.loss({'hidden_0': 0.5, 'hidden_1': 0.5})
  assert both == pytest.approx(first + second)
  assert driver.loss({'hidden_1': 0.95}) == np.inf


def test_a_dead_end_goes_before_what_the_answers_hang_on():
  """Its consumer loses the same share, but the outputs do not read it."""
  inputs = keras.Input((6,))
  left, right = (
    keras.layers.Dense(10, 'relu', name=name)(inputs)
    for name in ('left', 'right')
  )
  left, right = (
    keras.layers.Dense(10, 'relu', name=name)(x)
    for name, x in (('left_2', left), ('right_2', right))
  )
  outputs = keras.layers.Dense(4)(keras.layers.Concatenate()([left, right]))
  model = testing.fill(keras.Model(inputs, outputs))
  kernel, bias = model.layers[-1].get_weights()
  kernel[10:] *= 1e-3
  model.layers[-1].set_weights([kernel, bias])
  found = allocated(model, 0.3)
  assert sum(found.values()) == 12
  assert found['right'] + found['right_2'] >= 10


def test_curves_are_measured_once_for_many_fractions(monkeypatch):
  model = testing.mlp((6, 16, 12, 3))
  wrapped = paoding.prune_low_saliency(
    model, input_range=(-1, 1), scope='global'
  )
  driver, asked = Driver(Wrapped.of(wrapped)), []
  monkeypatch.setattr(
    allocation,
    'answer_curve',
    lambda *given: asked.append(given[1].name) or answer_curve(*given),
  )
  first, second = (driver.allocated(part) for part in (0.2, 0.5))
  assert len(asked) == 2
  assert sum(first.values()) < sum(second.values())


def test_a_spread_is_told_on_inputs_like_those_of_the_fits(monkeypatch):
  drawn = []

  def anew(source, network, count):
    drawn.append((source.prior, count))
    return source.samples(network, count)

  monkeypatch.setattr(InputSource, 'anew', anew)
  for scope in ('local', 'global'):
    paoding.prune(
      testing.mlp((6, 16, 12, 3)),
      0.5,
      prior='smooth',
      input_range=(-1.0, 1.0),
      scope=scope,
      verbose=0,
      distillation=False,
    )
  assert drawn == [('smooth', 512)]
