"""Strokes of a pen on an empty ground: inputs that are known to be glyphs."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior, base_and_reach
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

_POINTS = 24  # of a curve
_CHUNK = 1 << 22  # distances at a time
_SIDE = 28.0  # the side that widths are given for


@dataclasses.dataclass(frozen=True)
class StrokesPrior(InputPrior):
  """Quadratic Bezier curves of a pen, for models of letters and digits.

  It knows more than the model says: that inputs are glyphs. It is never
  chosen unless asked for.

  Attributes:
    strokes: The least and the most curves of a sample.
    half_width: The least and the largest half width of the pen, in positions
      of an image of 28 x 28; it grows with the image.
    brightness: The least and the largest brightness, in [0, 1] of the reach
      (see `Prior`); the ground is the value of the range nearest to 0.
  """

  is_chosen: ClassVar[bool] = True
  mirrors: ClassVar[bool] = True

  strokes: tuple[int, int] = (1, 4)
  half_width: tuple[float, float] = (0.8, 2.2)
  brightness: tuple[float, float] = (0.7, 1.0)

  def __post_init__(self):
    few, many = self.strokes
    if not (1 <= few <= many and 0 < self.half_width[0] <= self.half_width[1]):
      raise ValueError(
        '`strokes` and `half_width` must be (least, largest) of positive '
        f'numbers, but got {self}.'
      )

  def suits(self, shape: Shape) -> bool:
    """Whether it is an image with channels."""
    return len(shape) == 3

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape), alike in all channels.

    Raises:
      ValueError: the input is not an image.
    """
    shape = box.low.shape
    if len(shape) not in (2, 3):
      raise ValueError(
        f'Strokes are drawn on images, but an input has the shape {shape}.'
      )
    sizes = shape[:2]
    chunk = max(1, _CHUNK // (_POINTS * sizes[0] * sizes[1]))
    found = np.empty((count, *sizes), np.float32)
    for start in range(0, count, chunk):
      stop = min(start + chunk, count)
      found[start:stop] = self._drawn(stop - start, sizes, rng)
    found = found.reshape(count, *sizes, *(1,) * (len(shape) - 2))
    base, _ = base_and_reach(box)
    farther = np.where(box.high - base >= base - box.low, box.high, box.low)
    found = (farther - base).astype(np.float32) * found
    found += base.astype(np.float32)
    return found

  def _drawn(
    self, count: int, sizes: tuple[int, int], rng: np.random.Generator
  ) -> Array:
    """Samples in [0, 1], shape (count, height, width)."""
    scale = min(sizes) / _SIDE
    width = scale * rng.uniform(*self.half_width, (count, 1, 1))
    edge = (width + 0.5).astype(np.float32)
    numbers = rng.integers(*self.strokes, count, endpoint=True)
    found = np.zeros((count, *sizes), np.float32)
    for stroke in range(self.strokes[1]):
      drawn = numbers > stroke
      curves = _curves(count, sizes, rng)[drawn]
      ink = edge[drawn] - _distances(curves, sizes)
      found[drawn] = np.maximum(found[drawn], np.minimum(ink, 1.0))
    brightness = rng.uniform(*self.brightness, (count, 1, 1))
    return found * brightness.astype(np.float32)


def _curves(
  count: int, sizes: tuple[int, int], rng: np.random.Generator
) -> Array:
  """Points of curves in the middle of an image, (count, points, 2)."""
  ends = rng.uniform(0.15, 0.85, (count, 3, 2)) * np.asarray(sizes)
  t = np.linspace(0.0, 1.0, _POINTS)
  weights = np.stack([np.square(1 - t), 2 * t * (1 - t), np.square(t)], 1)
  return np.einsum('pk,nka->npa', weights, ends)


def _distances(curves: Array, sizes: tuple[int, int]) -> Array:
  """How far each position is from a curve, (count, height, width)."""
  rows = np.square(np.arange(sizes[0]) - curves[..., :1]).astype(np.float32)
  columns = np.square(np.arange(sizes[1]) - curves[..., 1:]).astype(np.float32)
  found = np.full((len(curves), *sizes), np.inf, np.float32)
  for point in range(curves.shape[1]):
    gap = rows[:, point, :, None] + columns[:, point, None, :]
    np.minimum(found, gap, out=found)
  return np.sqrt(found)
