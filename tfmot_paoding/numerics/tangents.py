"""Straight lines below and above a function on intervals.

Linear relaxations as in CROWN (Zhang et al. 2018, arXiv 1811.00866) and
DeepPoly (Singh et al. 2019). Of all sound lines those are taken that enclose
the least area: a line above a function is lowest over the middle of the
interval where it supports the function's concave hull there. For ReLU that is
the chord above, and below 0 or x, whichever is nearer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfmot_paoding.numerics.activations import Activation
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

_EPSILON = np.finfo(np.float64).eps
_SECTIONS = 8  # where a slope is looked for
_REFINEMENTS = 20  # and how often more finely
_HALVINGS = 60  # how finely the point is found where a line touches


class Line(NamedTuple):
  """sum over inputs of slopes x + shift, elementwise.

  Attributes:
    slopes: One array an input, each broadcasting to the output's shape.
    shift: Of the output's shape.
  """

  slopes: tuple[Array, ...]
  shift: Array


class Lines(NamedTuple):
  """low(x) <= f(x) <= high(x) on the intervals they were made for.

  Attributes:
    low: The line below.
    high: The line above.
    tilt: Where the line below may have another slope through 0: the range of
      slopes of a function of one input; None if nowhere. The shift is 0 there.
  """

  low: Line
  high: Line
  tilt: Interval | None = None


def constant(value: Interval, inputs: int = 1) -> Lines:
  """Level lines at both ends of a range: sound for any function."""
  flat = (np.zeros(()),) * inputs
  return Lines(Line(flat, value.low), Line(flat, value.high))


def of_activation(activation: Activation, x: Interval) -> Lines:
  """Lines for a scalar function, entry by entry.

  Args:
    activation: The function.
    x: Bounds of its argument, any shape.
  """
  if activation.below is not None:
    return of_rectifier(x, np.asarray(activation.below))
  low = _least(activation, x, -1.0)
  high = _least(activation, x, 1.0)
  ends = activation.value(x.low), activation.value(x.high)
  return _opened(Lines(low, high), ~np.isnan(ends).any(0))


def of_rectifier(x: Interval, below: Array) -> Lines:
  """Lines for x above zero and `below` x below it.

  Args:
    x: Bounds of the argument.
    below: The slope below zero, broadcasting to x.
  """
  below = np.broadcast_to(np.asarray(below, np.float64), x.low.shape)
  crosses = (x.low < 0) & (x.high > 0)
  straight = np.where(x.low >= 0, 1.0, below)
  bottom, top = np.where(crosses, x.low, -1.0), np.where(crosses, x.high, 1.0)
  # The chord from (l, below l) to (u, u), lifted by what division rounds.
  with np.errstate(over='ignore', invalid='ignore'):
    chord = (top - below * bottom) / (top - bottom)
    shift = (below - 1.0) * bottom * (top / (top - bottom))
  near = np.where(top >= -bottom, 1.0, below)  # the nearer straight part
  convex = below <= 1
  error = 8 * _EPSILON * (1 + np.abs(below)) * (np.abs(top) + np.abs(bottom))
  # Above one at the kink the function is concave, and the chord lies below.
  lift = np.where(crosses, np.where(convex, error, -error), 0.0)
  slope = np.where(crosses, chord, straight)
  shift = np.where(crosses, shift, 0.0) + lift
  tangent, zero = np.where(crosses, near, straight), np.zeros(x.low.shape)
  least, most = np.minimum(below, 1.0), np.maximum(below, 1.0)
  free = crosses & convex
  tilt = Interval(
    np.where(free, least, np.where(convex, tangent, slope)),
    np.where(free, most, np.where(convex, tangent, slope)),
  )
  low = Line((np.where(convex, tangent, slope),), np.where(convex, zero, shift))
  high = Line(
    (np.where(convex, slope, tangent),), np.where(convex, shift, zero)
  )
  return _opened(Lines(low, high, tilt), _finite(x))


def _finite(x: Interval) -> Array:
  return np.isfinite(x.low) & np.isfinite(x.high)


def _opened(lines: Lines, fine: Array) -> Lines:
  """Nothing is said where something is unbounded."""
  if fine.all():
    return lines
  low, high, tilt = lines
  low = Line(
    tuple(np.where(fine, s, 0.0) for s in low.slopes),
    np.where(fine, low.shift, -np.inf),
  )
  high = Line(
    tuple(np.where(fine, s, 0.0) for s in high.slopes),
    np.where(fine, high.shift, np.inf),
  )
  if tilt is not None:
    tilt = Interval(*(np.where(fine, end, 0.0) for end in tilt))
  return Lines(low, high, tilt)


def of_product(slopes: Interval, x: Interval) -> Lines:
  """Lines in x for s x with any s between two slopes.

  Args:
    slopes: Bounds of s.
    x: Bounds of x.
  """
  high = _above_product(slopes, x)
  turned = Interval(-slopes.high, -slopes.low)
  low = _above_product(turned, x)
  low = Line((-low.slopes[0],), -low.shift)
  return _opened(Lines(low, high), _finite(x))


def _above_product(slopes: Interval, x: Interval) -> Line:
  """max(s_low x, s_high x) is convex: its chord."""
  crosses = (x.low < 0) & (x.high > 0)
  bottom, top = np.where(crosses, x.low, -1.0), np.where(crosses, x.high, 1.0)
  with np.errstate(over='ignore', invalid='ignore'):
    width = top - bottom
    chord = slopes.high * (top / width) - slopes.low * (bottom / width)
    shift = (slopes.low - slopes.high) * (bottom * (top / width))
  size = np.abs(slopes.low) + np.abs(slopes.high)
  shift = shift + 8 * _EPSILON * size * (np.abs(top) + np.abs(bottom))
  straight = np.where(x.low >= 0, slopes.high, slopes.low)
  return Line(
    (np.where(crosses, chord, straight),), np.where(crosses, shift, 0)
  )


def of_extreme(x: Sequence[Interval], largest: bool) -> Lines:
  """Lines for the largest (or smallest) of several inputs, entry by entry."""
  if not largest:
    low, high, _ = of_extreme([Interval(-b, -a) for a, b in x], True)
    return Lines(Line(high.slopes, -high.shift), Line(low.slopes, -low.shift))
  lows = np.stack(np.broadcast_arrays(*[part.low for part in x]))
  highs = np.stack(np.broadcast_arrays(*[part.high for part in x]))
  chosen, decided = leader(lows, highs, 0)
  decided = np.broadcast_to(decided, chosen.shape)
  top = highs.max(0)
  return Lines(
    Line(tuple(chosen * 1.0), np.zeros_like(top)),
    Line(tuple(chosen * decided * 1.0), np.where(decided[0], 0.0, top)),
  )


def of_largest(x: Interval, axis: int) -> Lines:
  """Lines for the largest along an axis; the slopes keep it.

  Returns:
    Lines with slopes of x's shape and shifts without the axis.
  """
  chosen, decided = leader(x.low, x.high, axis)
  top = x.high.max(axis)
  settled = decided.squeeze(axis)
  return Lines(
    Line((chosen * 1.0,), np.zeros_like(top)),
    Line((chosen * decided * 1.0,), np.where(settled, 0.0, top)),
  )


def leader(lows: Array, highs: Array, axis: int) -> tuple[Array, Array]:
  """The entry with the greatest low, and whether no other can exceed it."""
  best = np.expand_dims(lows.argmax(axis), axis)
  chosen = np.zeros(lows.shape, bool)
  np.put_along_axis(chosen, best, True, axis)
  others = np.where(chosen, -np.inf, highs).max(axis, keepdims=True)
  return chosen, others <= np.take_along_axis(lows, best, axis)


def of_pair(x: Interval, y: Interval) -> Lines:
  """McCormick's planes for x y; of the two each side, the nearer one."""
  with np.errstate(over='ignore', invalid='ignore'):
    low = _nearer(
      [(y.low, x.low), (y.high, x.high)], x.centre, y.centre, np.greater
    )
    high = _nearer(
      [(y.low, x.high), (y.high, x.low)], x.centre, y.centre, np.less
    )
    size = 8 * _EPSILON * x.magnitude * y.magnitude
  low, high = (
    low._replace(shift=low.shift - size),
    high._replace(shift=high.shift + size),
  )
  return _opened(Lines(low, high), _finite(Interval(low.shift, high.shift)))


