"""Activations of Keras 3 for layers of tf_keras.

What tf_keras has no like of stands behind the layer: written out in layers or
functions that units pass, or the user's own function in a Lambda.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras

# What stands behind a layer of a name, as a function of its output.
Behind = Callable[[str], Callable[[Any], Any]]

# Keras 3's hard_sigmoid in layers that tf_keras has: relu6(x + 3) / 6.
_HARD_SIGMOID = (
  ('Rescaling', {'scale': 1.0, 'offset': 3.0}),
  ('ReLU', {'max_value': 6.0}),
  ('Rescaling', {'scale': 1.0 / 6.0}),
)
# At the settings that they have as activations.
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
  'celu': tf.nn.elu,
  'hard_shrink': lambda x: tf.where(tf.abs(x) > 0.5, x, tf.zeros_like(x)),
  'hard_tanh': lambda x: tf.clip_by_value(x, -1.0, 1.0),
  'log_softmax': tf.nn.log_softmax,
  'log_sigmoid': lambda x: -tf.nn.softplus(-x),
  'soft_shrink': lambda x: tf.nn.relu(x - 0.5) - tf.nn.relu(-x - 0.5),
  'sparse_plus': lambda x: (
    tf.square(tf.clip_by_value(x + 1.0, 0.0, 2.0)) / 4.0 + tf.nn.relu(x - 1.0)
  ),
  'sparse_sigmoid': lambda x: tf.clip_by_value(x + 1.0, 0.0, 2.0) / 2.0,
  'squareplus': lambda x: (x + tf.sqrt(tf.square(x) + 4.0)) / 2.0,
  'tanh_shrink': lambda x: x - tf.tanh(x),
}


class NoActivationError(ValueError):
  """tf_keras has no like of an activation, and nothing can stand behind."""


def translated_activation(
  value: Any, key: str, layer: Any
) -> tuple[Any, Behind | None]:
  """An activation for tf_keras.

  Args:
    value: What the config of a Keras 3 layer has of it.
    key: The setting that it is.
    layer: The layer.

  Returns:
    It, and None; or 'linear', and what must stand behind the layer.

  Raises:
    NoActivationError: its like is nowhere, and it acts inside of the layer;
      the message goes on from the layer's name.
  """
  import keras as keras3

  if value is None:
    return None, None
  own = getattr(layer, key, None)
  wanted = own if callable(own) else keras3.activations.get(value)
  name = getattr(wanted, '__name__', None)
  if getattr(keras3.activations, str(name), None) is not wanted:
    name = None
  if name is not None and _is_alike(name, wanted):
    return name, None
  if key != 'activation' or hasattr(layer, 'recurrent_activation'):
    raise NoActivationError(f' with the activation {name or value!r} inside')
  if name in ('hard_sigmoid', 'hard_silu'):
    return 'linear', lambda layer: _in_layers(name, layer)
  if name in _FUNCTIONS:
    return 'linear', lambda _: _FUNCTIONS[name]
  return 'linear', lambda layer: _as_it_is(wanted, layer)


def _is_alike(name: str, wanted: Callable) -> bool:
  """Whether tf_keras means the same by a name."""
  try:
    return are_alike(wanted, keras.activations.get(name))
  except ValueError:
    return False


def are_alike(one: Callable, other: Callable) -> bool:
  """Whether activations of the two generations compute the same."""
  x = tf.reshape(tf.linspace(-8.0, 8.0, 65), (5, 13))
  gap = np.abs(np.asarray(one(x)) - np.asarray(other(x)))
  return bool(gap.max() <= 1e-5)


def _in_layers(name: str, layer: str) -> Callable[[Any], Any]:
  """Keras 3's piecewise linear sigmoid, or x times it, as layers."""
  steps = [
    getattr(keras.layers, cls)(**settings, name=f'{layer}_{name}_{k}')
    for k, (cls, settings) in enumerate(_HARD_SIGMOID)
  ]
  multiply = keras.layers.Multiply(name=f'{layer}_{name}')

  def apply(x: Any) -> Any:
    y = x
    for step in steps:
      y = step(y)
    return multiply([x, y]) if name == 'hard_silu' else y

  return apply


def _as_it_is(wanted: Callable, layer: str) -> Callable[[Any], Any]:
  """A function by its own code, at which units stop."""
  return keras.layers.Lambda(wanted, name=f'{layer}_activation')
