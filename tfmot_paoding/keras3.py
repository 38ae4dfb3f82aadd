"""A Keras 3 model as a tf_keras model, its graph replayed node by node."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3_layers import (
  Chain,
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
  replay = _Replay()
  converted = replay.model(model)
  replay.set_trainable()
  _compare(model, converted)
  return converted


def is_keras3_model(thing: Any) -> bool:
  """Whether `thing` is a Keras 3 model, of whatever kind."""
  if not compat.is_keras3(thing):
    return False
  import keras as keras3

  return isinstance(thing, keras3.Model)


def as_tf_keras(model: Any) -> Any:
  """What a public function works on: Keras 3 models converted, else as is."""
  return from_keras3(model) if compat.is_keras3(model) else model


class _Replay:
  """Converts models; each layer once, however often it is called."""

  def __init__(self):
    self._made: dict[int, Callable[..., Any]] = {}
    # What was converted and what it became; parts come before the whole.
    self._pairs: list[tuple[Any, Any]] = []

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
    self._pairs.append((model, made))
    return made

  def set_trainable(self) -> None:
    """Carries over what is frozen, in the models and in their parts."""
    # tf_keras sets all parts of a model with it: the whole comes first.
    for old, new in reversed(self._pairs):
      if new.trainable != old.trainable:
        new.trainable = old.trainable

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
    kwargs = replaced(
      {
        key: value
        for key, value in arguments.kwargs.items()
        if not _is_left_to_layer(key, value, operation)
        and not _is_implicit_mask(key, value, arguments)
      }
    )
    function = self._function(operation)
    try:
      return function(*args, **kwargs)
    except (TypeError, tf.errors.OpError) as error:
      raise no_counterpart(operation, f' as it is called ({error})') from error

  def _function(self, operation: Any) -> Callable[..., Any]:
    import keras as keras3

    if id(operation) not in self._made:
      if isinstance(operation, keras3.Model):
        made = self.model(operation)
      elif isinstance(operation, keras3.layers.Layer):
        made = _converted(operation)
        new = made.layer if isinstance(made, Chain) else made
        self._pairs.append((operation, new))
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


def _converted(layer: Any) -> Callable[..., Any]:
  """The layer for tf_keras, or an error that names it."""
  try:
    return convert_layer(layer)
  except TypeError as error:  # its class takes other settings
    raise no_counterpart(layer, f' with its settings ({error})') from error


def _is_left_to_layer(key: str, value: Any, operation: Any) -> bool:
  """Whether an argument was not given, or filled in by Keras.

  Layers that augment images have `training=True` for a default, which Keras
  notes down; given to a tf_keras layer, it would hold at inference too.
  """
  if value is None:
    return True
  if key != 'training':
    return False
  parameter = inspect.signature(operation.call).parameters.get(key)
  return parameter is not None and parameter.default is value


def _is_implicit_mask(key: str, value: Any, arguments: Any) -> bool:
  """Whether a mask came along with the tensors, as it does in tf_keras."""
  if not key.endswith('mask'):
    return False
  carried = {
    id(getattr(tensor, '_keras_mask', None))
    for tensor in tf.nest.flatten([arguments.args, arguments.kwargs])
  }
  return all(
    mask is None or id(mask) in carried for mask in tf.nest.flatten(value)
  )


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
    return _binary(function)(x1, x2)

  return apply


def _binary(function: Callable) -> Callable[..., Any]:
  """TensorFlow's function, of numbers of whatever type."""
  return lambda x1, x2: function(_alike(x1, x2), _alike(x2, x1))


def _alike(x: Any, other: Any) -> Any:
  """A whole constant as what it stands beside; anything else as it is."""
  if compat.is_keras_tensor(x) or not compat.is_keras_tensor(other):
    return x
  kind = tf.as_dtype(other.dtype)
  if isinstance(x, int):
    return float(x) if kind.is_floating else x
  whole = hasattr(x, 'dtype') and tf.as_dtype(x.dtype).is_integer
  return tf.cast(x, kind) if whole else x


def _reshaped(x: Any, newshape: Sequence[int]) -> Any:
  return keras.layers.Reshape(tuple(newshape[1:]))(x)


def _transposed(x: Any, axes: Sequence[int]) -> Any:
  if axes[0] != 0:
    raise ValueError('A transposition moves the batch axis.')
  return keras.layers.Permute(tuple(axes[1:]))(x)


def _hard_sigmoid(x: Any) -> Any:
  return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _axes(op: Any) -> Any:
  return None if op.axis is None else tf.nest.flatten(op.axis)


