"""Bounds of single samples: against a slow reference, and by sampling."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.testing import (
  conv_net,
  draw,
  fill,
  mlp,
  pooled,
  sequence,
  squeezed,
  two_layer,
  with_batch_norm,
)
from tfmot_paoding.bounds import (
  METHODS,
  AlphaSettings,
  NoRelaxationError,
  Walk,
  build_program,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers


def walk(model, x, epsilon, method, low=-1.0, high=1.0) -> Walk:
  graph = build_graph(model)
  program = build_program(graph, read_params(graph))
  parts = x if isinstance(x, list) else [x]
  boxes = [
    Interval(np.maximum(part - epsilon, low), np.minimum(part + epsilon, high))
    for part in parts
  ]
  return Walk(program, boxes, method, AlphaSettings(steps=5))


def reference_crown(model, x, epsilon):
  """CROWN of an MLP with ReLU, a sample and a neuron at a time.

  What intervals say of a neuron, from the bounds in front of it, is met. The
  first layer is bounded by intervals alone, which are exact there.
  """
  weights = model.get_weights()
  layers = list(zip(weights[::2], weights[1::2], strict=True))
  found = []
  for sample in x:
    low, high = (
      np.maximum(sample - epsilon, -1),
      np.minimum(sample + epsilon, 1),
    )
    bounds = []
    for depth, (kernel, bias) in enumerate(layers):
      kernel = kernel.astype(float)
      if depth:
        low, high = (np.maximum(end, 0) for end in bounds[-1])
      ibp_low = low @ np.maximum(kernel, 0) + high @ np.minimum(kernel, 0)
      ibp_high = high @ np.maximum(kernel, 0) + low @ np.minimum(kernel, 0)
      rows = [
        [
          sign * _one_row(layers, bounds, depth, k, sign, sample, epsilon)
          for k in range(kernel.shape[1])
        ]
        for sign in (1, -1)
      ]
      ibp_low, ibp_high = ibp_low + bias, ibp_high + bias
      # Neurons that intervals know to be on or off are left at that.
      open_ = (ibp_low < 0) & (ibp_high > 0) | (depth == len(layers) - 1)
      bounds.append(
        (
          np.where(open_, np.maximum(rows[0], ibp_low), ibp_low),
          np.where(open_, np.minimum(rows[1], ibp_high), ibp_high),
        )
      )
    found.append(bounds[-1])
  return np.array([f[0] for f in found]), np.array([f[1] for f in found])


def _one_row(layers, bounds, depth, unit, sign, x, epsilon):
  row = sign * layers[depth][0][:, unit].astype(float)
  total = sign * float(layers[depth][1][unit])
  for k in reversed(range(depth)):
    low, high = bounds[k]
    new = np.zeros_like(row)
    for j, c in enumerate(row):
      if low[j] >= 0:
        new[j] = c
      elif high[j] <= 0:
        new[j] = 0
      elif c >= 0:
        new[j] = c * (1 if high[j] >= -low[j] else 0)
      else:
        slope = high[j] / (high[j] - low[j])
        new[j] = c * slope
        total -= c * slope * low[j]
    total += new @ layers[k][1]
    row = layers[k][0].astype(float) @ new
  low, high = np.maximum(x - epsilon, -1), np.minimum(x + epsilon, 1)
  return total + np.where(row > 0, row * low, row * high).sum()


def test_golden_two_units():
  """relu(x) + relu(-x) for |x| <= 1: CROWN knows that both cannot be 1."""
  model = two_layer([[1.0, -1.0]], [0.0, 0.0], [[1.0], [1.0]])
  x = np.zeros((1, 1))
  (ibp,) = walk(model, x, 1.0, 'ibp').outputs()
  np.testing.assert_allclose([ibp.low[0, 0], ibp.high[0, 0]], [0, 2], atol=1e-9)
  (crown,) = walk(model, x, 1.0, 'crown').outputs()
  # Above: x / 2 + 1 / 2 - x / 2 + 1 / 2.
  np.testing.assert_allclose(
    [crown.low[0, 0], crown.high[0, 0]], [0, 1], atol=1e-9
  )


@pytest.mark.parametrize('seed', range(3))
def test_crown_is_the_reference(seed):
  model = mlp((5, 8, 7, 6, 3), seed=seed)
  x = draw((5,), seed=seed)
  (found,) = walk(model, x, 0.2, 'crown').outputs()
  low, high = reference_crown(model, x, 0.2)
  np.testing.assert_allclose(found.low, low, atol=1e-6)
  np.testing.assert_allclose(found.high, high, atol=1e-6)
  (ibp,) = walk(model, x, 0.2, 'ibp').outputs()
  assert (found.width < ibp.width).any()


MODELS = {
  'mlp': lambda: mlp((5, 8, 6, 3)),
  'mlp sigmoid': lambda: mlp((5, 8, 6, 3), hidden='sigmoid'),
  'mlp gelu': lambda: mlp((5, 8, 6, 3), hidden='gelu'),
  'batch norm': with_batch_norm,
  'conv net': conv_net,
  'pooled': pooled,
  'sequence': sequence,
  'squeezed': squeezed,
}


@functools.cache
def walked(name, method):
  """A network, samples of its inputs, and bounds within 0.05 of them."""
  model = MODELS[name]()
  x = draw(model.input_shape[1:], 2)
  (found,) = walk(model, x, 0.05, method).outputs()
  return model, x, found


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('method', METHODS)
def test_sound_by_sampling(name, method):
  model, x, found = walked(name, method)
  shape, epsilon = x.shape[1:], 0.05
  rng = np.random.default_rng(1)
  for sample, low, high in zip(x, found.low, found.high, strict=True):
    steps = rng.uniform(-epsilon, epsilon, (300, *shape))
    corners = epsilon * rng.choice([-1.0, 1.0], (300, *shape))
    seen = np.clip(sample + np.concatenate([steps, corners]), -1, 1)
    value = model(seen.astype(np.float32)).numpy()
    room = 1e-5 * (1 + np.abs(value))
    assert np.all(low <= value + room), (low - value).max()
    assert np.all(value <= high + room), (value - high).max()


@pytest.mark.parametrize('name', MODELS)
def test_a_point_is_its_value(name):
  """Every layer's exact function, position by position."""
  model = MODELS[name]()
  x = draw(model.input_shape[1:], 3)
  (found,) = walk(model, x, 0.0, 'crown').outputs()
  value = model(x.astype(np.float32)).numpy()
  np.testing.assert_allclose(found.low, value, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found.high, value, rtol=1e-4, atol=1e-5)
  assert np.all(found.low <= found.high)


