"""Several priors as one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class MixturePrior(InputPrior):
  """Samples of several priors in equal shares, in random order.

  Parts that mean nothing for an input take no part: a vector has no positions
  for leaves to lie on.

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

  @property
  def mirrors(self) -> bool:
    """Whether those of all parts do."""
    return all(part.mirrors for part in self.parts)

  def suits(self, shape: Shape) -> bool:
    """Whether any part does."""
    return any(part.suits(shape) for part in self.parts)

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape).

    Raises:
      ValueError: no part suits the input.
    """
    shape = box.low.shape
    parts = [part for part in self.parts if part.suits(shape)]
    if not parts:
      raise ValueError(
        f'No part of the mixture suits an input of shape {shape}: {self}.'
      )
    found, filled = np.empty((count, *shape), np.float32), 0
    for k, part in enumerate(parts):
      some = len(range(k, count, len(parts)))
      found[filled : filled + some] = part.sample(box, some, rng)
      filled += some
    return rng.permutation(found)
