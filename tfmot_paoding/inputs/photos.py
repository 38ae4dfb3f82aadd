"""Crops of photographs that ship with other packages, (extra `photos`).

Thirteen photographs of scikit-image and scikit-learn that lie in what these
install: nothing is downloaded. They are nobody's training data, but they are
data, and of a kind: what a network of photographs has learned is in them, what
one of microscope slides has learned is not.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfmot_paoding import extras
from tfmot_paoding.extras import OptionalPackage
from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# Everyday things and textures; not charts, pages, slides and stars.
_IN_COLOUR = (
  (extras.SKIMAGE, 'data/astronaut.png'),
  (extras.SKIMAGE, 'data/chelsea.png'),
  (extras.SKIMAGE, 'data/coffee.png'),
  (extras.SKIMAGE, 'data/motorcycle_left.png'),
  (extras.SKIMAGE, 'data/rocket.jpg'),
  (extras.SKLEARN, 'datasets/images/china.jpg'),
  (extras.SKLEARN, 'datasets/images/flower.jpg'),
)
# For networks that see no colour, beside these.
_IN_GREY = (
  (extras.SKIMAGE, 'data/brick.png'),
  (extras.SKIMAGE, 'data/camera.png'),
  (extras.SKIMAGE, 'data/coins.png'),
  (extras.SKIMAGE, 'data/grass.png'),
  (extras.SKIMAGE, 'data/gravel.png'),
  (extras.SKIMAGE, 'data/moon.png'),
)
_TAKES = "`prior` 'photos'"  # who asks for these packages
# What the eye makes of red, green and blue (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)
# A crop is read at most this much coarser than its pixels, or it would alias.
_COARSER = 2**0.5


@dataclasses.dataclass(frozen=True)
class PhotosPrior(InputPrior):
  """Random crops of photographs, for models of photographs.

  It knows more than the model says: that inputs are photographs. It is never
  chosen unless asked for, and brings little over leaves: a VGG without batch
  normalization keeps .619 of its .699 on CIFAR-10 with half of its channels
  gone, .632 by ('photos', 'leaves'), .630 by leaves alone.

  Attributes:
    crops: The least and the largest crop, as shares of the largest that fits
      its photograph; no crop has fewer pixels than the input, but where its
      photograph has. Small and large ones are alike in number, by logarithm.
    flipped: The share of crops that are turned left to right.
    brightness: The least and the largest factor on a crop's values, which end
      at the end of the range.
  """

  is_chosen: ClassVar[bool] = True

  crops: tuple[float, float] = (0.1, 1.0)
  flipped: float = 0.5
  brightness: tuple[float, float] = (0.6, 1.4)

  def __post_init__(self):
    small, large = self.crops
    dark, bright = self.brightness
    if not (0 < small <= large <= 1 and 0 < dark <= bright):
      raise ValueError(
        '`crops` must be (least, largest) in (0, 1] and `brightness` (least, '
        f'largest) of positive numbers, but got {self}.'
      )
    if not 0 <= self.flipped <= 1:
      raise ValueError(f'`flipped` must be in [0, 1], but got {self.flipped}.')

  def suits(self, shape: Shape) -> bool:
    """Whether it is an image with one channel or three."""
    return len(shape) == 3 and shape[-1] in (1, 3)

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape); black is the range's low end.

    Raises:
      FileNotFoundError: a package came without its photographs.
      ImportError: it is missing; the extra to install is named.
      ValueError: the input is not an image of one channel or three.
    """
    shape = box.low.shape
    if len(shape) != 2 and not self.suits(shape):
      raise ValueError(
        'Photographs are of the shape (height, width), (height, width, 1) or '
        f'(height, width, 3), but an input has the shape {shape}. Pass '
        "prior='smooth', or leave `prior` out."
      )
    photos = _photos(in_colour=len(shape) == 3 and shape[-1] == 3)
    found = np.empty((count, *shape[:2], photos[0].shape[-1]), np.float32)
    chosen = rng.integers(len(photos), size=count)
    for k, photo in enumerate(photos):
      own = np.flatnonzero(chosen == k)
      found[own] = self._cropped(photo, len(own), shape[:2], rng)
    turned = rng.random(count) < self.flipped
    found[turned] = found[turned, :, ::-1]
    found *= rng.uniform(*self.brightness, (count, 1, 1, 1))
    share = np.clip(found, 0.0, 1.0).reshape(count, *shape)
    return box.low + (box.high - box.low) * share

  def _cropped(
    self,
    photo: Array,
    count: int,
    sizes: tuple[int, int],
    rng: np.random.Generator,
  ) -> Array:
    """Crops of one photograph in [0, 1], shape (count, *sizes, channels)."""
    # Pixels of the photograph a position, the same along both axes.
    most = min(np.array(photo.shape[:2]) / sizes)
    small, large = np.log(self.crops)
    steps = most * np.exp(rng.uniform(small, large, count))
    steps = np.maximum(steps, min(most, 1.0))
    room = np.array(photo.shape[:2]) - steps[:, None] * sizes
    corners = rng.uniform(size=(count, 2)) * np.maximum(room, 0.0)
    found = np.empty((count, *sizes, photo.shape[-1]), np.float32)
    level, left = photo, np.ones(count, bool)
    while left.any():
      scale = photo.shape[0] / level.shape[0]
      fits = left & ((steps <= _COARSER * scale) | (min(level.shape[:2]) < 4))
      found[fits] = _read(
        level, corners[fits] / scale, steps[fits] / scale, sizes
      )
      level, left = _halved(level), left & ~fits
    return found


