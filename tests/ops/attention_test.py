"""Attention against a slow, obvious reference; its bounds by sampling."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import ROUNDING
from tfmot_paoding import ops
from tfmot_paoding.numerics.intervals import Interval

_HEADS, _SIZE, _WIDTH = 2, 3, 2
_QUERIES, _KEYS = 4, 5
SETTINGS = {
  'plain': {},
  'causal': {'causal': True},
  'robust': {'causal': True, 'robust': True},
}
KINDS = [ops.Attend, ops.Shares]


def make(kind, **settings):
  return kind(_SIZE, _SIZE**-0.5, **settings)


def shares_of(op, query, key, mask=None):
  """One sample, one head, one pair after another."""
  found = np.zeros((_QUERIES, _KEYS, _HEADS))
  for h in range(_HEADS):
    own = slice(h * _SIZE, (h + 1) * _SIZE)
    for t in range(_QUERIES):
      e = np.zeros(_KEYS)
      for s in range(_KEYS):
        seen = (s <= t or not op.causal) and (mask is None or mask[t, s])
        score = query[t, own] @ key[s, own] * op.scale
        e[s] = np.exp(score) if seen else 0.0
      found[t, :, h] = e / e.sum()
  return found


def reference(op, query, key, value, masks=None):
  """(samples, ...) of what the operation gives."""
  found = []
  for number, sample in enumerate(zip(query, key, value, strict=True)):
    mask = None if masks is None else masks[number]
    shares = shares_of(op, *sample[:2], mask)
    if isinstance(op, ops.Shares):
      found.append(shares)
      continue
    heads = [
      shares[..., h] @ sample[2][:, h * _WIDTH : (h + 1) * _WIDTH]
      for h in range(_HEADS)
    ]
    found.append(np.concatenate(heads, -1))
  return np.array(found)


def boxes(seed, width=1.0, apart=True):
  """Bounds of queries, keys and values; of all positions at once, or not."""
  rng = np.random.default_rng(seed + 70)
  found = []
  for steps, size in ((_QUERIES, _SIZE), (_KEYS, _SIZE), (_KEYS, _WIDTH)):
    low = rng.normal(size=(steps if apart else 1, _HEADS * size))
    found.append(Interval(low, low + width * rng.uniform(0, 1, low.shape)))
  return found


def draw(intervals, count, seed=0):
  """Samples inside, and at corners."""
  rng = np.random.default_rng(seed)
  found = []
  for (low, high), steps in zip(
    intervals, (_QUERIES, _KEYS, _KEYS), strict=True
  ):
    inside = rng.uniform(low, high, (count, steps, low.shape[-1]))
    corner = np.where(rng.random(inside.shape) < 0.5, low, high)
    found.append(np.concatenate([inside, corner]))
  return found


def tensors(x):
  return [tf.constant(part, tf.float64) for part in x]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SETTINGS)
def test_values_are_those_of_the_equations(kind, name):
  op, x = make(kind, **SETTINGS[name]), draw(boxes(0), 3)
  found = op.run({}, *tensors(x)).numpy()
  np.testing.assert_allclose(found, reference(op, *x), atol=1e-12)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['plain', 'robust'])
def test_masks_hide_positions(kind, name):
  op, x = make(kind, **SETTINGS[name]), draw(boxes(0), 3)
  rng = np.random.default_rng(1)
  given = rng.random((6, _QUERIES, _KEYS)) < 0.6
  keys = rng.random((6, _KEYS)) < 0.7
  for mask in (given, keys):
    mask[..., 0] = True  # somebody is seen
  wanted = reference(op, *x, given & keys[:, None])
  query, key, value = tensors(x)
  key._keras_mask = tf.constant(keys)
  found = op.run({}, query, key, value, tf.constant(given, tf.float64))
  np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('apart', [True, False])
def test_bounds_contain_samples(kind, name, apart):
  op, x = make(kind, **SETTINGS[name]), boxes(0, apart=apart)
  found, values = op.bounds({}, x), reference(op, *draw(x, 40))
  assert np.all(values >= found.low - ROUNDING)
  assert np.all(values <= found.high + ROUNDING)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [0.02, 0.5, 5.0])
@pytest.mark.parametrize('moved', [(0, 1, 2), (0,), (1,), (2,)])
def test_differences_contain_samples(kind, size, moved):
  op, x = make(kind), boxes(1)
  rng = np.random.default_rng(9)
  d = []
  for k, part in enumerate(x):
    low = rng.normal(size=part.low.shape) * size * (k in moved)
    d.append(Interval(low, low + 0.3 * np.abs(low)))
  y = [
    Interval(a.low + b.low, a.high + b.high) for a, b in zip(x, d, strict=True)
  ]
  found = op.difference({}, d, x, y)
  one, change = draw(x, 40), draw(d, 40, 1)
  other = [a + b for a, b in zip(one, change, strict=True)]
  gap = reference(op, *other) - reference(op, *one)
  assert np.all(gap >= found.low - ROUNDING)
  assert np.all(gap <= found.high + ROUNDING)
  none = [Interval(0 * a.low, 0 * a.low) for a in x]
  assert not op.difference({}, none, x, x).magnitude.any()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('apart', [True, False])
@pytest.mark.parametrize('which', [0, 1, 2])
def test_gains_hold_for_every_move(kind, apart, which):
  """Of a random sum of the output's entries."""
  op, x = make(kind), boxes(2, 2.0, apart)
  one = draw(x, 30)
  other = list(one)
  other[which] = draw(x, 30, 7)[which]
  change = reference(op, *other) - reference(op, *one)
  rng = np.random.default_rng(3)
  signs = rng.normal(size=(*change.shape[1:], 2))
  gain = ops.Gain(np.maximum(signs, 0), np.maximum(-signs, 0))
  shape = op.bounds({}, x).low.shape
  back = op.pullback({}, gain.fitted(shape), x)
  assert [part.up.shape[:-1] for part in back] == [p.low.shape for p in x]
  moved = other[which] - one[which]
  up, down = np.maximum(moved, 0), np.maximum(-moved, 0)
  if not apart:
    up, down = (part.max(1, keepdims=True) for part in (up, down))
  reach = np.einsum('...scm,nsc->nm', back[which].up, up)
  reach += np.einsum('...scm,nsc->nm', back[which].down, down)
  axes = list(range(1, change.ndim))
  total = np.tensordot(change, signs, (axes, [axis - 1 for axis in axes]))
  assert np.all(total <= reach + ROUNDING)


