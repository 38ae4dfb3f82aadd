"""Sizes that a `call` asks its tensors for, told as the numbers that they are.

`tf.shape(x)[1]` is a tensor to whoever traces, though all sizes but the batch's
are known. What is made of such numbers alone, such as the first rows of a table
of positions, is a constant then, and what reads them hangs on them no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras

# Functions that give the same whenever they are asked, as Keras calls them.
_OF_NUMBERS = frozenset(
  {
    '__operators__.add',
    '__operators__.floordiv',
    '__operators__.getitem',
    '__operators__.truediv',
    'cast',
    'compat.v1.expand_dims',
    'compat.v1.floor_div',
    'compat.v1.gather',
    'compat.v1.transpose',
    'concat',
    'expand_dims',
    'gather',
    'math.add',
    'math.divide',
    'math.floordiv',
    'math.maximum',
    'math.minimum',
    'math.multiply',
    'math.rsqrt',
    'math.sqrt',
    'math.subtract',
    'math.truediv',
    'range',
    'reshape',
    'slice',
    'stack',
    'strided_slice',
    'transpose',
  }
)


def asks_for_sizes(model: keras.Model) -> bool:
  """Whether a functional model asks its tensors for their sizes."""
  return any(map(gives_sizes, compat.ordered_nodes(model)))


def gives_sizes(node: Any) -> bool:
  """Whether a call gives nothing but sizes, known or not.

  Args:
    node: A call in a functional model.
  """
  return isinstance(node.layer, compat.FUNCTION_LAYERS) and all(
    compat.inferred_value(tensor) is not None
    for tensor in tf.nest.flatten(node.outputs)
  )


def note_numbers(node: Any, numbers: dict[int, Any]) -> bool:
  """Whether a function gives nothing but sizes, and what is made of these.

  Args:
    node: The call of a function.
    numbers: What is known already, by the identity of its tensor; what the call
      gives is put there, where all of it is known.
  """
  outputs = tf.nest.flatten(node.outputs)
  known = [_sizes(tensor) for tensor in outputs]
  if None not in known:
    numbers.update(zip(map(id, outputs), known, strict=True))
    return True
  # If not all are known, the batch's is one of them.
  return gives_sizes(node) or _note_constant(node, numbers)


def _note_constant(node: Any, numbers: dict[int, Any]) -> bool:
  """Whether a function is told constants alone; what it makes of them."""
  given = [list(node.call_args), node.call_kwargs]
  tensors = [x for x in tf.nest.flatten(given) if compat.is_keras_tensor(x)]
  if _function(node) not in _OF_NUMBERS or not tensors:
    return False
  if any(id(tensor) not in numbers for tensor in tensors):
    return False
  args, kwargs = tf.nest.map_structure(
    lambda leaf: numbers.get(id(leaf), leaf),
    (tuple(node.call_args), dict(node.call_kwargs)),
  )
  made = node.layer.call(*args, **kwargs)
  numbers[id(tf.nest.flatten(node.outputs)[0])] = made
  return True


def in_numbers(
  node: Any, numbers: dict[int, Any], new: Callable[[Any], Any]
) -> Callable[[Any], Any]:
  """What a function is to be called with, in place of an argument.

  Args:
    node: The call of a function.
    numbers: What is known, by the identity of its tensor.
    new: The tensor in the new model that stands for one in the old.
  """
  reshapes = _function(node) == 'reshape'

  def told(leaf: Any) -> Any:
    if id(leaf) in numbers:
      return numbers[id(leaf)]
    if reshapes and compat.inferred_value(leaf) is not None:
      return _shape(leaf) or new(leaf)
    if reshapes and isinstance(leaf, int) and leaf == -1:
      return _rest(node, numbers) or leaf
    return new(leaf)

  return told


def _shape(leaf: Any) -> list[int] | None:
  """What to reshape to, if one size alone is not known."""
  sizes = compat.inferred_value(leaf)
  if not leaf.shape.rank or sizes.count(None) != 1:
    return None
  return [-1 if size is None else size for size in sizes]


def _rest(node: Any, numbers: dict[int, Any]) -> int | None:
  """The size that is left to work out beside a batch's, where all are known."""
  given = compat.call_arguments(node)
  sizes, shape = given['shape'], given['tensor'].shape[1:]
  if not isinstance(sizes, (list, tuple)) or None in shape:
    return None
  if compat.inferred_value(sizes[0]) != [None]:
    return None
  others = [numbers.get(id(x), x) for x in sizes[1:]]
  named = [x for x in others if isinstance(x, int) and x > 0]
  if len(named) != len(others) - 1:
    return None
  return math.prod(shape) // math.prod(named)


def _sizes(tensor: Any) -> int | list[int] | None:
  """The sizes that a tensor stands for, if all are known."""
  sizes = compat.inferred_value(tensor)
  if sizes is None or None in sizes:
    return None
  return sizes if tensor.shape.rank else sizes[0]


def _function(node: Any) -> str | None:
  return node.layer.get_config().get('function')
