"""Sequences whose features have an order of their own.

The features of a step may be anything. Often they lie side by side: the rows of
a picture, the bands of a spectrogram. Then neighbours are alike, in a step as
from step to step, and a sequence is a picture of one channel.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class RowsPrior(InputPrior):
  """Pictures of one channel, read row by row; pictures as they are.

  Attributes:
    of: What draws the pictures.
  """

  is_chosen: ClassVar[bool] = True

  of: InputPrior

  def __post_init__(self):
    if not isinstance(self.of, InputPrior):
      raise ValueError(f'`of` must be a prior, but got {self.of!r}.')

  def suits(self, shape: Shape) -> bool:
    """Whether the pictures do."""
    return self.of.suits((*shape, 1) if len(shape) == 2 else shape)

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape)."""
    if box.low.ndim != 2:
      return self.of.sample(box, count, rng)
    picture = Interval(box.low[..., None], box.high[..., None])
    return self.of.sample(picture, count, rng)[..., 0]
