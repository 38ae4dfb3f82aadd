"""What cannot be seen from outside as layers and functions that are known.

What a Lambda, an activation or a layer of one's own does cannot be seen from
outside: all units in front of it would stay. It is run on symbolic tensors, and
where layers, or nothing but known functions, come of it, a model of these takes
its place: under the name of the layer, or behind the one whose activation it
was. A model at each step of time becomes layers of which each is, and a layer
that is normalized while it trains that layer. Sizes that are asked for and
known become numbers.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import tracing
from tfmot_paoding.functional.layer_names import name_apart
from tfmot_paoding.functional.replay import (
  Opening,
  arguments_of,
  plain_tensors,
)
from tfmot_paoding.functional.sizes import asks_for_sizes, gives_sizes
from tfmot_paoding.functional.stepping import at_each_step, one_step
from tfmot_paoding.functional.subclassed import retraced, traced_call
from tfmot_paoding.layers.activation import is_known_function
from tfmot_paoding.layers.base import is_known
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

_layers = keras.layers
# Layers whose activation is the last thing that they do.
_ACTIVATED = (
  _layers.Dense,
  _layers.EinsumDense,
  _layers.Conv1D,
  _layers.Conv2D,
  _layers.Conv3D,
  _layers.Conv1DTranspose,
  _layers.Conv2DTranspose,
  _layers.Conv3DTranspose,
  _layers.DepthwiseConv1D,
  _layers.DepthwiseConv2D,
  _layers.SeparableConv1D,
  _layers.SeparableConv2D,
)


def opened(model: keras.Model) -> keras.Model:
  """A model with what is somebody's own, and models in steps of time, opened.

  Args:
    model: A tf_keras model; not changed.

  Returns:
    A functional model of the same answers, layer names and weights, in which
    what is made of layers or of known functions are models of these; `model`
    itself where there is none of that, where layers are wrapped, or where it
    answers otherwise each time.
  """
  if not compat.is_graph_model(model):
    return model
  for steps in (True, False):
    opening = _Functions(steps)
    if not _any_opened(model, opening):
      return model
    try:
      made = retraced(model, opening)
    except tracing.TRACE_ERRORS:  # it draws at random, say: not to be compared
      return model
    # Unless a model at each step shares its weights with what stands elsewhere.
    if len(made.weights) <= len(model.weights):
      return made
  return model


def _any_opened(model: keras.Model, opening: _Functions) -> bool:
  layers = list(model._flatten_layers())
  if any(unwrapped(layer) is not layer for layer in layers):
    return False
  return asks_for_sizes(model) or any(
    _is_of_more(layer, model)
    or opening.behind(layer) is not None
    or opening.steps(layer) is not None
    or opening.plain(layer) is not layer
    or any(
      opening.opens(layer, call.call_args, call.call_kwargs)
      for call in layer.inbound_nodes[:1]
    )
    for layer in layers
  )


def _is_of_more(layer: Any, model: keras.Model) -> bool:
  """Whether a model inside takes or gives more than tensors in a list."""
  if layer is model or not compat.is_graph_model(layer):
    return False
  ends = compat.input_structure(layer), compat.output_structure(layer)
  return any(plain_tensors(end) is not end for end in ends)


def _is_lambda(layer: Any) -> bool:
  """Whether a layer is nothing but a function of somebody's own."""
  if type(layer) is _layers.Activation:
    return not is_known_function(layer.activation)
  if type(layer) is _layers.Lambda:
    return layer.mask is None
  return _is_own(layer) and not layer.weights


def _is_own(layer: Any) -> bool:
  """Whether somebody's own layer is made of others, and nobody taught it."""
  return compat.is_made_of_layers(layer) and not is_known(layer)


def _can_be_traced(layer: Any, args: Any, kwargs: Any) -> bool:
  """Whether a trace of a layer goes through all that it is made of."""
  if not _is_own(layer):
    return False
  try:
    traced = traced_call(layer, arguments_of(layer, args, kwargs))
  except tracing.TRACE_ERRORS:
    return False
  # What a layer inside makes of numbers alone would be a number then.
  return len(traced.weights) == len(layer.weights)


