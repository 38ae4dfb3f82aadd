"""Interval arithmetic on arrays, rounded outwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray

_EPSILON = np.finfo(np.float64).eps
_LARGE = 1 << 24  # entries of a kernel that are worked on at once
_LARGEST = np.finfo(np.float64).max


class Interval(NamedTuple):
  """Elementwise bounds low <= x <= high, two arrays of one shape."""

  low: Array
  high: Array

  @property
  def centre(self) -> Array:
    """The midpoints."""
    return 0.5 * (self.low + self.high)

  @property
  def radius(self) -> Array:
    """Half of the widths."""
    return 0.5 * (self.high - self.low)

  @property
  def width(self) -> Array:
    """high - low."""
    return self.high - self.low

  @property
  def magnitude(self) -> Array:
    """The largest absolute value inside."""
    return np.maximum(np.abs(self.low), np.abs(self.high))

  def reshape(self, shape: tuple[int, ...]) -> Interval:
    """Both ends reshaped."""
    return Interval(self.low.reshape(shape), self.high.reshape(shape))


def zeros(shape: tuple[int, ...]) -> Interval:
  """The degenerate interval [0, 0] of a shape."""
  return Interval(np.zeros(shape), np.zeros(shape))


# Overflow is no accident to warn of: it opens the bound, see `outward`.
overflow_opens = np.errstate(over='ignore', invalid='ignore')


def outward(low: Array, high: Array) -> Interval:
  """Ends as computed, opened where they overflowed: NaN says nothing."""
  return Interval(
    np.nan_to_num(low, nan=-np.inf, posinf=_LARGEST, neginf=-np.inf),
    np.nan_to_num(high, nan=np.inf, posinf=np.inf, neginf=-_LARGEST),
  )


def upward(size: Array, terms: int) -> Array:
  """Sums of so many terms of one sign, rounded up; NaN says nothing."""
  size = size * (1 + (terms + 16) * _EPSILON)
  return np.where(np.isnan(size), np.inf, size)


def add(a: Interval, b: Interval) -> Interval:
  """{x + y}."""
  return outward(a.low + b.low, a.high + b.high)


def subtract(a: Interval, b: Interval) -> Interval:
  """{x - y} for independent x and y."""
  return outward(a.low - b.high, a.high - b.low)


def scale(a: Interval, factor: Array) -> Interval:
  """{factor x} for a factor of either sign."""
  p, q = a.low * factor, a.high * factor
  return outward(np.minimum(p, q), np.maximum(p, q))


def multiply(a: Interval, b: Interval) -> Interval:
  """{x y} for independent x and y."""
  products = (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
  return outward(np.minimum.reduce(products), np.maximum.reduce(products))


def intersect(a: Interval, b: Interval) -> Interval:
  """The part that two sound bounds of one quantity share.

  Rounding may leave two touching intervals a hair apart; the result is then
  the gap between them, never an empty interval.
  """
  low, high = np.maximum(a.low, b.low), np.minimum(a.high, b.high)
  return Interval(np.minimum(low, high), np.maximum(low, high))


def hull(a: Interval, b: Interval) -> Interval:
  """The smallest interval around both."""
  return Interval(np.minimum(a.low, b.low), np.maximum(a.high, b.high))


def with_zero(x: Interval, where: Array | bool) -> Interval:
  """The hull with 0 where `where` says so."""
  return Interval(
    np.where(where, np.minimum(x.low, 0.0), x.low),
    np.where(where, np.maximum(x.high, 0.0), x.high),
  )


def over_positions(x: Interval) -> Interval:
  """The hull over all axes but the last, shape (entries,)."""
  axes = tuple(range(x.low.ndim - 1))
  return Interval(x.low.min(axes), x.high.max(axes))


def compressed(x: Interval) -> Interval:
  """The same bounds; axes before the last along which all agree at size 1."""
  for axis in range(x.low.ndim - 1):
    first = Interval(np.take(x.low, [0], axis), np.take(x.high, [0], axis))
    if np.all(x.low == first.low) and np.all(x.high == first.high):
      x = first
  return x


def affine(x: Interval, kernel: Array, bias: Array | float = 0.0) -> Interval:
  """{x W + b}: the kernel on the centre, its absolute value on the radius.

  Args:
    x: Bounds of shape (..., d).
    kernel: W, shape (d, m).
    bias: b, broadcastable to (m,).

  Returns:
    Bounds of shape (..., m), widened by the rounding error of the sums.
  """
  blocks = -(-kernel.size // _LARGE)
  if blocks > 1 and kernel.shape[1] > 1:
    # Column after column: a copy of the whole kernel would cost memory.
    bias = np.broadcast_to(bias, kernel.shape[1:])
    parts = [
      affine(x, columns, shift)
      for columns, shift in zip(
        np.array_split(kernel, min(blocks, kernel.shape[1]), axis=1),
        np.array_split(bias, min(blocks, kernel.shape[1])),
        strict=True,
      )
    ]
    return Interval(
      np.concatenate([part.low for part in parts], -1),
      np.concatenate([part.high for part in parts], -1),
    )
  absolute = np.abs(kernel)
  centre = x.centre @ kernel + bias
  # A sum of d products is off by at most about d eps of its absolute terms.
  slack = (kernel.shape[0] + 2) * _EPSILON
  radius = (x.radius + slack * x.magnitude) @ absolute
  radius = (1 + slack) * radius + slack * np.abs(bias)
  return outward(centre - radius, centre + radius)
