"""Compensation: what the kept units take over."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.methods.compensation import (
  Compensation,
  Folding,
  FoldLeastSquares,
  Merge,
  NoCompensation,
  ScaledMerge,
  WeightSpace,
  compensations,
)
from tfmot_paoding.network.graph import build_graph, read_params


def test_merge_adds_the_outgoing_weights():
  edit = testing.group_edit(testing.mlp())
  old = edit.view.outgoing.copy()
  assert Merge().absorb(edit, 3, 6) == 6
  np.testing.assert_allclose(edit.view.outgoing[6], old[6] + old[3])
  np.testing.assert_array_equal(edit.view.outgoing[:6], old[:6])


def test_merge_finds_the_nearest_where_none_is_named():
  edit = testing.group_edit(testing.mlp())
  distances = edit.view.pair_distances[3].copy()
  distances[3] = np.inf
  nearest = int(distances.argmin())
  assert Merge().absorb(edit, 3, -1) == nearest
  edit.remove(nearest)
  assert Merge().absorb(edit, 3, -1) not in (3, nearest)


def test_scaled_merge_is_exact_for_multiples():
  """Under ReLU a unit of thrice the weights is thrice the unit."""
  incoming = np.array([[1.0, 3.0, -1.0], [2.0, 6.0, 5.0]])
  bias, outgoing = np.array([1.0, 3.0, 0.0]), np.array([[1.0], [2.0], [5.0]])
  edit = testing.group_edit(testing.two_layer(incoming, bias, outgoing))
  assert ScaledMerge().absorb(edit, 1, -1) == 0
  np.testing.assert_allclose(
    edit.view.outgoing, [[7.0], [2.0], [5.0]], rtol=1e-6
  )


def test_scaled_merge_leaves_out_what_is_like_no_other():
  incoming = np.array([[1.0, 0.0], [0.0, 1.0]])
  edit = testing.group_edit(
    testing.two_layer(incoming, np.zeros(2), np.ones((2, 1)))
  )
  assert ScaledMerge().absorb(edit, 1, 0) == -1
  np.testing.assert_array_equal(edit.view.outgoing, np.ones((2, 1)))
  assert ScaledMerge(threshold=-1.0).absorb(edit, 1, -1) == 0


def test_scaled_merge_never_goes_into_one_that_goes_too():
  incoming = np.array([[1.0, 1.0, 1.0], [0.0, 0.1, 0.5]])
  edit = testing.group_edit(
    testing.two_layer(incoming, np.zeros(3), np.ones((3, 1)))
  )
  edit.announce([0, 1])
  assert ScaledMerge().absorb(edit, 0, -1) == 2


@pytest.mark.parametrize('gone', [[3], [3, 0, 6]])
def test_weight_space_is_the_direct_ridge_solution(gone):
  """v_K += S v_gone, S the ridge regression of (w, b) on the kept ones."""
  edit = testing.group_edit(testing.mlp((5, 8, 6, 3)))
  points = np.vstack([edit.view.incoming, edit.view.biases])
  outgoing = edit.view.outgoing.copy()
  for unit in gone:
    assert WeightSpace(ridge=0.1).absorb(edit, unit, -1) == -1
    edit.remove(unit)
  kept = np.setdiff1d(np.arange(8), gone)
  gram = points.T @ points
  level = 0.1 * np.trace(gram) / 8
  shares = np.linalg.solve(
    gram[np.ix_(kept, kept)] + level * np.eye(len(kept)),
    gram[np.ix_(kept, gone)],
  )
  (kernel,) = edit.consumer_kernels().values()
  np.testing.assert_allclose(
    kernel[kept], outgoing[kept] + shares @ outgoing[gone], rtol=1e-6
  )
  assert not kernel[gone].any()


def test_weight_space_treats_every_tap_alike():
  """A convolution's taps each take over by the channels' shares."""
  inputs = keras.Input((5, 5, 2))
  x = keras.layers.Conv2D(4, 3, name='first')(inputs)
  model = testing.fill(
    keras.Model(inputs, keras.layers.Conv2D(3, 2, name='second')(x))
  )
  edit = testing.group_edit(model)
  old = model.get_layer('second').get_weights()[0]
  WeightSpace().absorb(edit, 1, -1)
  edit.remove(1)
  (kernel,) = edit.consumer_kernels().values()
  change = (kernel - old)[:, :, [0, 2, 3]].reshape(4, 3, 3)
  shares = change[0, :, 0] / old[0, 0, 1, 0]
  for tap in range(4):
    wanted = np.outer(shares, old.reshape(4, 4, 3)[tap, 1])
    np.testing.assert_allclose(change[tap], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('size', [1, 2, 3])
def test_weight_space_of_a_grouped_convolution(size):
  """Each block's channels take over by the shares of the tied units."""
  inputs = keras.Input((5, 5, 2))
  x = keras.layers.Conv2D(6, 3, name='first')(inputs)
  x = keras.layers.Conv2D(4, size, groups=2, name='second')(x)
  model = testing.fill(keras.Model(inputs, x))
  edit = testing.group_edit(model)
  points = np.vstack([edit.view.incoming, edit.view.biases])
  old = model.get_layer('second').get_weights()[0]
  WeightSpace(ridge=0.1).absorb(edit, 1, -1)
  edit.remove(1)
  gram = points.T @ points
  kept = [0, 2]
  level = 0.1 * np.trace(gram) / 3
  shares = np.linalg.solve(
    gram[np.ix_(kept, kept)] + level * np.eye(2), gram[kept, 1]
  )
  (kernel,) = edit.consumer_kernels().values()
  wanted = old[:, :, kept] + shares[:, None] * old[:, :, [1]]
  np.testing.assert_allclose(kernel[:, :, kept], wanted, rtol=1e-5, atol=1e-6)
  assert not kernel[:, :, 1].any()


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: ScaledMerge(threshold=2.0), '`threshold` must lie in'),
    (lambda: WeightSpace(ridge=0.0), '`ridge` must be positive'),
  ],
)
def test_bad_settings_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_a_fold_moves_the_partner():
  edit = testing.group_edit(testing.mlp((5, 8, 6, 3)))
  incoming, outgoing = edit.view.incoming.copy(), edit.view.outgoing.copy()
  assert Folding().absorb(edit, 3, 6) == 6
  mean = (incoming[:, 3] + incoming[:, 6]) / 2
  np.testing.assert_allclose(edit.view.incoming[:, 6], mean, rtol=1e-6)
  np.testing.assert_allclose(edit.view.outgoing[6], outgoing[3] + outgoing[6])
  edit.remove(3)
  # Distances and counts follow.
  points = np.vstack([edit.view.incoming, edit.view.biases])
  wanted = np.linalg.norm(points - points[:, [6]], axis=0)
  np.testing.assert_allclose(edit.view.pair_distances[6], wanted, rtol=1e-6)
  np.testing.assert_array_equal(edit.view.masses[[0, 6]], [1, 2])
  Folding().absorb(edit, 0, 6)
  third = (2 * mean + incoming[:, 0]) / 3
  np.testing.assert_allclose(edit.view.incoming[:, 6], third, rtol=1e-6)


