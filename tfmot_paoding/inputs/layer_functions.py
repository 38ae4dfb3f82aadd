"""Layers at a model's inputs as what they do to numbers: lines and moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.claims import DEVIATIONS, Line, of_statistics
from tfmot_paoding.ops import Shape

Array = np.ndarray

_layers = keras.layers
# Functions of TensorFlow whose results are entries of their argument.
_MOVING = frozenset(
  (
    'cast',
    'identity',
    'stop_gradient',
    'ensure_shape',
    'reshape',
    'expand_dims',
    'squeeze',
    'transpose',
    'reverse',
    'roll',
    'concat',
    'stack',
    'unstack',
    'split',
    'slice',
    'strided_slice',
    'gather',
    '__operators__.getitem',
  )
)
_ADDING = ('math.add', '__operators__.add', 'nn.bias_add')
_SUBTRACTING = ('math.subtract', '__operators__.subtract')
_MULTIPLYING = ('math.multiply', '__operators__.multiply')
_DIVIDING = ('math.divide', 'math.truediv', '__operators__.truediv')


def statistics_of(layer: Any, shape: Shape) -> tuple[Array, Array] | None:
  """Mean +- deviations that a layer stored, broadcasting to its input."""
  if isinstance(layer, _layers.Normalization):
    mean, variance = np.asarray(layer.mean), np.asarray(layer.variance)
    if layer.invert:  # it is given what was normalized
      ends = of_statistics(mean, variance)
      return ends and (np.full((), -DEVIATIONS), np.full((), DEVIATIONS))
    return of_statistics(*(_unbatched(x, shape) for x in (mean, variance)))
  axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
  kept = {axis % (len(shape) + 1) - 1 for axis in axes}
  sizes = [size if k in kept else 1 for k, size in enumerate(shape)]
  values = [
    keras.backend.get_value(weight).reshape(sizes)
    for weight in (layer.moving_mean, layer.moving_variance)
  ]
  return of_statistics(*values)


def _unbatched(values: Array, shape: Shape) -> Array:
  """Constants without the batch axis that some have."""
  if values.ndim == len(shape) + 1 and values.shape[0] == 1:
    return values[0]
  return values


def function_of(layer: Any) -> str | None:
  """The name of the TensorFlow function that a layer calls."""
  if not isinstance(layer, compat.TFOpLambda):
    return None
  return layer.get_config()['function']


def line_of(layer: Any, name: str, shape: Shape) -> Line | None:
  """A layer as a line of fixed numbers, if it is one."""
  if isinstance(layer, _layers.Rescaling):
    numbers = layer.scale, layer.offset
  else:
    numbers = _arithmetic(layer)
  if numbers is None:
    return None
  scale, shift = (
    _unbatched(np.asarray(values, np.float64), shape) for values in numbers
  )
  fits = broadcasts(scale, shape) and broadcasts(shift, shape)
  if not fits or not np.all(np.isfinite(shift)) or not np.all(scale):
    return None
  return Line(scale, shift, name)


def _arithmetic(layer: Any) -> tuple[Any, Any] | None:
  """Scale and shift of a function of a tensor and constants."""
  function, call = function_of(layer), _only_call(layer)
  if function is None or call is None:
    return None
  values = list(call.call_args)
  values += [
    call.call_kwargs[key]
    for key in ('x', 'y', 'value', 'bias')
    if key in call.call_kwargs
  ]
  tensors = [compat.is_keras_tensor(value) for value in values[:2]]
  if tensors.count(True) != 1 or len(tensors) != 2:
    return None
  try:
    constant = np.asarray(values[tensors.index(False)], np.float64)
  except (TypeError, ValueError):
    return None
  first = tensors[0]
  if function in _ADDING:
    return 1.0, constant
  if function in _SUBTRACTING:
    return (1.0, -constant) if first else (-1.0, constant)
  if function in _MULTIPLYING:
    return constant, 0.0
  if function in _DIVIDING and first and np.all(constant):
    return 1 / constant, 0.0
  return None


def depth_of(layer: Any) -> int | None:
  """How many classes `tf.one_hot` has, if a layer is that."""
  call = _only_call(layer)
  if function_of(layer) != 'one_hot' or call is None:
    return None
  depth = (*call.call_args, call.call_kwargs.get('depth'))[1]
  return int(depth) if isinstance(depth, (int, np.integer)) else None


def _only_call(layer: Any) -> Any:
  """The one call of a layer in a graph, or None."""
  calls = layer.inbound_nodes
  return calls[0] if len(calls) == 1 else None


def moved_by(layer: Any, sources: list[tf.Tensor]) -> Any:
  """What a function that only moves entries makes of tensors, or None."""
  call = _only_call(layer)
  if function_of(layer) not in _MOVING or call is None or not call.call_args:
    return None
  first, *others = call.call_args
  others = tf.nest.flatten((others, call.call_kwargs))
  if any(compat.is_keras_tensor(value) for value in others):
    return None
  remaining = iter(sources)
  first = tf.nest.map_structure(
    lambda v: next(remaining) if compat.is_keras_tensor(v) else v, first
  )
  try:
    return layer.call(first, *call.call_args[1:], **call.call_kwargs)
  except (TypeError, ValueError, tf.errors.InvalidArgumentError):
    return None  # sizes that the graph does not know


def broadcasts(array: Array, shape: Shape) -> bool:
  """Whether an array broadcasts to a shape as it is."""
  sizes = np.shape(array)
  return len(sizes) <= len(shape) and all(
    size in (1, wanted)
    for size, wanted in zip(sizes[::-1], tuple(shape)[::-1], strict=False)
  )
