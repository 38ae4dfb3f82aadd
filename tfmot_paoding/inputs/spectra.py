"""Noise whose power falls with frequency, as that of sounds and images does."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tfmot_paoding.inputs.prior import (
  InputPrior,
  base_and_reach,
  check_positions,
)
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class SpectralPrior(InputPrior):
  """A Gaussian whose amplitude at the frequency f is f^-exponent.

  Each sample has an exponent and an amplitude of its own. Recordings of the
  physical world have exponents between .5 and 1.5 (Voss and Clarke 1975 for
  sounds; Field 1987 for images).

  Attributes:
    exponents: The least and the largest exponent.
    deviations: The least and the largest deviation, in units of the reach (see
      `Prior`).
    channels: The correlation of two channels of one position, in [0, 1].
  """

  is_chosen: ClassVar[bool] = True
  mirrors: ClassVar[bool] = True

  exponents: tuple[float, float] = (0.5, 1.5)
  deviations: tuple[float, float] = (0.1, 0.5)
  channels: float = 0.5

  def __post_init__(self):
    low, high = self.deviations
    if not (0 < low <= high and self.exponents[0] <= self.exponents[1]):
      raise ValueError(
        '`exponents` and `deviations` must be (least, largest), deviations '
        f'positive, but got {self}.'
      )
    if not 0 <= self.channels <= 1:
      raise ValueError(
        f'`channels` must be in [0, 1], but got {self.channels}.'
      )

  def suits(self, shape: Shape) -> bool:
    """Whether there are positions."""
    return len(shape) > 1

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape), cut to the range.

    Raises:
      ValueError: the input is a vector, which has no positions.
    """
    shape = box.low.shape
    check_positions(shape, 'A spectrum is one along')
    exponents = rng.uniform(*self.exponents, count)
    own = spectral_noise((count, *shape), exponents, rng)
    shared = spectral_noise((count, *shape[:-1], 1), exponents, rng)
    noise = self.channels**0.5 * shared + (1 - self.channels) ** 0.5 * own
    base, reach = base_and_reach(box)
    size = rng.uniform(*self.deviations, (count, *(1,) * len(shape)))
    return np.clip(base + reach * size * noise, box.low, box.high)


def spectral_noise(
  shape: tuple[int, ...], exponents: Array, rng: np.random.Generator
) -> Array:
  """Noise of variance 1 whose amplitude falls as f^-exponent, float32.

  Args:
    shape: (samples, *positions, channels).
    exponents: One a sample, shape (samples,).
    rng: The only source of chance.
  """
  axes = tuple(range(1, len(shape) - 1))
  spectrum = np.fft.rfftn(rng.standard_normal(shape, np.float32), axes=axes)
  frequencies = np.zeros(spectrum.shape[1:-1])
  for axis in axes:
    last = axis == axes[-1]
    steps = (np.fft.rfftfreq if last else np.fft.fftfreq)(shape[axis])
    place = [1] * len(axes)
    place[axis - 1] = -1
    frequencies = frequencies + np.square(steps.reshape(place))
  # The mean counts as the lowest frequency does.
  lowest = 1 / max(shape[1:-1])
  frequencies = np.sqrt(np.maximum(frequencies, lowest**2))
  gains = frequencies ** -exponents.reshape(-1, *(1,) * len(axes))
  noise = np.fft.irfftn(
    spectrum * gains[..., None], s=[shape[axis] for axis in axes], axes=axes
  )
  return (noise / _deviation(gains, shape, axes)).astype(np.float32)


def _deviation(
  gains: Array, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Array:
  """The deviation of white noise after gains on a half spectrum."""
  weight = np.full(gains.shape[-1], 2.0)
  weight[0] = 1.0
  if shape[axes[-1]] % 2 == 0:
    weight[-1] = 1.0
  power = (np.square(gains) * weight).sum(axes) / np.prod(shape[1:-1])
  return np.sqrt(power).reshape(-1, *(1,) * (len(shape) - 1))
