"""Tests of gradients of strided 1 x 1 convolutions.

What they replace ends the process on some machines, so that nothing here runs
it in reverse: the graphs that are traced must not have it.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.strided_kernels import sound_kernel_gradients
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
  with sound_kernel_gradients(model):
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
  with sound_kernel_gradients(model):
    assert 'convolution_op' in vars(layer)
    np.testing.assert_allclose(layer(x), usual, rtol=1e-6)
  np.testing.assert_array_equal(layer(x), usual)


def test_channels_first():
  layer = keras.layers.Conv2D(5, 1, strides=2, data_format='channels_first')
  layer.build((None, 3, 7, 6))
  x = np.random.default_rng(0).normal(size=(2, 3, 7, 6)).astype(np.float32)
  with sound_kernel_gradients(keras.Sequential([layer])):
    product = layer.convolution_op
  made = tf.function(product).get_concrete_function(x, layer.kernel)
  assert made.structured_outputs.shape == (2, 5, 4, 3)


def test_gradients_of_kernels():
  """Against the sum over samples and positions."""
  layer = keras.layers.Conv2D(4, 1, strides=2)
  x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
  layer.build(x.shape)
  model = keras.Sequential([layer])
  with sound_kernel_gradients(model), tf.GradientTape() as tape:
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
  with sound_kernel_gradients(keras.Sequential(layers)):
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
    'sound_kernel_gradients',
    lambda model: seen.append(model) or sound_kernel_gradients(model),
  )
  x = np.zeros((4, 7, 6, 3), np.float32)
  tickets.snip_masks(model, x, np.zeros(4), 0.5)
  assert seen == [model]
