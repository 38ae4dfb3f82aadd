"""Keras models as graphs: structure, paths, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, check_model, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.ops import Elementwise, Line, MatMul, Opaque, Reshape

_layers = keras.layers


def kinds(graph):
  return [type(node.op) for node in graph.nodes]


def test_a_sequential_model_is_a_chain():
  graph = build_graph(testing.mlp((5, 8, 6, 3)))
  assert kinds(graph) == [MatMul, Elementwise, MatMul, Elementwise, MatMul]
  assert [node.path for node in graph.nodes] == [
    ('hidden_0',),
    ('hidden_0',),
    ('hidden_1',),
    ('hidden_1',),
    ('logits',),
  ]
  assert graph.shapes[graph.outputs[0]] == (3,)


@pytest.mark.parametrize('before', [True, False])
def test_it_computes_what_the_model_computes(before):
  model = testing.with_batch_norm(before, 'elu')
  graph = build_graph(model)
  x = testing.samples((5,), 20)
  values = testing.forward(graph, read_params(graph), x)
  np.testing.assert_allclose(
    values[graph.outputs[0]], testing.answers(model, x), rtol=1e-4, atol=1e-5
  )


def test_nested_models_are_inlined_with_their_path():
  inner = keras.Sequential(
    [keras.Input((4,)), _layers.Dense(6, 'relu', name='deep')], name='inner'
  )
  inputs = keras.Input((3,))
  x = inner(_layers.Dense(4, name='front')(inputs))
  model = keras.Model(inputs, _layers.Dense(2, name='back')(x))
  graph = build_graph(model)
  assert [n.path for n in graph.nodes] == [
    ('front',),
    ('inner', 'deep'),
    ('inner', 'deep'),
    ('back',),
  ]
  assert graph.layers['inner', 'deep'] is inner.get_layer('deep')
  assert graph.layer_inputs['inner',] == graph.layer_outputs['front',]


def test_inference_identities_leave_no_node():
  model = keras.Sequential(
    [
      keras.Input((2, 3)),
      _layers.Flatten(),
      _layers.Dropout(0.5),
      _layers.GaussianNoise(1.0),
      _layers.Activation('linear'),
      _layers.ActivityRegularization(0.1),
    ]
  )
  assert kinds(build_graph(model)) == [Reshape]


def test_layers_called_twice_are_counted():
  shared = _layers.Dense(4, name='shared')
  inputs = keras.Input((4,))
  model = keras.Model(inputs, shared(shared(inputs)))
  assert build_graph(model).calls == {('shared',): 2}


@pytest.mark.parametrize(
  'make',
  [
    lambda: _layers.Dense(4, activation=lambda x: x * 2),
    lambda: _layers.ReLU(threshold=1.0),
    lambda: _layers.Softmax(axis=(1, 2)),
    lambda: _layers.LayerNormalization(axis=1),
    lambda: _layers.BatchNormalization(axis=1),
    lambda: _layers.Lambda(lambda x: x),
  ],
)
def test_what_is_not_known_is_opaque_and_named(make):
  layer = make()
  model = keras.Sequential([keras.Input((3, 4)), layer])
  *_, node = build_graph(model).nodes
  assert isinstance(node.op, Opaque)
  assert layer.name in node.op.reason
  assert type(layer).__name__ in node.op.reason


def test_operator_calls_with_numbers_are_lines():
  inputs = keras.Input((4,))
  model = keras.Model(inputs, _layers.Dense(2)(inputs * 2.0 + 1.0))
  assert kinds(build_graph(model)) == [Line, Line, MatMul]


def test_unknown_sizes_count_as_one():
  model = keras.Sequential([keras.Input((None, 4)), _layers.Dense(3)])
  graph = build_graph(model)
  assert graph.shapes == [(1, 4), (1, 3)]


class Subclassed(keras.Model):
  def call(self, x):
    return x


@pytest.mark.parametrize(
  ('model', 'error', 'message'),
  [
    (_layers.Dense(3), TypeError, 'pass the whole model'),
    ([_layers.Dense(3)], TypeError, 'lists of layers'),
    (None, TypeError, 'Expected a Sequential or functional'),
    (Subclassed(), ValueError, 'subclassed.*functional API'),
    (keras.Sequential([_layers.Dense(3)]), ValueError, 'not built.*build'),
  ],
)
def test_what_cannot_be_walked_is_refused_with_advice(model, error, message):
  with pytest.raises(error, match=message):
    check_model(model)


def test_a_keras_3_model_is_refused_with_advice():
  keras3 = pytest.importorskip('keras')
  if not keras3.__version__.startswith('3'):
    pytest.skip('the installed keras is not Keras 3')
  model = keras3.Sequential([keras3.Input((3,)), keras3.layers.Dense(2)])
  with pytest.raises(TypeError, match=r'Keras 3 object.*TF_USE_LEGACY_KERAS'):
    check_model(model)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_weights_must_be_finite(value):
  model = testing.mlp()
  kernel = model.get_layer('hidden_1').kernel
  kernel[0, 0].assign(value)
  with pytest.raises(ValueError, match=r"'kernel' of layer 'hidden_1'.*NaN"):
    read_params(build_graph(model))


def training_call(nested):
  """Batch normalization by the statistics of the batch at inference, too."""
  inputs = keras.Input((5,))
  x = _layers.Dense(6, name='hidden')(inputs)
  norm = _layers.BatchNormalization(name='norm')
  if nested:
    inside = keras.Input((6,))
    norm = keras.Model(inside, norm(inside), name='inner')
  return keras.Model(inputs, _layers.Dense(2)(norm(x, training=True)))


@pytest.mark.parametrize('nested', [False, True])
def test_layers_called_for_training_are_opaque(nested):
  model = training_call(nested)
  graph = build_graph(model)
  assert kinds(graph) == [MatMul, Opaque, MatMul]
  assert 'training' in graph.nodes[1].op.reason
  assert ('inner' if nested else 'norm') in graph.nodes[1].op.reason
  assert ('hidden',) in find_groups(graph).left_alone
  # Copies of the model carry over the weights of layers that are not walked.
  path = ('inner', 'norm') if nested else ('norm',)
  assert isinstance(graph.layers[path], _layers.BatchNormalization)


def test_nested_models_that_are_not_walked_keep_their_weights():
  inside = keras.Input((6,))
  inner = keras.Model(
    inside, _layers.Dense(6, name='deep')(inside), name='inner'
  )
  inputs = keras.Input((5,))
  x = _layers.Dense(8, 'relu', name='first')(inputs)
  x = inner(_layers.Dense(6, 'relu', name='second')(x), training=True)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(x)))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  for layer in ('second', 'inner', 'end'):
    one, two = model.get_layer(layer), small.get_layer(layer)
    np.testing.assert_array_equal(one.weights[-1], two.weights[-1])
  assert small.get_layer('first').units == 4


@pytest.mark.parametrize('nested', [False, True])
def test_layers_called_for_inference_are_what_they_are(nested):
  inputs = keras.Input((5,))
  x = _layers.Dense(6, name='hidden')(inputs)
  drop = _layers.Dropout(0.5)
  if nested:
    inside = keras.Input((6,))
    drop = keras.Model(inside, drop(inside))
  model = keras.Model(inputs, _layers.Dense(2)(drop(x, training=False)))
  assert kinds(build_graph(model)) == [MatMul, MatMul]


def test_nested_models_take_the_sizes_of_their_call():
  inner = keras.Sequential(
    [
      keras.Input((None, 4)),
      _layers.Dense(6, 'relu', name='deep'),
      _layers.BatchNormalization(),
    ],
    name='inner',
  )
  inputs = keras.Input((3, 4))
  x = _layers.Flatten()(inner(inputs))
  model = testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(x)))
  graph = build_graph(model)
  assert graph.shapes == [(3, 4), (3, 6), (3, 6), (3, 6), (18,), (2,)]
  x = testing.samples((3, 4), 20)
  np.testing.assert_allclose(
    testing.forward(graph, read_params(graph), x)[graph.outputs[0]],
    testing.answers(model, x),
    rtol=1e-4,
    atol=1e-5,
  )
  (group,) = find_groups(graph).groups
  assert group.consumers[0].places.shape == (6, 3)


@pytest.mark.parametrize(
  ('shape', 'make'),
  [
    ((None, 4), lambda: _layers.Reshape((-1, 2), name='odd')),
    ((None, 4), lambda: _layers.Flatten(name='odd')),
    # One entry of a size that is not known would pass for all there are.
    ((None, 1), lambda: _layers.Flatten(name='odd')),
    ((2, None), lambda: _layers.Softmax(name='odd')),
    ((None,), lambda: _layers.Activation('softmax', name='odd')),
  ],
)
def test_what_depends_on_unknown_sizes_is_opaque(shape, make):
  model = keras.Sequential([keras.Input(shape), make()])
  (node,) = build_graph(model).nodes
  assert isinstance(node.op, Opaque)
  assert "'odd'" in node.op.reason
  assert 'not known' in node.op.reason


def test_a_layer_shared_across_nesting_keeps_the_function():
  shared = _layers.Dense(4, 'relu', name='shared')
  inside = keras.Input((4,))
  inner = keras.Model(inside, shared(inside), name='inner')
  inputs = keras.Input((4,))
  x = _layers.Dense(2, name='end')(inner(shared(inputs)))
  model = testing.fill(keras.Model(inputs, x))
  graph = build_graph(model)
  assert graph.layers['shared',] is shared
  assert graph.calls['shared',] == 2
  assert ('inner', 'shared') not in graph.layers  # one layer has one path
  x = testing.samples((4,), 20)
  np.testing.assert_allclose(
    testing.forward(graph, read_params(graph), x)[graph.outputs[0]],
    testing.answers(model, x),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  'inner',
  [
    keras.layers.Conv2D(4, 3, activation='relu'),
    keras.layers.Conv2DTranspose(4, 3, 2, activation='relu'),
    keras.layers.DepthwiseConv2D(3, 2, 'same', activation='relu'),
  ],
)
def test_values_within_a_step_have_the_axis_of_steps(inner):
  inputs = keras.Input((2, 7, 7, 3))
  made = keras.layers.TimeDistributed(inner)(inputs)
  graph = build_graph(keras.Model(inputs, made))
  (call,) = graph.layer_calls
  assert len(call.nodes) == 2
  for node in call.nodes:
    assert graph.shapes[node.outputs[0]] == tuple(made.shape[1:])
