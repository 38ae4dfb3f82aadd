"""Tests of strided 1 x 1 convolutions and of grouped ones.

What the former replace ends the process on some machines, so that nothing here
runs it in reverse: the graphs that are traced must not have it.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network import answering
from tfmot_paoding.network import sound_convolutions as module
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.ops import windows
from tfmot_paoding.training import distillation, tickets

_REVERSED = 'Conv2DBackpropFilterV2', 'Conv2DBackpropFilter'


def _network(**kwargs):
  inputs = keras.Input((7, 6, 3))
  x = keras.layers.Conv2D(8, 1, strides=2, activation='relu', **kwargs)(inputs)
  x = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(inputs, keras.layers.Dense(3)(x))


def _strided(graph):
  """Strided gradients of kernels that are in a graph and its functions."""
  nodes = list(graph.as_graph_def().node)
  for function in graph.as_graph_def().library.function:
    nodes += function.node_def
  return [
    node
    for node in nodes
    if node.op in _REVERSED and max(node.attr['strides'].list.i) > 1
  ]


def _gradients(model):
  @tf.function
  def gradients(x):
    with tf.GradientTape() as tape:
      total = tf.reduce_sum(tf.square(model(x)))
    return tape.gradient(total, model.trainable_variables)

  return gradients.get_concrete_function(tf.TensorSpec((None, 7, 6, 3)))


def test_gradients_have_no_strides():
  model = _network()
  assert _strided(_gradients(model).graph)
  with sound_convolutions(model):
    assert not _strided(_gradients(model).graph)
  assert _strided(_gradients(model).graph)
  assert 'convolution_op' not in vars(model.layers[1])


@pytest.mark.parametrize(
  ('kind', 'shape', 'strides'),
  [
    (keras.layers.Conv1D, (2, 7, 3), 2),
    (keras.layers.Conv2D, (2, 7, 6, 3), (2, 1)),
    (keras.layers.Conv2D, (2, 4, 7, 6, 3), (3, 2)),
    (keras.layers.Conv3D, (2, 5, 4, 3, 3), (1, 2, 3)),
  ],
)
@pytest.mark.parametrize('padding', ['same', 'valid'])
def test_values_are_the_same(kind, shape, strides, padding):
  layer = kind(5, 1, strides=strides, padding=padding)
  x = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
  usual = layer(x)
  model = keras.Sequential([layer])
  with sound_convolutions(model):
    assert 'convolution_op' in vars(layer)
    np.testing.assert_allclose(layer(x), usual, rtol=1e-6)
  np.testing.assert_array_equal(layer(x), usual)


def test_channels_first():
  layer = keras.layers.Conv2D(5, 1, strides=2, data_format='channels_first')
  layer.build((None, 3, 7, 6))
  x = np.random.default_rng(0).normal(size=(2, 3, 7, 6)).astype(np.float32)
  with sound_convolutions(keras.Sequential([layer])):
    product = layer.convolution_op
  made = tf.function(product).get_concrete_function(x, layer.kernel)
  assert made.structured_outputs.shape == (2, 5, 4, 3)


def test_gradients_of_kernels():
  """Against the sum over samples and positions."""
  layer = keras.layers.Conv2D(4, 1, strides=2)
  x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
  layer.build(x.shape)
  model = keras.Sequential([layer])
  with sound_convolutions(model), tf.GradientTape() as tape:
    y = layer(x)
    total = tf.reduce_sum(tf.square(y))
  (gradient,) = tape.gradient(total, [layer.kernel])
  expected = np.einsum('bijc,biju->cu', x[:, ::2, ::2], 2 * y.numpy())
  np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-4)


def test_others_are_left_alone():
  class Own(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
      return 2.0 * super().convolution_op(inputs, kernel)

  layers = [
    Own(4, 1, strides=2),
    keras.layers.Conv2D(4, 3, strides=2),
    keras.layers.Conv2D(4, 1),
    keras.layers.Conv2DTranspose(4, 1, strides=2),
    keras.layers.DepthwiseConv2D(1, strides=2),
    keras.layers.SeparableConv2D(4, 1, strides=2),
  ]
  with sound_convolutions(keras.Sequential(layers)):
    assert not any('convolution_op' in vars(layer) for layer in layers)


def test_a_lesson_has_none(monkeypatch):
  model, graphs = _network(), []
  function = tf.function

  def spied(*args, **kwargs):
    made = function(*args, **kwargs)
    if hasattr(made, 'get_concrete_function'):
      concrete = made.get_concrete_function

      def kept(*specs):
        found = concrete(*specs)
        graphs.append(found.graph)
        return found

      made.get_concrete_function = kept
    return made

  monkeypatch.setattr(tf, 'function', spied)
  pruned = keras.models.clone_model(model)
  distillation.distill(model, pruned, input_range=(-1, 1), verbose=0)
  assert graphs
  assert not any(_strided(graph) for graph in graphs)


def test_bounds_have_none():
  seen = windows.window_over((7, 6, 3), (1, 1), 'valid', 2)

  @tf.function
  def gradient(x, kernel):
    with tf.GradientTape() as tape:
      tape.watch(kernel)
      total = tf.reduce_sum(tf.square(windows.convolve(x, kernel, seen)))
    return tape.gradient(total, kernel)

  specs = tf.TensorSpec((None, 7, 6, 3)), tf.TensorSpec((1, 1, 3, 4))
  assert not _strided(gradient.get_concrete_function(*specs).graph)


def test_tickets_by_gradients(monkeypatch):
  """The one gradient of kernels that no graph has."""
  model = tickets.with_fixed_masks(_network())
  model.compile('adam', keras.losses.SparseCategoricalCrossentropy(True))
  seen = []
  monkeypatch.setattr(
    tickets,
    'sound_convolutions',
    lambda model: seen.append(model) or sound_convolutions(model),
  )
  x = np.zeros((4, 7, 6, 3), np.float32)
  tickets.snip_masks(model, x, np.zeros(4), 0.5)
  assert seen == [model]


@pytest.fixture(params=[True, False], ids=['whole', 'one_by_one'])
def grouped(request, monkeypatch):
  """As where TensorFlow has grouped convolutions, and where it has not."""
  if request.param and not module._knows_groups():
    pytest.skip('TensorFlow has no gradients of grouped convolutions here')
  monkeypatch.setattr(module, '_knows_groups', lambda: request.param)


@pytest.mark.parametrize(
  ('kind', 'shape', 'settings'),
  [
    (keras.layers.Conv1D, (2, 9, 4), {'padding': 'causal'}),
    (keras.layers.Conv2D, (2, 7, 6, 4), {'padding': 'same', 'strides': 2}),
    (keras.layers.Conv2D, (2, 7, 6, 4), {'dilation_rate': 2}),
    (keras.layers.Conv2D, (2, 3, 7, 6, 4), {'use_bias': False}),
    (keras.layers.Conv3D, (2, 5, 4, 3, 4), {'padding': 'same'}),
  ],
)
def test_groups_have_the_same_values_and_gradients(
  grouped, kind, shape, settings
):
  layer = kind(6, 2, groups=2, **settings)
  x = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
  layer.build(shape)
  model = keras.Sequential([layer])

  def found():
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = layer(x)
      total = tf.reduce_sum(tf.sin(y))
    return [y, *tape.gradient(total, [x, layer.kernel])]

  usual = found()
  with sound_convolutions(model):
    ours = found()
  for one, other in zip(ours, usual, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
  assert '_jit_compiled_convolution_op' not in vars(layer)


def test_groups_and_strides_at_once(grouped):
  layer = keras.layers.Conv2D(6, 1, strides=2, groups=2)
  x = tf.random.stateless_normal((2, 5, 5, 4), (0, 1))
  usual = layer(x)
  with sound_convolutions(keras.Sequential([layer])):
    np.testing.assert_allclose(layer(x), usual, rtol=1e-5, atol=1e-6)


def test_groups_are_not_compiled_again(grouped):
  """Neither at once nor in a graph, and the model comes out as it was."""
  model = keras.Sequential(
    [keras.layers.Conv2D(6, 2, groups=2, input_shape=(4, 4, 4))]
  )
  x = np.ones((1, 4, 4, 4), np.float32)

  def compiled(function):
    graph = tf.function(function).get_concrete_function(tf.constant(x)).graph
    return [
      node.name
      for node in graph.as_graph_def().node
      if node.attr['_XlaMustCompile'].b
    ]

  assert compiled(model)
  assert not compiled(lambda x: answering.outputs_of(model, [x]))
  assert compiled(model)


def test_groups_before_positions_are_left_to_keras():
  layer = keras.layers.Conv2D(6, 2, groups=2, data_format='channels_first')
  layer.build((None, 4, 5, 5))
  with sound_convolutions(keras.Sequential([layer])):
    assert '_jit_compiled_convolution_op' not in vars(layer)