def test_folding_changes_no_array_of_the_caller():
  model = testing.mlp((5, 8, 6, 3))
  one, other = testing.group_edit(model), testing.group_edit(model)
  before = model.get_weights()
  Folding().absorb(one, 3, 6)
  one.changed_params()
  np.testing.assert_array_equal(
    other.view.incoming, testing.group_view(model).incoming
  )
  for old, new in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def test_a_refit_after_folding_is_the_best_there_is():
  """No other outgoing weights come nearer on the samples (ridge aside)."""
  model = testing.mlp((5, 8, 6, 3), 'tanh')
  edit = testing.group_edit(model)
  rule = FoldLeastSquares()
  for removed, kept in ((3, 6), (0, 6), (2, 5)):
    assert rule.absorb(edit, removed, kept) == -1
    edit.remove(removed)
  folded = edit.changed_params()
  rule.finish(edit)
  refitted = edit.changed_params()
  graph = build_graph(model)
  params, boxes = read_params(graph), testing.box(graph)
  judge = testing.fitting(model, graph, params, boxes)
  member = edit._group.consumers[0]
  old = judge.values(params, (member,))[member.node.inputs[0]]
  new = judge.values({**params, **refitted}, (member,))[member.node.inputs[0]]

  def error(kernel, bias):
    made = new @ kernel + bias
    wanted = old @ params[member.node.op.kernel] + params[member.node.op.bias]
    return np.square(made - wanted).mean()

  op = member.node.op
  bias = refitted[op.bias]
  best = error(refitted[op.kernel], bias)
  assert best < 0.7 * error(folded[op.kernel], bias)
  alive = np.flatnonzero(edit.view.alive)
  x = np.hstack([new[:, alive], np.ones((len(new), 1))])
  wanted = old @ params[op.kernel] + params[op.bias]
  least = np.linalg.lstsq(x, wanted, rcond=None)[0]
  floor = np.square(x @ least - wanted).mean()
  assert floor <= best < 1.2 * floor + 1e-4


def test_none_changes_nothing():
  edit = testing.group_edit(testing.mlp())
  old = edit.view.outgoing.copy()
  assert NoCompensation().absorb(edit, 3, 6) == -1
  np.testing.assert_array_equal(edit.view.outgoing, old)
  assert not edit.view.changed.size


@pytest.mark.parametrize('name', compensations.names())
def test_every_compensation(name):
  member = compensations.get(name)
  assert isinstance(member, Compensation)
  assert compensations.get(compensations.serialize(member)) == member
  edit = testing.group_edit(testing.mlp())
  kept = member.absorb(edit, 3, 6)
  assert kept == -1 or edit.view.alive[kept]
  assert np.all(np.isfinite(edit.view.outgoing))
