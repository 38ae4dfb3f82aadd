"""Convolutions of volumes as convolutions of images.

tflite-micro has no operator for the former, and no interpreter integers: what
one depth reads of others stands beside its own channels, and its kernel too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.function_forms import joined


def is_volume_convolution(layer: Any) -> bool:
  """Whether a layer is computed so; subclasses may do anything."""
  return (
    type(layer) is keras.layers.Conv3D and layer.data_format == 'channels_last'
  )


def has_no_operator(layer: keras.layers.Conv3D) -> bool:
  """Whether no interpreter has an operator for such a convolution."""
  return layer.groups > 1 or max(layer.dilation_rate) > 1


def convolve_as_images(layer: keras.layers.Conv3D) -> None:
  """Lets a layer, which is changed, convolve images."""
  layer.call = functools.partial(_convolved, layer, layer.call)


def _convolved(
  layer: keras.layers.Conv3D,
  otherwise: Callable[[tf.Tensor], tf.Tensor],
  x: tf.Tensor,
) -> tf.Tensor:
  """All that the layer does.

  Args:
    layer: The layer.
    otherwise: How it does it where sizes are open.
    x: Shape (samples, depth, height, width, channels).
  """
  if None in x.shape[1:]:
    return otherwise(x)
  groups, (taps, *window) = layer.groups, layer.kernel_size
  kernel = tf.transpose(layer.kernel, (1, 2, 0, 3, 4))
  inner = taps * x.shape[-1] // groups
  kernel = tf.reshape(kernel, (*window, inner, layer.filters))
  bias = layer.bias if layer.use_bias else tf.zeros(layer.filters)
  parts = [(x, kernel, bias)]
  if groups > 1:
    parts = zip(
      *(tf.split(whole, groups, -1) for whole in (x, kernel, bias)),
      strict=True,
    )
  made = []
  for part, own, added in parts:
    depth, images = _beside(layer, part)
    y = tf.nn.conv2d(
      images,
      own,
      layer.strides[1:],
      layer.padding.upper(),
      dilations=layer.dilation_rate[1:],
    )
    made.append(tf.nn.bias_add(y, added))
  y = joined(made, -1)
  if layer.activation is not None:
    y = layer.activation(y)
  return tf.reshape(y, (-1, depth, *y.shape[1:]))


def _beside(layer: keras.layers.Conv3D, x: tf.Tensor) -> tuple[int, tf.Tensor]:
  """What each depth reads, as channels of one image.

  Args:
    layer: The layer.
    x: Shape (samples, depth, height, width, channels).

  Returns:
    How many depths come out, and shape (samples x that, height, width, taps x
    channels).
  """
  taps, step, apart = (
    sizes[0]
    for sizes in (layer.kernel_size, layer.strides, layer.dilation_rate)
  )
  depth, *sizes = x.shape[1:]
  reach = (taps - 1) * apart + 1
  x = tf.reshape(x, (-1, depth, tf.TensorShape(sizes).num_elements()))
  if layer.padding == 'same':
    count = -(-depth // step)
    more = max((count - 1) * step + reach - depth, 0)
    if more:
      x = tf.pad(x, [[0, 0], [more // 2, more - more // 2], [0, 0]])
  else:
    count = (depth - reach) // step + 1
  last = (count - 1) * step + 1
  read = [
    tf.reshape(x[:, first : first + last : step], (-1, *sizes))
    for first in range(0, reach, apart)
  ]
  return count, joined(read, -1)
