"""Layers with an inside, and how a user teaches them: one class each."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_model_optimization as tfmot

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import LayerHandler, register_handler
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.ops import Elementwise, MatMul, Multiply

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
