"""Arithmetic on the sizes of tensors, worked out as a model goes to Keras 3.

`tf.shape(x)[0] * 4` is a chain of tensors in tf_keras; keras.ops gives sizes as
plain numbers, None where they are open. So the chain is worked out for two
guesses of what is open: what comes out alike does not depend on it, and a
single entry of a shape that does not is what is left, -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.keras3.back_layers import no_keras3_counterpart

# Primes, so that no two sums of products come out alike by accident.
_GUESSES = (1009, 2003)


class Sizes:
  """A value made of sizes alone.

  Attributes:
    values: What it is for each guess of the open sizes.
  """

  def __init__(self, values: tuple[Any, Any]):
    self.values = tuple(np.asarray(value) for value in values)

  def entries(self) -> list[int | None]:
    """The entries of a vector or number, None where they are not known."""
    first, second = (np.ravel(value) for value in self.values)
    return [
      int(a) if a == b else None for a, b in zip(first, second, strict=True)
    ]


def of_sizes(layer: Any, args: Any, kwargs: Any) -> Any:
  """What a function makes of sizes alone; None where it takes tensors.

  Args:
    layer: The layer of a TensorFlow function.
    args: What it is called with: tensors of Keras 3, `Sizes`, constants.
    kwargs: As well.
  """
  import keras as keras3

  leaves = tf.nest.flatten([list(args), kwargs])
  tensors = [leaf for leaf in leaves if isinstance(leaf, keras3.KerasTensor)]
  if _is_shape(layer) and len(tensors) == 1:
    (tensor,) = tensors
    return Sizes(
      tuple(
        np.array(
          [guess if size is None else size for size in tensor.shape], np.int32
        )
        for guess in _GUESSES
      )
    )
  if tensors or not any(isinstance(leaf, Sizes) for leaf in leaves):
    return None
  one, two = (
    layer.call(*_guessed(args, k), **_guessed(kwargs, k))
    for k in range(len(_GUESSES))
  )
  return tf.nest.map_structure(lambda a, b: Sizes((a, b)), one, two)


def settled(layer: Any, structure: Any) -> Any:
  """Arguments with plain numbers for sizes.

  Raises:
    NoCounterpartError: a size that is open says more than how a tensor is
      divided anew.
  """
  if not any(isinstance(leaf, Sizes) for leaf in tf.nest.flatten(structure)):
    return structure
  reshapes = layer.symbol == 'reshape'

  def settle(part: Any) -> Any:
    if isinstance(part, dict):
      return {key: settle(value) for key, value in part.items()}
    if isinstance(part, Sizes):
      return _number(layer, part, reshapes)
    if isinstance(part, (list, tuple)):
      made = [settle(one) for one in part]
      if reshapes and sum(isinstance(x, int) and x == -1 for x in made) > 1:
        raise _open(layer)
      return made if isinstance(part, list) else tuple(made)
    return part

  return settle(structure)


def _number(layer: Any, sizes: Sizes, reshapes: bool) -> Any:
  first, second = sizes.values
  if first.shape == second.shape and np.array_equal(first, second):
    return first.tolist() if first.dtype.kind in 'iu' else first
  if not reshapes or first.ndim > 1 or first.shape != second.shape:
    raise _open(layer)
  found = [-1 if size is None else size for size in sizes.entries()]
  if found.count(-1) > 1:
    raise _open(layer)
  return found if first.ndim else found[0]


def _open(layer: Any) -> Exception:
  return no_keras3_counterpart(
    layer, ', as what it does depends on a size that the model leaves open'
  )


def _is_shape(layer: Any) -> bool:
  return getattr(layer, 'symbol', None) in ('shape', 'compat.v1.shape')


def _guessed(structure: Any, guess: int) -> Any:
  return tf.nest.map_structure(
    lambda leaf: (
      tf.constant(leaf.values[guess]) if isinstance(leaf, Sizes) else leaf
    ),
    structure,
  )
