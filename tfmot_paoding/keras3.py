"""A Keras 3 model as a tf_keras model, its graph replayed node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3_layers import (
  convert_layer,
  copy_weights,
  no_counterpart,
)

# The largest difference of outputs, relative to their size, that two
# implementations of one function may show.
_TOLERANCE = 1e-3


def from_keras3(model: Any) -> keras.Model:
  """A Keras 3 model as a tf_keras (Keras 2) model with the same outputs.

  Nested models stay nested, shared layers shared, and names are kept. The
  result is compared with the original on random inputs before it is returned.

  Args:
    model: A built Sequential or functional Keras 3 model, not changed; a
      tf_keras model is returned as it is.

  Returns:
    The tf_keras model, not compiled.

  Raises:
    TypeError: `model` is no Keras model.
    ValueError: it is subclassed or not built, or a layer or operation has no
      tf_keras counterpart, which the message names.
  """
  if isinstance(model, keras.Model):
    return model
  if not compat.is_keras3(model):
    raise TypeError(f'Expected a Keras model, but got {model!r}.')
  converted = _Replay().model(model)
  _compare(model, converted)
  return converted


def as_tf_keras(model: Any) -> Any:
  """What a public function works on: Keras 3 models converted, else as is."""
  return from_keras3(model) if compat.is_keras3(model) else model


class _Replay:
  """Converts models; each layer once, however often it is called."""

  def __init__(self):
    self._made: dict[int, Callable[..., Any]] = {}

  def model(self, model: Any) -> keras.Model:
    """A whole model, weights and all."""
    import keras as keras3

    if isinstance(model, keras3.Sequential):
      if model._functional is None:
        raise ValueError(
          f'The Keras 3 model {model.name!r} is not built. Give it an Input, '
          'or call it once, first.'
        )
      graph, name = model._functional, model.name
    elif isinstance(model, keras3.Model) and hasattr(model, '_nodes_by_depth'):
      graph, name = model, model.name
    else:
      raise ValueError(
        f'The Keras 3 object {type(model).__name__} '
        f'{getattr(model, "name", "")!r} is no Sequential or functional '
        'model: its layers cannot be walked. Express it with the functional '
        'API, keras.Model(inputs, outputs).'
      )
    made = self._functional(graph, name)
    made.trainable = model.trainable
    return made

  def _functional(self, graph: Any, name: str) -> keras.Model:
    tensors: dict[int, Any] = {}
    used = []
    for depth in sorted(graph._nodes_by_depth, reverse=True):
      for node in graph._nodes_by_depth[depth]:
        if node.is_input:
          tensors[id(node.output_tensors[0])] = _input(node.operation)
          continue
        results = self._call(node, tensors)
        for old, new in zip(
          node.output_tensors, tf.nest.flatten(results), strict=True
        ):
          tensors[id(old)] = new
        used.append(node.operation)

    def replaced(structure: Any) -> Any:
      return tf.nest.map_structure(lambda t: tensors[id(t)], structure)

    made = keras.Model(
      replaced(graph._inputs_struct), replaced(graph._outputs_struct), name=name
    )
    for operation in used:
      self._fill(operation)
    return made

  def _call(self, node: Any, tensors: dict[int, Any]) -> Any:
    """One node's operation on the tensors made so far."""
    operation, arguments = node.operation, node.arguments

    def replaced(value: Any) -> Any:
      return tf.nest.map_structure(
        lambda leaf: tensors.get(id(leaf), leaf), value
      )

    args = replaced(tuple(arguments.args))
    kwargs = replaced(dict(arguments.kwargs))
    # What was not given is left to the layer.
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    return self._function(operation)(*args, **kwargs)

  def _function(self, operation: Any) -> Callable[..., Any]:
    import keras as keras3

    if id(operation) not in self._made:
      if isinstance(operation, keras3.Model):
        made = self.model(operation)
      elif isinstance(operation, keras3.layers.Layer):
        made = convert_layer(operation)
      else:
        made = _convert_operation(operation)
      self._made[id(operation)] = made
    return self._made[id(operation)]

  def _fill(self, operation: Any) -> None:
    import keras as keras3

    if isinstance(operation, keras3.layers.Layer) and not isinstance(
      operation, keras3.Model
    ):
      copy_weights(operation, self._made[id(operation)])


def _input(layer: Any) -> Any:
  shape = layer.batch_shape
  return keras.Input(
    shape=shape[1:],
    batch_size=shape[0],
    dtype=str(layer.dtype),
    name=layer.name,
  )


