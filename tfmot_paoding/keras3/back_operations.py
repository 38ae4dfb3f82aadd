"""One TensorFlow function in a tf_keras model as operations of keras.ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.keras3.back_functions import SPECIAL, plain
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
  'math.log_sigmoid': 'log_sigmoid',
  'math.log2': 'log2',
  'math.tan': 'tan',
  'math.asin': 'arcsin',
  'math.acos': 'arccos',
  'math.atan': 'arctan',
  'math.atan2': 'arctan2',
  'math.sinh': 'sinh',
  'math.cosh': 'cosh',
  'math.asinh': 'arcsinh',
  'math.acosh': 'arccosh',
  'math.atanh': 'arctanh',
  'math.conj': 'conj',
  'math.is_nan': 'isnan',
  'math.is_inf': 'isinf',
  'math.is_finite': 'isfinite',
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
  if symbol not in SPECIAL:
    raise no_keras3_counterpart(layer, f' for tf.{layer.symbol}')
  return _named(layer, SPECIAL[symbol](ops))


def _canonical(layer: Any) -> str:
  """The function's name as the tables have it, whatever its alias."""
  symbol = getattr(layer, 'symbol', None)
  if symbol is None:
    raise no_keras3_counterpart(layer)
  function = layer.function
  for name in (*_PLAIN, *_REDUCTIONS, *SPECIAL):
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
    tensors = [x for x in values if hasattr(x, 'dtype')]
    return function(*(_constant(value, tensors) for value in values))

  return apply


def _constant(value: Any, tensors: list[Any]) -> Any:
  """A constant; a list as an array of what stands beside it."""
  if not (isinstance(value, (list, tuple)) and tensors):
    return plain(value)
  dtype = tf.as_dtype(tensors[0].dtype).as_numpy_dtype
  return np.asarray(plain(value), dtype)


def _named(layer: Any, function: Callable) -> Callable[..., Any]:
  """A function of the arguments by their names in TensorFlow."""

  def apply(*args: Any, **kwargs: Any) -> Any:
    bound = _bound(layer, args, kwargs)
    bound.pop('name', None)
    if isinstance(layer, compat.SlicingOpLambda):
      return function(**bound)
    return function(**{key: plain(value) for key, value in bound.items()})

  return apply


def _bound(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
  arguments = inspect.signature(layer.function).bind(*args, **kwargs).arguments
  return {key: x for key, x in arguments.items() if x is not None}


def _reduction(function: Callable) -> Callable[..., Any]:
  def apply(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axis = tuple(axis) if isinstance(axis, list) else axis
    return function(input_tensor, axis=axis, keepdims=keepdims)

  return apply
