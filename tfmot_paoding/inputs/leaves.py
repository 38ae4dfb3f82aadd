"""Dead leaves: samples that look like the world without being of it.

Leaves of all sizes fall on top of one another until they cover the ground.
What is seen has the statistics that photographs share: sharp edges, regions of
one colour, a spectrum that falls with frequency, and the same at every scale
(Lee, Mumford and Huang 2001, "Occlusion models for natural images"; Baradad et
al. 2021, "Learning to see by looking at noise", arXiv 2106.05963). Few leaves
on an empty ground are blobs. Leaves are laid on the axes of positions, one for
sounds and sensor windows, two for images, three for volumes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior, check_positions
from tfmot_paoding.inputs.spectra import spectral_noise
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# How many entries of one channel are painted at a time.
_CHUNK = 1 << 19
# Leaves are laid in windows of these parts of the axes: most are small.
_WINDOWS = (0.25, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class LeavesPrior(InputPrior):
  """Leaves that lie on one another, in units of the declared range.

  Attributes:
    leaves: The least and the most leaves of a sample.
    power: The density of a radius r is r^-power.
    least: The smallest radius, in positions.
    largest: The largest radius, as a share of the longest axis.
    aspect: The axes of a leaf differ by exp(U(-aspect, aspect)).
    chroma: How far the channels of a leaf are from its brightness, which is
      uniform: a normal of this deviation times a uniform number.
    gradient: How much a leaf's brightness changes from its middle to its edge.
    texture: The largest deviation of the texture of a leaf, a noise whose
      spectrum falls with frequency.
    contrast: The least and the largest contrast of a sample.
    ground: The value between the leaves, in [0, 1] of the range; None: a leaf
      of its own.
  """

  is_chosen: ClassVar[bool] = True
  mirrors: ClassVar[bool] = True

  leaves: tuple[int, int] = (8, 60)
  power: float = 3.0
  least: float = 1.5
  largest: float = 0.5
  aspect: float = 0.7
  chroma: float = 0.25
  gradient: float = 0.1
  texture: float = 0.15
  contrast: tuple[float, float] = (0.3, 1.0)
  ground: float | None = None

  def __post_init__(self):
    few, many = self.leaves
    low, high = self.contrast
    if not (1 <= few <= many and 0 < low <= high and self.least > 0):
      raise ValueError(
        '`leaves` and `contrast` must be (least, largest) of positive numbers '
        f'and `least` positive, but got {self}.'
      )
    if self.power <= 0 or self.largest <= 0 or self.aspect < 0:
      raise ValueError(
        '`power` and `largest` must be positive and `aspect` not negative, but '
        f'got {self}.'
      )

  def suits(self, shape: Shape) -> bool:
    """Whether there are positions to lie on."""
    return len(shape) > 1

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape).

    Raises:
      ValueError: the input is a vector, which has no positions.
    """
    shape = box.low.shape
    check_positions(shape, 'Leaves lie on')
    chunk = max(1, _CHUNK // int(np.prod(shape[:-1])))
    found = np.empty((count, *shape), np.float32)
    for start in range(0, count, chunk):
      stop = min(start + chunk, count)
      found[start:stop] = self._painted(stop - start, shape, rng)
    low, high = (end.astype(np.float32) for end in box)
    found *= high - low
    found += low
    return np.clip(found, low, high, out=found)

  def _painted(
    self, count: int, shape: tuple[int, ...], rng: np.random.Generator
  ) -> Array:
    """Samples in [0, 1], shape (count, *shape), float32."""
    *sizes, channels = shape
    # The last column is how strong the texture is.
    canvas = np.empty((count, channels + 1, *sizes), np.float32)
    canvas[:] = _over_places(self._grounds(count, channels, rng), sizes)
    numbers = np.sort(rng.integers(*self.leaves, count, endpoint=True))[::-1]
    for leaf in range(numbers[0]):
      alive = int(np.searchsorted(-numbers, -leaf))
      self._lay(canvas[:alive], rng)
    noise = spectral_noise(
      (count, *sizes, 1), rng.uniform(0.5, 1.75, count), rng
    )
    seen = canvas[:, :-1] + canvas[:, -1:] * noise.reshape(count, 1, *sizes)
    low, high = self.contrast
    contrast = rng.uniform(low, high, (count, 1)).astype(np.float32)
    middle = 0.5 if self.ground is None else self.ground
    seen = middle + _over_places(contrast, sizes) * (seen - middle)
    return rng.permutation(np.moveaxis(np.clip(seen, 0.0, 1.0), 1, -1))

  def _grounds(
    self, count: int, channels: int, rng: np.random.Generator
  ) -> Array:
    """What leaves fall on: colours and the texture, (count, channels + 1)."""
    if self.ground is None:
      return self._colours(count, channels, rng)
    grounds = np.full((count, channels + 1), self.ground, np.float32)
    grounds[:, -1] = 0.0
    return grounds

  def _colours(
    self, count: int, channels: int, rng: np.random.Generator
  ) -> Array:
    """A colour and a strength of texture a leaf, (count, channels + 1)."""
    brightness = rng.uniform(size=(count, 1))
    chroma = self.chroma * rng.uniform(size=(count, 1))
    # One channel has brightness alone.
    shift = rng.normal(size=(count, channels)) * chroma * (channels > 1)
    texture = self.texture * rng.uniform(size=(count, 1))
    return np.concatenate([brightness + shift, texture], 1).astype(np.float32)

  def _lay(self, canvas: Array, rng: np.random.Generator) -> None:
    """Lays one leaf on every sample of a canvas, in place."""
    count, columns, *sizes = canvas.shape
    leaves = self._leaves(count, sizes, columns - 1, rng)
    needed, below = 2 * leaves.reach + 2, 0.0
    for part in _WINDOWS:
      window = [min(int(part * size) + 1, size) for size in sizes]
      cut = [a for a, size in zip(window, sizes, strict=True) if a < size]
      above = min(cut, default=np.inf)
      some = np.flatnonzero((needed > below) & (needed <= above))
      if len(some):
        _paint(canvas, some, leaves.take(some), window)
      below = above

  def _leaves(
    self,
    count: int,
    sizes: list[int],
    channels: int,
    rng: np.random.Generator,
  ) -> _Leaves:
    """One leaf for each sample."""
    axes, longest = len(sizes), max(sizes)
    most = max(self.largest * longest, self.least)
    radius = _power_law(rng.uniform(size=count), self.power, self.least, most)
    aspect = np.exp(rng.uniform(-self.aspect, self.aspect, (count, axes)))
    aspect /= np.exp(np.log(aspect).mean(1, keepdims=True))
    lengths = aspect * radius[:, None]
    return _Leaves(
      # Off the edges too: leaves that are seen in part.
      centre=rng.uniform(-0.5, np.array(sizes) - 0.5, (count, axes)),
      turn=_rotations(count, axes, rng) / lengths[:, None],
      radius=radius,
      reach=lengths.max(1) * axes**0.5 + 1,
      is_box=rng.random(count) < 0.5,
      colour=self._colours(count, channels, rng),
      slope=self.gradient * rng.normal(size=count),
    )


@dataclasses.dataclass(frozen=True)
class _Leaves:
  """One leaf for each sample.

  Attributes:
    centre: In positions, shape (samples, axes).
    turn: From positions to the axes of a leaf in units of their length, shape
      (samples, axes, axes).
    radius: In positions, (samples,).
    reach: How far any part of a leaf is from its centre, (samples,).
    is_box: A box, not an ellipse, (samples,).
    colour: And the strength of the texture, (samples, channels + 1).
    slope: How its brightness changes along its first axis, (samples,).
  """

  centre: Array
  turn: Array
  radius: Array
  reach: Array
  is_box: Array
  colour: Array
  slope: Array

  def take(self, some: Array) -> _Leaves:
    """Those of some samples."""
    return _Leaves(
      *(getattr(self, field.name)[some] for field in dataclasses.fields(self))
    )

  def paint(self, offsets: Sequence[Array]) -> tuple[Array, Array]:
    """What leaves show at places of a window.

    Args:
      offsets: From the centres, one array an axis, shape (samples, length).

    Returns:
      How much of a place is covered, and how its brightness differs from the
      middle's, both (samples, *lengths).
    """
    axes = range(len(offsets))
    inner = [self._along(offsets, axis) for axis in axes]
    distance = np.empty(inner[0].shape, np.float32)
    box, round_ = self.is_box, ~self.is_box
    distance[box] = functools.reduce(
      np.maximum, (np.abs(part[box]) for part in inner)
    )
    distance[round_] = np.sqrt(sum(np.square(part[round_]) for part in inner))
    radius, slope = (
      np.expand_dims(x.astype(np.float32), tuple(k + 1 for k in axes))
      for x in (self.radius, self.slope)
    )
    # An edge as wide as one position, as a lens leaves it.
    cover = np.subtract(1, distance, out=distance)
    cover *= radius
    cover += 0.5
    shade = np.clip(inner[0], -1, 1, out=inner[0])
    shade *= slope
    return np.clip(cover, 0.0, 1.0, out=cover), shade

  def _along(self, offsets: Sequence[Array], axis: int) -> Array:
    """Places along an axis of the leaves, (samples, *lengths)."""
    parts = []
    for k, offset in enumerate(offsets):
      part = (offset * self.turn[:, k, axis, None]).astype(np.float32)
      others = [other + 1 for other in range(len(offsets)) if other != k]
      parts.append(np.expand_dims(part, tuple(others)))
    return functools.reduce(np.add, parts)


def _paint(
  canvas: Array, some: Array, leaves: _Leaves, window: Sequence[int]
) -> None:
  """Lays leaves on some samples of a canvas, in place.

  Args:
    canvas: Shape (samples, columns, *sizes).
    some: Which samples.
    leaves: Theirs.
    window: How far a leaf is looked at: the lengths of the axes around it.
  """
  starts, offsets = [], []
  for axis, (size, length) in enumerate(
    zip(canvas.shape[2:], window, strict=True)
  ):
    centre = leaves.centre[:, axis]
    start = np.rint(centre - (length - 1) / 2).astype(int)
    # Off the edge there is nothing to see.
    starts.append(np.clip(start, 0, size - length))
    offsets.append(starts[-1][:, None] + np.arange(length) - centre[:, None])
  cover, shade = leaves.paint(offsets)
  windows = np.lib.stride_tricks.sliding_window_view(
    canvas, window, tuple(range(2, canvas.ndim)), writeable=True
  )
  at = (some, slice(None), *starts)
  seen = windows[at]
  change = _over_places(leaves.colour, window) - seen
  change[:, :-1] += shade[:, None]
  change *= cover[:, None]
  windows[at] = np.add(seen, change, out=change)


def _over_places(values: Array, sizes: Sequence[int]) -> Array:
  """Numbers of a sample, (samples, n), to set beside (samples, n, *sizes)."""
  return np.expand_dims(values, tuple(range(2, 2 + len(sizes))))


def _power_law(share: Array, power: float, least: float, most: float) -> Array:
  """Numbers of density r^-power on [least, most], from uniform ones."""
  if power == 1:
    return least * (most / least) ** share
  rise = 1 - power
  return (least**rise + share * (most**rise - least**rise)) ** (1 / rise)


def _rotations(count: int, axes: int, rng: np.random.Generator) -> Array:
  """Rotations of all directions alike, shape (count, axes, axes)."""
  drawn = rng.normal(size=(count, axes, axes))
  # By Gram and Schmidt, column after column, which leaves all directions alike
  # (Mezzadri 2007, arXiv math-ph/0609050) and is quicker than LAPACK on so
  # many so small matrices.
  for axis in range(axes):
    own = drawn[:, :, axis]
    for other in range(axis):
      before = drawn[:, :, other]
      own -= (own * before).sum(1, keepdims=True) * before
    own /= np.sqrt(np.square(own).sum(1, keepdims=True))
  return drawn


BLOBS = LeavesPrior(
  leaves=(1, 8),
  power=1.5,
  largest=0.25,
  contrast=(0.5, 1.0),
  ground=0.0,
)
