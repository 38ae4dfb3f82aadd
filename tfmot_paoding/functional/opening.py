"""Lambda layers as the functions of TensorFlow that they are made of.

What a Lambda does cannot be seen from outside: all units in front of it would
stay. Its function is run on symbolic tensors, and where nothing but known
functions comes of it, a model of these takes its place, under its name.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import tracing
from tfmot_paoding.functional.subclassed import (
  call_arguments_of,
  retraced,
  traced_call,
)
from tfmot_paoding.network.graph import build_graph, unwrapped

# What Keras writes to a file, and reads again, as it is.
_WRITTEN = (
  str,
  bytes,
  type(None),
  numbers.Number,
  np.generic,
  np.ndarray,
  tf.DType,
  tf.Tensor,
  slice,
)


def opened(model: keras.Model) -> keras.Model:
  """A model with its Lambda layers opened, where that shows what they do.

  Args:
    model: A tf_keras model; not changed.

  Returns:
    A functional model of the same answers, layer names and weights, in which
    Lambda layers made of known functions are models of these; `model` itself
    where there are none, where layers are wrapped, or where it answers
    otherwise each time.
  """
  if not compat.is_graph_model(model):
    return model
  opening = _Opening()
  if not _any_opened(model, opening):
    return model
  try:
    return retraced(model, opening)
  except ValueError:  # it draws at random, say, and cannot be compared
    return model


def _any_opened(model: keras.Model, opening: _Opening) -> bool:
  layers = list(model._flatten_layers())
  calls = [
    (layer, call_arguments_of(layer, call))
    for layer in filter(_is_lambda, layers)
    for call in layer.inbound_nodes[:1]
  ]
  opens = any(opening(*call) for call in calls)
  return opens and all(unwrapped(layer) is layer for layer in layers)


def _is_lambda(layer: Any) -> bool:
  return type(layer) is keras.layers.Lambda


class _Opening:
  """Which calls of layers are opened; each layer is asked of once."""

  def __init__(self):
    self._found: dict[int, bool] = {}

  def __call__(self, layer: Any, arguments: dict[str, Any]) -> bool:
    """Whether a layer is a Lambda of known functions.

    Args:
      layer: The layer.
      arguments: What its `call` is told, by name.
    """
    if not _is_lambda(layer):
      return False
    if id(layer) not in self._found:
      self._found[id(layer)] = _is_of_known_functions(layer, arguments)
    return self._found[id(layer)]


def _is_of_known_functions(layer: Any, arguments: dict[str, Any]) -> bool:
  if layer.mask is not None or arguments.get('mask') is not None:
    return False  # what it makes of a mask is code of its own
  if any(_is_cast(layer, tensor) for tensor in tf.nest.flatten(arguments)):
    return False
  try:
    traced = traced_call(layer, arguments)
    graph = build_graph(traced)
  except (*tracing.TRACE_ERRORS, StopIteration):
    return False
  calls = [x for x in compat.ordered_nodes(traced) if not x.is_input]
  return (
    bool(calls)
    and not traced.weights
    and all(map(_is_written, calls))
    and all(node.op.known for node in graph.nodes)
  )


def _is_cast(layer: Any, tensor: Any) -> bool:
  """Whether Keras casts an input of a Lambda, as it does not of functions."""
  if not compat.is_keras_tensor(tensor):
    return False
  return tensor.dtype.is_floating and tensor.dtype != layer.compute_dtype


def _is_written(call: Any) -> bool:
  """Whether a file can hold a call of a function."""
  if not isinstance(call.layer, compat.FUNCTION_LAYERS):
    return False
  return all(
    compat.is_keras_tensor(leaf)
    or isinstance(leaf, _WRITTEN)
    or leaf is Ellipsis  # which is spelt out
    for leaf in tf.nest.flatten([list(call.call_args), call.call_kwargs])
  )
