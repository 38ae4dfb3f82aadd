"""Gaussian fields of few numbers: what stored statistics can tell of inputs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from tfmot_paoding.inputs.prior import InputPrior
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

# Directions of a smooth field that have less of its power are left out.
_LEAST_POWER = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class FieldPart:
  """One term of a field: patterns, each times smooth noise of its own.

  Attributes:
    scale: The noise's correlation is exp(-d^2 / (2 scale^2)) between positions
      at distance d along the stationary axes: 0 for independent ones, infinite
      for one number a sample.
    patterns: Shape (entries, noises), where entries are those of the axes that
      are not stationary, flattened.
  """

  scale: float
  patterns: Array


@dataclasses.dataclass(frozen=True, eq=False)
class StatisticsPrior(InputPrior):
  """A Gaussian whose moments explain the statistics that a network stored.

  `fit_statistics` makes it; the name 'statistics' stands for the one of the
  network at hand. Samples are cut to the range.

  Attributes:
    mean: Of the input's shape, in the input's own units.
    stationary: The axes along which the covariance depends on distance alone.
    parts: The covariance, as a sum.
    mean_error: Root mean square of what is left of stored means, in units of
      the stored deviations, where they took no part in the fit.
    variance_error: The same of the stored variances, as a share of them.
  """

  mean: Any
  stationary: tuple[int, ...]
  parts: tuple[FieldPart, ...]
  mean_error: float = math.nan
  variance_error: float = math.nan

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape), cut to the range.

    Raises:
      ValueError: the prior is one of inputs of another shape.
    """
    shape = box.low.shape
    if np.shape(self.mean) != shape:
      raise ValueError(
        f'The prior was fitted to inputs of shape {np.shape(self.mean)}, but '
        f'one of shape {shape} is asked for.'
      )
    sizes = [shape[axis] for axis in self.stationary]
    x = np.zeros((count, *sizes, shape_entries(shape, self.stationary)))
    for part in self.parts:
      matrices = [roots(size, part.scale) for size in sizes]
      directions = [root.shape[1] for root in matrices]
      noise = rng.normal(size=(count, *directions, part.patterns.shape[1]))
      for k, root in enumerate(matrices):
        noise = np.moveaxis(np.tensordot(noise, root, (k + 1, 1)), -1, k + 1)
      x += noise @ part.patterns.T
    x = self.mean + placed(x, shape, self.stationary)
    return np.clip(x, box.low, box.high)

  def variance(self) -> Array:
    """Of each entry, of the input's shape, before samples are cut."""
    shape = np.shape(self.mean)
    sizes = [shape[axis] for axis in self.stationary]
    total = sum(np.square(part.patterns).sum(1) for part in self.parts)
    total = np.broadcast_to(
      total, (1, *sizes, shape_entries(shape, self.stationary))
    )
    return placed(total, shape, self.stationary)[0]


def roots(size: int, scale: float) -> Array:
  """A root of exp(-d^2 / (2 scale^2)), shape (size, directions)."""
  if scale == 0:
    return np.eye(size)
  if math.isinf(scale):
    return np.ones((size, 1))
  gap = np.subtract.outer(np.arange(size), np.arange(size))
  matrix = np.exp(-np.square(gap / scale) / 2)
  values, vectors = mirrored_eigh(matrix)
  kept = values > _LEAST_POWER * values.max()
  root = vectors[:, kept] * np.sqrt(values[kept])
  # What was left out is given back, so that every position has variance 1.
  return root / np.linalg.norm(root, axis=1, keepdims=True)


def mirrored_eigh(matrix: Array) -> tuple[Array, Array]:
  """Eigenvalues and eigenvectors of a matrix that is its own mirror image.

  Its vectors are either even or odd (Cantoni and Butler 1976, "Eigenvalues and
  eigenvectors of symmetric centrosymmetric matrices"): two problems of half the
  size take a quarter of the time.

  Args:
    matrix: Symmetric, and the same with both axes reversed.
  """
  size = len(matrix)
  half = size // 2
  near, far = matrix[:half, :half], matrix[:half, ::-1][:, :half]
  even = np.zeros((size - half, size - half))
  even[:half, :half] = near + far
  # The entry in the middle of an odd size is its own image.
  even[half:, :half] = np.sqrt(2) * matrix[half : size - half, :half]
  even[:half, half:] = even[half:, :half].T
  even[half:, half:] = matrix[half : size - half, half : size - half]
  values, columns = zip(
    np.linalg.eigh(even), np.linalg.eigh(near - far), strict=True
  )
  vectors = np.zeros((size, size))
  whole, turned = columns[0], columns[1] / np.sqrt(2)
  vectors[:half] = np.hstack([whole[:half] / np.sqrt(2), turned])
  vectors[half : size - half, : size - half] = whole[half:]
  vectors[size - half :] = np.hstack([whole[:half] / np.sqrt(2), -turned])[::-1]
  order = np.argsort(np.concatenate(values), kind='stable')
  return np.concatenate(values)[order], vectors[:, order]


def shape_entries(shape: tuple[int, ...], stationary: tuple[int, ...]) -> int:
  """How many entries the axes have that are not stationary."""
  return math.prod(
    size for axis, size in enumerate(shape) if axis not in stationary
  )


def placed(
  x: Array, shape: tuple[int, ...], stationary: tuple[int, ...]
) -> Array:
  """Fields with their axes where an input has them.

  Args:
    x: Shape (samples, *stationary sizes, other entries).
    shape: The input's.
    stationary: Its stationary axes.

  Returns:
    Shape (samples, *shape).
  """
  others = [axis for axis in range(len(shape)) if axis not in stationary]
  order = [*stationary, *others]
  x = x.reshape(len(x), *(shape[axis] for axis in order))
  back = np.argsort(order)
  return x.transpose(0, *(1 + back))