def _is_function_of_known(layer: Any, args: Any, kwargs: Any) -> bool:
  """Whether a layer without weights is a function made of known ones."""
  arguments = arguments_of(layer, args, kwargs)
  if any(_is_cast(layer, x) for x in tf.nest.flatten(arguments)):
    return False
  if arguments.get('mask') is not None:  # what it makes of it is its own code
    return False
  return _is_of_known_functions(lambda: traced_call(layer, arguments))


class _Functions(Opening):
  """Opens what is made of known functions; each layer is asked of once."""

  def __init__(self, with_steps: bool):
    self._with_steps = with_steps
    self._opens: dict[int, bool] = {}
    self._behind: dict[int, keras.Model | None] = {}
    self._steps: dict[int, keras.Model | None] = {}

  def opens(self, layer: Any, args: Any, kwargs: Any) -> bool:
    """Whether a layer is made of others, or a function of known ones."""
    if id(layer) not in self._opens:
      self._opens[id(layer)] = (
        _is_function_of_known(layer, args, kwargs)
        if _is_lambda(layer)
        else _can_be_traced(layer, args, kwargs)
      )
    return self._opens[id(layer)]

  def behind(self, layer: Any) -> keras.Model | None:
    """The activation as a model, where units could leave in front of it."""
    if id(layer) not in self._behind:
      self._behind[id(layer)] = _activation_of(layer)
    return self._behind[id(layer)]

  def plain(self, layer: Any) -> Any:
    """The layer whose kernel is divided by its norm in training alone."""
    normalized = type(layer) is _layers.SpectralNormalization
    return layer.layer if normalized else layer

  def steps(self, layer: Any) -> keras.Model | None:
    """A model at each step of time as layers of which each is."""
    if id(layer) not in self._steps:
      asked = self._with_steps and type(layer) is _layers.TimeDistributed
      self._steps[id(layer)] = _steps_of(layer) if asked else None
    return self._steps[id(layer)]


def _steps_of(layer: Any) -> keras.Model | None:
  """A model at each step as layers of which each is, if they can be."""
  try:
    inside = layer.layer
    if _is_own(inside):
      inside = traced_call(inside, arguments_of(inside, [one_step(layer)], {}))
    if not compat.is_graph_model(inside):
      return None
    if len(inside.weights) != len(layer.layer.weights):
      return None
    return at_each_step(layer, inside)
  except tracing.TRACE_ERRORS:  # a part is of a kind that is not known there
    return None


def _activation_of(layer: Any) -> keras.Model | None:
  """A fused activation made of known functions, as a model of these."""
  if type(layer) not in _ACTIVATED or is_known_function(layer.activation):
    return None
  if not layer.outbound_nodes:  # an output, whose units stay and whose name
    return None
  output = layer.inbound_nodes[0].outputs

  def traced() -> keras.Model:
    symbol = keras.Input(output.shape[1:], dtype=output.dtype)
    made = layer.activation(symbol)
    name_apart(made)
    name = getattr(layer.activation, '__name__', '').strip('<>')
    return keras.Model(symbol, made, name=f'{layer.name}_{name or "function"}')

  return traced() if _is_of_known_functions(traced) else None


def _is_of_known_functions(trace: Callable[[], keras.Model]) -> bool:
  """Whether what is traced can be, and is made of known functions alone."""
  try:
    traced = trace()
    graph = build_graph(traced)
  except tracing.TRACE_ERRORS:
    return False
  calls = [x for x in compat.ordered_nodes(traced) if not x.is_input]
  of_sizes = {call.layer.name for call in calls if gives_sizes(call)}
  return (
    bool(calls)
    and not traced.weights
    and all(map(_is_written, calls))
    and all(node.op.known or node.path[-1] in of_sizes for node in graph.nodes)
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
