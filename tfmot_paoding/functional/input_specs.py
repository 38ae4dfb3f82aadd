"""What a subclassed model is called with, without data."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras


def call_specs(model: keras.Model, input_shape: Any = None) -> dict[str, Any]:
  """The tensors that a tf_keras model's `call` takes, by argument.

  Args:
    model: A subclassed model.
    input_shape: Of one sample, as `from_subclassed` takes it; None for what the
      model was called or built with.

  Returns:
    Structures of `tf.TensorSpec` by the name of the argument, the batch axis
    of any size.

  Raises:
    ValueError: the model was neither built nor called, and no shape is given.
  """
  parameters = list(inspect.signature(model.call).parameters)
  dtype = model.compute_dtype or keras.backend.floatx()
  if input_shape is not None:
    return by_argument(model, input_shape, dtype)
  spec = model.save_spec()
  if spec is not None:
    args, kwargs = spec
    found = dict(zip(parameters, args, strict=False)) | kwargs
    return {
      name: value
      for name, value in found.items()
      if any(isinstance(x, tf.TensorSpec) for x in tf.nest.flatten(value))
    }
  shape = getattr(model, '_build_input_shape', None)
  if shape is None:
    raise unknown_shape(model)
  return {parameters[0]: as_specs(shape, dtype, batched=True)}


def by_argument(model: Any, input_shape: Any, dtype: Any) -> dict[str, Any]:
  """The tensors of shapes that were given for the arguments of a `call`.

  Args:
    model: A subclassed model of either Keras.
    input_shape: Of the first argument; or a dict of shapes by the names of
      several arguments.
    dtype: Of those that say none.
  """
  parameters = list(inspect.signature(model.call).parameters)
  if isinstance(input_shape, dict) and set(input_shape) <= set(parameters):
    return {
      name: as_specs(input_shape[name], dtype)
      for name in parameters
      if name in input_shape
    }
  return {parameters[0]: as_specs(input_shape, dtype)}


def as_specs(shape: Any, dtype: Any, batched: bool = False) -> Any:
  """A shape, or a list or dict of shapes, as `tf.TensorSpec`s.

  Args:
    shape: A tuple of sizes, None for free ones; or a `tf.TensorSpec`, with
      the batch axis; or a list or dict of those.
    dtype: Of those that say none.
    batched: Whether the first size is the batch's.
  """
  if isinstance(shape, tf.TensorSpec):
    return shape
  if isinstance(shape, dict):
    return {key: as_specs(x, dtype, batched) for key, x in shape.items()}
  if isinstance(shape, tf.TensorShape):
    shape = tuple(shape.as_list())
  if all(size is None or isinstance(size, int) for size in shape):
    sizes = list(shape)[1:] if batched else list(shape)
    return tf.TensorSpec([None, *sizes], dtype)
  return [as_specs(x, dtype, batched) for x in shape]


def unknown_shape(model: Any) -> ValueError:
  """The error for a model of which nobody knows what it takes."""
  return ValueError(
    f'The model {model.name!r} is subclassed, and nothing in it says what it '
    'takes. Pass the shape of one sample, as in `input_shape=(32, 32, 3)`, or '
    'shapes by argument, `input_shape={"image": (32, 32, 3), "mask": (32, '
    '32)}`; of a tf_keras model, or one of one argument, calling it once on a '
    'batch of inputs does as well.'
  )
