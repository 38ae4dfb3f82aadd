"""Layers with an inside, and how a user teaches them: one class each."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_model_optimization as tfmot

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import LayerHandler, register_handler
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.ops import (
  Elementwise,
  MatMul,
  Multiply,
  WeightedSum,
  convolution,
  depthwise,
)

PrunableLayer = tfmot.sparsity.keras.PrunableLayer


@keras.utils.register_keras_serializable('tests')
class FeedForward(keras.layers.Layer, PrunableLayer):
  """relu(x W1 + b1) W2 + b2."""

  def __init__(self, hidden, width, **kwargs):
    super().__init__(**kwargs)
    self.hidden, self.width = hidden, width

  def build(self, shape):
    self.first = self.add_weight('first', (shape[-1], self.hidden))
    self.first_bias = self.add_weight('first_bias', (self.hidden,))
    self.second = self.add_weight('second', (self.hidden, self.width))
    self.second_bias = self.add_weight('second_bias', (self.width,))

  def call(self, x):
    x = tf.nn.relu(tf.tensordot(x, self.first, 1) + self.first_bias)
    return tf.tensordot(x, self.second, 1) + self.second_bias

  def compute_output_shape(self, shape):
    return (*shape[:-1], self.width)

  def get_prunable_weights(self):
    return [self.first, self.second]

  def get_config(self):
    config = {'hidden': self.hidden, 'width': self.width}
    return {**super().get_config(), **config}


@register_handler(FeedForward)
class FeedForwardHandler(LayerHandler):
  """Two products with a rectifier between them."""

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    first = MatMul(emit.weight('first'), emit.weight('first_bias'))
    second = MatMul(emit.weight('second'), emit.weight('second_bias'))
    hidden = emit(Elementwise(by_name('relu')), emit(first, x), name='hidden')
    return emit(second, hidden)

  def resize_inside(self, layer, config, widths):
    sizes = {'hidden': widths['hidden'], 'width': widths['output']}
    return {**config, **sizes}


@keras.utils.register_keras_serializable('tests')
class GatedLinear(keras.layers.Layer, PrunableLayer):
  """((x A + a) sigmoid(x G + g)) P + p."""

  def __init__(self, hidden, width, **kwargs):
    super().__init__(**kwargs)
    self.hidden, self.width = hidden, width

  def build(self, shape):
    for name in ('value', 'gate'):
      kernel = self.add_weight(name, (shape[-1], self.hidden))
      setattr(self, name, kernel)
      bias = self.add_weight(f'{name}_bias', (self.hidden,))
      setattr(self, f'{name}_bias', bias)
    self.back = self.add_weight('back', (self.hidden, self.width))
    self.back_bias = self.add_weight('back_bias', (self.width,))

  def call(self, x):
    gate = tf.sigmoid(tf.tensordot(x, self.gate, 1) + self.gate_bias)
    x = (tf.tensordot(x, self.value, 1) + self.value_bias) * gate
    return tf.tensordot(x, self.back, 1) + self.back_bias

  def compute_output_shape(self, shape):
    return (*shape[:-1], self.width)

  def get_prunable_weights(self):
    return [self.value, self.gate, self.back]

  def get_config(self):
    config = {'hidden': self.hidden, 'width': self.width}
    return {**super().get_config(), **config}


@register_handler(GatedLinear)
class GatedLinearHandler(LayerHandler):
  """Two products of one input meet, one through a sigmoid."""

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    value = emit(MatMul(emit.weight('value'), emit.weight('value_bias')), x)
    gate = emit(MatMul(emit.weight('gate'), emit.weight('gate_bias')), x)
    gate = emit(Elementwise(by_name('sigmoid')), gate)
    both = emit(Multiply(), value, gate, name='hidden')
    back = MatMul(emit.weight('back'), emit.weight('back_bias'))
    return emit(back, both)

  def resize_inside(self, layer, config, widths):
    sizes = {'hidden': widths['hidden'], 'width': widths['output']}
    return {**config, **sizes}


@keras.utils.register_keras_serializable('tests')
class ConvBlock(keras.layers.Layer, PrunableLayer):
  """Two convolutions, padded and not, a rectifier between them."""

  def __init__(self, hidden, width, strides=2, **kwargs):
    super().__init__(**kwargs)
    self.hidden, self.width, self.strides = hidden, width, strides

  def build(self, shape):
    self.first = self.add_weight('first', (3, 3, shape[-1], self.hidden))
    self.first_bias = self.add_weight('first_bias', (self.hidden,))
    self.second = self.add_weight('second', (2, 2, self.hidden, self.width))
    self.second_bias = self.add_weight('second_bias', (self.width,))

  def call(self, x):
    x = tf.nn.conv2d(x, self.first, self.strides, 'SAME') + self.first_bias
    x = tf.nn.conv2d(tf.nn.relu(x), self.second, 1, 'VALID')
    return x + self.second_bias

  def get_prunable_weights(self):
    return [self.first, self.second]

  def get_config(self):
    config = {'hidden': self.hidden, 'width': self.width}
    return {**super().get_config(), **config, 'strides': self.strides}


@register_handler(ConvBlock)
class ConvBlockHandler(LayerHandler):
  """Windows by Keras's settings."""

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    weights = emit.weight('first'), emit.weight('first_bias')
    first = convolution(
      x.shape, *weights, size=(3, 3), padding='same', strides=layer.strides
    )
    x = emit(Elementwise(by_name('relu')), emit(first, x), name='hidden')
    weights = emit.weight('second'), emit.weight('second_bias')
    return emit(convolution(x.shape, *weights, size=(2, 2)), x)

  def resize_inside(self, layer, config, widths):
    sizes = {'hidden': widths['hidden'], 'width': widths['output']}
    return {**config, **sizes}