def _nearer(planes, x: Array, y: Array, better) -> Line:
  """Planes a x + b y - a b; the one that is better in the middle."""
  (a, b), (c, d) = planes
  first, second = a * x + b * y - a * b, c * x + d * y - c * d
  pick = better(first, second)
  shape = np.broadcast_shapes(first.shape, second.shape)
  a, c, b, d = (np.broadcast_to(v, shape) for v in (a, c, b, d))
  return Line(
    (np.where(pick, a, c), np.where(pick, b, d)),
    np.where(pick, -a * b, -c * d),
  )


def _least(activation: Activation, x: Interval, sign: float) -> Line:
  """The line of least area above sign * f, times sign."""
  shape = x.low.shape
  low, high = x.low.ravel(), x.high.ravel()
  fine = np.isfinite(low) & np.isfinite(high)
  low, high = np.where(fine, low, 0.0), np.where(fine, high, 0.0)
  function = _Signed(activation, sign)
  slope = _supporting_slope(function, low, high)
  shift = _height(function, slope, low, high)
  slope = np.where(fine, slope, 0.0)
  shift = np.where(fine, shift, np.inf)
  return Line(((sign * slope).reshape(shape),), (sign * shift).reshape(shape))


class _Signed:
  """An activation or its negative."""

  def __init__(self, activation: Activation, sign: float):
    self._activation = activation
    self._sign = sign
    kinks = [point for point, _, _ in activation.kinks]
    self.marks = sorted({*activation.bends, *kinks})

  def value(self, z: Array) -> Array:
    return self._sign * self._activation.value(z)

  def slope(self, z: Array) -> Array:
    return self._sign * self._activation.slope(z)


