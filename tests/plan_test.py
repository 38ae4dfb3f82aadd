"""Plans: budgets, masks on both sides, functions that stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding import plan as lib
from tfmot_paoding.graph import build_graph, read_params
from tfmot_paoding.groups import find_groups
from tfmot_paoding.methods import get_method, method_names


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
  return lib.make_plan(
    graph,
    groups,
    weights if params is None else params,
    everyone if alive is None else alive,
    targets,
    get_method(method),
    testing.box(graph),
    np.random.default_rng(seed),
  )


MODELS = {
  'plain': testing.mlp((6, 10, 8, 3)),
  'no bias': testing.mlp((6, 10, 8, 3), use_bias=False),
  'batch norm before': testing.with_batch_norm(True),
  'batch norm after': testing.with_batch_norm(False, 'sigmoid'),
  'single unit': testing.mlp((6, 1, 8, 3)),
}


@pytest.mark.parametrize('method', method_names())
@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('sparsity', [0.0, 0.3, 0.99])
def test_every_method_meets_its_budget(method, name, sparsity):
  _, groups, _, _ = setting(MODELS[name])
  plan = planned(MODELS[name], method, sparsity)
  for group in groups:
    wanted = lib.units_to_remove(group.size, sparsity)
    removals = plan.removed.get(group.name, ())
    assert len(removals) == wanted
    assert len({unit for unit, _ in removals}) == wanted
  assert all(np.all(np.isfinite(v)) for v in plan.params.values())


@pytest.mark.parametrize('method', method_names())
@pytest.mark.parametrize('name', MODELS)
def test_removed_units_are_zero_on_both_sides(method, name):
  _, groups, params, _ = setting(MODELS[name])
  plan = planned(MODELS[name], method, 0.5)
  for group in groups:
    gone = [unit for unit, _ in plan.removed.get(group.name, ())]
    producer = group.producers[0].node.op
    assert not plan.params[producer.kernel][:, gone].any()
    if producer.bias:
      assert not plan.params[producer.bias][gone].any()
    for member in group.carriers:
      assert not plan.params[member.node.op.gamma][gone].any()
      assert not plan.params[member.node.op.beta][gone].any()
      np.testing.assert_array_equal(
        plan.params[member.node.op.variance], params[member.node.op.variance]
      )
    for member in group.consumers:
      assert not plan.params[member.node.op.kernel][gone].any()


@pytest.mark.parametrize('method', method_names())
def test_the_input_arrays_are_not_changed(method):
  _, _, params, alive = setting(MODELS['plain'])
  before = {ref: value.copy() for ref, value in params.items()}
  planned(MODELS['plain'], method, 0.5, alive=alive, params=params)
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


def test_masks_are_ones_but_for_removed_units():
  _, groups, params, alive = setting(testing.mlp((5, 4, 3, 2)))
  alive[groups[0].name][1] = False
  alive[groups[1].name][2] = False
  masks = lib.unit_masks(groups, alive, params)
  kernel = masks[groups[1].producers[0].node.op.kernel]
  wanted = np.ones((4, 3))
  wanted[1] = 0
  wanted[:, 2] = 0
  np.testing.assert_array_equal(kernel, wanted)
  for group in groups:
    np.testing.assert_array_equal(
      lib.alive_units(group, masks), alive[group.name]
    )


def test_a_later_plan_goes_on_from_an_earlier_one():
  model = MODELS['plain']
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
