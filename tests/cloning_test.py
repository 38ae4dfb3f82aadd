"""Copies of models: structure, weights, nothing shared."""

from __future__ import annotations

import numpy as np

from tests import testing
from tfmot_paoding.cloning import (
  clone_with,
  copy_weights,
  fresh_layer,
  leaf_paths,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import build_graph

_layers = keras.layers


def nested() -> keras.Model:
  """Sequential in functional, two inputs, two outputs."""
  inner = keras.Sequential(
    [keras.Input((4,)), _layers.Dense(6, 'relu', name='deep')], name='inner'
  )
  a, b = keras.Input((3,), name='a'), keras.Input((4,), name='b')
  x = inner(_layers.Dense(4, name='front')(a))
  y = _layers.Concatenate(name='join')([x, b])
  return testing.fill(
    keras.Model([a, b], [_layers.Dense(2, name='one')(y), x], name='outer')
  )


def test_a_clone_computes_the_same_and_shares_nothing():
  model = nested()
  seen = []

  def make(layer, path):
    seen.append(path)
    return fresh_layer(layer)

  clone = clone_with(model, make)
  copy_weights(build_graph(model), build_graph(clone))
  assert ('inner', 'deep') in seen
  assert ('front',) in seen
  x = [np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)]
  for one, two in zip(model(x), clone(x), strict=True):
    np.testing.assert_array_equal(one, two)
  assert not {id(w) for w in model.weights} & {id(w) for w in clone.weights}
  assert clone.input_names == model.input_names
  assert clone.output_names == model.output_names
  assert [x.name for x in clone.layers] == [x.name for x in model.layers]
  assert leaf_paths(build_graph(clone)) == leaf_paths(build_graph(model))


def test_nested_inputs_may_change_their_shape():
  model = nested()

  def make(layer, path):
    config = layer.get_config()
    if path == ('front',):
      config['units'] = 3
    return type(layer).from_config(config)

  clone = clone_with(
    model, make, lambda path: [(3,)] if path == ('inner',) else None
  )
  assert clone.get_layer('inner').input_shape == (None, 3)
  assert clone.get_layer('inner').get_layer('deep').kernel.shape == (3, 6)


def test_sequential_models_stay_sequential():
  model = testing.mlp()
  clone = clone_with(model, lambda layer, path: fresh_layer(layer))
  assert isinstance(clone, keras.Sequential)
  assert clone.input_shape == model.input_shape
