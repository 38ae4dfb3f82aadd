"""No weight is allocated that a model file cannot fill.

A description may ask for a layer of a billion units. Keras allocates its
weights before it finds that the file holds none of that size; here the sizes
are summed up as each variable is about to be made.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.loading.errors import ModelFileError

# What a model may have that its file does not hold: states of recurrent
# layers, seeds. In numbers.
_NOT_STORED = 2**24
_LARGEST_ACTIVATION = 2**30


@contextlib.contextmanager
def limited_allocation(path: str, numbers: int | None) -> Iterator[None]:
  """Raises if more variables are made in here than a file can fill.

  Args:
    path: The file, for the message.
    numbers: How many numbers it holds; None for no limit.

  Raises:
    ModelFileError: the variables came to more than twice of that.
  """
  if numbers is None:
    yield
    return
  limit = 2 * numbers + _NOT_STORED
  made = 0

  def create(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
    nonlocal made
    shape = _shape(kwargs)
    made += math.prod(shape)
    if made > limit:
      raise ModelFileError(
        f'{path!r} describes weights that it does not hold: with '
        f'{kwargs.get("name")!r} of shape {shape} they come to {made} numbers, '
        f'and there are {numbers} in the file.'
      )
    return next_creator(**kwargs)

  with tf.variable_creator_scope(create):
    yield


def check_activations(model: Any, path: str) -> None:
  """Raises if one run of a Keras 3 model would take absurdly much memory.

  Such a model is run once while it is loaded, to see that its tf_keras
  counterpart answers alike.

  Raises:
    ModelFileError: a layer's output for one sample is larger than any that
      fits a computer, naming the layer.
  """
  graph = getattr(model, '_functional', None) or model
  by_depth = getattr(graph, '_nodes_by_depth', {})
  for node in itertools.chain.from_iterable(by_depth.values()):
    operation = node.operation
    check_activations(operation, path)
    for tensor in node.output_tensors:
      size = math.prod(axis or 1 for axis in tensor.shape[1:])
      if size > _LARGEST_ACTIVATION:
        raise ModelFileError(
          f'{path!r} describes a layer, {operation.name!r}, that gives {size} '
          f'numbers for one sample. Expected at most {_LARGEST_ACTIVATION}.'
        )


def _shape(kwargs: dict) -> tuple[int, ...]:
  """The shape of a variable to be, with nothing allocated to find it."""
  shape, value = kwargs.get('shape'), kwargs.get('initial_value')
  if shape is None and callable(value):
    # Keras 3 gives no shape: the initializer is traced, not run.
    with tf.__internal__.FuncGraph('initial_value').as_default():
      shape = tf.convert_to_tensor(value()).shape
  elif shape is None:  # a value, which is there already
    shape = np.shape(value) if not tf.is_tensor(value) else value.shape
  shape = tf.TensorShape(shape)
  return tuple(shape) if shape.rank is not None else ()
