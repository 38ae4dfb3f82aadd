"""Where a falling function that is dear to evaluate reaches zero."""

from __future__ import annotations

import math
from collections.abc import Callable

# Of the published method: how far an interpolated point is moved towards the
# middle, and how many evaluations beyond those of bisection it may take.
_PULL, _MORE = 0.2, 1


def least_root(
  function: Callable[[float], float], tolerance: float
) -> float | None:
  """The least point of [0, 1] where a function is at most 0.

  Interpolates, truncates and projects: never more than one evaluation beyond
  those of bisection, and about half as many where the function is smooth.

  Args:
    function: Falling; may be infinite where it is above 0.
    tolerance: How far above the least the point may be.

  Returns:
    A point where the function was seen to be at most 0; None where it is above
    0 all over.

  Reference: Oliveira and Takahashi 2020 (ITP).
  """
  low, high = 0.0, 1.0
  over_high = function(high)
  if over_high > 0:
    return None
  over_low = function(low)
  if over_low <= 0:
    return low
  left = math.ceil(math.log2(1 / tolerance)) + _MORE
  while high - low > tolerance:
    width, middle = high - low, (low + high) / 2
    point = middle
    if math.isfinite(over_low) and over_low > over_high:
      point = low + width * over_low / (over_low - over_high)
      side = math.copysign(1.0, middle - point)
      pull = _PULL * width**2
      point = point + side * pull if pull <= abs(middle - point) else middle
      # Bisection from here on must still end in time.
      reach = tolerance / 2 * 2.0**left - width / 2
      if abs(point - middle) > reach:
        point = middle - side * max(reach, 0.0)
    left -= 1
    over = function(point)
    if over <= 0:
      high, over_high = point, over
    else:
      low, over_low = point, over
  return high
