"""Each operation's bounds, differences, gains and constants by sampling."""

from __future__ import annotations

import numpy as np
import pytest

from tests.testing import ROUNDING, _apply
from tfmot_paoding import ops
from tfmot_paoding.numerics import activations
from tfmot_paoding.numerics.intervals import Interval

_KERNEL = ops.WeightRef(('dense',), 'kernel')
_BIAS = ops.WeightRef(('dense',), 'bias')
_NORM = {
  name: ops.WeightRef(('norm',), name)
  for name in ('mean', 'variance', 'gamma', 'beta')
}


def params(seed=0):
  rng = np.random.default_rng(seed)
  return {
    _KERNEL: rng.normal(size=(6, 4)),
    _BIAS: rng.normal(size=4),
    _NORM['mean']: rng.normal(size=6),
    _NORM['variance']: rng.uniform(0.5, 2, 6),
    _NORM['gamma']: rng.normal(size=6),
    _NORM['beta']: rng.normal(size=6),
  }


OPS = {
  'matmul': ops.MatMul(_KERNEL, _BIAS),
  'matmul without bias': ops.MatMul(_KERNEL),
  'scale': ops.Scale(**_NORM, epsilon=1e-3),
  'scale without gamma': ops.Scale(_NORM['mean'], _NORM['variance']),
  'relu': ops.Elementwise(activations.rectifier()),
  'gelu': ops.Elementwise(activations.by_name('gelu')),
  'sigmoid': ops.Elementwise(activations.by_name('sigmoid')),
  'turning': ops.Elementwise(activations.rectifier(-0.5)),
  'softmax': ops.Softmax(),
  'reshape': ops.Reshape((2, 3)),
}


def random_box(seed, width=1.0):
  rng = np.random.default_rng(seed)
  low = rng.normal(size=6)
  return Interval(low, low + width * rng.uniform(0, 1, 6))


def draw(box, count, seed):
  rng = np.random.default_rng(seed)
  inside = rng.uniform(box.low, box.high, (count, *box.low.shape))
  corner = np.where(rng.random(inside.shape) < 0.5, box.low, box.high)
  return np.concatenate([inside, corner])


def inside(values, bounds):
  slack = ROUNDING * (1 + np.abs(values).max())
  return np.all(values >= bounds.low - slack) and np.all(
    values <= bounds.high + slack
  )


@pytest.mark.parametrize('name', OPS)
@pytest.mark.parametrize('seed', range(5))
def test_bounds_contain_samples(name, seed):
  op, weights, box = OPS[name], params(seed), random_box(seed, 2.0)
  values = _apply(op, weights, draw(box, 300, seed))
  assert inside(values, op.bounds(weights, box))