def _joined(layer: type, function: Callable) -> Callable[..., Any]:
  """A layer where two tensors of one rank meet, else TensorFlow's function."""

  def apply(x1: Any, x2: Any) -> Any:
    tensors = [compat.is_keras_tensor(x) for x in (x1, x2)]
    if all(tensors) and len(x1.shape) == len(x2.shape):
      return layer()([x1, x2])
    return function(x1, x2)

  return apply


def _reshaped(x: Any, newshape: Sequence[int]) -> Any:
  return keras.layers.Reshape(tuple(newshape[1:]))(x)


def _transposed(x: Any, axes: Sequence[int]) -> Any:
  if axes[0] != 0:
    raise ValueError('A transposition moves the batch axis.')
  return keras.layers.Permute(tuple(axes[1:]))(x)


_layers = keras.layers
# By class name in keras.ops: how its arguments and attributes are applied.
_OPERATIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
  'Add': lambda op: _joined(_layers.Add, tf.math.add),
  'Subtract': lambda op: _joined(_layers.Subtract, tf.math.subtract),
  'Multiply': lambda op: _joined(_layers.Multiply, tf.math.multiply),
  'Maximum': lambda op: _joined(_layers.Maximum, tf.math.maximum),
  'Minimum': lambda op: _joined(_layers.Minimum, tf.math.minimum),
  'TrueDivide': lambda op: tf.math.divide,
  'Divide': lambda op: tf.math.divide,
  'Negative': lambda op: tf.math.negative,
  'Matmul': lambda op: tf.linalg.matmul,
  'Square': lambda op: tf.math.square,
  'Sqrt': lambda op: tf.math.sqrt,
  'Exp': lambda op: tf.math.exp,
  'Tanh': lambda op: tf.math.tanh,
  'Absolute': lambda op: tf.math.abs,
  'Relu': lambda op: tf.nn.relu,
  'Relu6': lambda op: tf.nn.relu6,
  'Sigmoid': lambda op: tf.math.sigmoid,
  'Silu': lambda op: tf.nn.silu,
  'Softplus': lambda op: tf.math.softplus,
  'Elu': lambda op: tf.nn.elu,
  'Selu': lambda op: tf.nn.selu,
  'Reshape': lambda op: lambda x: _reshaped(x, op.newshape),
  'Transpose': lambda op: lambda x: _transposed(x, op.axes),
  'Softmax': lambda op: _layers.Softmax(axis=op.axis),
  'Concatenate': lambda op: _layers.Concatenate(axis=op.axis),
  'Mean': lambda op: (
    lambda x: tf.math.reduce_mean(x, op.axis, keepdims=op.keepdims)
  ),
  'Sum': lambda op: (
    lambda x: tf.math.reduce_sum(x, op.axis, keepdims=op.keepdims)
  ),
}


def _convert_operation(operation: Any) -> Callable[..., Any]:
  """What an operation of keras.ops is on tf_keras tensors.

  Raises:
    ValueError: it is none of those known.
  """
  own = type(operation).__module__.startswith('keras.src.ops')
  make = _OPERATIONS.get(type(operation).__name__) if own else None
  if make is None:
    raise no_counterpart(operation)
  try:
    return make(operation)
  except AttributeError:
    raise no_counterpart(operation) from None


def _compare(model: Any, converted: keras.Model) -> None:
  """Raises unless both give the same outputs on random inputs."""
  rng = np.random.default_rng(0)
  structure = getattr(model, '_functional', model)._inputs_struct
  inputs = [
    rng.uniform(
      0, 1, [2, *(32 if size is None else size for size in tensor.shape[1:])]
    ).astype(str(tensor.dtype))
    for tensor in tf.nest.flatten(structure)
  ]
  packed = tf.nest.pack_sequence_as(structure, inputs)
  try:
    wanted = tf.nest.flatten(model(packed, training=False))
  except (ValueError, tf.errors.OpError):
    if any(None in t.shape[1:] for t in tf.nest.flatten(structure)):
      return  # a size was guessed that does not fit; nothing to compare with
    raise
  found = tf.nest.flatten(converted(packed, training=False))
  for want, got in zip(wanted, found, strict=True):
    want = np.asarray(want, np.float64)
    gap = np.abs(want - np.asarray(got, np.float64)).max(initial=0.0)
    if not gap <= _TOLERANCE * (1 + np.abs(want).max(initial=0.0)):
      raise ValueError(
        f'The Keras 3 model {model.name!r} gives other outputs as a tf_keras '
        f'model (by {gap:.3g}): one of its layers has changed its meaning '
        'between the two. Rebuild the model with tf_keras.'
      )
