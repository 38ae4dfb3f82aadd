"""What layers that read a model's inputs say of their range; arrays only.

A claim is a range that a layer was made for: the rows of a table, the values
that a fixed line brings to [0, 1] or [-1, 1], or what the statistics that
training stored allow for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

Array = np.ndarray

# Of a stored mean and deviation: .997 of a Gaussian, and at least .89 of any
# distribution (Chebyshev). Wider boxes cost an 8-bit input its resolution.
DEVIATIONS = 3.0
_CLOSE = 0.01  # of a shift to -1, -.5, 0 or .5
# Numbers that a tensor is divided by for reasons of its own are smaller.
_LEAST_WIDTH = 10.0
# What 8, 10, 12 and 16 bits hold; 256 and 32768 are what people divide by.
_BYTE = 255.0
_FULL_SCALES = (1.0, _BYTE, 1023.0, 4095.0, 65535.0)
_SIGNED = (127.0, 128.0, 32767.0, 32768.0)
# Channels whose means all lie here are centred as 8-bit colours are.
_BYTE_MEANS = (64.0, 192.0)


@dataclasses.dataclass(frozen=True)
class Claim:
  """The range that a layer takes its input to have.

  Attributes:
    low: The lowest values, of the input's shape; NaN where nothing is said.
    high: The highest values.
    source: Who says so, and how.
    is_limit: Whether values beyond are errors (rows of a table), not just
      strange.
    is_centred: Whether values gather in the middle (statistics), not anywhere.
  """

  low: Array
  high: Array
  source: str
  is_limit: bool = False
  is_centred: bool = False

  @property
  def known(self) -> Array:
    """Where something is said, bool of the input's shape."""
    return np.isfinite(self.low) & np.isfinite(self.high)


@dataclasses.dataclass(frozen=True)
class Line:
  """scale x + shift, numbers or arrays that broadcast to the input's shape."""

  scale: Array
  shift: Array
  source: str

  def then(self, other: Line) -> Line:
    """This line first, the other on its result."""
    return Line(
      self.scale * other.scale,
      self.shift * other.scale + other.shift,
      f'{self.source}, {other.source}',
    )


def of_statistics(mean: Array, variance: Array) -> tuple[Array, Array] | None:
  """Mean +- three deviations; None for statistics that were never set.

  Args:
    mean: Broadcasts to the input's shape.
    variance: Likewise.
  """
  mean, variance = np.asarray(mean, np.float64), np.asarray(variance, float)
  reach = DEVIATIONS * np.sqrt(np.maximum(variance, 0.0))
  fresh = np.all(mean == 0) and np.all(variance == 1)
  finite = np.all(np.isfinite(mean)) and np.all(np.isfinite(reach))
  if fresh or not finite or not np.any(reach > 0):
    return None
  return mean - reach, mean + reach


def of_lines(lines: Sequence[Line]) -> tuple[Array, Array, str] | None:
  """The range that fixed lines bring to [0, 1] or [-1, 1], if any.

  Args:
    lines: What the first, the first two, ... of a chain of lines come to.

  Returns:
    The range and who says so. That of full scales (255, 65535 and the like)
    before others, then that of the longest chain: x / 127.5 - 1 is more than
    x / 127.5, but x / 255 - .485 is no more than x / 255.
  """
  best = None
  for line in lines:
    found = _unit_range(line.scale, line.shift)
    if found is None:
      continue
    rank = _is_full_scale(*found)
    if best is None or rank >= best[0]:
      best = rank, (np.asarray(found[0]), np.asarray(found[1]), line.source)
  return None if best is None else best[1]


def of_standardization(line: Line) -> tuple[Array, Array] | None:
  """What a line (x - mean) / deviation says by itself.

  Returns:
    Mean +- three deviations. Where nothing is divided: the range of 8 bits if
    the means are those of 8-bit colours, else None.
  """
  scale = np.abs(line.scale)
  if not (np.all(scale > 0) and np.all(np.isfinite(line.shift))):
    return None
  mean = -line.shift / line.scale
  if np.all(scale == 1):
    low, high = _BYTE_MEANS
    if np.all((mean > low) & (mean < high)):
      return np.zeros(()), np.full((), _BYTE)
    return None
  if np.all(line.shift == 0):
    return None
  return mean - DEVIATIONS / scale, mean + DEVIATIONS / scale


