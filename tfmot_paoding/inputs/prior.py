"""What inputs look like when there are none: samples from a prior.

A literal uniform box misleads every fit: its mean dominates and makes units
look collinear. The prior is a Gaussian of low mean; for inputs with two or more
spatial axes, or one, it is smooth along them, as images and sounds are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape
from tfmot_paoding.registry import Configurable

Array = np.ndarray


class InputPrior(Configurable):
  """What inputs may look like; subclasses are frozen dataclasses.

  Attributes:
    is_chosen: Whether more are drawn than asked for, of which a classifier
      keeps those that it is surest of. It suits families of many kinds of
      sample; of one kind, the surest would all be alike.
    mirrors: Whether it says nothing of where in a sample its values lie: its
      mirror images along axes of positions are as likely as it is, so that a
      classifier chooses among these as well, and what a network's weights tell
      of entries that are always 0 comes in addition.
  """

  is_chosen: ClassVar[bool] = False
  mirrors: ClassVar[bool] = False

  def picture(self, shape: Shape) -> Shape:
    """The axes that samples of a shape have, positions first."""
    return shape

  def suits(self, shape: Shape) -> bool:
    """Whether samples of a shape, without the batch axis, mean anything."""
    del shape
    return True

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape).

    Args:
      box: The declared range.
      count: How many.
      rng: The only source of chance.
    """
    raise NotImplementedError


class CarriedInputs:
  """Inputs that were found before, and go from one function to the next."""


# What a user may pass for where inputs come from; None to tell by the model.
PriorLike = (
  str
  | InputPrior
  | CarriedInputs
  | Mapping[str, str | InputPrior]
  | Sequence[str | InputPrior]
  | None
)


def parts_of(prior: PriorLike) -> Sequence[str | InputPrior]:
  """The sources of a prior that is several; none of others.

  Args:
    prior: What a user may pass.
  """
  is_several = isinstance(prior, Sequence) and not isinstance(prior, str)
  return prior if is_several else ()


def base_and_reach(box: Interval) -> tuple[Array, Array]:
  """The value of a range that is nearest to 0, and the way to its farther end.

  Args:
    box: The range.
  """
  base = np.clip(0.0, box.low, box.high)
  return base, np.maximum(box.high - base, base - box.low)


def check_positions(shape: Shape, what: str) -> None:
  """Raises where an input is a vector, which has no positions.

  Args:
    shape: Of the input, without the batch axis.
    what: What takes positions, as the beginning of a sentence.

  Raises:
    ValueError: it is one.
  """
  if len(shape) < 2:
    raise ValueError(
      f'{what} positions, but an input has the shape {shape}, a vector of '
      "features. Pass prior='smooth', or a `Prior`."
    )


@dataclasses.dataclass(frozen=True)
class Prior(InputPrior):
  """A Gaussian over inputs, in units of the declared range.

  x = base + reach (mean + deviation g), where base is the value of the range
  that is nearest to 0 and reach the way from there to the farther end; g has
  unit variance, correlation exp(-d^2 / (2 scale^2)) between positions at
  distance d, and `channels` between the channels of one position. For (0, 1)
  base and reach are 0 and 1. Inputs without positions (vectors) are
  independent features.

  Attributes:
    mean: In units of the reach.
    deviation: In units of the reach.
    scale: The correlation's reach in positions; 0 for independent ones.
    channels: The correlation of two channels, in [0, 1].
  """

  mirrors: ClassVar[bool] = True

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
    """Inputs, shape (count, *box.low.shape)."""
    shape = box.low.shape
    noise = rng.normal(size=(count, *shape))
    if len(shape) > 1:
      for axis, size in enumerate(shape[:-1]):
        noise = _along(noise, axis + 1, _smooth(size, self.scale))
      noise = _along(noise, len(shape), _equal(shape[-1], self.channels))
    base, reach = base_and_reach(box)
    return base + reach * (self.mean + self.deviation * noise)


@dataclasses.dataclass(frozen=True)
class VariedPrior(Prior):
  """Smooth Gaussians of many reaches and amplitudes, half of them cut.

  To imitate a network, more kinds of input are better than one; to fit
  moments on, one Gaussian is. Every sample has an amplitude of its own; every
  second one is cut to the range.

  Attributes:
    scales: The reaches that take turns, in place of `scale`.
    amplitudes: The least and the largest factor on the deviation.
  """

  scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0)
  amplitudes: tuple[float, float] = (0.3, 2.0)

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape), in random order."""
    base, _ = base_and_reach(box)
    parts = []
    for k, scale in enumerate(self.scales):
      share = len(range(k, count, len(self.scales)))
      one = Prior(self.mean, self.deviation, scale, self.channels)
      parts.append(one.sample(box, share, rng))
    x = rng.permutation(np.concatenate(parts))
    size = rng.uniform(*self.amplitudes, (count, *(1,) * base.ndim))
    x = base + (x - base) * size
    x[::2] = np.clip(x[::2], box.low, box.high)
    return x


@dataclasses.dataclass(frozen=True)
class GaussianPrior(InputPrior):
  """A Gaussian of known mean and covariance, such as those of your own data.

  Attributes:
    mean: In the input's own units; broadcasts to the input's shape.
    covariance: Of the flattened input, shape (entries, entries), or its
      diagonal alone, shape (entries,).
  """

  mean: Any = 0.0
  covariance: Any = 1.0

  def __post_init__(self):
    covariance = np.asarray(self.covariance, float)
    square = covariance.ndim == 2
    if covariance.ndim > 2 or (square and len(set(covariance.shape)) > 1):
      raise ValueError(
        '`covariance` must have shape (entries, entries) or (entries,), but '
        f'got {covariance.shape}.'
      )
    values = np.linalg.eigvalsh(covariance) if square else covariance
    if not (np.all(np.isfinite(values)) and np.min(values) >= -1e-8):
      raise ValueError('`covariance` must be finite and positive semidefinite.')

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape); the range does not cut them."""
    shape, size = box.low.shape, box.low.size
    covariance = np.asarray(self.covariance, float)
    if covariance.shape not in ((), (1,), (size,), (size, size)):
      raise ValueError(
        f'The prior has a covariance of shape {covariance.shape}, but an input '
        f'of shape {shape} has {size} entries.'
      )
    noise = rng.normal(size=(count, size))
    if covariance.ndim == 2:
      noise = noise @ _root(covariance).T
    else:
      noise = noise * np.sqrt(np.maximum(covariance, 0.0))
    return np.asarray(self.mean, float) + noise.reshape(count, *shape)


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
  prior: InputPrior,
  boxes: list[Interval],
  shapes: list[Shape],
  count: int,
  rng: np.random.Generator,
  middles: Sequence[Array] | None = None,
) -> list[Array]:
  """Samples for every input of a model, float32.

  Args:
    prior: What they look like.
    boxes: The inputs' ranges.
    shapes: Their shapes.
    count: How many.
    rng: The only source of chance.
    middles: Where the values of each input gather; a `Prior` begins there in
      place of 0.
  """
  found = []
  for k, (box, shape) in enumerate(zip(boxes, shapes, strict=True)):
    # A prior in its own units, such as `GaussianPrior`, knows its mean.
    shifts = middles is not None and isinstance(prior, Prior)
    middle = middles[k] if shifts else np.zeros(())
    low, high = (
      np.broadcast_to(end - middle, shape) for end in (box.low, box.high)
    )
    x = prior.sample(Interval(low, high), count, rng)
    if shifts:
      x = x + middle
    found.append(x.astype(np.float32, copy=False))
  return found
