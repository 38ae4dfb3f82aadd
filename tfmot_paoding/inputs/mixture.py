"""Several priors as one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class MixturePrior(InputPrior):
  """Samples of several priors in equal shares, in random order.

  Attributes:
    parts: The priors.
  """

  is_chosen: ClassVar[bool] = True

  parts: tuple[InputPrior, ...]

  def __post_init__(self):
    object.__setattr__(self, 'parts', tuple(self.parts))
    if not self.parts or not all(
      isinstance(part, InputPrior) for part in self.parts
    ):
      raise ValueError(
        f'`parts` must be priors, at least one, but got {self.parts!r}.'
      )

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape)."""
    kinds = len(self.parts)
    found = [
      part.sample(box, len(range(k, count, kinds)), rng)
      for k, part in enumerate(self.parts)
    ]
    return rng.permutation(np.concatenate(found))
