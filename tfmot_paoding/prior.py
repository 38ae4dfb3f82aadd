"""What inputs look like when there are none: samples from a prior.

A literal uniform box misleads every fit: its mean dominates and makes units
look collinear. The prior is a Gaussian of low mean; for inputs with two or more
spatial axes, or one, it is smooth along them, as images and sounds are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops import Shape
from tfmot_paoding.registry import Configurable

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Prior(Configurable):
  """A Gaussian over inputs, in units of the declared range.

  x = low + (high - low) (mean + deviation g), g of unit variance, with
  correlation exp(-d^2 / (2 scale^2)) between positions at distance d, and
  `channels` between the channels of one position.

  Attributes:
    mean: As a fraction of the range.
    deviation: As a fraction of the range.
    scale: The correlation's reach in positions; 0 for independent ones.
    channels: The correlation of two channels, in [0, 1].
  """

  mean: float = 0.0
  deviation: float = 0.1**0.5
  scale: float = 2.0
  channels: float = 0.8

  def __post_init__(self):
    if not (self.deviation > 0 and self.scale >= 0 and 0 <= self.channels <= 1):
      raise ValueError(
        '`deviation` must be positive, `scale` at least 0 and `channels` in '
        f'[0, 1], but got {self}.'
      )

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape).

    Args:
      box: The declared range.
      count: How many.
      rng: The only source of chance.
    """
    shape = box.low.shape
    noise = rng.normal(size=(count, *shape))
    if len(shape) > 1:
      for axis, size in enumerate(shape[:-1]):
        noise = _along(noise, axis + 1, _smooth(size, self.scale))
      noise = _along(noise, len(shape), _equal(shape[-1], self.channels))
    return box.low + box.width * (self.mean + self.deviation * noise)


def _along(x: Array, axis: int, root: Array) -> Array:
  """`root` applied along one axis."""
  return np.moveaxis(np.moveaxis(x, axis, -1) @ root.T, -1, axis)


def _smooth(size: int, scale: float) -> Array:
  """A root of exp(-d^2 / (2 scale^2)), shape (size, size)."""
  if scale == 0:
    return np.eye(size)
  gap = np.subtract.outer(np.arange(size), np.arange(size))
  return _root(np.exp(-np.square(gap) / (2 * scale**2)))


def _equal(size: int, correlation: float) -> Array:
  """A root of a matrix of ones with one number off its diagonal."""
  return _root(
    np.full((size, size), correlation) + (1 - correlation) * np.eye(size)
  )


def _root(matrix: Array) -> Array:
  values, vectors = np.linalg.eigh(matrix)
  return vectors * np.sqrt(np.maximum(values, 0.0))


def prior_samples(
  prior: Prior,
  boxes: list[Interval],
  shapes: list[Shape],
  count: int,
  rng: np.random.Generator,
) -> list[Array]:
  """Samples for every input of a model, float32."""
  return [
    prior.sample(
      Interval(
        np.broadcast_to(box.low, shape), np.broadcast_to(box.high, shape)
      ),
      count,
      rng,
    ).astype(np.float32)
    for box, shape in zip(boxes, shapes, strict=True)
  ]