def test_values_that_never_vary_are_given_as_they_are():
  op = make(ops.Attend)
  value = np.array([[1.0, np.nan, 0.0, 2.0]] * _KEYS)
  value[1, 3] = 3.0
  inputs = [np.full((n, _HEADS * _SIZE), np.nan) for n in (_QUERIES, _KEYS)]
  found = op.constant({}, (*inputs, value))
  np.testing.assert_array_equal(found, [[1.0, np.nan, 0.0, np.nan]])
  assert np.isnan(make(ops.Shares).constant({}, (*inputs, value))).all()


def test_a_mask_that_moves_may_move_everything():
  op, x = make(ops.Attend), boxes(0)
  mask = Interval(np.zeros((1, _KEYS)), np.ones((1, _KEYS)))
  still = [Interval(0 * a.low, 0 * a.low) for a in x]
  found = op.difference({}, (*still, mask), (*x, mask), (*x, mask))
  width = x[2].high.max(0) - x[2].low.min(0)
  np.testing.assert_allclose(found.high, np.broadcast_to(width, (_QUERIES, 4)))
  gain = ops.Gain(*np.ones((2, _QUERIES, 4, 1)))
  assert np.isinf(op.pullback({}, gain, (*x, mask))[3].up).all()


def test_a_projection_is_a_product_of_flat_kernels():
  rng = np.random.default_rng(0)
  kernel, bias = (ops.WeightRef(('unit',), name) for name in ('k', 'b'))
  params = {kernel: rng.normal(size=(4, 3, 2)), bias: rng.normal(size=(3, 2))}
  op = ops.Projection(kernel, bias, made=2)
  x = rng.normal(size=(5, 7, 4))
  wanted = np.einsum('btd,dhk->bthk', x, params[kernel]) + params[bias]
  found = op.run(params, tf.constant(x)).numpy()
  np.testing.assert_allclose(found, wanted.reshape(5, 7, 6), atol=1e-12)
  moved = op.shifted(params[bias], np.arange(6.0))
  np.testing.assert_array_equal(moved - params[bias], [[0, 1], [2, 3], [4, 5]])
  axes = op.weights()
  channels = np.repeat(np.arange(3), 2)
  assert axes[kernel].along_outgoing(channels).tolist() == [0, 1, 2]
  params = {kernel: rng.normal(size=(3, 2, 4))}
  op = ops.Projection(kernel, row_axes=2, read=2)
  x = rng.normal(size=(5, 7, 6))
  wanted = np.einsum('bthk,hkd->btd', x.reshape(5, 7, 3, 2), params[kernel])
  found = op.run(params, tf.constant(x)).numpy()
  np.testing.assert_allclose(found, wanted, atol=1e-12)
  assert op.weights()[kernel].along_incoming(channels).tolist() == [0, 1, 2]