def _supporting_slope(function: _Signed, low: Array, high: Array) -> Array:
  """The slope of the line that supports the concave hull over the middle.

  That line touches the function left and right of the middle: of all chords it
  is the one that passes highest there. A search over a few points, then ever
  smaller steps of both ends.
  """
  middle = 0.5 * (low + high)
  points = [low + (high - low) * (k / _SECTIONS) for k in range(_SECTIONS + 1)]
  points += [np.clip(mark, low, high) for mark in function.marks]
  # S-shaped functions want one end fixed; others may touch at two points.
  best = _Chord(function, middle, low, high)
  for left, right in ((points, points), ([low], points), (points, [high])):
    chord = _Chord(function, middle, low, high)
    for a in left:
      for b in right:
        chord.offer(a, b)
    step = (high - low) / _SECTIONS
    for _ in range(_REFINEMENTS):
      for sign in (-1, 1):
        if right is points:
          chord.offer(chord.left, chord.right + sign * step)
        if left is points:
          chord.offer(chord.left + sign * step, chord.right)
      step = 0.5 * step
    best.take(chord)
  at_middle = function.value(middle)
  higher = best.height > at_middle + 1e-12 * (1 + np.abs(at_middle))
  return np.where(higher, best.slope, function.slope(middle))


class _Chord:
  """The chord that passes highest over the middle, of those offered."""

  def __init__(self, function: _Signed, middle: Array, low: Array, high: Array):
    self._function = function
    self._middle = middle
    self._low = low
    self._high = high
    self.left = low
    self.right = high
    self.slope = np.zeros_like(middle)
    self.height = np.full_like(middle, -np.inf)

  def offer(self, a: Array, b: Array) -> None:
    """Takes the chord between two points where it is higher."""
    a, b = np.clip(a, self._low, self._high), np.clip(b, self._low, self._high)
    at_a, at_b = self._function.value(a), self._function.value(b)
    with np.errstate(divide='ignore', invalid='ignore'):
      slope = (at_b - at_a) / (b - a)
      height = at_a + slope * (self._middle - a)
    fits = (a < self._middle) & (self._middle < b)
    self._replace(fits & (height > self.height), a, b, slope, height)

  def take(self, other: _Chord) -> None:
    """Takes another's where it is higher."""
    better = other.height > self.height
    self._replace(better, other.left, other.right, other.slope, other.height)

  def _replace(
    self, where: Array, left: Array, right: Array, slope: Array, height: Array
  ) -> None:
    self.left = np.where(where, left, self.left)
    self.right = np.where(where, right, self.right)
    self.slope = np.where(where, slope, self.slope)
    self.height = np.where(where, height, self.height)


def _height(function: _Signed, slope: Array, low: Array, high: Array) -> Array:
  """The largest value of f(z) - slope z on the intervals, rounded up.

  Between two marks f' is monotone, so that the difference is largest at an end
  or where it stops rising.
  """
  ends = [low, *(np.clip(m, low, high) for m in function.marks), high]
  best = np.full(low.shape, -np.inf)
  for left, right in itertools.pairwise(ends):
    for point in (left, right, _summit(function, slope, left, right)):
      value = function.value(point)
      product = slope * point
      error = 8 * _EPSILON * (np.abs(value) + np.abs(product)) + 1e-300
      best = np.maximum(best, value - product + error)
  return best


def _summit(
  function: _Signed, slope: Array, left: Array, right: Array
) -> Array:
  """Where f' comes down to the slope, by bisection."""
  a, b = left, right
  for _ in range(_HALVINGS):
    middle = 0.5 * (a + b)
    rises = function.slope(middle) > slope
    a, b = np.where(rises, middle, a), np.where(rises, b, middle)
  return 0.5 * (a + b)