def _read(
  photo: Array, corners: Array, steps: Array, sizes: tuple[int, int]
) -> Array:
  """A photograph at the middles of the positions of crops, interpolated.

  Args:
    photo: Shape (height, width, channels).
    corners: The upper left ends of the crops, in pixels, shape (crops, 2).
    steps: Pixels a position, shape (crops,).
    sizes: Positions of a crop.

  Returns:
    Shape (crops, *sizes, channels).
  """
  # Pixel k reaches from k to k + 1: its middle has the coordinate k.
  first = corners + 0.5 * steps[:, None] - 0.5
  last = corners + (np.array(sizes) - 0.5) * steps[:, None] - 0.5
  ends = np.array(photo.shape[:2]) - 1
  boxes = np.clip(np.concatenate([first / ends, last / ends], 1), 0.0, 1.0)
  return tf.image.crop_and_resize(
    photo[None], boxes, np.zeros(len(boxes), np.int32), sizes
  ).numpy()


def _halved(photo: Array) -> Array:
  """The means of two by two pixels; an odd row or column is left out."""
  rows, columns = (size // 2 * 2 for size in photo.shape[:2])
  even = photo[:rows, :columns]
  return even.reshape(rows // 2, 2, columns // 2, 2, -1).mean((1, 3))


def _photos(in_colour: bool) -> list[Array]:
  """All photographs in [0, 1], shape (height, width, 3 or 1), float32."""
  if in_colour:
    return [_photo(*place) for place in _IN_COLOUR]
  weights = np.array(_LUMINANCE, np.float32)[:, None]
  return [
    *(_photo(*place) @ weights for place in _IN_COLOUR),
    *(_photo(*place) for place in _IN_GREY),
  ]


def _photo(package: OptionalPackage, place: str) -> Array:
  """One of them.

  Raises:
    FileNotFoundError: the package came without it.
    ImportError: the package is missing.
  """
  # The file is read where it lies: the package's own functions may download.
  package.require(_TAKES)
  folders = importlib.util.find_spec(package.module).submodule_search_locations
  if not folders:  # a module of that name, but not the package
    raise package.error(_TAKES)
  path = pathlib.Path(folders[0], *place.split('/'))
  try:
    data = path.read_bytes()
  except FileNotFoundError:
    raise FileNotFoundError(
      f'{path} does not exist: this {package.module} came without its '
      "photographs. Install it with: pip install 'tfmot_paoding[photos]'."
    ) from None
  pixels = tf.io.decode_image(data, expand_animations=False).numpy()
  return pixels.astype(np.float32) / np.float32(255)
