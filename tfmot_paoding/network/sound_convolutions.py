"""Convolutions computed as they should be: the same values, other operations.

Strided ones of single positions: on some processors TensorFlow's gradient of
such a kernel reads past its inputs where there are few channels, and the
program ends with a segmentation fault: 8 channels and strides of 2 are enough.
With the positions left out first that strides leave out, the same product has
a gradient that does not.

Grouped ones: Keras has XLA compile them, since there are processors for which
TensorFlow has no gradient of theirs. XLA takes 10 to 150 times as long: .19 s
for 3 x 3 taps in 4 groups of 4 channels, forth and back, for .007.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras

Convolution = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# What a layer's `call` computes by, and what by in groups.
_USUAL, _GROUPED = 'convolution_op', '_jit_compiled_convolution_op'


@contextlib.contextmanager
def sound_convolutions(model: keras.Model) -> Iterator[None]:
  """Strided convolutions of single positions, and grouped ones, in a model.

  What is computed or traced inside has the same values; the model comes out as
  it went in.
  """
  changed: list[tuple[Any, str]] = []

  def change(layer: Any, name: str, convolution: Convolution) -> None:
    setattr(layer, name, convolution)
    changed.append((layer, name))

  try:
    for layer in model._flatten_layers():
      if _is_strided_product(layer):
        change(layer, _USUAL, _product(layer))
      if _is_in_groups(layer):
        change(layer, _GROUPED, _in_groups(layer))
    yield
  finally:
    for layer, name in changed:
      delattr(layer, name)


def _product(layer: Any) -> Convolution:
  """The layer's convolution: of inputs and a kernel, without its bias."""
  last = layer.data_format == 'channels_last'
  steps = (..., *(slice(None, None, step) for step in layer.strides))
  steps += (slice(None),) * last
  positions = 'DHW'[-layer.rank :]
  order = f'N{positions}C' if last else f'NC{positions}'

  def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.convolution(x[steps], kernel, 1, 'VALID', order)

  return product


def _in_groups(layer: Any) -> Convolution:
  """The layer's convolution by TensorFlow, or group by group."""
  convolution, groups = layer.convolution_op, layer.groups
  if layer.rank < 3 and _knows_groups():
    return convolution

  def one_by_one(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    parts = zip(
      tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True
    )
    return tf.concat([convolution(*part) for part in parts], -1)

  return one_by_one


@functools.cache
def _knows_groups() -> bool:
  """Whether TensorFlow has grouped convolutions and their gradients here."""
  how = {'strides': [1, 1, 1, 1], 'padding': 'VALID'}
  with tf.init_scope():  # no tape records in it
    x, kernel = tf.ones([1, 2, 2, 4]), tf.ones([1, 1, 2, 4])
    try:
      y = tf.raw_ops.Conv2D(input=x, filter=kernel, **how)
      tf.raw_ops.Conv2DBackpropInput(
        input_sizes=x.shape, filter=kernel, out_backprop=y, **how
      )
      tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel.shape, out_backprop=y, **how
      )
    except tf.errors.OpError:
      return False
  return True


def _is_strided_product(layer: Any) -> bool:
  """Whether it computes as Keras's convolutions do, one position an output."""
  return (
    _computes_as_usual(layer)
    and set(layer.kernel_size) == {1}
    and set(layer.strides) != {1}
  )


def _is_in_groups(layer: Any) -> bool:
  """Whether Keras has XLA compile it, and it need not be."""
  return (
    getattr(type(layer), 'call', None) is keras.layers.Conv2D.call
    and _GROUPED not in vars(layer)
    and layer.groups > 1
    and layer.data_format == 'channels_last'
  )


def _computes_as_usual(layer: Any) -> bool:
  usual, kind = keras.layers.Conv2D, type(layer)
  return (
    getattr(kind, 'call', None) is usual.call
    and kind.convolution_op is usual.convolution_op
    and _USUAL not in vars(layer)
  )
