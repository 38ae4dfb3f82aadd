"""Copies of models: structure, weights, nothing shared."""

from __future__ import annotations

import contextvars

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat, training
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network import cloning as lib
from tfmot_paoding.network import told_shapes
from tfmot_paoding.network.cloning import (
  clone_with,
  copy_weights,
  fresh_layer,
  in_float32,
  leaf_paths,
)
from tfmot_paoding.network.graph import build_graph

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


class Projecting(keras.layers.Layer):
  """Keeps what it has drawn by a seed of its own, which is no weight."""

  def build(self, input_shape):
    seeded = keras.initializers.GlorotUniform(seed=3)
    self.drawn = seeded((input_shape[-1], 2))

  def call(self, x):
    return x @ self.drawn


def test_a_copy_draws_no_weights_and_leaves_seeds_as_if_it_had():
  def drawn_after(make) -> np.ndarray:
    keras.utils.set_random_seed(0)
    make(model)
    return keras.initializers.HeNormal()((4,)).numpy()

  model = keras.Sequential(
    [keras.Input((3, 4)), _layers.GRU(5), _layers.Dense(3), Projecting()]
  )
  bare = clone_with(model, lambda layer, _: fresh_layer(layer))
  assert not any(np.any(w) for w in bare.get_weights())
  np.testing.assert_array_equal(bare.layers[-1].drawn, model.layers[-1].drawn)
  assert np.any(keras.models.clone_model(model).get_weights()[0])
  np.testing.assert_array_equal(
    drawn_after(lib.copied), drawn_after(keras.models.clone_model)
  )


def test_a_clone_computes_the_same_and_shares_nothing():
  model = nested()
  seen = []

  def make(layer, path):
    seen.append(path)
    return fresh_layer(layer)

  clone = clone_with(model, make)
  copy_weights(model, clone)
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
  copy_weights(model, clone)
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


def of_policy(policy: str) -> keras.Model:
  """Layers in layers and a model in the model, of one dtype policy."""
  kept = keras.mixed_precision.global_policy()
  keras.mixed_precision.set_global_policy(policy)
  try:
    x = inputs = keras.Input((6, 3))
    x = _layers.Conv1D(5, 2, activation='relu')(x)
    x = _layers.BatchNormalization(name='norm')(x)
    x = _layers.Bidirectional(_layers.LSTM(4, return_sequences=True))(x)
    x = _layers.TimeDistributed(_layers.Dense(6, 'relu'))(x)
    inner = keras.Sequential(
      [keras.Input((5, 6)), _layers.GlobalMaxPooling1D(), _layers.Dense(8)]
    )
    outputs = _layers.Dense(3)(_layers.ReLU()(inner(x)))
    return testing.fill(keras.Model(inputs, outputs))
  finally:
    keras.mixed_precision.set_global_policy(kept)


@pytest.mark.parametrize(
  ('policy', 'tolerance', 'session'),
  [
    ('mixed_float16', 2e-2, 'float32'),
    ('mixed_bfloat16', 0.1, 'mixed_float16'),
    ('float64', 1e-5, 'mixed_float16'),
  ],
)
def test_any_precision_becomes_float32(policy, tolerance, session):
  model = of_policy(policy)
  keras.mixed_precision.set_global_policy(session)
  try:
    made = in_float32(model)
  finally:
    keras.mixed_precision.set_global_policy('float32')
  assert made is not model
  assert in_float32(made) is made
  x = testing.draw((6, 3)).astype(np.float32)
  found = made(x)
  assert found.dtype == 'float32'
  np.testing.assert_allclose(
    found, np.asarray(model(x), np.float32), rtol=0, atol=tolerance
  )
  assert [one.name for one in made.layers] == [x.name for x in model.layers]


def test_weights_beyond_float32_are_refused():
  model = of_policy('float64')
  kernel, bias = model.layers[-1].get_weights()
  model.layers[-1].set_weights([kernel * 1e300, bias])
  with pytest.raises(ValueError, match='larger than float32 can hold'):
    in_float32(model)


@pytest.mark.parametrize(
  ('policy', 'method'),
  [('mixed_float16', 'reconstruction'), ('float64', 'saliency')],
)
def test_models_of_other_precision_are_pruned_and_keep_it(policy, method):
  model = of_policy(policy)
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.5), method
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.count_params() < 0.9 * model.count_params()
  x = testing.draw((6, 3)).astype(np.float32)
  wanted = np.asarray(wrapped(x), np.float64)
  for other in (stripped, small):
    np.testing.assert_allclose(
      np.asarray(other(x), np.float64), wanted, rtol=0, atol=2e-3
    )
  for one, two in zip(small.layers[1:], model.layers[1:], strict=True):
    if not isinstance(one, keras.Model):
      assert one.dtype_policy.name == two.dtype_policy.name


