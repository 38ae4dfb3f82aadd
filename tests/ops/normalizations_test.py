"""Normalizations against slow references; their bounds by sampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import ROUNDING, assert_inside
from tfmot_paoding import ops
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Gain

_GAMMA, _BETA = (ops.WeightRef(('norm',), name) for name in ('gamma', 'beta'))
_SHAPE = (3, 4)
_WEIGHTS = {'gamma': _GAMMA, 'beta': _BETA}
OPS = {
  'layer': ops.LayerNorm(**_WEIGHTS, epsilon=0.01),
  'layer, two axes': ops.LayerNorm(**_WEIGHTS, axes=2, positions=3),
  'layer, with zeros': ops.LayerNorm(**_WEIGHTS, epsilon=0.01, width=7),
  'layer, two axes, with zeros': ops.LayerNorm(
    **_WEIGHTS, axes=2, positions=3, width=5
  ),
  'layer, open': ops.LayerNorm(epsilon=0.05, axes=2, positions=None),
  'root mean square': ops.RootMeanSquare(**_WEIGHTS, epsilon=0.01),
  'root mean square, open': ops.RootMeanSquare(
    _GAMMA, epsilon=0.05, axes=2, positions=None
  ),
  'length': ops.UnitLength(),
  'length, two axes': ops.UnitLength(axes=2, positions=3),
  'groups': ops.GroupNorm(
    **_WEIGHTS, epsilon=0.01, axes=2, positions=3, groups=2
  ),
  'groups, open': ops.GroupNorm(
    **_WEIGHTS, epsilon=0.1, axes=2, positions=None, groups=2
  ),
  'each channel': ops.GroupNorm(**_WEIGHTS, axes=2, positions=3, groups=4),
}


def weights(op, seed=0):
  rng = np.random.default_rng(seed)
  size = _SHAPE[-op.axes :] if not hasattr(op, 'groups') else _SHAPE[-1:]
  return {ref: rng.normal(size=size) for ref in op.weights()}


def reference(op, params, samples):
  """Entry after entry, by what is measured together."""
  missing = (getattr(op, 'width', None) or samples.shape[-1]) - samples.shape[
    -1
  ]
  if missing:
    wide = np.pad(samples, [(0, 0), (0, 0), (0, missing)])
    all_ = {
      ref: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
      for ref, x in params.items()
    }
    plain = dataclasses.replace(op, width=None)
    return reference(plain, all_, wide)[..., :-missing]
  found = np.empty(samples.shape)
  channels = samples.shape[-1]
  each = channels // getattr(op, 'groups', 1)
  for p in range(samples.shape[1]):
    for c in range(channels):
      start = c // each * each
      seen = samples[:, p]
      if op.axes == 2:
        seen = samples[:, :, start : start + each].reshape(len(samples), -1)
      mean, length = np.zeros(len(samples)), isinstance(op, ops.UnitLength)
      if isinstance(op, (ops.LayerNorm, ops.GroupNorm)):
        mean = seen.mean(1)
      total = np.square(seen - mean[:, None])
      size = total.sum(1) if length else total.mean(1) + op.epsilon
      found[:, p, c] = (samples[:, p, c] - mean) / np.sqrt(size)
  gamma, beta = (params.get(ref, d) for ref, d in ((_GAMMA, 1), (_BETA, 0)))
  return found * gamma + beta


def box(seed, width=1.0, shape=_SHAPE):
  rng = np.random.default_rng(seed + 40)
  low = rng.normal(size=shape)
  return Interval(low, low + width * rng.uniform(0, 1, shape))


def draw(x, count=300, seed=0, shape=_SHAPE):
  rng = np.random.default_rng(seed)
  inside = rng.uniform(x.low, x.high, (count, *shape))
  ends = np.where(rng.random(inside.shape) < 0.5, *(e[None] for e in x))
  return np.concatenate([inside, ends])


@pytest.mark.parametrize('name', OPS)
def test_values_are_those_of_the_definition(name):
  op = OPS[name]
  params, x = weights(op), draw(box(0), 3)
  wanted = reference(op, params, x)
  found = op.run(params, tf.constant(x)).numpy()
  np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize('name', OPS)
@pytest.mark.parametrize('width', [0.0, 0.3, 6.0])
def test_bounds_contain_samples(name, width):
  op = OPS[name]
  for seed in range(4):
    params, x = weights(op, seed), box(seed, width)
    found = op.bounds(params, x)
    values = reference(op, params, draw(x, 100, seed))
    assert_inside(values, found)
    if not width and 'open' not in name:
      np.testing.assert_allclose(found.low, values[0], atol=1e-7)
      np.testing.assert_allclose(found.high, values[0], atol=1e-7)


@pytest.mark.parametrize('name', ['root mean square', 'length'])
def test_without_a_mean_they_are_best_possible(name):
  op = OPS[name]
  params, x = weights(op), box(1, 3.0)
  corners = np.array(np.meshgrid(*[[0, 0.5, 1]] * 4)).reshape(4, -1).T
  points = x.low + corners[:, None] * x.width
  zero = np.clip(0.0, x.low, x.high)  # where the others are least
  points = np.concatenate(
    [points, np.where(corners[:, None] == 0.5, zero, points)]
  )
  values, found = reference(op, params, points), op.bounds(params, x)
  np.testing.assert_allclose(found.low, values.min(0), atol=1e-9)
  np.testing.assert_allclose(found.high, values.max(0), atol=1e-9)


@pytest.mark.parametrize('name', OPS)
def test_one_entry_may_stand_for_several_positions(name):
  op = OPS[name]
  for seed in range(4):
    narrow = box(seed, 2.0, (1, 4))
    wide = Interval(*(np.broadcast_to(end, _SHAPE) for end in narrow))
    params = weights(op, seed)
    values = reference(op, params, draw(wide, 100, seed))
    assert_inside(values, op.bounds(params, narrow))


@pytest.mark.parametrize('name', OPS)
def test_no_entry_exceeds_what_numbers_allow(name):
  op = dataclasses.replace(OPS[name], gamma=None, beta=None)
  x = Interval(np.full(_SHAPE, -1e200), np.full(_SHAPE, np.inf))
  count = op.measure(4).count
  if count is not None:
    assert op.bounds({}, x).magnitude.max() <= np.sqrt(count)
  assert not np.isnan(op.bounds({}, x).magnitude).any()


@pytest.mark.parametrize('name', OPS)
@pytest.mark.parametrize('width', [0.01, 0.5, 4.0])
def test_differences_contain_samples(name, width):
  op = OPS[name]
  for seed in range(4):
    params, x = weights(op, seed), box(seed, width)
    d = box(seed + 7, width)
    d = Interval(*(0.1 * width * end for end in d))
    y = Interval(x.low + d.low, x.high + d.high)
    found = op.difference(params, d, x, y)
    one, moved = draw(x, 100, seed), draw(d, 100, seed + 1)
    change = reference(op, params, one + moved) - reference(op, params, one)
    assert_inside(change, found)
    none = Interval(np.zeros(_SHAPE), np.zeros(_SHAPE))
    assert not op.difference(params, none, x, x).magnitude.any()


@pytest.mark.parametrize('name', OPS)
def test_small_changes_of_small_boxes_are_told_closely(name):
  """The slopes themselves, not the gap of two ranges."""
  op = OPS[name]
  params, x = weights(op), box(0, 1e-3)
  d = Interval(np.full(_SHAPE, -1e-6), np.full(_SHAPE, 1e-6))
  found = op.difference(params, d, x, Interval(x.low + d.low, x.high + d.high))
  assert found.magnitude.max() < (1e-4 if 'open' not in name else 1e-3)


@pytest.mark.parametrize('shape', [_SHAPE, (1, 4)])
@pytest.mark.parametrize('name', OPS)
def test_gains_hold_for_every_change(name, shape):
  op = OPS[name]
  rng = np.random.default_rng(5)
  for seed in range(4):
    params, x = weights(op, seed), box(seed, 0.5, shape)
    rows = rng.normal(size=(*op.bounds(params, x).low.shape, 2))
    copies = np.prod(_SHAPE) / np.prod(rows.shape[:-1])
    gain = Gain(np.maximum(rows, 0), np.maximum(-rows, 0))
    gain = Gain(*(part * copies for part in gain))
    back = op.pullback(params, gain, x)
    a, b = rng.uniform(0, 0.05, (2, *shape))
    whole = Interval(*(np.broadcast_to(e, _SHAPE) for e in x))
    one = draw(whole, 50, seed)
    moved = draw(
      Interval(*(np.broadcast_to(e, _SHAPE) for e in (-a, b))), 50, seed + 1
    )
    other = np.clip(one + moved, *whole)  # bounds are of both sides
    change = reference(op, params, other) - reference(op, params, one)
    rows = np.broadcast_to(rows, (*_SHAPE, 2))
    found = np.einsum('spc,pck->sk', change, rows)
    high = np.einsum('pck,pc->k', back.up, b) + np.einsum(
      'pck,pc->k', back.down, a
    )
    low = np.einsum('pck,pc->k', back.up, a) + np.einsum(
      'pck,pc->k', back.down, b
    )
    assert np.all(found <= high + ROUNDING)
    assert np.all(found >= -low - ROUNDING)


@pytest.mark.parametrize('name', OPS)
def test_constants(name):
  op = OPS[name]
  params = weights(op)
  for value in params.values():
    value[..., 1] = 0.0  # gamma and beta
  x = np.full((1, 4), np.nan)
  x[..., 2:] = 0.0
  samples = draw(box(0), 20)
  samples[..., 2:] = 0.0
  values, found = reference(op, params, samples), op.constant(params, x)
  same = np.all(values == values[:1], axis=0)
  np.testing.assert_array_equal(np.broadcast_to(~np.isnan(found), _SHAPE), same)
  np.testing.assert_allclose(
    np.broadcast_to(found, _SHAPE)[same], values[0][same], atol=1e-12
  )
  fixed = op.constant(params, samples[0])
  np.testing.assert_allclose(fixed, values[0], atol=1e-9)


def test_zeros_that_leave_a_root_mean_square_are_made_up_for():
  op = ops.RootMeanSquare(_GAMMA, _BETA, epsilon=0.3)
  params, x = weights(op), draw(box(3), 5)
  kept = np.array([True, False, True, False])
  x[..., ~kept] = 0.0
  made = op.rescaled(params, 4, 2)
  small = dataclasses.replace(op, epsilon=made.epsilon)
  after = {_GAMMA: made.weights[_GAMMA][kept], _BETA: params[_BETA][kept]}
  np.testing.assert_allclose(
    reference(op, params, x)[..., kept], reference(small, after, x[..., kept])
  )
  back = small.rescaled(made.weights, 2, 4)
  assert back.epsilon == pytest.approx(op.epsilon)
  np.testing.assert_allclose(back.weights[_GAMMA], params[_GAMMA])


@pytest.mark.parametrize('name', ['layer', 'layer, two axes'])
def test_zeros_that_leave_a_mean_are_measured_on(name):
  op = OPS[name]
  params, x = weights(op), draw(box(3), 5)
  kept = np.array([True, False, True, False])
  x[..., ~kept] = 0.0
  made = op.rescaled(params, 4, 2)
  assert made == ({}, None, 4)
  small = dataclasses.replace(op, width=made.width)
  after = {ref: value[..., kept] for ref, value in params.items()}
  found = small.run(after, tf.constant(x[..., kept])).numpy()
  np.testing.assert_allclose(found, reference(op, params, x)[..., kept])
  assert small.rescaled(after, 2, 1).width == 4
  assert small.rescaled(after, 2, 4).width is None


def test_only_zeros_may_leave():
  x = np.array([[0.0, 0.5, np.nan, 0.0], [0.0, 0.5, np.nan, 0.1]])
  for op in (OPS['root mean square'], OPS['length'], OPS['layer']):
    (needed,) = op.needs([x])
    assert needed.tolist() == [False, True, True, True]
  assert OPS['groups'].needs([x]) == (None,)


@pytest.mark.parametrize('name', OPS)
def test_other_weights_change_what_is_measured_alike(name):
  op, x = OPS[name], box(2, 2.0)
  before, after = weights(op, 0), weights(op, 1)
  found = op.changed(before, after, x)
  samples = draw(x, 50)
  one, two = (reference(op, params, samples) for params in (before, after))
  assert_inside(two - one, found)
  same = op.changed(before, before, x)
  assert not np.broadcast_to(same.magnitude, _SHAPE).any()
