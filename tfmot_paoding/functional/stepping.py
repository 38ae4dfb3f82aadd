"""A model at each step of time as layers of which each is at each step.

What TimeDistributed does to a whole model cannot be seen from outside: all of
its units would stay. The same calls, each of a TimeDistributed layer, can.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network.cloning import fresh_layer, set_weights

_layers = keras.layers
# Of any number of axes.
_MERGES = (
  _layers.Add,
  _layers.Average,
  _layers.Maximum,
  _layers.Minimum,
  _layers.Multiply,
  _layers.Subtract,
)
_GLOBAL_POOLS = (
  _layers.GlobalAveragePooling1D,
  _layers.GlobalAveragePooling2D,
  _layers.GlobalAveragePooling3D,
  _layers.GlobalMaxPooling1D,
  _layers.GlobalMaxPooling2D,
  _layers.GlobalMaxPooling3D,
)


class CannotStepError(ValueError):
  """Something in a model has no counterpart at each step."""


def one_step(layer: Any) -> Any:
  """A tensor such as each step is of which a TimeDistributed layer reads."""
  (sequence,) = tf.nest.flatten(layer.inbound_nodes[0].keras_inputs)
  batch, _, *sizes = sequence.shape
  return keras.Input(sizes, batch_size=batch, dtype=sequence.dtype)


def at_each_step(layer: Any, inside: keras.Model) -> keras.Model:
  """What a TimeDistributed model does, layer by layer.

  Args:
    layer: A TimeDistributed layer, called on tensors of one shape.
    inside: The model that it is at each step: its own, or what its own layer
      was traced to.

  Returns:
    A functional model of new layers, of the names and weights of those inside.

  Raises:
    CannotStepError: one of them takes several tensors, or moves axes, in a way
      that is not known here; the sequence is masked; shapes differ; or the
      model has several inputs or outputs, or no weights.
  """
  ends = len(inside.inputs), len(inside.outputs)
  if ends != (1, 1) or not inside.weights:
    raise CannotStepError(f'{layer.name!r} has {ends} inputs and outputs.')
  shapes = {
    tuple(tensor.shape)
    for node in layer.inbound_nodes
    for tensor in tf.nest.flatten(node.keras_inputs)
  }
  if len(shapes) != 1 or any(map(_is_told, layer.inbound_nodes)):
    raise CannotStepError(f'{layer.name!r} is called in different ways.')
  ((batch, *sizes),) = shapes
  dtype = inside.inputs[0].dtype
  symbol = keras.Input(shape=sizes, batch_size=batch, dtype=dtype)
  made = _Steps(sizes[0]).apply(inside, symbol)
  return keras.Model(symbol, made, name=layer.name)


def _is_told(node: Any) -> bool:
  """Whether a call has masks, or more than a sequence."""
  kwargs = {k: v for k, v in node.call_kwargs.items() if v is not None}
  tensors = tf.nest.flatten(node.keras_inputs)
  masked = any(getattr(x, '_keras_mask', None) is not None for x in tensors)
  return bool(kwargs) or masked or len(tensors) != 1


class _Steps:
  """Makes each layer once, however often it is called."""

  def __init__(self, steps: int | None):
    self._steps = steps
    self._made: dict[int, Any] = {}

  def apply(self, model: keras.Model, tensor: Any) -> Any:
    """The calls of a model of one input and output on a sequence."""
    tensors: dict[int, Any] = {}
    for node in compat.ordered_nodes(model):
      outputs = tf.nest.flatten(node.outputs)
      if node.is_input:
        tensors[id(outputs[0])] = tensor
        continue
      given = [tensors[id(x)] for x in tf.nest.flatten(node.keras_inputs)]
      if len(outputs) != 1 or not _is_plain(node):
        raise CannotStepError(f'{node.layer.name!r} is called in its own way.')
      tensors[id(outputs[0])] = self._call(node.layer, given, outputs[0])
    return tensors[id(model.outputs[0])]

  def _call(self, layer: Any, given: list[Any], output: Any) -> Any:
    if compat.is_graph_model(layer):
      if len(given) != 1 or len(layer.outputs) != 1:
        raise CannotStepError(f'{layer.name!r} takes several tensors.')
      return self.apply(layer, given[0])
    if len(given) > 1:
      return self._layer(layer, _merging)(given)
    if type(layer) in (_layers.Flatten, _layers.Reshape):
      if getattr(layer, 'data_format', None) == 'channels_first':
        raise CannotStepError(f'{layer.name!r} turns axes.')
      return self._reshaped(given[0], output, layer.name)
    if type(layer) in _GLOBAL_POOLS and not layer.keepdims:
      pooled = self._layer(layer, _keeping_axes)(given[0])
      return self._reshaped(pooled, output, f'{layer.name}_flat')
    return self._layer(layer, _distributed)(given[0])

  def _layer(self, layer: Any, make: Any) -> Any:
    if id(layer) not in self._made:
      made = make(layer)
      self._made[id(layer)] = made
      return _Weighted(layer, made)
    return self._made[id(layer)]

  def _reshaped(self, tensor: Any, output: Any, name: str) -> Any:
    """Each step as it is where the model stands alone."""
    sizes = list(output.shape[1:])
    if None in sizes:
      raise CannotStepError(f'{name!r} makes sizes that are not known.')
    steps = -1 if self._steps is None else self._steps
    return _layers.Reshape((steps, *sizes), name=name)(tensor)


class _Weighted:
  """A new layer that is given its weights where its first call builds it."""

  def __init__(self, old: Any, new: Any):
    self._old, self._new = old, new

  def __call__(self, given: Any) -> Any:
    made = self._new(given)
    set_weights(self._new, self._old.get_weights())
    return made


def _is_plain(node: Any) -> bool:
  """Whether a layer is called on tensors, or a list of them, and no more."""
  kwargs = {k: v for k, v in node.call_kwargs.items() if v is not None}
  leaves = tf.nest.flatten(list(node.call_args))
  is_layer = not isinstance(node.layer, compat.FUNCTION_LAYERS)
  return is_layer and not kwargs and all(map(compat.is_keras_tensor, leaves))


def _distributed(layer: Any) -> Any:
  return _layers.TimeDistributed(fresh_layer(layer), name=layer.name)


def _keeping_axes(layer: Any) -> Any:
  made = fresh_layer(layer, {**layer.get_config(), 'keepdims': True})
  return _layers.TimeDistributed(made, name=layer.name)


def _merging(layer: Any) -> Any:
  """A layer of several tensors, which have one more axis.

  Raises:
    CannotStepError: it is none of those that do not mind.
  """
  config = layer.get_config()
  if type(layer) is _layers.Concatenate:
    config['axis'] += config['axis'] > 0
  elif type(layer) not in _MERGES:
    raise CannotStepError(f'{layer.name!r} takes several tensors.')
  return fresh_layer(layer, config)