def _unit_range(scale: Array, shift: Array) -> tuple[float, float] | None:
  """The range that one line takes to [0, 1], [-1, 1] or [-.5, .5]."""
  slope, offset = _number(scale), _number(shift)
  if slope is None or offset is None or not slope:
    return None
  if slope < 0:
    # Turned around: 1 - x / 255 says what x / 255 says.
    turned = [_unit_range(-slope, 1 - offset), _unit_range(-slope, -offset)]
    found = [pair for pair in turned if pair is not None]
    return max(found, key=lambda pair: _is_full_scale(*pair), default=None)
  width = 1 / slope
  if slope == 1:
    return None
  if _near(offset, 0):
    if width < _LEAST_WIDTH:
      return None  # 255 x says nothing of x
    if any(abs(width / size - 1) < 1e-3 for size in _SIGNED):
      return -width, width
    return 0.0, _whole(width)
  if _near(offset, -1):
    return 0.0, _whole(2 * width)
  if _near(offset, -0.5):
    return 0.0, _whole(width)
  if _near(offset, 0.5):
    return -width / 2, width / 2
  return None


def _number(values: Array | float) -> float | None:
  """The one number of an array; None where there are several."""
  values = np.asarray(values, np.float64)
  first = float(values.ravel()[0])
  return first if np.all(values == first) else None


def _near(value: float, wanted: float) -> bool:
  return abs(value - wanted) < _CLOSE


def _whole(width: float) -> float:
  """256 values end at 255, 65536 at 65535; other widths as they are."""
  for size in _FULL_SCALES[1:]:
    if abs(width - size) <= 1 + 1e-6 * size:
      return size
  return width


def _is_full_scale(low: float, high: float) -> bool:
  return max(-low, high) in (*_FULL_SCALES, *_SIGNED)


def combined(
  claims: Sequence[Claim], default: tuple[float, float]
) -> tuple[Array, Array, Array] | None:
  """The range that suits all claims on one input.

  Limits are kept by all; of the others the widest holds.

  Args:
    claims: All of the input's shape.
    default: The range of entries of which nothing is said.

  Returns:
    Lowest and highest values, and where values gather in the middle; None
    where nothing is said of any entry, or what is said leaves nothing.
  """
  claims = [_over_positions(claim) for claim in claims]
  known = np.any([claim.known for claim in claims], axis=0) if claims else False
  if not np.any(known):
    return None
  shape = np.shape(known)
  low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
  centred = np.ones(shape, bool)
  for claim in claims:
    if not claim.is_limit:
      low = np.fmin(low, claim.low)
      high = np.fmax(high, claim.high)
    centred &= claim.is_centred | ~claim.known
  centred &= known
  silent = low > high
  low, high = np.where(silent, -np.inf, low), np.where(silent, np.inf, high)
  for claim in claims:
    if claim.is_limit:
      low = np.fmax(low, claim.low)
      high = np.fmin(high, claim.high)
  if np.any(low > high):
    return None
  low = np.where(known, low, default[0])
  high = np.where(known, high, default[1])
  return low, high, centred


def _over_positions(claim: Claim) -> Claim:
  """Positions that are cut away are as the others of their channel.

  Not those of tables: columns that stand in for positions have one each.
  """
  if claim.is_limit or claim.low.ndim < 2 or np.all(claim.known):
    return claim
  axes = tuple(range(claim.low.ndim - 1))
  low = np.fmin.reduce(claim.low, axes)
  high = np.fmax.reduce(claim.high, axes)
  return dataclasses.replace(
    claim,
    low=np.where(claim.known, claim.low, low),
    high=np.where(claim.known, claim.high, high),
  )
