"""Walks with bounds: sound by sampling, tight where it can be computed."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.bounds import whole_range
from tfmot_paoding.bounds.joint_difference import difference_of_entries
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import MatMul, WeightRef


def models():
  for name in testing.TAME:
    yield testing.mlp((5, 7, 6, 3), name, seed=3)
  yield testing.mlp((5, 7, 3), 'exponential', seed=3)
  yield testing.with_batch_norm(True, 'relu')
  yield testing.with_batch_norm(False, 'gelu')
  yield testing.mlp((5, 7, 6, 3), 'relu', use_bias=False)
  yield testing.mlp((5, 7, 6, 3), 'tanh', activation='softmax')
  sequence = keras.Sequential(
    [
      keras.Input((4, 3)),
      keras.layers.Dense(5, 'relu'),
      keras.layers.BatchNormalization(),
      keras.layers.Flatten(),
      keras.layers.Dense(3, 'softmax'),
    ]
  )
  yield testing.fill(sequence)
  # A consumer that reads its units at several positions.
  stepwise = keras.Sequential(
    [
      keras.Input((4, 3)),
      keras.layers.Dense(5, 'gelu'),
      keras.layers.BatchNormalization(),
      keras.layers.Dense(6, 'relu'),
      keras.layers.Dense(2),
    ]
  )
  yield testing.fill(stepwise)


MODELS = list(models())


def setting(model, low=-1.0, high=1.0):
  graph = build_graph(model)
  params = read_params(graph)
  return graph, params, testing.box(graph, low, high)


@pytest.mark.parametrize('model', MODELS)
def test_every_value_stays_in_its_bounds(model):
  graph, params, boxes = setting(model)
  found = whole_range.propagate(graph, params, boxes)
  x = testing.samples(model.input_shape[1:])
  for value, seen in testing.forward(graph, params, x).items():
    testing.assert_inside(seen, found[value])


@pytest.mark.parametrize('model', MODELS)
def test_a_degenerate_box_is_the_forward_pass(model):
  graph, params, _ = setting(model)
  x = testing.samples(model.input_shape[1:], 1)[:1]
  found = whole_range.propagate(graph, params, [Interval(x[0], x[0])])
  for value, seen in testing.forward(graph, params, x).items():
    np.testing.assert_allclose(found[value].low, seen[0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found[value].high, seen[0], rtol=1e-7, atol=1e-9)


def test_one_layer_bounds_are_attained():
  model = testing.mlp((3, 4), 'linear')
  graph, params, boxes = setting(model, -1, 2)
  found = whole_range.propagate(graph, params, boxes)[graph.outputs[0]]
  corners = np.array(np.meshgrid(*[[-1, 2]] * 3)).reshape(3, -1).T
  seen = testing.forward(graph, params, corners)[graph.outputs[0]]
  np.testing.assert_allclose(found.low, seen.min(0), rtol=1e-9)
  np.testing.assert_allclose(found.high, seen.max(0), rtol=1e-9)


def test_nothing_is_claimed_behind_an_unknown_layer():
  inputs = keras.Input((4,))
  x = keras.layers.Lambda(lambda z: z * z)(keras.layers.Dense(4)(inputs))
  graph, params, boxes = setting(keras.Model(inputs, keras.layers.Dense(2)(x)))
  assert whole_range.propagate(graph, params, boxes)[graph.outputs[0]] is None
  assert (
    whole_range.propagate_constants(graph, params)[graph.outputs[0]] is None
  )


@pytest.mark.parametrize('model', MODELS)
def test_constants_do_not_change_with_the_input(model):
  graph, params, _ = setting(model)
  kernel = next(r for r in graph.weight_refs() if r.name == 'kernel')
  params[kernel] = params[kernel].copy()
  params[kernel][:, [1, 3]] = 0.0
  found = whole_range.propagate_constants(graph, params)
  values = testing.forward(
    graph, params, testing.samples(model.input_shape[1:])
  )
  for value, seen in values.items():
    fixed = ~np.isnan(np.broadcast_to(found[value], seen.shape[1:]))
    wanted = np.broadcast_to(found[value], seen.shape)[:, fixed]
    np.testing.assert_allclose(seen[:, fixed], wanted, rtol=1e-9, atol=1e-12)
  hidden = find_groups(graph).groups[0].consumers[0].node.inputs[0]
  assert np.flatnonzero(~np.isnan(found[hidden].reshape(-1)))[:2].tolist() == [
    1,
    3,
  ]


@pytest.mark.parametrize('model', MODELS)
def test_gains_bound_the_outputs_of_merged_activations(model):
  graph, params, boxes = setting(model)
  found = whole_range.propagate(graph, params, boxes)
  gains = whole_range.output_gain(graph, params, found)
  x = testing.samples(model.input_shape[1:], 60, seed=1)
  y = testing.samples(model.input_shape[1:], 60, seed=2)
  a = testing.forward(graph, params, x)
  b = testing.forward(graph, params, y)
  out = graph.outputs[0]
  moved = (b[out] - a[out]).reshape(len(x), -1, found[out].low.size)
  for value in a:
    if gains[value] is None:
      continue
    d = b[value] - a[value]
    entries = gains[value].up.shape[:-1]
    # Positions that the bounds do not tell apart move at once.
    axes = tuple(
      axis + 1 for axis, size in enumerate(entries) if size < d.shape[axis + 1]
    )
    up, down = (
      np.maximum(part, 0).max(axes, keepdims=True).reshape(len(x), -1)
      for part in (d, -d)
    )
    gain = gains[value].reshape((-1,))
    high = up @ gain.up + down @ gain.down
    low = -(down @ gain.up + up @ gain.down)
    slack = testing.ROUNDING * (1 + np.abs(high).max())
    assert np.all(moved <= high[:, None] + slack)
    assert np.all(moved >= low[:, None] - slack)


def test_only_wanted_gains_are_computed():
  graph, params, boxes = setting(testing.mlp())
  found = whole_range.propagate(graph, params, boxes)
  full = whole_range.output_gain(graph, params, found)
  wanted = graph.nodes[2].outputs[0]
  some = whole_range.output_gain(graph, params, found, {wanted})
  np.testing.assert_array_equal(some[wanted].up, full[wanted].up)
  assert some[graph.nodes[0].outputs[0]] is None


@pytest.mark.parametrize('model', MODELS)
def test_differences_of_entries_are_sound_and_no_wider_than_separate(model):
  graph, params, boxes = setting(model)
  found = whole_range.propagate(graph, params, boxes)
  group = find_groups(graph).groups[0]
  value = group.consumers[0].node.inputs[0]
  left, right = testing.pairs(graph.shapes[value][-1])
  gap = difference_of_entries(graph, params, found, value, left, right)
  assert gap.low.shape == gap.high.shape == left.shape
  seen = testing.forward(graph, params, testing.samples(model.input_shape[1:]))[
    value
  ]
  apart = (seen[..., left] - seen[..., right]).reshape(-1, len(left))
  testing.assert_inside(apart, gap)
  separate = found[value].high[..., left] - found[value].low[..., right]
  separate = separate.reshape(-1, len(left)).max(0)
  assert np.all(gap.high <= separate + testing.ROUNDING)


def test_joint_differences_are_much_tighter_for_similar_units():
  model = testing.mlp((20, 6, 3), 'relu')
  layer = model.get_layer('hidden_0')
  kernel, bias = layer.get_weights()
  kernel[:, 1] = kernel[:, 0] + 1e-3
  bias[1] = bias[0]
  layer.set_weights([kernel, bias])
  graph, params, boxes = setting(model)
  found = whole_range.propagate(graph, params, boxes)
  value = graph.nodes[1].outputs[0]
  one, two = np.array([0]), np.array([1])
  gap = difference_of_entries(graph, params, found, value, one, two)
  assert gap.width[0] < 0.05
  assert found[value].width[:2].min() > 1


def merged_params(graph, params, seed):
  """Merges a few units at random; the merges by consumer input value."""
  rng = np.random.default_rng(seed)
  after = dict(params)
  merges = {}
  for group in find_groups(graph).groups:
    units = rng.permutation(group.size)
    gone, kept = units[:2], units[2:4]
    member = group.consumers[0]
    ref = member.node.op.kernel
    kernel = after[ref].copy()
    value = member.node.inputs[0]
    merges[value] = np.full(len(member.units), -1)
    for j, i in zip(gone, kept, strict=True):
      rows_j = np.flatnonzero(member.units == j)
      rows_i = np.flatnonzero(member.units == i)
      kernel[rows_i] += kernel[rows_j]
      kernel[rows_j] = 0
      merges[value][rows_j] = rows_i
    after[ref] = kernel
  return after, merges


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('tell', ['nothing', 'truth', 'lies'])
def test_changes_are_bounded_whatever_is_said_of_merges(model, tell):
  graph, params, boxes = setting(model)
  after, merges = merged_params(graph, params, 5)
  if tell == 'nothing':
    merges = None
  elif tell == 'lies':
    merges = {v: np.roll(m, 1) for v, m in merges.items()}
  change = whole_range.propagate_change(
    graph,
    params,
    after,
    whole_range.propagate(graph, params, boxes),
    whole_range.propagate(graph, after, boxes),
    merges,
  )
  x = testing.samples(model.input_shape[1:])
  old = testing.forward(graph, params, x)
  new = testing.forward(graph, after, x)
  out = graph.outputs[0]
  testing.assert_inside(new[out] - old[out], change[out])


def test_the_truth_about_merges_tightens():
  model = testing.mlp((20, 12, 10, 3), 'relu')
  for layer in model.layers[:2]:
    kernel, bias = layer.get_weights()
    kernel[:, 1::2] = kernel[:, ::2] + 1e-3
    bias[1::2] = bias[::2]
    layer.set_weights([kernel, bias])
  graph, params, boxes = setting(model)
  after, merges = dict(params), {}
  group = find_groups(graph).groups[0]
  ref = group.consumers[0].node.op.kernel
  kernel = params[ref].copy()
  kernel[0] += kernel[1]
  kernel[1] = 0
  after[ref] = kernel
  merges[group.consumers[0].node.inputs[0]] = np.array([-1, 0] + [-1] * 10)
  widths = []
  for told in (None, merges):
    change = whole_range.propagate_change(
      graph,
      params,
      after,
      whole_range.propagate(graph, params, boxes),
      whole_range.propagate(graph, after, boxes),
      told,
    )
    widths.append(change[graph.outputs[0]].magnitude.max())
  assert widths[1] < 0.1 * widths[0]


def test_equal_weights_change_nothing():
  graph, params, boxes = setting(testing.mlp())
  found = whole_range.propagate(graph, params, boxes)
  change = whole_range.propagate_change(graph, params, params, found, found)
  assert change[graph.outputs[0]].magnitude.max() == 0


@pytest.mark.parametrize('shape', [(9,), (4, 9)])
def test_joint_differences_reach_every_position(shape):
  inputs = keras.Input(shape)
  x = keras.layers.Dense(6, 'relu', name='twins')(inputs)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  kernel, bias = model.get_layer('twins').get_weights()
  kernel[:, 1] = kernel[:, 0] + 1e-3
  bias[1] = bias[0]
  model.get_layer('twins').set_weights([kernel, bias])
  graph, params, boxes = setting(model)
  # One position's inputs lie elsewhere: the bound must hold there as well.
  if len(shape) > 1:
    boxes[0].low[2] = boxes[0].high[2] = 5.0
  found = whole_range.propagate(graph, params, boxes)
  value = graph.nodes[1].outputs[0]
  one, two = np.array([0]), np.array([1])
  gap = difference_of_entries(graph, params, found, value, one, two)
  assert gap.width[0] < 0.06  # the separate bounds are wider than 1
  x = np.random.default_rng(0).uniform(
    boxes[0].low, boxes[0].high, (200, *shape)
  )
  seen = testing.forward(graph, params, x)[value]
  apart = (seen[..., :1] - seen[..., 1:2]).reshape(-1, 1)
  testing.assert_inside(apart, gap)


def test_differences_of_a_product_round_outwards():
  # 1 + 1e16 - 1e16 is 0 in float64 if the sum is taken from the left.
  kernel, bias = WeightRef(('d',), 'kernel'), WeightRef(('d',), 'bias')
  params = {kernel: np.array([[1.0, 0.0]]), bias: np.array([1e16, 1e16])}
  one = Interval(np.ones(1), np.ones(1))
  gap = MatMul(kernel, bias).pair_difference(
    params, one, np.array([0]), np.array([1]), {}
  )
  assert gap.low[0] <= 1 <= gap.high[0]


def exploding() -> keras.Model:
  """Bounds overflow float64 in the second layer; some weights are zero."""
  model = testing.mlp((3, 4, 4, 4, 3), 'exponential')
  for layer in model.layers:
    kernel, bias = layer.get_weights()
    kernel[0] = 0.0
    layer.set_weights([50 * kernel, bias])
  return model


def test_gains_that_overflow_are_not_finite_and_say_nothing():
  """Bounds need not overflow where gains do."""
  model = testing.mlp((3, 4, 4, 4, 3))
  graph, params, boxes = setting(model, -1e-200, 1e-200)
  params = {
    ref: 1e110 * value if value.ndim == 2 else 0 * value
    for ref, value in params.items()
  }
  found = whole_range.propagate(graph, params, boxes)
  assert np.all(np.isfinite(found[graph.outputs[0]].high))
  with np.errstate(all='raise', under='ignore'):
    gains = whole_range.output_gain(graph, params, found)
  first = gains[graph.nodes[0].outputs[0]]
  assert not np.all(np.isfinite(first.up + first.down))


def test_overflow_widens_bounds_and_never_makes_them_nan():
  graph, params, boxes = setting(exploding(), -9, 9)
  with np.errstate(all='ignore'):
    found = whole_range.propagate(graph, params, boxes)
    assert not np.all(np.isfinite(found[graph.outputs[0]].high))
    after, merges = merged_params(graph, params, 5)
    change = whole_range.propagate_change(
      graph,
      params,
      after,
      found,
      whole_range.propagate(graph, after, boxes),
      merges,
    )
    left, right = testing.pairs(4)
    value = graph.nodes[-1].inputs[0]
    gap = difference_of_entries(graph, params, found, value, left, right)
    moderate = testing.forward(
      graph, params, testing.samples((3,), 50, -0.02, 0.02)
    )
  for interval in [*found, *change, gap]:
    assert not np.any(np.isnan(interval.low))
    assert not np.any(np.isnan(interval.high))
  for value, seen in moderate.items():
    low = np.broadcast_to(found[value].low, seen.shape)
    high = np.broadcast_to(found[value].high, seen.shape)
    real = np.isfinite(seen)
    assert np.all((seen[real] >= low[real]) & (seen[real] <= high[real]))
