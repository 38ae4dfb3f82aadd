"""Dilated convolutions as the one operator that devices have for them.

Keras spreads positions over the batch, convolves, and puts them together again:
three operators and two copies of the activations, where the kernels of LiteRT
and tflite-micro dilate by themselves.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def is_dilated(layer: Any) -> bool:
  """Whether a layer is computed so; not by subclasses, which may do anything.

  Nor where channels come first, which the converter has no operator for.
  """
  return (
    type(layer) in (*_CONVOLUTIONS, *_DEPTHWISE, *_SEPARABLE)
    and layer.data_format == 'channels_last'
    and max(layer.dilation_rate) > 1
    and layer.groups == 1
  )


def dilate_natively(layer: Any) -> None:
  """Lets a layer, which is changed, dilate within the operator."""
  if type(layer) in _CONVOLUTIONS:
    layer.convolution_op = functools.partial(_product, layer)
  elif type(layer) in _DEPTHWISE:
    layer.call = functools.partial(_depthwise, layer)
  else:
    layer.call = functools.partial(_separable, layer)


def _product(layer: Any, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
  """A convolution without its bias; what is causal is padded already."""
  padding = 'SAME' if layer.padding == 'same' else 'VALID'
  x, kernel = _on_grid(layer, x), _on_grid(layer, kernel, 0)
  y = tf.nn.conv2d(x, kernel, 1, padding, dilations=_rates(layer))
  return _off_grid(layer, y)


def _depthwise(layer: Any, x: tf.Tensor) -> tf.Tensor:
  """All that a depthwise layer does."""
  x, kernel = _on_grid(layer, x), _on_grid(layer, layer.depthwise_kernel, 0)
  return _finished(layer, _off_grid(layer, _by_channel(layer, x, kernel)))


def _separable(layer: Any, x: tf.Tensor) -> tf.Tensor:
  """All that a separable layer does."""
  if layer.padding == 'causal':
    before = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    x = tf.pad(x, [[0, 0], [before, 0], [0, 0]])
  x, kernel = _on_grid(layer, x), _on_grid(layer, layer.depthwise_kernel, 0)
  y = _by_channel(layer, x, kernel)
  y = tf.nn.conv2d(y, _on_grid(layer, layer.pointwise_kernel, 0), 1, 'VALID')
  return _finished(layer, _off_grid(layer, y))


def _by_channel(layer: Any, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
  return tf.raw_ops.DepthwiseConv2dNative(
    input=x,
    filter=kernel,
    strides=[1, 1, 1, 1],
    padding='SAME' if layer.padding == 'same' else 'VALID',
    dilations=[1, *_rates(layer), 1],
  )


def _finished(layer: Any, y: tf.Tensor) -> tf.Tensor:
  if layer.use_bias:
    y = tf.nn.bias_add(y, layer.bias)
  return y if layer.activation is None else layer.activation(y)


def _rates(layer: Any) -> tuple[int, int]:
  """Of a grid: lines are grids of one row."""
  return (1, *layer.dilation_rate)[-2:]


def _on_grid(layer: Any, x: tf.Tensor, axis: int = 1) -> tf.Tensor:
  return x if len(layer.kernel_size) == 2 else tf.expand_dims(x, axis)


def _off_grid(layer: Any, y: tf.Tensor) -> tf.Tensor:
  return y if len(layer.kernel_size) == 2 else tf.squeeze(y, 1)
