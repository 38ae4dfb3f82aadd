"""One operation of keras.ops as a function of tf_keras tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.einsum import einsum
from tfmot_paoding.keras3.layers import no_counterpart


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


def _transposed(x: Any, axes: Sequence[int] | None) -> Any:
  if axes is None or axes[0] != 0:  # the batch axis moves
    return tf.transpose(x, axes)
  return keras.layers.Permute(tuple(axes[1:]))(x)


def _taken(x: Any, indices: Any, axis: int | None) -> Any:
  if axis is None:
    x, axis = tf.reshape(x, (-1,)), 0
  if not compat.is_keras_tensor(indices) and x.shape[axis] is not None:
    indices = np.asarray(indices) % x.shape[axis]  # some count from the end
  return tf.gather(x, indices, axis=axis)


def _largest(function: Callable, op: Any) -> Callable[..., Any]:
  """Without the detour over bits by which Keras 3 tells 0 from -0."""

  def apply(x: Any) -> Any:
    axis = op.axis
    if axis is None:
      x, axis = tf.reshape(x, (-1,)), 0
    found = function(x, axis, output_type=tf.int32)
    return tf.expand_dims(found, axis) if op.keepdims else found

  return apply


def _hard_sigmoid(x: Any) -> Any:
  return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _patches(op: Any) -> Callable[..., Any] | None:
  """Patches of images with their channels last; None of volumes."""
  if len(op.size) != 2 or op.data_format != 'channels_last':
    return None

  def apply(images: Any) -> Any:
    along = [_pair(x) for x in (op.size, op.strides, op.dilation_rate)]
    return tf.image.extract_patches(
      images, *([1, *pair, 1] for pair in along), op.padding.upper()
    )

  return apply


def _pair(sizes: Any) -> list[int]:
  """Along both axes of an image, of which Keras takes one number too."""
  return [sizes, sizes] if isinstance(sizes, int) else list(sizes)


def _of_every_axis(x: Any, key: Any) -> tuple[Any, ...]:
  """What is asked for, without `...`: files of tf_keras cannot hold that."""
  keys = tuple(key) if isinstance(key, (list, tuple)) else (key,)
  for at, one in enumerate(keys):
    if one is Ellipsis:
      named = sum(other is not None for other in keys) - 1
      missing = [slice(None)] * (len(x.shape) - named)
      return (*keys[:at], *missing, *keys[at + 1 :])
  return keys


def _axes(op: Any) -> Any:
  return None if op.axis is None else tf.nest.flatten(op.axis)


_layers = keras.layers
# By class name in keras.ops: how its arguments and attributes are applied.
_OPERATIONS: dict[str, Callable[[Any], Callable[..., Any] | None]] = {
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
  'GetItem': lambda op: lambda x, key: x[_of_every_axis(x, key)],
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
  'Take': lambda op: lambda x, indices: _taken(x, indices, op.axis),
  'ExtractPatches': _patches,
  'Einsum': lambda op: lambda *x: einsum(op.subscripts, *x),
  'Argmax': lambda op: _largest(tf.math.argmax, op),
  'Argmin': lambda op: _largest(tf.math.argmin, op),
  'Any': lambda op: (
    lambda x: tf.math.reduce_any(x, op.axis, keepdims=op.keepdims)
  ),
}


def convert_operation(operation: Any) -> Callable[..., Any]:
  """What an operation of keras.ops is on tf_keras tensors.

  The ones known here become layers that pruning sees through. Any other is
  run as it stands: on TensorFlow, Keras 3 makes it of TensorFlow's functions,
  and those take the tensors of tf_keras.

  Raises:
    ValueError: the backend of Keras 3 is not TensorFlow.
  """
  import keras as keras3

  own = type(operation).__module__.startswith('keras.src.ops')
  make = _OPERATIONS.get(type(operation).__name__) if own else None
  made = None if make is None else make(operation)
  if made is not None:
    return made
  if keras3.backend.backend() != 'tensorflow':
    raise no_counterpart(
      operation, f' on the backend {keras3.backend.backend()!r} of Keras'
    )

  def apply(*args: Any, **kwargs: Any) -> Any:
    with compat.tensors_with_rank():  # which Keras 3 asks for
      return operation.call(*args, **kwargs)

  return apply
