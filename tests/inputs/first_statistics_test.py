"""What stands between inputs and statistics, against loops over taps."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_statistics import (
  first_statistics,
  has_first_statistics,
)
from tfmot_paoding.network.network import Network

L = keras.layers


def network(*layers, shape=(7, 5, 2)):
  model = keras.Sequential([keras.Input(shape), *layers])
  return Network.of(testing.fill(model, 3))


def slow_means(kernel, shape, strides):
  """(filters, *shape): every position's window, tap by tap, 'same' padding."""
  high, wide, channels, filters = kernel.shape
  outs = [-(-shape[k] // strides[k]) for k in range(2)]
  pads = [
    max((outs[k] - 1) * strides[k] + kernel.shape[k] - shape[k], 0) // 2
    for k in range(2)
  ]
  rows = np.zeros((filters, *shape))
  for i, j in np.ndindex(*outs):
    for a, b in np.ndindex(high, wide):
      at = (i * strides[0] + a - pads[0], j * strides[1] + b - pads[1])
      if 0 <= at[0] < shape[0] and 0 <= at[1] < shape[1]:
        for c, f in np.ndindex(channels, filters):
          rows[f, at[0], at[1], c] += kernel[a, b, c, f] / np.prod(outs)
  return rows


@pytest.mark.parametrize('strides', [(1, 1), (2, 2), (3, 1)])
def test_means_depend_on_entries_as_loops_say(strides):
  conv = L.Conv2D(4, (4, 3), strides, padding='same')
  (known,) = first_statistics(network(conv, L.BatchNormalization()), 0)
  slow = slow_means(conv.get_weights()[0], known.shape, strides)
  np.testing.assert_allclose(known.mean_rows(), slow, atol=1e-6)
  np.testing.assert_allclose(known._sloped_rows(), slow, atol=1e-6)
  x = np.random.default_rng(0).normal(size=(3, 7, 5, 2))
  wanted = conv(x).numpy().reshape(3, known.positions, 4)
  np.testing.assert_allclose(known.response(x), wanted, atol=1e-5)
  np.testing.assert_allclose(
    known.offset(), np.broadcast_to(conv.get_weights()[1], wanted.shape[1:])
  )


@pytest.mark.parametrize(
  'front',
  [
    [L.ZeroPadding2D(1), L.Conv2D(3, 3)],
    [L.Rescaling(2.0, -1.0), L.Conv2D(3, 3)],
    [L.Reshape((7, 10)), L.Conv1D(3, 3)],
    [L.Dropout(0.5), L.DepthwiseConv2D(3)],
    [L.Flatten(), L.Dense(4)],
    [L.AveragePooling2D(2), L.Dense(4)],
    [L.SeparableConv2D(4, 3)],
    [],
  ],
  ids=lambda layers: '-'.join(type(layer).__name__ for layer in layers),
)
def test_affine_layers_in_front_are_seen_through(front):
  layers = [type(layer).from_config(layer.get_config()) for layer in front]
  net = network(*layers, L.BatchNormalization())
  (known,) = first_statistics(net, 0)
  x = np.random.default_rng(0).normal(size=(3, 7, 5, 2))
  value = x
  for layer in layers:
    value = layer(value)
  response = known.response(x)
  np.testing.assert_allclose(
    response, np.reshape(value, response.shape), atol=1e-5
  )
  rows = known.mean_rows()
  mean = np.tensordot(rows, x[0], 3) + known.offset().mean(0)
  np.testing.assert_allclose(response[0].mean(0), mean, atol=1e-6)


@pytest.mark.parametrize(
  'front',
  [
    [L.Conv2D(3, 3, activation='relu')],
    [L.MaxPooling2D(2)],
    [L.Conv2D(3, 3), L.ReLU()],
    [L.Conv2D(3, 3), L.LayerNormalization()],
  ],
  ids=['relu', 'pool', 'ReLU', 'norm'],
)
def test_what_is_not_affine_is_not(front):
  assert not has_first_statistics(network(*front, L.BatchNormalization()), 0)


def test_inputs_of_three_axes():
  net = network(
    L.Conv3D(2, 2, 2, padding='same'),
    L.BatchNormalization(),
    shape=(3, 4, 5, 1),
  )
  (known,) = first_statistics(net, 0)
  x = np.random.default_rng(0).normal(size=(1, 3, 4, 5, 1))
  mean = np.tensordot(known.mean_rows(), x[0], 4) + known.offset().mean(0)
  np.testing.assert_allclose(known.response(x)[0].mean(0), mean, atol=1e-9)


def test_every_branch_tells():
  x = keras.Input((6, 6, 1))
  branches = [
    L.BatchNormalization()(L.Conv2D(3, size, padding='same')(x))
    for size in (1, 3)
  ]
  model = keras.Model(x, L.Concatenate()(branches))
  assert len(first_statistics(Network.of(model), 0)) == 2
