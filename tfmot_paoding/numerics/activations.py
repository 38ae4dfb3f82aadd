"""Scalar activations: values, and ranges of value and slope on an interval.

A range is exact because value and slope are monotone between known points:
their extremes lie at the interval's ends or at such a point inside it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Array = np.ndarray

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


@dataclasses.dataclass(frozen=True)
class Clip:
  """min(r(slope z + shift), top), where r(x) is x above zero, below x under it.

  Attributes:
    top: At least 0.
    below: At least 0.
    slope: Of what goes into r.
    shift: Likewise.
  """

  top: float
  below: float = 0.0
  slope: float = 1.0
  shift: float = 0.0


@dataclasses.dataclass(frozen=True)
class Activation:
  """An activation with what interval arithmetic must know of it.

  Attributes:
    name: The field's name for it.
    value: f, elementwise.
    slope: f', elementwise; at a kink, either side's.
    turns: Points where f changes direction.
    bends: Points where f' changes direction.
    kinks: (point, left slope, right slope) where f' jumps.
    below: The slope below zero of what is z above it; None for any other.
    clip: What it is as a rectifier that is cut off; None for any other.
    overflows: Whether large arguments take it beyond float64.
  """

  name: str
  value: Callable[[Array], Array]
  slope: Callable[[Array], Array]
  turns: tuple[float, ...] = ()
  bends: tuple[float, ...] = ()
  kinks: tuple[tuple[float, float, float], ...] = ()
  below: float | None = None
  clip: Clip | None = None
  overflows: bool = False

  def value_range(self, low: Array, high: Array) -> tuple[Array, Array]:
    """Smallest and largest value on [low, high], elementwise."""
    return self._extremes(self.value, self.turns, low, high)

  def slope_range(self, low: Array, high: Array) -> tuple[Array, Array]:
    """Smallest and largest slope on [low, high], elementwise."""
    small, large = self._extremes(self.slope, self.bends, low, high)
    for point, left, right in self.kinks:
      inside = (low <= point) & (point <= high)
      small = np.where(inside, np.minimum(small, min(left, right)), small)
      large = np.where(inside, np.maximum(large, max(left, right)), large)
    return small, large

  @staticmethod
  def _extremes(function, points, low, high):
    at_low, at_high = function(low), function(high)
    small, large = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
    for point in points:
      inside = (low <= point) & (point <= high)
      there = function(np.asarray(point, np.float64))
      small = np.where(inside, np.minimum(small, there), small)
      large = np.where(inside, np.maximum(large, there), large)
    return small, large


def _sigmoid(z: Array) -> Array:
  # Two branches, so that neither overflows.
  e = np.exp(-np.abs(z))
  return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def _sigmoid_slope(z: Array) -> Array:
  s = _sigmoid(z)
  return s * (1 - s)


def _normal_cdf(z: Array) -> Array:
  return 0.5 * tf.math.erfc(-np.asarray(z, np.float64) / np.sqrt(2)).numpy()


def _normal_pdf(z: Array) -> Array:
  return np.exp(-0.5 * np.minimum(np.abs(z), 40.0) ** 2) / np.sqrt(2 * np.pi)


def _gelu_tanh(z: Array) -> Array:
  return 0.5 * z * (1 + np.tanh(_gelu_argument(z)))


def _gelu_argument(z: Array) -> Array:
  z = np.clip(z, -1e3, 1e3)
  return np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)


def _gelu_tanh_slope(z: Array) -> Array:
  t = np.tanh(_gelu_argument(z))
  z = np.clip(z, -1e3, 1e3)
  inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
  return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * inner


def _silu_slope(z: Array) -> Array:
  s = _sigmoid(z)
  return s + np.clip(z, -1e3, 1e3) * s * (1 - s)


def _mish(z: Array) -> Array:
  return z * np.tanh(np.logaddexp(0, z))


def _mish_slope(z: Array) -> Array:
  t = np.tanh(np.logaddexp(0, z))
  return t + np.clip(z, -1e3, 1e3) * (1 - t**2) * _sigmoid(z)


def _ones(z: Array) -> Array:
  return np.ones_like(np.asarray(z, np.float64))


@functools.cache
def rectifier(
  negative_slope: float = 0.0, max_value: float | None = None
) -> Activation:
  """ReLU, leaky ReLU and clipped ReLU: one piecewise linear family."""
  top = np.inf if max_value is None else max_value
  kinks = [(0.0, negative_slope, 1.0)]
  if np.isfinite(top):
    kinks.append((top, 1.0, 0.0))
  # With a falling part below zero it passes the top again.
  cut_off = np.isfinite(top) and negative_slope >= 0
  return Activation(
    'relu' if negative_slope == 0 else 'leaky_relu',
    lambda z: np.where(z < 0, negative_slope * z, np.minimum(z, top)),
    lambda z: np.where(z < 0, negative_slope, np.where(z > top, 0.0, 1.0)),
    turns=(0.0,) if negative_slope < 0 else (),
    kinks=tuple(kinks),
    below=None if np.isfinite(top) else negative_slope,
    clip=Clip(top, negative_slope) if cut_off else None,
  )


@np.errstate(invalid='ignore')
def _sqrt(z: Array) -> Array:
  return np.sqrt(z)  # NaN below zero, as TensorFlow has it


@np.errstate(divide='ignore')
def _sqrt_slope(z: Array) -> Array:
  return 0.5 / _sqrt(z)


@functools.cache
def square_root() -> Activation:
  """sqrt(z), which says nothing below zero."""
  return Activation('sqrt', _sqrt, _sqrt_slope)


@functools.cache
def elu(alpha: float = 1.0, scale: float = 1.0) -> Activation:
  """ELU: z above zero, alpha (e^z - 1) below; SELU is a scaled one."""
  return Activation(
    'elu' if scale == 1 else 'selu',
    lambda z: scale * np.where(z < 0, alpha * np.expm1(np.minimum(z, 0)), z),
    lambda z: scale * np.where(z < 0, alpha * np.exp(np.minimum(z, 0)), 1.0),
    turns=(0.0,) if alpha < 0 else (),
    kinks=((0.0, scale * alpha, scale),),
  )


# By Keras's names; what is added here is tested with the others.
_NAMED = {
  'linear': Activation('linear', lambda z: z, _ones),
  'relu': rectifier(),
  'relu6': rectifier(max_value=6.0),
  'leaky_relu': rectifier(0.2),
  'elu': elu(),
  'selu': elu(_SELU_ALPHA, _SELU_SCALE),
  'sigmoid': Activation('sigmoid', _sigmoid, _sigmoid_slope, bends=(0.0,)),
  'tanh': Activation(
    'tanh', np.tanh, lambda z: 1 - np.tanh(z) ** 2, bends=(0.0,)
  ),
  'hard_sigmoid': Activation(
    'hard_sigmoid',
    lambda z: np.clip(0.2 * z + 0.5, 0, 1),
    lambda z: np.where(np.abs(z) > 2.5, 0.0, 0.2),
    kinks=((-2.5, 0.0, 0.2), (2.5, 0.2, 0.0)),
    clip=Clip(1.0, slope=0.2, shift=0.5),
  ),
  'softplus': Activation('softplus', lambda z: np.logaddexp(0, z), _sigmoid),
  'softsign': Activation(
    'softsign',
    lambda z: z / (1 + np.abs(z)),
    lambda z: 1 / (1 + np.abs(z)) ** 2,
    bends=(0.0,),
  ),
  'square': Activation('square', np.square, lambda z: 2.0 * z, turns=(0.0,)),
  'exponential': Activation('exponential', np.exp, np.exp, overflows=True),
  'gelu': Activation(
    'gelu',
    lambda z: z * _normal_cdf(z),
    lambda z: _normal_cdf(z) + np.clip(z, -1e3, 1e3) * _normal_pdf(z),
    turns=(-0.7517915246935644,),
    bends=(-np.sqrt(2), np.sqrt(2)),
  ),
  'gelu_tanh': Activation(
    'gelu_tanh',
    _gelu_tanh,
    _gelu_tanh_slope,
    turns=(-0.7524614220710162,),
    bends=(-1.4185040088105438, 1.4185040088105438),
  ),
  'silu': Activation(
    'silu',
    lambda z: z * _sigmoid(z),
    _silu_slope,
    turns=(-1.2784645427610737,),
    bends=(-2.3993572805154684, 2.3993572805154684),
  ),
  'mish': Activation(
    'mish',
    _mish,
    _mish_slope,
    turns=(-1.1924312145154952,),
    bends=(-2.256376396360793, 1.4905711794854284),
  ),
}


def by_name(name: str) -> Activation | None:
  """The activation of a Keras name, or None for one not known here."""
  return _NAMED.get(name)


def names() -> list[str]:
  """The names that `by_name` knows."""
  return list(_NAMED)