@pytest.mark.parametrize(
  ('quantization', 'policy'),
  testing.paired(
    [None, 'float16', 'dynamic', 'int8'], ['mixed_float16', 'float64']
  ),
)
def test_models_of_other_precision_are_exported_in_float32(
  quantization, policy
):
  x = inputs = keras.Input((6, 6, 2), dtype='float64')
  x = _layers.Conv2D(4, 3, activation='relu', dtype=policy)(x)
  x = _layers.BatchNormalization(dtype=policy)(x)
  x = _layers.Dense(3, dtype=policy)(_layers.Flatten(dtype=policy)(x))
  model = testing.fill(keras.Model(inputs, x))
  data = paoding.convert_to_tflite(model, quantization)
  x = testing.samples((6, 6, 2), 10, 0.0, 1.0).astype(np.float32)
  found = paoding.tflite.compare_tflite(
    model, data, inputs={model.input_names[0]: x}
  )
  assert found.mean < 0.02


def test_a_wrapper_around_a_class_that_nobody_registered_is_copied():
  class Doubled(keras.layers.Layer):
    def call(self, x):
      return 2 * x

  inputs = keras.Input((3, 4))
  wrapped = keras.layers.TimeDistributed(Doubled())
  model = keras.Model(inputs, keras.layers.Dense(2)(wrapped(inputs)))
  x = np.ones((2, 3, 4), np.float32)
  np.testing.assert_allclose(lib.plain_copy(model)(x), model(x))


class Shifted(keras.layers.Layer):
  """Its config holds its own argument alone."""

  def __init__(self, shift, **kwargs):
    super().__init__(**kwargs)
    self.shift = shift

  def build(self, shape):
    self.factor = self.add_weight('factor', shape[-1:], initializer='ones')

  def call(self, x):
    return self.factor * x + self.shift

  def get_config(self):
    return {'shift': self.shift}


def test_a_config_need_not_hold_what_all_layers_have():
  dense = keras.layers.Dense
  model = keras.Sequential(
    [keras.Input((4,)), Shifted(0.5), dense(6, 'relu'), Shifted(1.5), dense(2)]
  )
  model.layers[0].trainable = False
  names = [layer.name for layer in model.layers]
  small = lib.clone_with(model, lambda layer, _: lib.fresh_layer(layer))
  lib.copy_weights(testing.fill(model), small)
  assert [layer.name for layer in small.layers] == names
  assert not small.layers[0].trainable
  assert small.layers[2].trainable
  x = testing.samples((4,), 5).astype(np.float32)
  np.testing.assert_allclose(small(x), model(x), atol=1e-6)


def test_classes_of_one_name_are_left_to_keras():
  class Dense(keras.layers.Dense):
    pass

  class Pair(keras.layers.Layer):
    def __init__(self, **kwargs):
      super().__init__(**kwargs)
      self.parts = [keras.layers.Dense(2), Dense(3)]

  assert set(lib._held_classes(Pair())) == {'Pair'}
  assert lib._held_classes(Dense(3)) == {'Dense': Dense}


def test_forms_for_gpus_are_left_out_of_copies_alone(monkeypatch):
  """Keras swaps them in where a model runs; copying needs shapes alone."""
  asked = contextvars.copy_context()  # other than in all other tests
  asked.run(compat._FORMS_FOR_GPUS.set, True)
  asked.run(told_shapes._TOLD.set, False)
  asked.run(_check_forms_for_gpus, monkeypatch)


def _check_forms_for_gpus(monkeypatch):
  seen = []
  register = compat._kept_if_asked(lambda *_, **__: seen.append(1))
  monkeypatch.setattr(compat.gru_lstm_utils, 'function_register', register)
  model = keras.Sequential([keras.Input((4, 3)), keras.layers.GRU(2)])
  assert len(seen) == 1
  copy = lib.copied(model)
  assert len(seen) == 1
  x = testing.draw((4, 3)).astype(np.float32)
  np.testing.assert_array_equal(tf.function(copy)(x), tf.function(model)(x))
  assert len(seen) == 3


def test_an_array_in_a_config_stays_one_tensor(tmp_path):
  array = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
  inputs = keras.Input((4, 6))
  times = [tf.shape(inputs)[0], 1, 1]
  model = keras.Model(inputs, tf.tile(array, times) + inputs)
  model.save(tmp_path / 'model.h5')
  loaded = paoding.load_model(tmp_path / 'model.h5')
  x = np.ones((2, 4, 6), np.float32)
  for one in (loaded, clone_with(loaded, lambda layer, _: fresh_layer(layer))):
    np.testing.assert_array_equal(one(x), array + x)
    (tiled,) = [
      node
      for node in compat.ordered_nodes(one)
      if getattr(node.layer, 'function', None) is tf.tile
    ]
    np.testing.assert_array_equal(tiled.call_args[0], array)
    assert tf.is_tensor(tiled.call_args[0])


def test_lists_that_functions_take_stay_lists():
  inputs = keras.Input((2,))
  model = keras.Model(inputs, inputs + tf.concat([[1.0, 2.0]], 0))
  x = np.ones((1, 2), np.float32)
  clone = clone_with(model, lambda layer, _: fresh_layer(layer))
  np.testing.assert_array_equal(clone(x), [[2.0, 3.0]])
