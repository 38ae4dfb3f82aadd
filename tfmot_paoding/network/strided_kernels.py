"""Gradients of strided 1 x 1 convolutions that end as they should.

On some processors TensorFlow's gradient of such a kernel reads past its inputs
where there are few channels, and the program ends with a segmentation fault: 8
channels and strides of 2 are enough. With the positions left out first that
strides leave out, the same product has a gradient that does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras


@contextlib.contextmanager
def sound_kernel_gradients(model: keras.Model) -> Iterator[None]:
  """Convolutions of single positions without strides, in all of a model.

  What is computed or traced inside has the same values; the model comes out as
  it went in.
  """
  changed = []
  try:
    for layer in model._flatten_layers():
      if _is_strided_product(layer):
        layer.convolution_op = _product(layer)
        changed.append(layer)
    yield
  finally:
    for layer in changed:
      del layer.convolution_op


def _product(layer: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
  """The layer's convolution: of inputs and a kernel, without its bias."""
  last = layer.data_format == 'channels_last'
  steps = (..., *(slice(None, None, step) for step in layer.strides))
  steps += (slice(None),) * last
  positions = 'DHW'[-layer.rank :]
  order = f'N{positions}C' if last else f'NC{positions}'

  def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.convolution(x[steps], kernel, 1, 'VALID', order)

  return product


def _is_strided_product(layer: Any) -> bool:
  """Whether it computes as Keras's convolutions do, one position an output."""
  usual, kind = keras.layers.Conv2D, type(layer)
  return (
    getattr(kind, 'call', None) is usual.call
    and kind.convolution_op is usual.convolution_op
    and 'convolution_op' not in vars(layer)
    and set(layer.kernel_size) == {1}
    and set(layer.strides) != {1}
  )
