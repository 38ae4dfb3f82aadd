"""TensorFlow functions that compare entries, and choose between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.layers.tf_arguments import Move, number_of
from tfmot_paoding.ops import Line, Op, WeightedSum
from tfmot_paoding.ops.choices import Above, Select


class _Compared(Move):
  """Whether one is above the other.

  Args:
    turned: Whether it is below.
    equal: Whether it may be the same.
  """

  any_sizes = True

  def __init__(self, turned: bool, equal: bool):
    self._sign = -1.0 if turned else 1.0
    self._op = Above(equal)

  def lower(self, given, in_shapes, out_shapes):
    values = [given.get(key) for key in 'xy']
    tensors = [compat.is_keras_tensor(value) for value in values]
    sign = self._sign
    if any(len(shape) != len(out_shapes[0]) for shape in in_shapes):
      return None
    if all(tensors):
      return [[WeightedSum((sign, -sign)), self._op]]
    number = number_of(values[tensors.index(False)])
    if number is None:
      return None
    if not tensors[0]:
      sign = -sign
    return [[Line((sign,), (-sign * number,)), self._op]]


class _Chosen(Move):
  """One of two, as a condition says."""

  any_sizes = True

  def lower(self, given, in_shapes, out_shapes):
    values = [given.get(key) for key in ('condition', 'x', 'y')]
    if not compat.is_keras_tensor(values[0]):
      return None
    if any(len(shape) != len(out_shapes[0]) for shape in in_shapes):
      return None
    numbers = [None, None]
    for k, value in enumerate(values[1:]):
      if not compat.is_keras_tensor(value):
        numbers[k] = number_of(value)
        if numbers[k] is None:
          return None
    return [[Select(*numbers)]]


class _Filled(Move):
  """The same number everywhere.

  Args:
    value: The number.
  """

  any_sizes = True

  def __init__(self, value: float):
    self._value = value

  def lower(self, given, in_shapes, out_shapes):
    kind: Any = given.get('dtype')
    if kind is not None and tf.as_dtype(kind) != given['input'].dtype:
      return None
    ops: list[Op] = [Line((0.0,), (self._value,))]
    return [ops]


CHOICES: Mapping[str, Move] = {
  'math.greater': _Compared(False, False),
  'math.greater_equal': _Compared(False, True),
  'math.less': _Compared(True, False),
  'math.less_equal': _Compared(True, True),
  'where': _Chosen(),
  'zeros_like': _Filled(0.0),
  'ones_like': _Filled(1.0),
}
