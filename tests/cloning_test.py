"""Copies of models: structure, weights, nothing shared."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import training
from tfmot_paoding.cloning import (
  clone_with,
  copy_weights,
  fresh_layer,
  leaf_paths,
)
from tfmot_paoding.compat import keras, strip_pruning
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


def tied() -> keras.Model:
  """A nested model reached directly and through another nested model."""
  shared = keras.Sequential(
    [
      keras.Input((4,)),
      _layers.Dense(6, 'relu', name='deep'),
      _layers.Dense(4, name='back'),
    ],
    name='shared',
  )
  end = keras.Input((4,))
  alone = _layers.Dense(4, name='alone')
  outer = keras.Model(
    end, alone(_layers.Dense(4, 'tanh', name='own')(shared(end))), name='outer'
  )
  inputs = keras.Input((4,))
  x = _layers.Dense(5, 'relu', name='hidden')(inputs)
  x = _layers.Dense(4, name='front')(x)
  x = _layers.Add()([outer(x), alone(shared(x))])
  return testing.fill(keras.Model(inputs, _layers.Dense(2, name='last')(x)))


def test_a_layer_that_is_reached_in_two_ways_is_one():
  model = tied()
  graph = build_graph(model)
  for layer in (model.get_layer('shared').get_layer('deep'), model.layers[-3]):
    assert graph.calls[graph.paths[id(layer)]] == 2, layer.name
  assert len(set(map(id, graph.layers.values()))) == len(graph.layers)
  clone = clone_with(model, lambda layer, _: fresh_layer(layer))
  copy_weights(graph, build_graph(clone))
  assert clone.count_params() == model.count_params()
  assert clone.get_layer('shared') is clone.get_layer('outer').get_layer(
    'shared'
  )
  x = testing.draw((4,)).astype('float32')
  np.testing.assert_array_equal(clone(x), model(x))
  assert leaf_paths(build_graph(clone)) == leaf_paths(graph)


@pytest.mark.parametrize('make', (tied, lambda: keras.Sequential([tied()])))
def test_what_is_shared_stays_shared_in_the_whole_workflow(make):
  model = make()
  x = testing.draw((4,)).astype('float32')
  wrapped = paoding.prune_low_saliency(model)
  np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
  assert len(wrapped.trainable_weights) == len(model.trainable_weights)
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(strip_pruning(wrapped))
  assert small.count_params() < model.count_params()
  assert len(small.trainable_weights) == len(model.trainable_weights)
  np.testing.assert_allclose(small(x), wrapped(x), atol=1e-5)


def test_compact_leaves_shared_weights_shared():
  model = tied()
  assert paoding.compact(model).count_params() == model.count_params()


def test_fixed_masks_leave_shared_weights_shared():
  model = tied()
  x = testing.draw((4,)).astype('float32')
  wrapped = training.with_fixed_masks(model)
  assert len(wrapped.trainable_weights) == len(model.trainable_weights)
  np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