@pytest.mark.parametrize('name', MODELS)
def test_more_work_is_never_looser(name):
  widths = [walked(name, method)[2].width for method in METHODS]
  ibp, crown_ibp, crown, alpha = widths
  assert np.all(crown_ibp <= ibp + 1e-9)
  assert np.all(crown <= ibp + 1e-9)
  assert np.all(alpha <= crown + 1e-9)
  if name != 'pooled':
    assert crown.mean() < 0.95 * ibp.mean()


def test_alpha_gains_on_a_network_with_unstable_units():
  model = mlp((5, 16, 16, 3), seed=3)
  x = draw((5,), 6)
  crown = walk(model, x, 0.4, 'crown').outputs()[0].width
  alpha = walk(model, x, 0.4, 'alpha-crown').outputs()[0].width
  assert alpha.mean() < 0.99 * crown.mean()


def test_batches_agree_with_single_samples():
  model = conv_net()
  x = draw(model.input_shape[1:], 3)
  (together,) = walk(model, x, 0.05, 'crown').outputs()
  for k in range(3):
    (alone,) = walk(model, x[k : k + 1], 0.05, 'crown').outputs()
    # Entries that matter to another sample of the batch are tightened too.
    np.testing.assert_allclose(together.low[k], alone.low[0], rtol=0.05)


def test_sums_are_bounded_jointly():
  """A difference of two outputs, tighter than the outputs apart."""
  model = mlp((5, 8, 6, 3), seed=1)
  x = draw((5,), 4)
  one = walk(model, x, 0.1, 'crown')
  value = build_graph(model).outputs[0]
  rows = np.broadcast_to([[1.0, -1.0, 0.0]], (4, 1, 3))
  low = one.lower(value, rows)[:, 0]
  (bounds,) = one.outputs()
  assert np.all(low >= bounds.low[:, 0] - bounds.high[:, 1] - 1e-9)
  rng = np.random.default_rng(0)
  for _ in range(300):
    z = model(np.clip(x + rng.uniform(-0.1, 0.1, x.shape), -1, 1)).numpy()
    assert np.all(low <= z[:, 0] - z[:, 1] + 1e-5)


def test_several_inputs():
  a, b = keras.Input((3,)), keras.Input((2,))
  x = L.Concatenate()([L.Dense(4, activation='relu')(a), b])
  model = fill(keras.Model([a, b], L.Dense(2)(L.Dense(5, 'relu')(x))))
  x = [draw((3,)), draw((2,), seed=1)]
  for method in METHODS:
    (found,) = walk(model, x, 0.1, method).outputs()
    value = model([part.astype(np.float32) for part in x]).numpy()
    assert np.all((found.low <= value + 1e-5) & (value <= found.high + 1e-5))


def test_overflow_opens_the_bound():
  model = mlp((2, 3, 2), hidden='exponential')
  model.layers[0].kernel.assign(np.full((2, 3), 1e4, np.float32))
  (found,) = walk(model, np.full((1, 2), 0.5), 0.4, 'crown').outputs()
  assert not np.any(np.isnan(found.low) | np.isnan(found.high))
  assert np.isinf(found.width).any()


@pytest.mark.parametrize(
  ('layer', 'word'),
  [
    (L.Softmax(axis=(1, 2), name='odd'), "'odd'"),
    (L.Resizing(3, 3, name='zoom'), "'zoom'"),
    (L.Lambda(lambda x: x**2, name='square'), "'square'"),
  ],
)
def test_layers_without_relaxation_are_named(layer, word):
  inputs = keras.Input((4, 4, 2))
  model = keras.Model(inputs, L.Dense(2)(L.Flatten()(layer(inputs))))
  with pytest.raises(NoRelaxationError, match=word):
    walk(model, draw((4, 4, 2)), 0.1, 'crown')


def test_integers_have_no_ball():
  model = keras.Sequential(
    [
      keras.Input((3,)),
      L.Embedding(5, 2, name='words'),
      L.Flatten(),
      L.Dense(2),
    ]
  )
  with pytest.raises(NoRelaxationError, match="'words' looks integers up"):
    walk(model, np.zeros((1, 3)), 0.1, 'ibp')


def test_means_of_volumes_are_bounded():
  """TensorFlow's own are of float32 alone."""
  inputs = keras.Input((3, 4, 4, 2))
  x = L.AveragePooling3D((2, 2, 1), padding='same')(L.Dense(3)(inputs))
  model = fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))
  x = draw((3, 4, 4, 2))
  (found,) = walk(model, x, 0.1, 'crown').outputs()
  value = model(x.astype(np.float32)).numpy()
  assert np.all((found.low <= value + 1e-5) & (value <= found.high + 1e-5))
