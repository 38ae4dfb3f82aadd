"""Arithmetic on coefficients of linear bounds: (samples, rows, *shape)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.bounds.steps import AffineStep

Array = np.ndarray


class Adam:
  """Adam's ascent for a handful of tensors."""

  def __init__(self, rate: float):
    self._rate = rate
    self._state: dict[int, tuple[tf.Tensor, tf.Tensor, int]] = {}

  def __call__(self, key: int, gradient: tf.Tensor) -> tf.Tensor:
    """The step to take along a gradient."""
    zero = tf.zeros_like(gradient)
    first, second, count = self._state.get(key, (zero, zero, 0))
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * tf.square(gradient)
    count += 1
    self._state[key] = first, second, count
    scale = tf.sqrt(second / (1 - 0.999**count)) + 1e-12
    return self._rate * first / (1 - 0.9**count) / scale


def block_of(rows: Array, part: slice, some: slice) -> Array:
  """Some rows of some samples; rows of one sample are those of all."""
  rows = (rows if len(rows) == 1 else rows[part])[:, some]
  size = part.stop - part.start
  return np.broadcast_to(rows, (size, *rows.shape[1:]))


def transposed(step: AffineStep, coefficients: tf.Tensor) -> list[tf.Tensor]:
  """A step's transpose of coefficients (samples, rows, *shape).

  Sound in float64, rough in float32.
  """
  # Known where they are while a function is traced, for shapes to be told.
  samples, rows = (
    tf.shape(coefficients)[axis] if size is None else size
    for axis, size in enumerate(coefficients.shape[:2])
  )
  flat = tf.reshape(coefficients, (samples * rows, *step.out_shape))
  exact = flat.dtype == tf.float64
  back = (step.transpose if exact else step.rough_transpose)(flat)
  return [
    tf.reshape(part, (samples, rows, *shape))
    for part, shape in zip(back, step.in_shapes, strict=True)
  ]


def reduced(x: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
  """Coefficients of an input that was broadcast to the output's shape."""
  axes = [
    axis + 2
    for axis, size in enumerate(shape)
    if size == 1 and x.shape[axis + 2] > 1
  ]
  return tf.reduce_sum(x, axes, keepdims=True) if axes else x


def dot(x: tf.Tensor, y: Array) -> tf.Tensor:
  """Sums of products over the entries; 0 times infinity is 0."""
  axes = list(range(2, len(x.shape)))
  if np.all(np.isfinite(y)):
    if not axes or y.shape[1:] != (1, *x.shape[2:]):
      return tf.reduce_sum(x * y, axes)
    # One pass over the coefficients, which are the most that there is.
    rows = tf.reshape(x, (*x.shape[:2], -1))
    column = tf.reshape(tf.constant(y, x.dtype), (*y.shape[:2], -1))
    return tf.matmul(rows, column, transpose_b=True)[..., 0]
  shape = tf.broadcast_dynamic_shape(tf.shape(x), y.shape)
  y = tf.broadcast_to(tf.constant(y), shape)
  return tf.reduce_sum(tf.math.multiply_no_nan(y, x), axes)