@pytest.mark.parametrize('name', OPS)
def test_a_point_gives_the_forward_pass(name):
  op, weights = OPS[name], params()
  x = np.random.default_rng(1).normal(size=6)
  found = op.bounds(weights, Interval(x, x))
  wanted = _apply(op, weights, x[None])[0]
  np.testing.assert_allclose(found.low, wanted, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(found.high, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('name', OPS)
@pytest.mark.parametrize('seed', range(5))
def test_differences_contain_samples(name, seed):
  op, weights, x_box = OPS[name], params(seed), random_box(seed)
  rng = np.random.default_rng(seed + 50)
  d_low = rng.normal(size=6) * 0.3
  d_box = Interval(d_low, d_low + rng.uniform(0, 0.6, 6))
  x = draw(x_box, 300, seed)
  d = draw(d_box, 300, seed + 1)
  y_box = Interval(x_box.low + d_box.low, x_box.high + d_box.high)
  moved = _apply(op, weights, x + d) - _apply(op, weights, x)
  found = op.difference(weights, d_box, x_box, y_box)
  assert inside(moved, found)


@pytest.mark.parametrize('name', OPS)
@pytest.mark.parametrize('seed', range(5))
def test_gains_bound_what_arrives(name, seed):
  op, weights, box = OPS[name], params(seed), random_box(seed, 2.0)
  rng = np.random.default_rng(seed)
  shape = (*op.bounds(weights, box).low.shape, 3)
  gain = ops.Gain(rng.uniform(0, 1, shape), rng.uniform(0, 1, shape))
  back = op.pullback(weights, gain, box)
  gain = gain.reshape((-1,))
  # Two members of the box differ by d in [-a, b] with a, b >= 0.
  x, y = draw(box, 200, 1), draw(box, 200, 2)
  d = y - x
  a, b = np.maximum(-d, 0), np.maximum(d, 0)
  moved = _apply(op, weights, y) - _apply(op, weights, x)
  moved = moved.reshape(len(moved), -1)
  up = np.maximum(moved, 0) @ gain.up + np.maximum(-moved, 0) @ gain.down
  assert np.all(up <= b @ back.up + a @ back.down + ROUNDING)


def test_matmul_gain_by_hand():
  weights = {_KERNEL: np.array([[2.0], [-3.0]])}
  gain = ops.Gain(np.array([[1.0]]), np.array([[0.0]]))
  box = Interval(np.zeros(2), np.ones(2))
  back = ops.MatMul(_KERNEL).pullback(weights, gain, box)
  assert back.up.tolist() == [[2], [0]]
  assert back.down.tolist() == [[0], [3]]


def test_matmul_on_a_sequence_keeps_positions_apart():
  op, weights = OPS['matmul'], params()
  box = Interval(np.zeros((2, 6)), np.ones((2, 6)))
  gain = ops.Gain(np.zeros((2, 4, 1)), np.zeros((2, 4, 1)))
  gain.up[1, 1] = 1.0  # second position, second unit
  back = op.pullback(weights, gain, box)
  assert not back.up[0].any()
  np.testing.assert_array_equal(
    back.up[1, :, 0], np.maximum(weights[_KERNEL][:, 1], 0)
  )


class TestConstants:
  def test_matmul_unit_without_weights_is_its_bias(self):
    weights = params()
    weights[_KERNEL][:, 2] = 0.0
    found = OPS['matmul'].constant(weights, np.full(6, np.nan))
    assert np.isnan(found).tolist() == [True, True, False, True]
    assert found[2] == weights[_BIAS][2]

  def test_matmul_sees_constant_inputs(self):
    weights = params()
    weights[_KERNEL][1:, 0] = 0.0
    x = np.full(6, np.nan)
    x[0] = 2.0
    found = OPS['matmul'].constant(weights, x)
    assert found[0] == 2.0 * weights[_KERNEL][0, 0] + weights[_BIAS][0]
    assert np.isnan(found[1:]).all()

  def test_scale_without_factor_is_its_offset(self):
    weights = params()
    weights[_NORM['gamma']][3] = 0.0
    found = OPS['scale'].constant(weights, np.full(6, np.nan))
    assert np.flatnonzero(~np.isnan(found)).tolist() == [3]
    assert found[3] == weights[_NORM['beta']][3]

  def test_activation_of_a_constant(self):
    x = np.array([np.nan, 0.0, np.nan, 1.0, -1.0, np.nan])
    found = OPS['sigmoid'].constant({}, x)
    assert np.isnan(found).tolist() == np.isnan(x).tolist()
    np.testing.assert_allclose(found[1], 0.5)

  def test_softmax_is_all_or_nothing(self):
    x = np.array([1.0, 2.0, np.nan, 0.0, 0.0, 0.0])
    assert np.isnan(OPS['softmax'].constant({}, x)).all()
    found = OPS['softmax'].constant({}, np.zeros(6))
    np.testing.assert_allclose(found, 1 / 6)


def test_opaque_operations_refuse_bounds():
  op = ops.Opaque("Custom 'it' is of a kind that is not known")
  with pytest.raises(ValueError, match=r'No sound bounds.*Custom'):
    op.bounds({}, random_box(0))
  with pytest.raises(ValueError, match='No constants'):
    op.constant({}, np.zeros(2))
