"""TensorFlow functions called on Keras tensors: x + 3, tf.nn.relu6(x)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.layers import base
from tfmot_paoding.layers.activation import lower_function, softmax_over
from tfmot_paoding.layers.normalization import line
from tfmot_paoding.layers.tf_moves import MOVES
from tfmot_paoding.layers.tf_scalars import above, below
from tfmot_paoding.ops import (
  Array,
  Code,
  Extreme,
  Multiply,
  Op,
  Shape,
  Unread,
  WeightedSum,
)

_ACTIVATIONS = {
  'nn.relu': tf.nn.relu,
  'nn.relu6': tf.nn.relu6,
  'nn.silu': tf.nn.silu,
  'nn.swish': tf.nn.silu,
  'nn.elu': tf.nn.elu,
  'nn.selu': tf.nn.selu,
  'math.sigmoid': tf.nn.sigmoid,
  'math.tanh': tf.nn.tanh,
  'math.softplus': tf.nn.softplus,
  'nn.softsign': tf.nn.softsign,
  'identity': tf.identity,
}
_JOINS = {
  'math.add': WeightedSum((1.0, 1.0)),
  '__operators__.add': WeightedSum((1.0, 1.0)),
  'math.subtract': WeightedSum((1.0, -1.0)),
  'math.multiply': Multiply(),
  'math.maximum': Extreme(True),
  'math.minimum': Extreme(False),
}
_OPERANDS = ('x', 'y')
_DIVISIONS = ('math.divide', 'math.truediv', '__operators__.truediv')


@base.register_handler(compat.TFOpLambda, compat.SlicingOpLambda)
class TFOpHandler(base.LayerHandler):
  """A function by its name in TensorFlow's interface."""

  reads_calls = True

  def lower_parts(
    self,
    layer: Any,
    call: Any,
    in_shapes: list[Shape],
    out_shapes: list[Shape],
  ) -> list[list[Op]] | None:
    """A function that moves entries, where their number is known."""
    if _is_batch_size(layer):
      return [[Unread(f'TFOpLambda {layer.name!r} gives the size of a batch')]]
    move = MOVES.get(_name(layer))
    tensors = [*call.keras_inputs, *tf.nest.flatten(call.outputs)]
    if move is None:
      return None
    if not move.any_sizes and any(None in x.shape[1:] for x in tensors):
      return None
    given = compat.call_arguments(call)
    return move.lower(given, in_shapes, out_shapes)

  def resize_call(
    self, layer: Any, call: Any, kept: list[Array], out_shape: Shape
  ) -> dict[str, Any]:
    """A function that moves entries is told of other sizes."""
    move = MOVES.get(_name(layer))
    if move is None:
      return {}
    return move.resize(compat.call_arguments(call), kept, out_shape)

  def lower_call(
    self,
    layer: Any,
    call: Any,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """An activation, or arithmetic of two tensors or a tensor and numbers."""
    name = _name(layer)
    if name == 'nn.softmax':
      axis = compat.call_arguments(call).get('axis')
      return softmax_over(layer, -1 if axis is None else axis, out_shape)
    if name == 'one_hot':
      return _ones(layer, compat.call_arguments(call), out_shape)
    named = {
      key: value
      for key, value in call.call_kwargs.items()
      if key != 'name' and value is not None
    }
    values = list(call.call_args)
    values += [named.pop(key) for key in _OPERANDS if key in named]
    if named:
      return _unknown(layer)  # a setting whose meaning is not known
    tensors = [compat.is_keras_tensor(value) for value in values]
    if tensors == [True] and name in _ACTIVATIONS:
      return lower_function(layer, _ACTIVATIONS[name])
    if tensors == [True, True] and name in _JOINS:
      ranks = [len(shape) for shape in in_shapes]
      if ranks != [len(out_shape)] * 2:
        return _unknown(layer)
      return [_JOINS[name]]
    is_same = in_shapes[0] == out_shape
    if is_same and len(values) == 2 and tensors.count(True) == 1:
      place = tensors.index(True)
      return _with_constant(layer, name, values, place, out_shape)
    return _unknown(layer)


def _ones(layer: Any, given: dict[str, Any], shape: Shape) -> list[Op]:
  """Ones at numbers, on the last axis."""
  told = {key for key, value in given.items() if value is not None}
  depth = given.get('depth')
  if not isinstance(depth, int) or told - {'indices', 'depth', 'dtype', 'name'}:
    return _unknown(layer)

  def encode(x: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(tf.cast(x, tf.int32), depth)

  return [Code(('one_hot', depth), 1.0, shape, encode)]


def _with_constant(
  layer: Any, name: str, values: list[Any], tensor: int, shape: Shape
) -> list[Op]:
  """x + c, c - x and the like, of numbers and tables of numbers."""
  try:
    number = np.asarray(values[1 - tensor], np.float64)
  except (TypeError, ValueError):
    return _unknown(layer)
  if name in ('math.add', '__operators__.add', 'nn.bias_add'):
    return line(layer, 1.0, number, shape)
  if name == 'math.multiply':
    return line(layer, number, 0.0, shape)
  if name == 'math.subtract':
    turned = (1.0, -number) if tensor == 0 else (-1.0, number)
    return line(layer, *turned, shape)
  if name in _DIVISIONS and tensor == 0 and np.all(number):
    return line(layer, 1 / number, 0.0, shape)
  if name in ('math.maximum', 'math.minimum') and number.size == 1:
    bound = above if name == 'math.maximum' else below
    return bound(number.item())
  return _unknown(layer)


def _is_batch_size(layer: Any) -> bool:
  """Whether a layer gives sizes of which the batch's alone is read.

  Others follow what is pruned, and so would all that is made of them.
  """
  if _name(layer) not in ('shape', 'compat.v1.shape'):
    return False
  return all(
    isinstance(node.layer, compat.SlicingOpLambda)
    and isinstance(spec := compat.call_arguments(node)['slice_spec'], int)
    and spec == 0
    for node in layer.outbound_nodes
  )


def _unknown(layer: Any) -> list[Op]:
  return base.opaque(layer, f'calls {_name(layer)}, which is not known so')


def _name(layer: Any) -> str:
  return layer.get_config()['function']
