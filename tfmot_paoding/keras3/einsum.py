"""Einstein sums of Keras tensors as functions that a model's config holds.

A tf_keras model that calls `tf.einsum` cannot be cloned: the config of that
layer keeps its equation and loses its operands.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def einsum(equation: str, *operands: Any) -> Any:
  """A sum of products of two tensors by an equation like 'bij,bjk->bik'.

  Each operand gets an axis for every letter, of size 1 where it has none.
  Where one letter alone is summed, and each operand has one that the other has
  not, it is a product of matrices; else the products are summed.

  Args:
    equation: The letters of both operands, and of the result behind '->'.
    *operands: Two tensors.

  Raises:
    ValueError: the equation has no '->', dots, or one letter twice in an
      operand; or the operands are not two.
  """
  left, arrow, result = equation.replace(' ', '').partition('->')
  parts = left.split(',')
  if (
    not arrow
    or '.' in equation
    or len(parts) != 2
    or any(len(set(part)) != len(part) for part in parts)
  ):
    raise ValueError(
      f'The equation {equation!r} is not one of two operands with every letter '
      'once in each and a result behind "->".'
    )
  summed = [c for c in dict.fromkeys(left) if c not in result and c != ',']
  own = [
    [c for c in part if c not in other and c in result]
    for part, other in (parts, parts[::-1])
  ]
  if len(summed) == len(own[0]) == len(own[1]) == 1 and all(
    summed[0] in part for part in parts
  ):
    batch = [c for c in result if c in parts[0] and c in parts[1]]
    x = _with_axes(operands[0], parts[0], [*batch, own[0][0], summed[0]])
    y = _with_axes(operands[1], parts[1], [*batch, summed[0], own[1][0]])
    return _with_axes(
      tf.linalg.matmul(x, y), [*batch, own[0][0], own[1][0]], list(result)
    )
  axes = [*result, *summed]
  x, y = (
    _with_axes(operand, part, axes)
    for operand, part in zip(operands, parts, strict=True)
  )
  if not summed:
    return x * y
  return tf.math.reduce_sum(x * y, list(range(len(result), len(axes))))


def _with_axes(x: Any, letters: Any, wanted: list[str]) -> Any:
  """A tensor with its axes in an order, of size 1 where it has none."""
  there = [c for c in wanted if c in letters]
  order = [list(letters).index(c) for c in there]
  if order != sorted(order):
    x = tf.transpose(x, order)
  for position, c in enumerate(wanted):
    if c not in there:
      x = tf.expand_dims(x, position)
  return x
