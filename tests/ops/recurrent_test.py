"""Recurrence against a slow, obvious reference; its bounds by sampling."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import ROUNDING
from tfmot_paoding import ops
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.numerics.intervals import Interval

_KERNEL = ops.WeightRef(('unit',), 'cell.recurrent_kernel')
_BIAS = ops.WeightRef(('unit',), 'cell.bias')
_UNITS, _STEPS = 3, 6
TANH, SIGMOID = by_name('tanh'), by_name('sigmoid')
CELLS = {
  'simple': (ops.SimpleCell(TANH, TANH), None),
  'simple relu': (ops.SimpleCell(by_name('relu'), TANH), None),
  'gru before': (ops.GRUCell(TANH, SIGMOID, False), None),
  'gru behind': (ops.GRUCell(TANH, SIGMOID, True), _BIAS),
  'gru hard': (ops.GRUCell(by_name('softsign'), by_name('hard_sigmoid')), None),
  'lstm': (ops.LSTMCell(TANH, SIGMOID), None),
  'lstm relu': (ops.LSTMCell(by_name('relu'), SIGMOID), None),
  'lstm hard': (ops.LSTMCell(TANH, by_name('hard_sigmoid')), None),
}
CASES = [
  (name, state)
  for name, (cell, _) in CELLS.items()
  for state in range(cell.states)
]


def make(name, state=0, seed=0, scale=1.0, **settings):
  """An operation of one kind, and weights for it."""
  cell, bias = CELLS[name]
  rng = np.random.default_rng(seed)
  columns = cell.blocks * _UNITS
  params = {_KERNEL: rng.normal(size=(_UNITS, columns)) * scale}
  if bias is not None:
    params[bias] = rng.normal(size=(2, columns)) * scale
  op = ops.Recurrence(cell, _KERNEL, bias, state=state, **settings)
  return op, params


def step(cell, gates, back, h, c, units):
  """One unit after another, one sample: the equations as they are printed."""
  new_h, new_c = np.zeros(units), np.zeros(units)
  f, g = cell.activation.value, cell.gate.value
  for k in range(units):
    z = [gates[k + b * units] for b in range(cell.blocks)]
    if isinstance(cell, ops.SimpleCell):
      new_h[k] = f(z[0] + back(h)[k])
    elif isinstance(cell, ops.LSTMCell):
      i, forget, new, out = (
        z[b] + back(h)[k + b * units] for b in range(cell.blocks)
      )
      new_c[k] = g(forget) * c[k] + g(i) * f(new)
      new_h[k] = g(out) * f(new_c[k])
    else:
      update = g(z[0] + back(h)[k])
      resets = [g(gates[j + units] + back(h)[j + units]) for j in range(units)]
      if cell.reset_after:
        fed = resets[k] * back(h)[k + 2 * units]
      else:
        fed = back(np.array(resets) * h)[k + 2 * units]
      new_h[k] = update * h[k] + (1 - update) * f(z[2] + fed)
  return new_h, new_c


def reference(op, params, gates, starts=()):
  """(samples, steps, units) of the state that the operation gives."""
  shift = 0.0 if op.bias is None else params[op.bias][1]

  def back(h):
    return h @ params[_KERNEL] + shift

  found = []
  for number, sample in enumerate(gates):
    states = [start[number] for start in starts] or [np.zeros(_UNITS)] * 2
    h, c = (*states, np.zeros(_UNITS))[:2]
    order = reversed(sample) if op.backwards else sample
    steps = []
    for one in order:
      h, c = step(op.cell, one, back, h, c, _UNITS)
      steps.append((h, c)[op.state])
    found.append(steps[::-1] if op.turned else steps)
  return np.array(found)


def draw(low, high, count=60, seed=0):
  rng = np.random.default_rng(seed)
  inside = rng.uniform(low, high, (count, *low.shape))
  corner = np.where(rng.random(inside.shape) < 0.5, low, high)
  return np.concatenate([inside, corner])


def box(op, seed, width=1.5):
  rng = np.random.default_rng(seed + 70)
  shape = (_STEPS, op.cell.blocks * _UNITS)
  low = rng.normal(size=shape) * 0.5
  return Interval(low, low + width * rng.uniform(0, 1, shape))


@pytest.mark.parametrize(('name', 'state'), CASES)
@pytest.mark.parametrize('settings', [{}, {'backwards': True, 'turned': True}])
def test_values_are_those_of_the_equations(name, state, settings):
  op, params = make(name, state, **settings)
  gates = draw(*box(op, 0), count=3)
  found = op.run(params, np_tensor(gates)).numpy()
  np.testing.assert_allclose(found, reference(op, params, gates), atol=1e-12)


def np_tensor(x):
  return tf.constant(x, tf.float64)


@pytest.mark.parametrize(('name', 'state'), CASES)
@pytest.mark.parametrize('seed', range(3))
def test_bounds_contain_every_step(name, state, seed):
  op, params = make(name, state, seed)
  x = box(op, seed)
  found = op.bounds(params, (x,))
  assert found.low.shape == (_STEPS, _UNITS)
  values = reference(op, params, draw(*x, 40, seed))
  assert np.all(values >= found.low - ROUNDING)
  assert np.all(values <= found.high + ROUNDING)


@pytest.mark.parametrize(('name', 'state'), CASES)
def test_bounds_contain_what_starts_elsewhere(name, state):
  op, params = make(name, state)
  x = box(op, 0)
  rng = np.random.default_rng(4)
  lows = [rng.normal(size=_UNITS) * 2 for _ in range(op.cell.states)]
  starts = [Interval(low, low + 1) for low in lows]
  found = op.bounds(params, (x, *starts))
  gates = draw(*x, 30)
  begun = [draw(*start, 30, k) for k, start in enumerate(starts)]
  values = reference(op, params, gates, begun)
  assert np.all(values >= found.low - ROUNDING)
  assert np.all(values <= found.high + ROUNDING)


@pytest.mark.parametrize('name', ['simple', 'gru behind', 'gru hard', 'lstm'])
def test_states_lie_between_minus_one_and_one_whatever_comes(name):
  op, params = make(name, scale=30.0)
  x = Interval(*(np.full((1, op.cell.blocks * 3), s * 1e4) for s in (-1, 1)))
  found = op.bounds(params, (x,))
  assert found.low.min() >= -1
  assert found.high.max() <= 1


@pytest.mark.parametrize(('name', 'state'), CASES)
def test_differences_contain_samples(name, state):
  op, params = make(name, state, 1)
  x = box(op, 1)
  rng = np.random.default_rng(9)
  d = rng.normal(size=x.low.shape) * 0.2
  d = Interval(d, d + 0.3 * rng.uniform(size=d.shape))
  y = Interval(x.low + d.low, x.high + d.high)
  found = op.difference(params, (d,), (x,), (y,))
  one, moved = draw(*x, 30), draw(*d, 30, 1)
  change = reference(op, params, one + moved) - reference(op, params, one)
  assert np.all(change >= found.low - ROUNDING)
  assert np.all(change <= found.high + ROUNDING)
  none = Interval(np.zeros_like(d.low), np.zeros_like(d.low))
  assert not op.difference(params, (none,), (x,), (x,)).magnitude.any()


@pytest.mark.parametrize(('name', 'state'), CASES)
def test_units_without_a_candidate_are_zero(name, state):
  op, params = make(name, state, 2)
  cell = op.cell
  for value in params.values():
    cell.candidates(value)[..., 1] = 0.0
  fixed = np.full((1, cell.blocks * _UNITS), np.nan)
  assert np.isnan(op.constant(params, (fixed,))).all()
  cell.candidates(fixed)[..., 1] = 0.0
  found = op.constant(params, (fixed,))
  np.testing.assert_array_equal(found, [[np.nan, 0.0, np.nan]])
  x = box(op, 2)
  for end in x:
    cell.candidates(end)[..., 1] = 0.0
  assert not reference(op, params, draw(*x, 10))[..., 1].any()
  if 'relu' not in name:
    assert not op.bounds(params, (x,)).magnitude[..., 1].any()


def test_an_activation_that_moves_zero_keeps_nothing_at_zero():
  op = ops.Recurrence(ops.LSTMCell(SIGMOID, SIGMOID), _KERNEL)
  params = {_KERNEL: np.zeros((_UNITS, 4 * _UNITS))}
  fixed = np.zeros((1, 4 * _UNITS))
  assert np.isnan(op.constant(params, (fixed,))).all()


@pytest.mark.parametrize(
  ('name', 'zeros'),
  list(itertools.product(['gru behind', 'lstm'], [False, True])),
)
def test_hidden_steps_leave_states_as_they_are(name, zeros):
  op, params = make(name, zeros=zeros)
  gates = draw(*box(op, 0), count=2)
  mask = np.random.default_rng(0).random(gates.shape[:2]) < 0.6
  tensor = np_tensor(gates)
  tensor._keras_mask = mask
  found = op.run(params, tensor).numpy()
  for row, seen, given in zip(gates, mask, found, strict=True):
    wanted = reference(op, params, row[seen][None])[0]
    np.testing.assert_allclose(given[seen], wanted, atol=1e-12)
    kept = np.concatenate([np.zeros((1, _UNITS)), wanted])
    hidden = kept[np.cumsum(seen)][~seen] * (not zeros)
    np.testing.assert_allclose(given[~seen], hidden, atol=1e-12)


def test_feedback_has_a_row_of_the_bias_to_itself():
  op = ops.Feedback(_KERNEL, _BIAS, 1)
  bias = np.arange(6.0).reshape(2, 3)
  np.testing.assert_array_equal(op.offset({_BIAS: bias}), [3, 4, 5])
  moved = op.shifted(bias, np.ones(3))
  np.testing.assert_array_equal(moved, [[0, 1, 2], [4, 5, 6]])
  assert op.own_weights == (_KERNEL,)


def small_change(x, scale, seed=1):
  rng = np.random.default_rng(seed)
  d = rng.normal(size=x.low.shape) * scale
  return Interval(d, d + scale * rng.uniform(size=d.shape))


@pytest.mark.parametrize(('name', 'state'), CASES)
def test_small_changes_move_states_little(name, state):
  op, params = make(name, state, 1, scale=0.5)
  x = box(op, 1)
  d = small_change(x, 1e-3)
  y = Interval(x.low + d.low, x.high + d.high)
  found = op.difference(params, (d,), (x,), (y,))
  one, moved = draw(*x, 40), draw(*d, 40, 1)
  change = reference(op, params, one + moved) - reference(op, params, one)
  assert np.all(change >= found.low - ROUNDING)
  assert np.all(change <= found.high + ROUNDING)
  assert found.magnitude[0].max() < 0.01


@pytest.mark.parametrize(('name', 'state'), CASES)
@pytest.mark.parametrize('scale', [1e-3, 0.5])
def test_changes_of_weights_contain_samples(name, state, scale):
  op, before = make(name, state, 1, scale=0.5)
  rng = np.random.default_rng(3)
  after = {
    ref: w + rng.normal(size=w.shape) * scale for ref, w in before.items()
  }
  x = box(op, 1)
  found = op.changed(before, after, (x,))
  gates = draw(*x, 40)
  change = reference(op, after, gates) - reference(op, before, gates)
  assert np.all(change >= found.low - ROUNDING)
  assert np.all(change <= found.high + ROUNDING)
  if scale < 0.01:
    assert found.magnitude[1].max() < 0.05


@pytest.mark.parametrize(('name', 'state'), CASES)
@pytest.mark.parametrize('turned', [False, True])
def test_steps_are_bounded_one_by_one(name, state, turned):
  op, params = make(name, state, backwards=True, turned=turned)
  x = box(op, 0, width=0.02)
  wide = Interval(*(np.stack([end, end - 0.5]) for end in x))
  found = op.bounds(params, (wide,))
  for k, one in enumerate(zip(*wide, strict=True)):
    values = reference(op, params, draw(*one, 30))
    assert np.all(values >= found.low[k] - ROUNDING)
    assert np.all(values <= found.high[k] + ROUNDING)
  first = found.width[:, -1 if turned else 0]
  assert first.max() < 0.05


@pytest.mark.parametrize('state', [0, 1])
def test_what_may_grow_for_ever_has_limits_after_known_steps(state):
  op, params = make('lstm relu', state, scale=0.5)
  x = Interval(*(end[:1] for end in box(op, 0)))
  assert np.isinf(op.bounds(params, (x,)).high).any()
  found = dataclasses.replace(op, steps=_STEPS).bounds(params, (x,))
  assert found.low.shape == (1, _UNITS)
  assert np.isfinite(found.magnitude).all()
  wide = Interval(*(np.repeat(end, _STEPS, 0) for end in x))
  values = reference(op, params, draw(*wide, 40))
  assert np.all(values >= found.low - ROUNDING)
  assert np.all(values <= found.high + ROUNDING)


@pytest.mark.parametrize('name', ['gru behind', 'lstm'])
@pytest.mark.parametrize('zeros', [False, True])
def test_bounds_contain_steps_that_are_hidden(name, zeros):
  op, params = make(name, zeros=zeros)
  op, x = op.under_mask(), box(op, 0)
  found = op.bounds(params, (x,))
  gates = np_tensor(draw(*x, 40))
  gates._keras_mask = np.random.default_rng(0).random(gates.shape[:2]) < 0.6
  values = op.run(params, gates).numpy()
  assert np.all(values >= found.low - ROUNDING)
  assert np.all(values <= found.high + ROUNDING)


@pytest.mark.parametrize('name', CELLS)
@pytest.mark.parametrize('kind', ['steps', 'at once', 'open'])
def test_gains_contain_what_moves(name, kind):
  state, scale = 0, 0.5 if kind != 'open' else 0.05
  steps = _STEPS if kind == 'at once' else None
  op, params = make(name, state, 1, scale, backwards=True, steps=steps)
  x, rows = box(op, 1), _STEPS
  if kind != 'steps':
    x, rows = Interval(*(end[:1] for end in x)), 1
  rng = np.random.default_rng(5)
  weights = rng.normal(size=(rows, _UNITS, 2))
  gain = ops.Gain(np.maximum(weights, 0), np.maximum(-weights, 0))
  (back,) = op.pullback(params, gain, (x,))
  if 'relu' in name and kind == 'open':
    return  # a carry that may grow for ever
  assert np.isfinite(back.up).all()
  wide = Interval(*(np.repeat(end, _STEPS // rows, 0) for end in x))
  one, other = draw(*wide, 40), draw(*wide, 40, 1)
  moved = reference(op, params, other) - reference(op, params, one)
  if rows == 1:
    moved = np.abs(moved).max(1, keepdims=True) * [-1, 1][rng.integers(2)]
    weights = np.abs(weights)
  change = np.einsum('nsu,suk->nk', moved, weights)
  apart = other - one
  a, b = np.maximum(-apart, 0), np.maximum(apart, 0)
  if rows == 1:
    a, b = (part.max(1, keepdims=True) for part in (a, b))
  limit = np.einsum('nsg,sgk->nk', a + b, back.up)
  assert np.all(np.abs(change) <= limit + ROUNDING)


@pytest.mark.parametrize('steps', [None, 10**4])
@pytest.mark.parametrize('name', ['simple', 'gru behind', 'lstm'])
def test_gains_that_grow_for_ever_are_an_order(name, steps):
  op, params = make(name, scale=3.0, steps=steps)
  x = Interval(*(end[:1] for end in box(op, 1)))
  gain = ops.Gain(*np.ones((2, 1, _UNITS, 1)))
  (back,) = op.pullback(params, gain, (x,))
  assert back.up.max() < 1e9
  assert back.up.min() > 0
  assert np.ptp(back.up) > 0


def test_the_step_asked_for():
  op, x = ops.AtStep(-1), box(make('simple')[0], 0)
  np.testing.assert_array_equal(op.bounds({}, x).low, x.low[-1])
  gain = ops.Gain(*np.ones((2, 3, 2)))
  back = op.pullback({}, gain, x)
  assert back.up[-1].all()
  assert not back.up[:-1].any()
