"""Sequences and vectors whose features have an order of their own.

The features of a step may be anything. Often they lie side by side: the rows of
a picture, the bands of a spectrogram. Then neighbours are alike, in a step as
from step to step, and a sequence is a picture of one channel. A vector may be
a picture as well, its rows one behind the other.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray


# Channels that the pictures in a vector may have: grey, or colours.
_CHANNELS = (1, 3)


def picture_of(shape: Shape) -> Shape | None:
  """The shape of the picture that rows, or all of them in a vector, make.

  Args:
    shape: An input's, without the batch axis.

  Returns:
    (height, width, channels): of a sequence one channel, of a vector a square
    of one or three; the shape itself of what has more axes; None where a vector
    is no square.
  """
  if len(shape) == 2:
    return (*shape, 1)
  if len(shape) != 1:
    return shape
  for channels in _CHANNELS:
    side = math.isqrt(shape[0] // channels)
    if side**2 * channels == shape[0]:
      return (side, side, channels)
  return None


@dataclasses.dataclass(frozen=True)
class RowsPrior(InputPrior):
  """Pictures read row by row or all at once, as a vector; others as they are.

  Attributes:
    of: What draws the pictures.
  """

  is_chosen: ClassVar[bool] = True

  of: InputPrior

  def __post_init__(self):
    if not isinstance(self.of, InputPrior):
      raise ValueError(f'`of` must be a prior, but got {self.of!r}.')

  @property
  def mirrors(self) -> bool:
    """Whether the pictures do."""
    return self.of.mirrors

  def picture(self, shape: Shape) -> Shape:
    """That of the picture that is read."""
    return picture_of(shape) or shape

  def suits(self, shape: Shape) -> bool:
    """Whether the pictures do."""
    picture = picture_of(shape)
    return picture is not None and self.of.suits(picture)

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape).

    Raises:
      ValueError: the input is a vector, but no square.
    """
    shape = box.low.shape
    picture = picture_of(shape)
    if picture is None:
      raise ValueError(
        f'A vector of {shape[0]} entries is no picture of as many rows as '
        'columns, in one or three channels: pass another prior.'
      )
    box = Interval(*(end.reshape(picture) for end in box))
    return self.of.sample(box, count, rng).reshape(count, *shape)
