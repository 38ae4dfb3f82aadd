"""Bounds of subdomains: by hand, against linear programs, and by sampling."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests import testing
from tfmot_paoding.bounds import Walk, build_program
from tfmot_paoding.bounds.domains import Ascent, Domains, Goals
from tfmot_paoding.bounds.subdomains import SubdomainBounds
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers
LONG = Ascent(steps=300)


class Ball:
  """A model, its bounds on one box, and subdomains of it."""

  def __init__(self, model, centre, epsilon, rows, offsets=None):
    graph = build_graph(model)
    (value,) = graph.outputs
    self.program = build_program(graph, read_params(graph))
    self.bounds = SubdomainBounds(self.program, value)
    rows = np.asarray(rows, float)
    offsets = np.zeros(rows.shape[:2]) if offsets is None else offsets
    self.goals = Goals(rows, np.asarray(offsets, float))
    self.move(centre, epsilon)

  def move(self, centre, epsilon):
    """Another box of the same model."""
    centre = np.asarray(centre, float)[None]
    self.box = Interval(centre - epsilon, centre + epsilon)
    self.root = self.bounds.root(Walk(self.program, [self.box], 'crown'))
    self.start = self.bounds.start(self.root, self.goals)

  def low(self, signs, ascent=LONG):
    """The bounds of the first goal with signs fixed, (domains,)."""
    signs = np.asarray(signs, np.int8)
    one = self.start[:1].repeated(len(signs))
    domains = Domains(one.goals, signs, one.slopes, one.multipliers, one.mix)
    return self.bounds.bound(self.root, self.goals, domains, ascent).low


FAR = 10.0  # an offset that no row comes near: what is proved is left at that


def two_neurons(first, bias, last, shift):
  """last[0] relu(first[0] x + bias[0]) + ... + shift, of one input x."""
  model = keras.Sequential([keras.Input((1,)), L.Dense(2, 'relu'), L.Dense(1)])
  weights = np.reshape(first, (1, 2)), bias, np.reshape(last, (2, 1)), [shift]
  model.set_weights([np.array(part, np.float32) for part in weights])
  return model


def tent():
  """|x| - 1/2 of one input."""
  return two_neurons([1, -1], [0, 0], [1, 1], -0.5)


def test_one_neuron_by_hand():
  """-|x| + 1/2 on [-1, 1]: at least -1/2; both on, x = 0 alone is left."""
  ball = Ball(tent(), [0.0], 1.0, [[[-1.0]]])
  # The chord above relu(x) is (x + 1) / 2: -(x + 1) / 2 - (1 - x) / 2 + 1/2.
  np.testing.assert_allclose(ball.low([[0, 0]]), [-0.5], atol=1e-9)
  # On and off: -x + 1/2 for x in [0, 1].
  np.testing.assert_allclose(ball.low([[1, -1]]), [-0.5], atol=1e-9)
  # Both on: x >= 0 and -x >= 0, so that |x| = 0.
  np.testing.assert_allclose(ball.low([[1, 1]]), [0.5], atol=1e-3)


def test_what_splits_leave_out_is_felt_through_multipliers_alone():
  """x + 5 on [-1, 1], and a neuron at x = 0 that leads nowhere."""
  model = two_neurons([1, 1], [5, 0], [1, 0], 0)
  ball = Ball(model, [0.0], 1.0, [[[1.0]]], [[FAR]])
  np.testing.assert_allclose(ball.low([[0, 0]]) + FAR, [4.0], atol=1e-9)
  np.testing.assert_allclose(ball.low([[0, 1]], None) + FAR, [4.0], atol=1e-9)
  # Where it is on, x >= 0: min (1 - b) x + 5 is 5 for b = 1.
  np.testing.assert_allclose(ball.low([[0, 1]]) + FAR, [5.0], atol=0.01)


def exact(weights, box, row, signs):
  """The least of a row over an MLP where all signs are fixed, by an LP."""
  kernel, bias = np.eye(len(box.low)), np.zeros(len(box.low))
  limits, ends = [], []
  at = 0
  for k, (w, b) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
    w, b = w.astype(float), b.astype(float)
    kernel, bias = kernel @ w, bias @ w + b
    if k == len(weights) // 2 - 1:
      break
    sign = signs[at : at + w.shape[1]]
    at += w.shape[1]
    limits.append((-kernel * sign).T)
    ends.append(bias * sign)
    kernel, bias = kernel * (sign > 0), bias * (sign > 0)
  found = linprog(
    kernel @ row,
    np.concatenate(limits),
    np.concatenate(ends),
    bounds=np.stack(box, 1),
  )
  return found.fun + bias @ row if found.status == 0 else np.inf


@pytest.mark.parametrize('seed', range(3))
def test_where_all_signs_are_fixed_bounds_are_those_of_linear_programs(seed):
  model = testing.mlp((3, 4, 3, 2), seed=seed)
  row = np.array([1.0, -1.0])
  ball = Ball(model, np.zeros(3), 0.7, [[row]], [[FAR]])
  signs = np.array(list(itertools.product([-1, 1], repeat=7)))
  found = ball.low(signs) + FAR
  box = Interval(ball.box.low[0], ball.box.high[0])
  wanted = np.array(
    [exact(model.get_weights(), box, row, one) for one in signs]
  )
  assert np.all(found <= wanted + 1e-9)
  feasible = np.isfinite(wanted)
  gaps = (wanted - found)[feasible]
  assert gaps.max() < 0.02
  assert np.median(gaps) < 1e-3
  # Where there is nothing, multipliers drive the bound up.
  assert np.mean(found[~feasible] > wanted[feasible].min()) > 0.9


@pytest.mark.parametrize('steps', [0, 5])
@pytest.mark.parametrize('layer', ['relu', 'leaky', 'prelu', 'conv', 'sigmoid'])
def test_bounds_hold_for_what_is_sampled_inside(layer, steps):
  model = _model(layer)
  shape = model.input_shape[1:]
  rng = np.random.default_rng(3)
  row = rng.normal(size=model.output_shape[-1])
  ball = Ball(model, np.zeros(shape), 0.5, [[row]])
  x = rng.uniform(-0.5, 0.5, (4000, *shape))
  inner, scores = _values(model, x)
  signs = rng.choice([-1, 0, 1], (40, ball.bounds.neurons), p=[0.2, 0.6, 0.2])
  signs = np.where(ball.root.unstable, signs, 0)
  found = ball.low(signs, Ascent(steps))
  seen = 0
  for sign, low in zip(signs, found, strict=True):
    inside = np.all(inner * sign >= 0, 1)
    if inside.any():
      seen += 1
      assert low <= (scores[inside] @ row).min() + 1e-6
  assert seen > 3


def _affine_layers():
  """A layer of every affine kind, one after another."""
  inputs = keras.Input((8, 8, 2))
  x = L.Conv2D(4, 3, padding='same')(L.ZeroPadding2D(1)(inputs))
  x = L.BatchNormalization()(L.DepthwiseConv2D(3)(x))
  x = L.Add()([x, L.SeparableConv2D(4, 3, padding='same')(x)])
  x = L.Conv2DTranspose(4, 2, strides=2)(L.AveragePooling2D(2)(x))
  x = L.Concatenate()([x, L.UpSampling2D(2)(L.Cropping2D(2)(x))])
  x = L.Permute((2, 1, 3))(L.Conv2D(4, 3, strides=2, groups=2)(x))
  x = L.Conv1D(4, 2)(L.Reshape((-1, 4))(x))
  x = L.Subtract()([L.Dense(3)(x), L.Dense(3)(x)])
  parts = [L.GlobalAveragePooling1D()(x), L.Flatten()(x)]
  return testing.fill(keras.Model(inputs, L.Concatenate()(parts)), 4)


def test_what_need_not_be_sound_is_about_the_same():
  graph = build_graph(_affine_layers())
  steps = build_program(graph, read_params(graph)).steps
  rng = np.random.default_rng(2)
  for step in steps:
    c = rng.normal(size=(3, *step.out_shape))
    exact = step.transpose(c)
    rough = step.rough_transpose(c.astype(np.float32))
    for a, b in zip(exact, rough, strict=True):
      assert b.dtype == np.float32
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  assert len(steps) > 20


def _model(layer):
  inputs = keras.Input((4, 4, 1) if layer == 'conv' else (4,))
  if layer == 'conv':
    x = L.Conv2D(2, 3, name='inner')(inputs)
    x = L.Flatten()(L.ReLU()(x))
  else:
    x = L.Dense(5, name='inner')(inputs)
    kinds = {'leaky': L.LeakyReLU(0.2), 'prelu': L.PReLU()}
    x = kinds.get(layer, L.ReLU())(x)
  if layer == 'sigmoid':
    x = L.Dense(3, 'sigmoid')(x)
  return testing.fill(keras.Model(inputs, L.Dense(2)(x)), 4)


def _values(model, x):
  inner = keras.Model(model.input, model.get_layer('inner').output)
  first, last = (testing.answers(m, x) for m in (inner, model))
  return first.reshape(len(x), -1), last


@functools.cache
def movable():
  # What is proved would be left at that; so nothing may be.
  model = testing.mlp((3, 5, 4, 2), seed=1)
  return Ball(model, np.zeros(3), 1.0, [[[1.0, -1.0]]], [[FAR]])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(0.1, 1.0))
def test_halves_are_never_worse_than_the_whole(centre, epsilon):
  ball = movable()
  ball.move(centre, epsilon)
  whole = ball.low(np.zeros((1, 9)))
  for neuron in np.flatnonzero(ball.root.unstable):
    signs = np.zeros((2, 9))
    signs[:, neuron] = 1, -1
    # As far as the ascent of one and the other comes.
    assert ball.low(signs).min() >= whole[0] - 1e-2


def test_several_rows_are_mixed_until_they_contradict():
  """y <= 0.1 and y >= 0.2: neither is impossible, but both are."""
  rows, offsets = [[[1.0], [-1.0]]], [[0.1, -0.2]]
  ball = Ball(tent(), [0.0], 1.0, rows, offsets)
  assert ball.low([[0, 0]])[0] > 0.04
  for row, offset in zip(rows[0], offsets[0], strict=True):
    single = Ball(tent(), [0.0], 1.0, [[row]], [[offset]])
    assert single.low([[0, 0]])[0] <= 0