_FACTOR = ops.WeightRef(('unit',), 'scale')
_INSIDE = ops.WeightRef(('unit',), 'inside')
SINGLE = {
  'dot': {'inside': _INSIDE},
  'sum': {'outside': _FACTOR, 'by_channel': True, 'additive': True},
  'concat': {'inside': _INSIDE, 'outside': None, 'additive': True},
}
PARAMS = {
  _FACTOR: np.random.default_rng(0).normal(size=_SIZE),
  _INSIDE: np.asarray(-0.7),
}


def single(name):
  return ops.SingleAttention(_SIZE, 1.0, **SINGLE[name])


def single_boxes(seed, width=1.0):
  rng = np.random.default_rng(seed + 70)
  found = []
  for steps, size in ((_QUERIES, _SIZE), (_KEYS, _SIZE), (_KEYS, _WIDTH)):
    low = rng.normal(size=(steps, size))
    found.append(Interval(low, low + width * rng.uniform(0, 1, low.shape)))
  return found


def means(name, query, key, value):
  """One pair of positions after another."""
  inside = 1.0 if name == 'sum' else PARAMS[_INSIDE]
  outside = PARAMS[_FACTOR] if name == 'sum' else 1.0
  found = np.zeros((len(query), _QUERIES, _WIDTH))
  for n, t in np.ndindex(*found.shape[:2]):
    scores = []
    for s in range(_KEYS):
      if name == 'dot':
        scores.append(inside * query[n, t] @ key[n, s])
      else:
        scores.append(
          (outside * np.tanh(inside * (query[n, t] + key[n, s]))).sum()
        )
    e = np.exp(scores)
    found[n, t] = e @ value[n] / e.sum()
  return found


@pytest.mark.parametrize('name', SINGLE)
def test_one_head_by_the_equations_and_its_bounds(name):
  op, x = single(name), single_boxes(0)
  sample = draw(x, 10)
  wanted = means(name, *sample)
  found = op.run(PARAMS, *tensors(sample)).numpy()
  np.testing.assert_allclose(found, wanted, atol=1e-12)
  bounds = op.bounds(PARAMS, x)
  assert np.all(wanted >= bounds.low - ROUNDING)
  assert np.all(wanted <= bounds.high + ROUNDING)


@pytest.mark.parametrize('name', SINGLE)
@pytest.mark.parametrize('size', [0.02, 0.5])
def test_differences_of_one_head_contain_samples(name, size):
  op, x = single(name), single_boxes(1)
  rng = np.random.default_rng(9)
  d = []
  for part in x:
    low = rng.normal(size=part.low.shape) * size
    d.append(Interval(low, low + 0.3 * np.abs(low)))
  y = [
    Interval(a.low + b.low, a.high + b.high) for a, b in zip(x, d, strict=True)
  ]
  found = op.difference(PARAMS, d, x, y)
  one, change = draw(x, 20), draw(d, 20, 1)
  other = [a + b for a, b in zip(one, change, strict=True)]
  gap = means(name, *other) - means(name, *one)
  assert np.all(gap >= found.low - ROUNDING)
  assert np.all(gap <= found.high + ROUNDING)


@pytest.mark.parametrize('name', SINGLE)
@pytest.mark.parametrize('which', [0, 1, 2])
def test_gains_of_one_head_hold_for_every_move(name, which):
  op, x = single(name), single_boxes(2, 2.0)
  one = draw(x, 20)
  other = list(one)
  other[which] = draw(x, 20, 7)[which]
  change = means(name, *other) - means(name, *one)
  signs = np.random.default_rng(3).normal(size=(*change.shape[1:], 2))
  gain = ops.Gain(np.maximum(signs, 0), np.maximum(-signs, 0))
  back = op.pullback(PARAMS, gain, x)[which]
  moved = other[which] - one[which]
  reach = np.einsum('scm,nsc->nm', back.up, np.maximum(moved, 0))
  reach += np.einsum('scm,nsc->nm', back.down, np.maximum(-moved, 0))
  total = np.einsum('ntc,tcm->nm', change, signs)
  assert np.all(total <= reach + ROUNDING)


def test_what_a_mask_hides_is_zero():
  op, x = single('dot').under_mask(), single_boxes(3)
  low = op.bounds(PARAMS, [Interval(a.low + 5, a.high + 5) for a in x]).low
  assert not low.any()
  fixed = [np.full((1, n), np.nan) for n in (_SIZE, _SIZE)]
  values = np.array([[1.0, 0.0]])
  found = op.constant(PARAMS, (*fixed, values))
  np.testing.assert_array_equal(found, [[np.nan, 0.0]])
