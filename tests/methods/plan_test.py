"""Plans: budgets, masks on both sides, functions that stay what they were."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding.methods import plan as lib
from tfmot_paoding.methods.compensation import compensations
from tfmot_paoding.methods.criteria import criteria
from tfmot_paoding.methods.named import Method, get_method, method_names
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.selection import selections
from tfmot_paoding.methods.unit_masks import alive_units, unit_masks
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups


@given(size=st.integers(1, 5000), percent=st.integers(0, 99))
def test_never_more_than_asked_and_never_all(size, percent):
  removed = lib.units_to_remove(size, percent / 100)
  assert removed == size * percent // 100
  assert removed < size


def setting(model):
  graph = build_graph(model)
  groups = find_groups(graph).groups
  alive = {group.name: np.ones(group.size, bool) for group in groups}
  return graph, groups, read_params(graph), alive


def planned(model, method, sparsity, seed=0, alive=None, params=None):
  graph, groups, weights, everyone = setting(model)
  targets = {g.name: lib.units_to_remove(g.size, sparsity) for g in groups}
  params, boxes = params or weights, testing.box(graph)
  fitting = None
  if get_method(method).needs_samples:
    fitting = testing.fitting(model, graph, params, boxes)
  return lib.make_plan(
    NetworkView(graph, params, boxes, fitting=fitting),
    groups,
    everyone if alive is None else alive,
    targets,
    get_method(method),
    np.random.default_rng(seed),
  )


MODELS = {
  'plain': lambda: testing.mlp((6, 10, 8, 3)),
  'no bias': lambda: testing.mlp((6, 10, 8, 3), use_bias=False),
  'batch norm before': lambda: testing.with_batch_norm(True),
  'batch norm after': lambda: testing.with_batch_norm(False, 'sigmoid'),
  'single unit': lambda: testing.mlp((6, 1, 8, 3)),
}


@functools.cache
def made(name):
  """Nobody changes it."""
  return MODELS[name]()


@pytest.mark.parametrize('method', method_names())
@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('sparsity', [0.0, 0.3, 0.99])
def test_every_method_meets_its_budget(method, name, sparsity):
  _, groups, _, _ = setting(made(name))
  plan = planned(made(name), method, sparsity)
  for group in groups:
    wanted = lib.units_to_remove(group.size, sparsity)
    removals = plan.removed.get(group.name, ())
    assert len(removals) == wanted
    assert len({unit for unit, _ in removals}) == wanted
  assert all(np.all(np.isfinite(v)) for v in plan.params.values())


@pytest.mark.parametrize('method', method_names())
@pytest.mark.parametrize('name', MODELS)
def test_removed_units_are_zero_on_both_sides(method, name):
  _, groups, params, _ = setting(made(name))
  plan = planned(made(name), method, 0.5)
  for group in groups:
    gone = [unit for unit, _ in plan.removed.get(group.name, ())]
    producer = group.producers[0].node.op
    assert not plan.params[producer.kernel][:, gone].any()
    if producer.bias:
      assert not plan.params[producer.bias][gone].any()
    for member in group.carriers:
      assert not plan.params[member.node.op.gamma][gone].any()
      assert not plan.params[member.node.op.beta][gone].any()
      if not get_method(method).moves_units:  # else statistics follow
        np.testing.assert_array_equal(
          plan.params[member.node.op.variance], params[member.node.op.variance]
        )
    for member in group.consumers:
      assert not plan.params[member.node.op.kernel][gone].any()


@pytest.mark.parametrize('method', method_names())
def test_the_input_arrays_are_not_changed(method):
  _, _, params, alive = setting(made('plain'))
  before = {ref: value.copy() for ref, value in params.items()}
  planned(made('plain'), method, 0.5, alive=alive, params=params)
  for ref, value in params.items():
    np.testing.assert_array_equal(value, before[ref])
  assert all(units.all() for units in alive.values())


@pytest.mark.parametrize('method', ['saliency', 'impact', 'stochastic'])
def test_merging_duplicates_leaves_the_function(method):
  model = testing.mlp((6, 10, 8, 3), 'tanh')
  for layer in model.layers[:-1]:
    kernel, bias = layer.get_weights()
    kernel[:, 1::2] = kernel[:, ::2]
    bias[1::2] = bias[::2]
    layer.set_weights([kernel, bias])
  graph, _, params, _ = setting(model)
  plan = planned(model, method, 0.5)
  x = testing.samples((6,))
  np.testing.assert_allclose(
    testing.forward(graph, plan.params, x)[graph.outputs[0]],
    testing.forward(graph, params, x)[graph.outputs[0]],
    rtol=1e-7,
    atol=1e-9,
  )


@pytest.mark.parametrize('first', ['l1', 'fold', 'merge'])
def test_the_alternative_that_changes_least_is_kept(first):
  """Group by group, by what the network answers on the samples."""
  options = {
    'l1': Method('norm', 'greedy', 'none'),
    'fold': Method('ward', 'greedy', 'fold'),
    'merge': Method('saliency', 'greedy', 'merge'),
  }
  model = testing.mlp((6, 12, 3), 'tanh', seed=3)
  graph, _, params, _ = setting(model)
  judge = testing.fitting(model, graph, params, testing.box(graph))
  changes = {
    name: judge.change(planned(model, method, 0.5).params)
    for name, method in options.items()
  }
  assert len(set(changes.values())) == 3
  others = tuple(m for name, m in options.items() if name != first)
  plan = planned(
    model, dataclasses.replace(options[first], alternatives=others), 0.5
  )
  assert judge.change(plan.params) == min(changes.values())
  assert judge.change(params) == 0


def test_masks_are_ones_but_for_removed_units():
  _, groups, params, alive = setting(testing.mlp((5, 4, 3, 2)))
  alive[groups[0].name][1] = False
  alive[groups[1].name][2] = False
  masks = unit_masks(groups, alive, params)
  kernel = masks[groups[1].producers[0].node.op.kernel]
  wanted = np.ones((4, 3))
  wanted[1] = 0
  wanted[:, 2] = 0
  np.testing.assert_array_equal(kernel, wanted)
  for group in groups:
    np.testing.assert_array_equal(alive_units(group, masks), alive[group.name])


def test_a_later_plan_goes_on_from_an_earlier_one():
  model = made('plain')
  _, groups, _, alive = setting(model)
  first = planned(model, 'saliency', 0.3)
  for group in groups:
    for unit, _ in first.removed[group.name]:
      alive[group.name][unit] = False
  second = planned(model, 'saliency', 0.5, alive=alive, params=first.params)
  for group in groups:
    early = {unit for unit, _ in first.removed[group.name]}
    late = {unit for unit, _ in second.removed[group.name]}
    assert not early & late
    assert len(early | late) == lib.units_to_remove(group.size, 0.5)


def test_a_float32_sparsity_takes_what_it_stands_for():
  assert lib.units_to_remove(100, float(np.float32(0.7))) == 70
  assert lib.units_to_remove(1000, float(np.float32(0.7))) == 700


@given(size=st.integers(1, 5000), percent=st.integers(0, 99))
def test_a_schedules_float32_asks_for_the_same(size, percent):
  # .7 is .69999999 in a schedule's float32: still 70 of 100 units.
  wanted = size * percent // 100
  exact = np.float32(percent / 100)
  for sparsity in (exact, np.nextafter(exact, np.float32(0))):
    assert lib.units_to_remove(size, max(float(sparsity), 0.0)) == wanted


@pytest.mark.parametrize('size', [1, 2, 1000, 10**8])
def test_one_unit_stays_whatever_is_asked(size):
  assert lib.units_to_remove(size, np.nextafter(1.0, 0.0)) == size - 1


PARTS = {
  f'{criterion}, {selection}, {compensation}': Method(
    criterion, selection, compensation
  )
  for criterion in criteria.names_alone()
  for selection in selections.names()
  for compensation in compensations.names()
}


def spoilt(kind):
  """A network in which many units are alike or lead nowhere."""
  model = testing.mlp((6, 10, 8, 3), 'relu')
  for layer in model.layers[:-1]:
    kernel, bias = layer.get_weights()
    if kind == 'all alike':
      kernel[:] = kernel[:, :1]
      bias[:] = bias[0]
    if kind == 'dead':
      kernel[:, ::2] = 0
      bias[::2] = 0
    if kind == 'no biases':
      bias[:] = 0
    layer.set_weights([kernel, bias])
  if kind == 'unread':
    kernel, bias = model.layers[1].get_weights()
    model.layers[1].set_weights([np.zeros_like(kernel), bias])
  return model


SPOILT = {
  kind: spoilt(kind) for kind in ('all alike', 'dead', 'no biases', 'unread')
}


@pytest.mark.parametrize(('parts', 'kind'), testing.paired(PARTS, SPOILT))
def test_every_combination_copes_with_odd_networks(parts, kind):
  _, groups, _, _ = setting(SPOILT[kind])
  plans = [planned(SPOILT[kind], PARTS[parts], 0.7, seed=3) for _ in range(2)]
  assert plans[0].removed == plans[1].removed
  for group in groups:
    removals = plans[0].removed[group.name]
    gone = [unit for unit, _ in removals]
    assert len(gone) == len(set(gone)) == lib.units_to_remove(group.size, 0.7)
    for k, (unit, absorber) in enumerate(removals):
      assert absorber not in gone[: k + 1], unit
  assert all(np.all(np.isfinite(v)) for v in plans[0].params.values())
