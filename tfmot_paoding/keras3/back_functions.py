"""TensorFlow's functions that keras.ops has with other arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def plain(value: Any) -> Any:
  """A constant as NumPy has it, a list as a list; tensors as they are."""
  if isinstance(value, tf.Tensor):
    value = value.numpy()
  if isinstance(value, np.ndarray) and value.ndim == 0:
    return value.item()
  if isinstance(value, tf.DType):
    return value.name
  if isinstance(value, tf.TensorShape):
    return value.as_list()
  if isinstance(value, (list, tuple)):
    return [plain(x) for x in value]
  return value


def _key(part: Any) -> Any:
  """A part of a slice, which tf_keras keeps as a dict."""
  if isinstance(part, dict):
    return slice(*(plain(part[key]) for key in ('start', 'stop', 'step')))
  return plain(part)


def _sliced(tensor: Any, slice_spec: Any) -> Any:
  if isinstance(slice_spec, (list, tuple)):
    return tensor[tuple(_key(part) for part in slice_spec)]
  return tensor[_key(slice_spec)]


def _transposed(ops: Any) -> Callable[..., Any]:
  return lambda a, perm=None, conjugate=False: ops.transpose(a, perm)


def _matmul(ops: Any) -> Callable[..., Any]:
  def apply(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False
  ) -> Any:
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    b = ops.swapaxes(b, -1, -2) if transpose_b else b
    return ops.matmul(a, b)

  return apply


def _split(ops: Any) -> Callable[..., Any]:
  def apply(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    parts = num_or_size_splits
    if isinstance(parts, (list, np.ndarray)):
      parts = np.cumsum(parts)[:-1].tolist()
    return ops.split(value, parts, axis=axis)

  return apply


def _taken(params: Any, indices: Any, axis: int, batch_dims: int) -> Any:
  from keras import ops

  if batch_dims:
    raise TypeError(f'batch_dims={batch_dims}')
  return ops.take(params, indices, axis)


def _squeezed(input: Any, axis: Any = None) -> Any:
  from keras import ops

  return ops.squeeze(input, tuple(axis) if isinstance(axis, list) else axis)


def _largest(function: Callable) -> Callable[..., Any]:
  def apply(input: Any, axis: Any = 0, output_type: Any = 'int64') -> Any:
    from keras import ops

    return ops.cast(function(input, axis), output_type)

  return apply


def _length(
  tensor: Any, ord: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
  from keras import ops

  axis = tuple(axis) if isinstance(axis, list) else axis
  if ord not in (None, 'euclidean', 2):
    raise TypeError(f'ord={ord!r}')
  squares = ops.sum(ops.square(tensor), axis, keepdims=bool(keepdims))
  return ops.sqrt(squares)


def _resized(
  images: Any, size: Any, method: str = 'bilinear', antialias: bool = False
) -> Any:
  from keras import ops

  return ops.image.resize(
    images,
    tuple(size),
    method,
    antialias,
    data_format='channels_last',
  )


def _patches(
  images: Any, sizes: Any, strides: Any, rates: Any, padding: Any
) -> Any:
  from keras import ops

  (tall, wide), steps, (rate, other) = (x[1:3] for x in (sizes, strides, rates))
  if rate != other:
    raise TypeError(f'rates={rates}')
  return ops.image.extract_patches(
    images, (tall, wide), tuple(steps), rate, padding.lower(), 'channels_last'
  )


def _reversed(tensor: Any, axis: Any) -> Any:
  from keras import ops

  for one in axis if isinstance(axis, list) else [axis]:
    tensor = ops.flip(tensor, one)
  return tensor


def _padded(
  tensor: Any,
  paddings: Any,
  mode: str = 'CONSTANT',
  name: Any = None,
  constant_values: Any = 0,
) -> Any:
  from keras import ops

  mode = mode.lower()
  value = constant_values if mode == 'constant' else None
  return ops.pad(tensor, np.asarray(paddings).tolist(), mode, value)


def _hot(
  indices: Any, depth: int, axis: int = -1, dtype: Any = None, **values: Any
) -> Any:
  from keras import ops

  if values.pop('on_value', 1) != 1 or values.pop('off_value', 0) != 0:
    raise TypeError('values other than 1 and 0')
  return ops.one_hot(indices, depth, axis, dtype or 'float32')


def _band(input: Any, num_lower: int, num_upper: int) -> Any:
  from keras import ops

  if num_lower >= 0:
    input = ops.triu(input, -num_lower)
  return ops.tril(input, num_upper) if num_upper >= 0 else input


def _sorted(ops: Any, function: Callable) -> Callable[..., Any]:
  def apply(
    values: Any, axis: int = -1, direction: str = 'ASCENDING', **_: Any
  ) -> Any:
    if direction == 'ASCENDING':
      return function(values, axis)
    if function is ops.argsort:
      return function(-values, axis)
    return ops.flip(function(values, axis), axis)

  return apply


def _pooling(function: Callable) -> Callable[..., Any]:
  def apply(
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None = None,
  ) -> Any:
    if data_format is not None and data_format[1] == 'C':
      raise TypeError(f'data_format={data_format!r}')
    sizes, steps = (_spatial(x, len(input.shape)) for x in (ksize, strides))
    return function(input, sizes, steps, padding.lower(), 'channels_last')

  return apply


def _spatial(sizes: Any, rank: int) -> Any:
  """What TensorFlow gives for some or all axes, for those between."""
  if isinstance(sizes, int):
    return sizes
  if len(sizes) == rank:
    sizes = sizes[1:-1]
  return tuple(sizes) * (rank - 2) if len(sizes) == 1 else tuple(sizes)


# By TensorFlow's name: what makes the function of tensors of Keras 3.
SPECIAL: dict[str, Callable[[Any], Callable[..., Any]]] = {
  '__operators__.getitem': lambda ops: _sliced,
  'reshape': lambda ops: lambda tensor, shape: ops.reshape(tensor, shape),
  'transpose': _transposed,
  'linalg.matmul': _matmul,
  'split': _split,
  'squeeze': lambda ops: _squeezed,
  'expand_dims': lambda ops: lambda input, axis: ops.expand_dims(input, axis),
  'concat': lambda ops: lambda values, axis: ops.concatenate(values, axis),
  'stack': lambda ops: lambda values, axis=0: ops.stack(values, axis),
  'unstack': lambda ops: (
    lambda value, num=None, axis=0: ops.unstack(value, num, axis)
  ),
  'tile': lambda ops: lambda input, multiples: ops.tile(input, multiples),
  'cast': lambda ops: lambda x, dtype: ops.cast(x, dtype),
  'clip_by_value': lambda ops: (
    lambda t, clip_value_min, clip_value_max: ops.clip(
      t, clip_value_min, clip_value_max
    )
  ),
  'gather': lambda ops: (
    lambda params, indices, axis=0, batch_dims=0: _taken(
      params, indices, axis, batch_dims
    )
  ),
  'where': lambda ops: lambda condition, x, y: ops.where(condition, x, y),
  'math.argmax': lambda ops: _largest(ops.argmax),
  'math.argmin': lambda ops: _largest(ops.argmin),
  'math.cumsum': lambda ops: lambda x, axis=0: ops.cumsum(x, axis),
  'nn.softmax': lambda ops: lambda logits, axis=-1: ops.softmax(logits, axis),
  'nn.log_softmax': lambda ops: (
    lambda logits, axis=-1: ops.log_softmax(logits, axis)
  ),
  'nn.silu': lambda ops: (
    lambda features, beta=1.0: (
      ops.silu(features)
      if beta == 1.0
      else features * ops.sigmoid(features * beta)
    )
  ),
  'nn.gelu': lambda ops: (
    lambda features, approximate=False: ops.gelu(features, approximate)
  ),
  'nn.leaky_relu': lambda ops: (
    lambda features, alpha=0.2: ops.leaky_relu(features, alpha)
  ),
  'nn.avg_pool1d': lambda ops: _pooling(ops.average_pool),
  'nn.avg_pool2d': lambda ops: _pooling(ops.average_pool),
  'nn.max_pool1d': lambda ops: _pooling(ops.max_pool),
  'nn.max_pool2d': lambda ops: _pooling(ops.max_pool),
  'nn.bias_add': lambda ops: lambda value, bias: value + bias,
  'nn.l2_normalize': lambda ops: (
    lambda x, axis=None, epsilon=1e-12: (
      x
      * ops.rsqrt(
        ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), epsilon)
      )
    )
  ),
  'math.add_n': lambda ops: lambda inputs: sum(inputs[1:], inputs[0]),
  'math.top_k': lambda ops: (
    lambda input, k=1, sorted=True: ops.top_k(input, k, sorted)
  ),
  'einsum': lambda ops: lambda equation, inputs: ops.einsum(equation, *inputs),
  'norm': lambda ops: _length,
  'image.extract_patches': lambda ops: _patches,
  'image.resize': lambda ops: _resized,
  'identity': lambda ops: lambda input: input + 0,
  'reverse': lambda ops: _reversed,
  'roll': lambda ops: lambda input, shift, axis: ops.roll(input, shift, axis),
  'pad': lambda ops: _padded,
  'repeat': lambda ops: (
    lambda input, repeats, axis=None: ops.repeat(input, repeats, axis)
  ),
  'one_hot': lambda ops: _hot,
  'tensordot': lambda ops: lambda a, b, axes: ops.tensordot(a, b, axes),
  'linalg.band_part': lambda ops: _band,
  'sort': lambda ops: _sorted(ops, ops.sort),
  'argsort': lambda ops: _sorted(ops, ops.argsort),
  'broadcast_to': lambda ops: (
    lambda input, shape: ops.broadcast_to(input, shape)
  ),
}
