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
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior, check_positions
from tfmot_paoding.inputs.spectra import spectral_noise
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# How many entries of one channel are painted at a time.
_CHUNK = 1 << 19
# Leaves smaller than this part of the longest axis are laid in a window.
_WINDOWS = 6


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
    return box.low + (box.high - box.low) * found

  def _painted(
    self, count: int, shape: tuple[int, ...], rng: np.random.Generator
  ) -> Array:
    """Samples in [0, 1], shape (count, *shape), float32."""
    *sizes, channels = shape
    places = int(np.prod(sizes))
    # The last column is how strong the texture is.
    canvas = np.empty((count, places, channels + 1), np.float32)
    canvas[:] = self._grounds(count, channels, rng)[:, None]
    numbers = np.sort(rng.integers(*self.leaves, count, endpoint=True))[::-1]
    for leaf in range(numbers[0]):
      alive = int(np.searchsorted(-numbers, -leaf))
      self._lay(canvas[:alive], sizes, rng)
    noise = spectral_noise(
      (count, *sizes, 1), rng.uniform(0.5, 1.75, count), rng
    ).reshape(count, places, 1)
    seen = canvas[..., :-1] + canvas[..., -1:] * noise
    low, high = self.contrast
    contrast = rng.uniform(low, high, (count, 1, 1)).astype(np.float32)
    middle = 0.5 if self.ground is None else self.ground
    seen = np.clip(middle + contrast * (seen - middle), 0.0, 1.0)
    return rng.permutation(seen.reshape(count, *shape))

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

  def _lay(
    self,
    canvas: Array,
    sizes: list[int],
    rng: np.random.Generator,
  ) -> None:
    """Lays one leaf on every sample of a canvas, in place."""
    count, _, columns = canvas.shape
    leaves = self._leaves(count, sizes, columns - 1, rng)
    # Most leaves are small: they are laid in a window of their own.
    is_small = leaves.reach <= max(sizes) / _WINDOWS
    for some, window in (
      (np.flatnonzero(is_small), int(max(sizes) / _WINDOWS) + 1),
      (np.flatnonzero(~is_small), None),
    ):
      if len(some):
        _paint(canvas, some, leaves.take(some), sizes, window)

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
    parts = dataclasses.asdict(self)
    return _Leaves(**{name: part[some] for name, part in parts.items()})

  def paint(self, offsets: Array) -> tuple[Array, Array]:
    """What leaves show at places.

    Args:
      offsets: From the centres, shape (samples, places, axes).

    Returns:
      How much of a place is covered, shape (samples, places, 1), and colours,
      (samples, places, channels + 1).
    """
    inner = np.matmul(offsets, self.turn.astype(np.float32))
    reach = np.abs(inner)
    round_ = np.sqrt(np.square(inner).sum(-1))
    distance = np.where(self.is_box[:, None], reach.max(-1), round_)
    radius = self.radius[:, None].astype(np.float32)
    # An edge as wide as one position, as a lens leaves it.
    cover = np.clip((1 - distance) * radius + 0.5, 0.0, 1.0)
    slope = self.slope[:, None].astype(np.float32)
    shade = slope * np.clip(inner[..., 0], -1, 1)
    colours = np.repeat(self.colour[:, None], offsets.shape[1], 1)
    colours[..., :-1] += shade[..., None]
    return cover[..., None], colours


def _paint(
  canvas: Array,
  some: Array,
  leaves: _Leaves,
  sizes: list[int],
  window: int | None,
) -> None:
  """Lays leaves on some samples of a canvas, in place.

  Args:
    canvas: Shape (samples, places, columns).
    some: Which samples.
    leaves: Theirs.
    sizes: The lengths of the axes of positions.
    window: How far from its centre a leaf is looked at; None: everywhere.
  """
  if window is None:
    places = _places(sizes)
    offsets = places - leaves.centre[:, None]
    cover, colours = leaves.paint(offsets.astype(np.float32))
    canvas[some] += cover * (colours - canvas[some])
    return
  middle = np.rint(leaves.centre).astype(int)
  near = _places([2 * window + 1] * len(sizes)) - window
  places = middle[:, None] + near
  cover, colours = leaves.paint(
    (places - leaves.centre[:, None]).astype(np.float32)
  )
  inside = np.all((places >= 0) & (places < sizes), -1)
  inside &= cover[..., 0] > 0
  flat = np.ravel_multi_index(tuple(places[inside].T), sizes)
  rows = np.repeat(some, inside.sum(1))
  seen = canvas[rows, flat]
  canvas[rows, flat] = seen + cover[inside] * (colours[inside] - seen)


def _places(sizes: list[int]) -> Array:
  """The coordinates of all positions, shape (positions, axes)."""
  grid = np.meshgrid(*(np.arange(size) for size in sizes), indexing='ij')
  return np.stack(grid, -1).reshape(-1, len(sizes))


def _power_law(share: Array, power: float, least: float, most: float) -> Array:
  """Numbers of density r^-power on [least, most], from uniform ones."""
  if power == 1:
    return least * (most / least) ** share
  rise = 1 - power
  return (least**rise + share * (most**rise - least**rise)) ** (1 / rise)


def _rotations(count: int, axes: int, rng: np.random.Generator) -> Array:
  """Rotations of all directions alike, shape (count, axes, axes)."""
  turned, upper = np.linalg.qr(rng.normal(size=(count, axes, axes)))
  # Signs make them uniform (Mezzadri 2007, arXiv math-ph/0609050).
  return turned * np.sign(np.einsum('naa->na', upper))[:, None]


BLOBS = LeavesPrior(
  leaves=(1, 8),
  power=1.5,
  largest=0.25,
  contrast=(0.5, 1.0),
  ground=0.0,
)
