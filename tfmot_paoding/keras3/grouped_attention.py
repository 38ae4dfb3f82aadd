"""Keras 3's GroupQueryAttention as tf_keras's MultiHeadAttention.

Several heads of queries share one of keys and values there; here each has its
own, a copy, and leaves by itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmot_paoding import callers

Array = np.ndarray

# What its settings are called by MultiHeadAttention.
RENAMED = {'head_dim': 'key_dim', 'num_query_heads': 'num_heads'}


def shares_heads(layer: Any) -> bool:
  """Whether a Keras 3 layer is of that class."""
  import keras as keras3

  return type(layer) is keras3.layers.GroupQueryAttention


def own_settings(layer: Any) -> dict[str, Any]:
  """The settings that MultiHeadAttention has as well, under their names.

  Warns of weights that are there once for each head then.
  """
  config = layer.get_config()
  shared = config.pop('num_key_value_heads')
  heads = config['num_query_heads']
  if shared < heads:
    more = _repeated(layer) - layer.count_params()
    warnings.warn(
      f'The Keras 3 layer GroupQueryAttention {layer.name!r} has {heads} heads '
      f'of queries and {shared} of keys and values; tf_keras has no such '
      'layer. It becomes a MultiHeadAttention in which each head has its own, '
      f'copied, which takes {more} parameters more. They leave as heads leave.',
      stacklevel=callers.level(),
    )
  return config


def own_weights(layer: Any) -> list[Array]:
  """The weights, keys and values repeated for each head of queries."""
  shared = [
    id(weight)
    for part in (layer._key_dense, layer._value_dense)
    for weight in part.weights
  ]
  found = []
  for weight in layer.weights:
    value = np.asarray(weight)
    if id(weight) in shared:
      value = np.repeat(value, layer.num_repeats, -2)
    found.append(value)
  return found


def _repeated(layer: Any) -> int:
  """How many parameters that makes."""
  return sum(value.size for value in own_weights(layer))
