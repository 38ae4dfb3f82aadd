"""TensorFlow functions of each entry by itself, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.layers.tf_arguments import Arguments, Move, number_of
from tfmot_paoding.numerics.activations import (
  by_name,
  elu,
  rectifier,
  square_root,
)
from tfmot_paoding.ops import Elementwise, Line, Op, WeightedSum

Build = Callable[[Arguments], list[Op] | None]


class _Scalar(Move):
  """A function of one tensor.

  Args:
    build: The operations for a call's arguments; None where these are not
      known.
  """

  any_sizes = True

  def __init__(self, build: Build):
    self._build = build

  def lower(self, given, in_shapes, out_shapes):
    if len(in_shapes) != 1 or in_shapes != out_shapes:
      return None
    ops = self._build(given)
    return None if ops is None else [ops]


class _Sum(Move):
  """The sum of a list."""

  any_sizes = True

  def lower(self, given, in_shapes, out_shapes):
    if any(shape != out_shapes[0] for shape in in_shapes):
      return None
    return [[WeightedSum((1.0,) * len(in_shapes))]]


def above(low: float) -> list[Op]:
  """max(x, low)."""
  return _between_shifts(-low, Elementwise(rectifier()), low)


def below(high: float) -> list[Op]:
  """min(x, high)."""
  turned = Line((-1.0,), (high,))
  return [turned, Elementwise(rectifier()), turned]


def _between_shifts(before: float, op: Op, after: float) -> list[Op]:
  if not before and not after:
    return [op]
  return [Line((1.0,), (before,)), op, Line((1.0,), (after,))]


def _clip(given: Arguments) -> list[Op] | None:
  low, high = (
    number_of(given.get(key)) for key in ('clip_value_min', 'clip_value_max')
  )
  if low is None or high is None or not low < high:
    return None
  return _between_shifts(-low, Elementwise(rectifier(0.0, high - low)), low)


def _power(given: Arguments) -> list[Op] | None:
  exponent = number_of(given.get('y'))
  if compat.is_keras_tensor(given.get('y')) or exponent not in (1.0, 2.0):
    return None
  return [] if exponent == 1 else [Elementwise(by_name('square'))]


def _same_type(given: Arguments) -> list[Op] | None:
  kind = given.get('dtype')
  if kind is None:
    return None
  kind, was = tf.as_dtype(kind), given['x'].dtype
  # Conditions are 1 and 0.
  return [] if kind == was or (was == tf.bool and kind.is_floating) else None


def _leaky(given: Arguments) -> list[Op] | None:
  slope = number_of(given.get('alpha', 0.2))
  return None if slope is None else [Elementwise(rectifier(slope))]


def _gelu(given: Arguments) -> list[Op]:
  name = 'gelu_tanh' if given.get('approximate') else 'gelu'
  return [Elementwise(by_name(name))]


def _silu(given: Arguments) -> list[Op] | None:
  known = number_of(given.get('beta', 1.0)) == 1
  return [Elementwise(by_name('silu'))] if known else None


def _named(name: str) -> _Scalar:
  return _Scalar(lambda given: [Elementwise(by_name(name))])


SCALARS: Mapping[str, Move] = {
  'clip_by_value': _Scalar(_clip),
  'math.abs': _Scalar(lambda given: [Elementwise(rectifier(-1.0))]),
  'math.negative': _Scalar(lambda given: [Line((-1.0,), (0.0,))]),
  'math.square': _named('square'),
  'math.sqrt': _Scalar(lambda given: [Elementwise(square_root())]),
  'math.exp': _named('exponential'),
  'math.pow': _Scalar(_power),
  'nn.gelu': _Scalar(_gelu),
  'nn.leaky_relu': _Scalar(_leaky),
  'nn.silu': _Scalar(_silu),
  'nn.swish': _Scalar(_silu),
  'nn.elu': _Scalar(lambda given: [Elementwise(elu())]),
  'cast': _Scalar(_same_type),
  'identity': _Scalar(lambda given: []),
  'stop_gradient': _Scalar(lambda given: []),
  'convert_to_tensor': _Scalar(lambda given: []),
  'math.add_n': _Sum(),
}