@keras.utils.register_keras_serializable('tests')
class Inverted(keras.layers.Layer, PrunableLayer):
  """Wide, depthwise, and narrow again, beside what came in."""

  def __init__(self, hidden, **kwargs):
    super().__init__(**kwargs)
    self.hidden = hidden

  def build(self, shape):
    self.widen = self.add_weight('widen', (shape[-1], self.hidden))
    self.widen_bias = self.add_weight('widen_bias', (self.hidden,))
    self.depth = self.add_weight('depth', (3, 3, self.hidden, 1))
    self.depth_bias = self.add_weight('depth_bias', (self.hidden,))
    self.narrow = self.add_weight('narrow', (self.hidden, shape[-1]))

  def call(self, inputs):
    x = tf.nn.relu6(tf.tensordot(inputs, self.widen, 1) + self.widen_bias)
    x = tf.nn.depthwise_conv2d(x, self.depth, [1, 1, 1, 1], 'SAME')
    x = tf.nn.relu6(x + self.depth_bias)
    return inputs + tf.tensordot(x, self.narrow, 1)

  def get_prunable_weights(self):
    return [self.widen, self.depth, self.narrow]

  def get_config(self):
    return {**super().get_config(), 'hidden': self.hidden}


@register_handler(Inverted)
class InvertedHandler(LayerHandler):
  """What comes in and what goes out lose the same units."""

  def lower_into(self, layer, emit):
    (inputs,) = emit.inputs
    relu6 = Elementwise(by_name('relu6'))
    x = emit(MatMul(emit.weight('widen'), emit.weight('widen_bias')), inputs)
    x = emit(relu6, x)
    weights = emit.weight('depth'), emit.weight('depth_bias')
    depth = depthwise(x.shape, *weights, size=(3, 3), padding='same')
    x = emit(relu6, emit(depth, x), name='hidden')
    x = emit(MatMul(emit.weight('narrow')), x)
    return emit(WeightedSum((1.0, 1.0)), inputs, x)

  def resize_inside(self, layer, config, widths):
    return {**config, 'hidden': widths['hidden']}