_layers = keras.layers
# By class name in keras.ops: how its arguments and attributes are applied.
_OPERATIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
  'Add': lambda op: _joined(_layers.Add, tf.math.add),
  'Subtract': lambda op: _joined(_layers.Subtract, tf.math.subtract),
  'Multiply': lambda op: _joined(_layers.Multiply, tf.math.multiply),
  'Maximum': lambda op: _joined(_layers.Maximum, tf.math.maximum),
  'Minimum': lambda op: _joined(_layers.Minimum, tf.math.minimum),
  'TrueDivide': lambda op: _binary(tf.math.divide),
  'Divide': lambda op: _binary(tf.math.divide),
  'Negative': lambda op: tf.math.negative,
  'Matmul': lambda op: tf.linalg.matmul,
  'Square': lambda op: tf.math.square,
  'Sqrt': lambda op: tf.math.sqrt,
  'Rsqrt': lambda op: tf.math.rsqrt,
  'Power': lambda op: _binary(tf.math.pow),
  'Log': lambda op: tf.math.log,
  'NotEqual': lambda op: _binary(tf.math.not_equal),
  'Cast': lambda op: lambda x: tf.cast(x, op.dtype),
  'Clip': lambda op: lambda x: tf.clip_by_value(x, op.x_min, op.x_max),
  'GetItem': lambda op: (
    lambda x, key: x[tuple(key) if isinstance(key, list) else key]
  ),
  'ExpandDims': lambda op: lambda x: tf.expand_dims(x, op.axis),
  'Squeeze': lambda op: lambda x: tf.squeeze(x, _axes(op)),
  'Stack': lambda op: lambda x: tf.stack(x, op.axis),
  'Exp': lambda op: tf.math.exp,
  'Tanh': lambda op: tf.math.tanh,
  'Absolute': lambda op: tf.math.abs,
  'Relu': lambda op: tf.nn.relu,
  'Relu6': lambda op: tf.nn.relu6,
  'Sigmoid': lambda op: tf.math.sigmoid,
  'Silu': lambda op: tf.nn.silu,
  'Softplus': lambda op: tf.math.softplus,
  'Elu': lambda op: (
    tf.nn.elu if op.alpha == 1.0 else _layers.ELU(alpha=op.alpha)
  ),
  'Gelu': lambda op: lambda x: tf.nn.gelu(x, approximate=op.approximate),
  'LeakyRelu': lambda op: lambda x: tf.nn.leaky_relu(x, op.negative_slope),
  'HardSigmoid': lambda op: _hard_sigmoid,
  'HardSilu': lambda op: lambda x: _layers.Multiply()([x, _hard_sigmoid(x)]),
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
  'Max': lambda op: (
    lambda x: tf.math.reduce_max(x, op.axis, keepdims=op.keepdims)
  ),
  'Min': lambda op: (
    lambda x: tf.math.reduce_min(x, op.axis, keepdims=op.keepdims)
  ),
  'Any': lambda op: (
    lambda x: tf.math.reduce_any(x, op.axis, keepdims=op.keepdims)
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
  structure = getattr(model, '_functional', model)._inputs_struct
  inputs = _samples(tf.nest.flatten(structure))
  packed = tf.nest.pack_sequence_as(structure, inputs)
  try:
    wanted = tf.nest.flatten(model(packed, training=False))
  except (ValueError, tf.errors.OpError):
    if any(None in t.shape[1:] for t in tf.nest.flatten(structure)):
      return  # a size was guessed that does not fit; nothing to compare with
    raise
  found = tf.nest.flatten(converted(packed, training=False))
  for want, got in zip(wanted, found, strict=True):
    gap, size = _gap(np.asarray(want), np.asarray(got))
    if not gap <= _TOLERANCE * (1 + size):
      raise ValueError(
        f'The Keras 3 model {model.name!r} gives other outputs as a tf_keras '
        f'model (by {gap:.3g}): one of its layers has changed its meaning '
        'between the two. Rebuild the model with tf_keras.'
      )


def _samples(tensors: list[Any]) -> list[np.ndarray]:
  """Random inputs for Keras 3 tensors: in [0, 1], or zeros and ones."""
  rng = np.random.default_rng(0)
  found = []
  for tensor in tensors:
    batch, *sizes = tensor.shape
    shape = [batch or 2, *(32 if size is None else size for size in sizes)]
    dtype = str(tensor.dtype)
    if 'float' in dtype:
      found.append(np.asarray(tf.cast(rng.uniform(0, 1, shape), dtype)))
    else:
      found.append(rng.integers(0, 2, shape).astype(dtype))
  return found


def _gap(want: np.ndarray, got: np.ndarray) -> tuple[float, float]:
  """The largest difference of two outputs, and the largest size.

  What is infinite or NaN in the same way in both is no difference.
  """
  if want.shape != got.shape:
    return np.inf, 0.0
  want, got = want.astype(np.float64), got.astype(np.float64)
  same = (want == got) | (np.isnan(want) & np.isnan(got))
  finite = np.abs(want[np.isfinite(want)])
  return (
    np.abs(want[~same] - got[~same]).max(initial=0.0),
    finite.max(initial=0.0),
  )
