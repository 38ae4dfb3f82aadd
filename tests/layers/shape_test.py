"""Flatten, Reshape and identities."""

from __future__ import annotations

import pytest

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import handler_of
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.ops import Opaque, Reshape


def nodes_of(layer, shape):
  return build_graph(keras.Sequential([keras.Input(shape), layer])).nodes


def test_flatten_and_reshape():
  (node,) = nodes_of(keras.layers.Flatten(), (2, 3))
  assert node.op == Reshape((6,), (2, 3))
  (node,) = nodes_of(keras.layers.Reshape((3, -1)), (2, 6))
  assert node.op == Reshape((3, 4), (2, 6))


def test_flatten_of_channels_first_is_not_guessed():
  layer = keras.layers.Flatten(data_format='channels_first')
  (node,) = nodes_of(layer, (2, 3))
  assert isinstance(node.op, Opaque)


@pytest.mark.parametrize(
  'layer',
  [
    keras.layers.Dropout(0.5),
    keras.layers.AlphaDropout(0.5),
    keras.layers.GaussianDropout(0.5),
    keras.layers.GaussianNoise(0.5),
    keras.layers.ActivityRegularization(0.1),
    keras.layers.Identity(),
  ],
)
def test_identities(layer):
  assert nodes_of(layer, (4,)) == []


def test_resize_keeps_what_is_inferred():
  layer = keras.layers.Reshape((1, -1))
  config = handler_of(layer).resize(layer, layer.get_config(), (1, 3))
  assert config['target_shape'] == (1, -1)
  layer = keras.layers.Reshape((1, 6))
  config = handler_of(layer).resize(layer, layer.get_config(), (1, 3))
  assert config['target_shape'] == (1, 3)
