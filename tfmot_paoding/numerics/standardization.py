"""Entries divided by the size of all, on intervals: layer normalization's core.

z = (x - mean) / sqrt(variance + epsilon), x / sqrt(mean square + epsilon) or
x / length. With s one over what is divided by, k = 1 / entries (1 for a length)
and P = I - 1 / entries where the mean is taken off, else I, the slope of all
entries is s (P - k z z'), whose part along z lies between that and s P where
epsilon or a floor counts. k |z|^2 <= 1 always.

Arrays broadcast as bounds do: along an axis of size 1 one entry stands for
several. Entries are measured together along the last axes.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

_EPSILON = np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Measure:
  """What entries are divided by.

  Attributes:
    axes: How many last axes are measured together.
    count: How many entries they hold; None where that is not known.
    epsilon: Is added to the mean square; of a length, the least square.
    centred: Whether the mean is taken off first.
    length: Whether it is the length, not the deviation or root mean square.
  """

  axes: int
  count: int | None
  epsilon: float
  centred: bool = False
  length: bool = False

  def __post_init__(self):
    if self.length and (self.centred or self.count is None):
      raise ValueError('A length is of uncentred entries whose count is known.')

  @property
  def most(self) -> float:
    """What no entry of the result exceeds, whatever goes in."""
    if self.length or self.count is None:
      return 1.0 if self.length else np.inf
    return math.sqrt(max(self.count - self.centred, 0))

  @intervals.overflow_opens
  def values(self, x: Interval) -> Interval:
    """Bounds of the result.

    An entry moves it upwards and the others' size towards zero, so that each
    end is at one of both: best possible for a box without a mean.

    Args:
      x: Bounds of the entries, which may have axes in front.
    """
    top = x if not self.centred else self._from_mean(x)
    if self.count is None:
      least, greatest = self._divisors(x)
    else:
      others = self._others(x)
    ends = []
    for end, sign in ((top.low, -1.0), (top.high, 1.0)):
      inwards = end * sign < 0  # then the larger divisor is the worse
      if self.count is None:
        divisor = np.where(inwards, greatest, least)
      else:
        rest = np.where(inwards, others.high, others.low)
        divisor = self._divisor(self._own_share * end * end + rest)
      # 0 / 0 is nothing said.
      z = np.where(end == 0, 0.0, end / np.where(divisor > 0, divisor, np.nan))
      ends.append(z + sign * 16 * _EPSILON * np.abs(z))
    found = intervals.outward(*ends)
    return Interval(
      np.clip(found.low, -self.most, self.most),
      np.clip(found.high, -self.most, self.most),
    )

  @intervals.overflow_opens
  def change(self, d: Interval, hull: Interval) -> Interval:
    """Bounds of the result's change (mean value theorem).

    Args:
      d: Bounds of the change of the entries.
      hull: Bounds of the entries before and after.
    """
    size = self.values(hull).magnitude
    moved = self._from_mean(d) if self.centred else d
    most = d.magnitude
    along = np.fmin(
      self._root(self._total(most * most)), self._total(size * most)
    )
    shift = np.where(along == 0, 0.0, size * along)
    moved = intervals.outward(moved.low - shift, moved.high + shift)
    least, greatest = self._divisors(hull)
    with np.errstate(divide='ignore'):
      slopes = Interval(1 / greatest, 1 / least)
    return intervals.multiply(moved, slopes)

  @intervals.overflow_opens
  def back(self, up: Array, down: Array, x: Interval) -> tuple[Array, Array]:
    """Gains of the entries from those of the result.

    Args:
      up: How far outputs move up as an entry of the result does, with any
        axes in front.
      down: How far they move down.
      x: Bounds of the entries.

    Returns:
      The same of the entries.
    """
    size = self.values(x).magnitude
    least, _ = self._divisors(x)
    with np.errstate(divide='ignore'):
      steepest = 1 / least
    both = self._total(size * (up + down)) * size
    up, down = (
      own + both + (self._mean(other) if self.centred else 0.0)
      for own, other in ((up, down), (down, up))
    )
    return tuple(
      np.nan_to_num(steepest * part, nan=np.inf, posinf=np.inf)
      for part in (up, down)
    )

  @property
  def _over(self) -> tuple[int, ...]:
    return tuple(range(-self.axes, 0))

  @property
  def _own_share(self) -> float:
    """What an entry of the result adds to the square sum, by its square."""
    if not self.centred:
      return 1.0
    return self.count / max(self.count - 1, 1)

  def _copies(self, x: Array) -> float:
    """How many entries each of an array's stands for."""
    return self.count / math.prod(x.shape[-self.axes :])

  def _mean(self, x: Array) -> Array:
    return x.mean(self._over, keepdims=True)

  def _total(self, x: Array) -> Array:
    """k times the sum."""
    return self._mean(x) * (self.count if self.length else 1.0)

  def _root(self, squares: Array) -> Array:
    return np.sqrt(squares) * (1 + 8 * _EPSILON)

  def _divisor(self, squares: Array) -> Array:
    """From a sum of squares."""
    if self.length:
      return np.sqrt(np.maximum(squares, self.epsilon))
    return np.sqrt(squares / self.count + self.epsilon)

  def _divisors(self, x: Interval) -> tuple[Array, Array]:
    """The least and the greatest that the entries may be divided by."""
    squares = self._scatter(x) if self.centred else _squares(x)
    ends = [
      end if self.centred else self._total(end)
      for end in (squares.low, squares.high)
    ]
    slack = 1 + (self.count or x.low.size + 64) * _EPSILON
    if self.length:
      low, high = (np.maximum(end, self.epsilon) for end in ends)
    else:
      low, high = (end + self.epsilon for end in ends)
    return np.sqrt(low) / slack, np.sqrt(high) * slack

  def _from_mean(self, x: Interval) -> Interval:
    """x - mean, the own part in the mean counted where it is known."""
    low, high = self._mean(x.low), self._mean(x.high)
    if self.count is None:
      return intervals.outward(x.low - high, x.high - low)
    n = self.count
    if n == 1:
      return intervals.zeros(x.low.shape)
    # (1 - 1/n) x_i - 1/n sum of the others.
    own = (n - 1) / n
    low = own * x.low - (high - x.high / n)
    high = own * x.high - (self._mean(x.low) - x.low / n)
    slack = 8 * _EPSILON * (x.magnitude + self._mean(x.magnitude))
    return intervals.outward(low - slack, high + slack)

  def _scatter(self, x: Interval) -> Interval:
    """Bounds of the variance: the centres', give or take the radii's size."""
    centre = x.centre - self._mean(x.centre)
    a = np.sqrt(self._mean(centre * centre))
    b = np.sqrt(self._mean(x.radius * x.radius))
    slack = 16 * _EPSILON * (a + b + self._mean(x.magnitude))
    low = np.maximum(a - b - slack, 0.0)
    high = a + b + slack
    return Interval(low * low, high * high)

  def _others(self, x: Interval) -> Interval:
    """Bounds of the sum of squares of all entries but one's own.

    About their own mean, if one is taken off.
    """
    copies = self._copies(x.low)
    without = functools.partial(_without, over=self._over, copies=copies)
    if not self.centred:
      squares = _squares(x)
      return Interval(without(squares.low, -1.0), without(squares.high, 1.0))
    centre = x.centre - self._mean(x.centre)
    shift = copies * centre.sum(self._over, keepdims=True) - centre
    shift = shift * shift / max(self.count - 1, 1)
    a = without(centre * centre, -1.0) - shift
    slack = 64 * _EPSILON * self.count * self._mean(x.magnitude)
    radius = np.sqrt(without(x.radius * x.radius, 1.0)) + slack
    low = np.sqrt(np.maximum(a, 0.0)) - radius
    a = without(centre * centre, 1.0) - shift
    high = np.sqrt(np.maximum(a, 0.0)) + radius
    return Interval(np.maximum(low, 0.0) ** 2, high * high)


def _squares(x: Interval) -> Interval:
  """Bounds of x^2."""
  ends = x.low * x.low, x.high * x.high
  across = (x.low <= 0) & (x.high >= 0)
  return Interval(np.where(across, 0.0, np.minimum(*ends)), np.maximum(*ends))


def _without(
  squares: Array, sign: float, over: tuple[int, ...], copies: float
) -> Array:
  """The sum of all but one's own, rounded down or up."""
  total = copies * squares.sum(over, keepdims=True)
  slack = (64 + copies * squares.size) * _EPSILON * total
  return np.maximum(total - squares + sign * slack, 0.0)
