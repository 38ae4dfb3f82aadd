"""One TensorFlow function in a tf_keras model as operations of keras.ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.keras3.back_layers import no_keras3_counterpart

# Functions of one tensor, or of two, that keras.ops has by another name.
_PLAIN = {
  '__operators__.add': 'add',
  'math.add': 'add',
  'math.subtract': 'subtract',
  'math.multiply': 'multiply',
  'math.truediv': 'divide',
  'math.divide': 'divide',
  'math.pow': 'power',
  'math.maximum': 'maximum',
  'math.minimum': 'minimum',
  'math.floordiv': 'floor_divide',
  'math.floormod': 'mod',
  'math.squared_difference': 'squared_difference',
  'math.negative': 'negative',
  'math.abs': 'abs',
  'math.square': 'square',
  'math.sqrt': 'sqrt',
  'math.rsqrt': 'rsqrt',
  'math.exp': 'exp',
  'math.log': 'log',
  'math.log1p': 'log1p',
  'math.expm1': 'expm1',
  'math.sin': 'sin',
  'math.cos': 'cos',
  'math.tanh': 'tanh',
  'math.sigmoid': 'sigmoid',
  'math.sign': 'sign',
  'math.floor': 'floor',
  'math.ceil': 'ceil',
  'math.round': 'round',
  'math.erf': 'erf',
  'math.softplus': 'softplus',
  'math.reciprocal': 'reciprocal',
  'math.equal': 'equal',
  'math.not_equal': 'not_equal',
  'math.greater': 'greater',
  'math.greater_equal': 'greater_equal',
  'math.less': 'less',
  'math.less_equal': 'less_equal',
  'math.logical_and': 'logical_and',
  'math.logical_or': 'logical_or',
  'math.logical_not': 'logical_not',
  'nn.relu': 'relu',
  'nn.relu6': 'relu6',
  'nn.elu': 'elu',
  'nn.selu': 'selu',
  'nn.softsign': 'softsign',
  'stop_gradient': 'stop_gradient',
  'zeros_like': 'zeros_like',
  'ones_like': 'ones_like',
}
# Reductions: the function in keras.ops; all take an axis and keepdims.
_REDUCTIONS = {
  'math.reduce_mean': 'mean',
  'math.reduce_sum': 'sum',
  'math.reduce_max': 'max',
  'math.reduce_min': 'min',
  'math.reduce_prod': 'prod',
  'math.reduce_any': 'any',
  'math.reduce_all': 'all',
  'math.reduce_variance': 'var',
  'math.reduce_std': 'std',
  'math.reduce_logsumexp': 'logsumexp',
}


def keras3_operation(layer: Any) -> Callable[..., Any]:
  """What a layer of a TensorFlow function is on Keras 3 tensors.

  Raises:
    NoCounterpartError: keras.ops has none that is known to be the same.
  """
  from keras import ops

  symbol = _canonical(layer)
  if symbol in _PLAIN:
    function = getattr(ops, _PLAIN[symbol], None)
    if function is None:
      raise no_keras3_counterpart(layer)
    return _of_tensors(layer, function)
  if symbol in _REDUCTIONS:
    return _named(layer, _reduction(getattr(ops, _REDUCTIONS[symbol])))
  if symbol not in _SPECIAL:
    raise no_keras3_counterpart(layer, f' for tf.{layer.symbol}')
  return _named(layer, _SPECIAL[symbol](ops))


def _canonical(layer: Any) -> str:
  """The function's name as the tables have it, whatever its alias."""
  symbol = getattr(layer, 'symbol', None)
  if symbol is None:
    raise no_keras3_counterpart(layer)
  function = layer.function
  for name in (*_PLAIN, *_REDUCTIONS, *_SPECIAL):
    if _looked_up(name) is function:
      return name
  return symbol.removeprefix('compat.v1.')  # of which the others are made


def _looked_up(name: str) -> Any:
  found = tf
  for part in name.split('.'):
    found = getattr(found, part, None)
  return found


def _of_tensors(layer: Any, function: Callable) -> Callable[..., Any]:
  """A function of one or two tensors, with constants as they are."""

  def apply(*args: Any, **kwargs: Any) -> Any:
    bound = _bound(layer, args, kwargs)
    values = [value for key, value in bound.items() if key != 'name']
    return function(*(_plain(value) for value in values))

  return apply


def _named(layer: Any, function: Callable) -> Callable[..., Any]:
  """A function of the arguments by their names in TensorFlow."""

  def apply(*args: Any, **kwargs: Any) -> Any:
    bound = _bound(layer, args, kwargs)
    bound.pop('name', None)
    if isinstance(layer, compat.SlicingOpLambda):
      return function(**bound)
    return function(**{key: _plain(value) for key, value in bound.items()})

  return apply


def _bound(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
  arguments = inspect.signature(layer.function).bind(*args, **kwargs).arguments
  return {key: x for key, x in arguments.items() if x is not None}


def _plain(value: Any) -> Any:
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
    return [_plain(x) for x in value]
  return value


def _reduction(function: Callable) -> Callable[..., Any]:
  def apply(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axis = tuple(axis) if isinstance(axis, list) else axis
    return function(input_tensor, axis=axis, keepdims=keepdims)

  return apply


def _key(part: Any) -> Any:
  """A part of a slice, which tf_keras keeps as a dict."""
  if isinstance(part, dict):
    return slice(*(_plain(part[key]) for key in ('start', 'stop', 'step')))
  return _plain(part)


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


_SPECIAL: dict[str, Callable[[Any], Callable[..., Any]]] = {
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
  'math.argmax': lambda ops: lambda input, axis=None: ops.argmax(input, axis),
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
}
