"""Activations, as layers and fused into others."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.numerics import activations
from tfmot_paoding.ops import (
  Elementwise,
  LearnedSlope,
  Op,
  Permute,
  Shape,
  Softmax,
)

_functions = keras.activations
# Keras knows some by functions of its own and some by TensorFlow's.
_NAMES = {
  _functions.relu: 'relu',
  _functions.elu: 'elu',
  _functions.selu: 'selu',
  _functions.sigmoid: 'sigmoid',
  _functions.tanh: 'tanh',
  _functions.hard_sigmoid: 'hard_sigmoid',
  _functions.softplus: 'softplus',
  _functions.softsign: 'softsign',
  _functions.exponential: 'exponential',
  _functions.gelu: 'gelu',
  _functions.swish: 'silu',
  _functions.mish: 'mish',
  tf.nn.relu: 'relu',
  tf.nn.relu6: 'relu6',
  tf.nn.leaky_relu: 'leaky_relu',
  tf.nn.elu: 'elu',
  tf.nn.selu: 'selu',
  tf.nn.sigmoid: 'sigmoid',
  tf.nn.tanh: 'tanh',
  tf.nn.softplus: 'softplus',
  tf.nn.softsign: 'softsign',
  tf.nn.gelu: 'gelu',
  tf.nn.silu: 'silu',
}
_LINEAR = (None, _functions.linear, tf.identity)
_SOFTMAX = (_functions.softmax, tf.nn.softmax)


def is_known_function(function: Callable | None) -> bool:
  """Whether an activation function is one of Keras's that are known."""
  return isinstance(function, Hashable) and (
    function in _LINEAR or function in _SOFTMAX or function in _NAMES
  )


def lower_function(layer: Any, function: Callable | None) -> list[Op]:
  """The operations of an activation function that `layer` applies."""
  if not isinstance(function, Hashable):
    function = repr(function)  # no function of Keras or TensorFlow
  if function in _LINEAR:
    return []
  if function in _SOFTMAX:
    return [Softmax()]
  if function in _NAMES:
    return [Elementwise(activations.by_name(_NAMES[function]))]
  name = getattr(function, '__name__', repr(function))
  return base.opaque(layer, f'has an activation that is not known ({name})')


@base.register_handler(keras.layers.Activation)
class ActivationHandler(base.LayerHandler):
  """An activation by its function."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """The function's operations."""
    return lower_function(layer, layer.activation)


@base.register_handler(keras.layers.ReLU)
class ReLUHandler(base.LayerHandler):
  """ReLU with its slope below zero and its upper end."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A rectifier; a threshold would make it jump."""
    if float(layer.threshold) != 0:
      return base.opaque(layer, 'has a threshold other than 0')
    top = None if layer.max_value is None else float(layer.max_value)
    return [
      Elementwise(activations.rectifier(float(layer.negative_slope), top))
    ]


@base.register_handler(keras.layers.LeakyReLU)
class LeakyReLUHandler(base.LayerHandler):
  """Leaky ReLU with its own slope."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A rectifier."""
    return [Elementwise(activations.rectifier(float(layer.alpha)))]


@base.register_handler(keras.layers.PReLU)
class PReLUHandler(base.LayerHandler):
  """ReLU with learned slopes below zero."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A slope a channel, or one for all."""
    shared = layer.alpha.shape[-1] == 1 < out_shape[-1]
    return [LearnedSlope(base.weight_ref(path, layer, 'alpha'), shared)]


@base.register_handler(keras.layers.ELU)
class ELUHandler(base.LayerHandler):
  """ELU with its own alpha."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """The activation."""
    return [Elementwise(activations.elu(float(layer.alpha)))]


@base.register_handler(keras.layers.Softmax)
class SoftmaxHandler(base.LayerHandler):
  """Softmax over an axis."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """The activation, unless it runs over several axes."""
    return softmax_over(layer, layer.axis, out_shape)


def softmax_over(layer: Any, axis: Any, shape: Shape) -> list[Op]:
  """The operations of a softmax over an axis.

  Args:
    layer: What applies it.
    axis: As Keras counts, the batch axis being 0.
    shape: Of what it is applied to.
  """
  if isinstance(axis, (list, tuple)) and len(axis) == 1:
    (axis,) = axis
  rank = len(shape)
  if not isinstance(axis, int) or axis % (rank + 1) == 0:
    return base.opaque(layer, 'runs over several axes, or over the batch')
  own = axis % (rank + 1) - 1
  order = list(range(rank))
  order[own], order[-1] = order[-1], order[own]
  if own == rank - 1:
    return [Softmax()]
  swapped = tuple(shape[k] for k in order)
  last, back = Permute(tuple(order), swapped), Permute(tuple(order), shape)
  return [last, Softmax(), back]
