"""Means and covariances of few numbers that explain a network's statistics.

Both are linear in what normalization stored, so that no descent is needed: the
mean is a smooth field of least norm, the covariance a sum of smooth fields with
shares of at least 0.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfmot_paoding.inputs.statistics_prior import FieldPart, roots
from tfmot_paoding.numerics.least_squares import (
  folds,
  non_negative,
  simplest,
)

Array = np.ndarray
# Of a size and a scale, as `roots` does.
RootOf = Callable[[int, float], Array]

# How far a mean reaches along an axis: everywhere, some positions, just one.
_REACHES = (math.inf, 16.0, 8.0, 4.0, 2.0, 0.0)
# What is stored is an average over the last batches of training: so much of a
# deviation, and of a variance, is chance.
_MEAN_NOISE = 0.005
VARIANCE_NOISE = 0.01
_RIDGES = (1e-1, 1e-2, 1e-3, 1e-4)
# Couplings of entries that are tried one after the other.
_MOST_COUPLINGS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class MeanFit:
  """A mean, and the squared errors of the equations that took no part."""

  mean: Array
  errors: Array


def fit_mean(
  rows: Array,
  target: Array,
  weight: Array,
  size: Array,
  independent: Sequence[int],
  root_of: RootOf = roots,
) -> MeanFit:
  """The smoothest mean that explains stored means.

  It is the posterior mean of a Gaussian field. Along each axis that is one
  level, a level and a smooth deviation from it, or entries that have nothing in
  common: whatever predicts best the means that are left out.

  Args:
    rows: How each stored mean depends on each entry, (channels, *shape).
    target: The stored means less those of an input of zeros, (channels,).
    weight: 1 / the stored deviations, (channels,).
    size: How large deviations are taken to be, broadcasting to the shape.
    independent: The axes whose entries have nothing in common.
    root_of: Finds `roots`; those of earlier calls, if it holds them.
  """
  rows = rows * size * weight.reshape(-1, *(1,) * (rows.ndim - 1))
  target = target * weight
  shape = rows.shape[1:]
  choices = [
    (0.0,)
    if axis in independent
    else tuple(r for r in _REACHES if r < length or math.isinf(r))
    for axis, length in enumerate(shape)
  ]
  matrices = [
    [_level_and_smooth(length, reach, root_of) for reach in reaches]
    for length, reaches in zip(shape, choices, strict=True)
  ]
  candidates, errors, freedom = [], [], []
  for smooth, smoothed in _smoothed(rows, matrices):
    smoothed = smoothed.reshape(len(rows), -1)
    gram = smoothed @ smoothed.T
    powers = np.linalg.eigvalsh(gram)
    for ridge in _RIDGES:
      solve = functools.partial(_ridged, gram, target, ridge)
      candidates.append((smooth, solve))
      errors.append(_held_out(gram, target, solve))
      freedom.append(np.sum(powers / (powers + _penalty(gram, ridge))))
  chosen = simplest(np.array(errors), np.array(freedom), _MEAN_NOISE**2)
  smooth, solve = candidates[chosen]
  shares = solve(np.zeros(len(target), bool))
  for axis, root in enumerate(smooth):
    rows = _along_axis(rows, axis, root @ root.T)
  mean = np.tensordot(shares, rows, 1)
  return MeanFit(mean * size, errors[chosen])


def _penalty(gram: Array, ridge: float) -> float:
  return ridge * max(np.trace(gram) / len(gram), 1e-300)


def _ridged(gram: Array, target: Array, ridge: float, left_out: Array) -> Array:
  """The share of each equation in the mean."""
  kept = ~left_out
  own = gram[np.ix_(kept, kept)]
  shares = np.zeros(len(target))
  shares[kept] = np.linalg.solve(
    own + _penalty(own, ridge) * np.eye(len(own)), target[kept]
  )
  return shares


def _held_out(gram: Array, target: Array, solve: functools.partial) -> Array:
  """Squared errors of equations while they are held out."""
  errors = np.zeros(len(target))
  for left_out in folds(len(target)):
    told = left_out if left_out.any() else ~left_out
    rest = gram @ solve(left_out) - target
    errors[told] = np.square(rest[told])
  return errors


def _level_and_smooth(length: int, reach: float, root_of: RootOf) -> Array:
  """A root of the covariance along one axis, (length, directions)."""
  root = root_of(length, reach)
  if 0 < reach < math.inf:
    root = np.concatenate([np.ones((length, 1)), root], 1)
  return root


def _smoothed(
  rows: Array, matrices: Sequence[Sequence[Array]], chosen: tuple = ()
) -> Iterator[tuple[tuple[Array, ...], Array]]:
  """Every choice of a matrix an axis, and rows times these.

  Args:
    rows: Shape (channels, *shape).
    matrices: Of each axis, those to choose from.
    chosen: Those of the first axes, which rows were multiplied by.
  """
  axis = len(chosen)
  if axis == len(matrices):
    yield chosen, rows
    return
  for matrix in matrices[axis]:
    made = _along_axis(rows, axis, matrix)
    yield from _smoothed(made, matrices, (*chosen, matrix))


def _along_axis(rows: Array, axis: int, matrix: Array) -> Array:
  """Rows times a matrix along one of their axes."""
  made = np.tensordot(rows, matrix, (axis + 1, 0))
  return np.moveaxis(made, -1, axis + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class CovarianceFit:
  """A covariance, and squared relative errors of equations left out."""

  parts: tuple[FieldPart, ...]
  errors: Array


def fit_covariance(
  forms: dict[float, Array],
  target: Array,
  weight: Array,
  couplings: int = _MOST_COUPLINGS,
) -> CovarianceFit:
  """The sum of smooth fields that explains stored variances.

  Fields of every single entry come first. Then one coupling of entries after
  the other is added, that which the errors call for most, as long as variances
  that are left out are predicted better by it.

  Args:
    forms: For each scale, the variance of each channel as a quadratic form in
      a field's pattern over entries, (entries, entries, channels).
    target: The stored variances less what the mean makes of them, (channels,).
    weight: 1 / the stored variances, (channels,).
    couplings: How many are tried.
  """
  channels = len(target)
  errors = np.zeros((couplings + 1, channels))
  for left_out in folds(channels):
    told = left_out if left_out.any() else ~left_out
    path = _path(forms, target, weight, ~left_out)
    for step, fit in enumerate(itertools.islice(path, len(errors))):
      errors[step, told] = np.square((fit.predicted - target) * weight)[told]
  chosen = simplest(errors, np.arange(len(errors)), VARIANCE_NOISE**2)
  path = _path(forms, target, weight, np.ones(channels, bool))
  fit = next(itertools.islice(path, chosen, None))
  return CovarianceFit(fit.parts(), errors[chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class _Sum:
  """Fields, their shares, and the variances that they make."""

  fields: list[tuple[float, Array]]
  shares: Array
  predicted: Array

  def parts(self) -> tuple[FieldPart, ...]:
    """Those of one scale as one, without those of no share."""
    patterns: dict[float, list[Array]] = {}
    for (scale, pattern), share in zip(self.fields, self.shares, strict=True):
      if share > 0:
        patterns.setdefault(scale, []).append(np.sqrt(share) * pattern)
    return tuple(
      FieldPart(scale, np.stack(rows, 1))
      for scale, rows in sorted(patterns.items())
    )


def _path(forms: dict[float, Array], target: Array, weight: Array, used: Array):
  """Sums of more and more couplings, fitted to the equations in use."""
  entries = len(next(iter(forms.values())))
  fields = [(scale, row) for scale in forms for row in np.eye(entries)]
  made = np.concatenate([np.einsum('ffc->fc', form) for form in forms.values()])
  # Entries on which the statistics depend little may vary the more.
  typical = sum(np.einsum('ffc,c->f', form, weight) for form in forms.values())
  size = 1 / np.sqrt(np.maximum(typical, 1e-12 * typical.max() + 1e-300))
  start = None
  while True:
    shares = non_negative(
      (made * weight)[:, used].T, target[used] * weight[used], start
    )
    predicted = shares @ made
    yield _Sum(list(fields), shares, predicted)
    kept = shares > 0
    rest = np.where(used, (target - predicted) * weight**2, 0.0)
    field = max(
      (_steepest(form, rest, size, scale) for scale, form in forms.items()),
      key=lambda found: found[0],
    )[1:]
    fields = [*itertools.compress(fields, kept), field]
    start = np.append(shares[kept], 0.0)
    made = np.concatenate([made[kept], _variances(forms, *field)[None]])


def _variances(forms: dict[float, Array], scale: float, row: Array) -> Array:
  return np.einsum('f,g,fgc->c', row, row, forms[scale], optimize=True)


def _steepest(
  form: Array, rest: Array, size: Array, scale: float
) -> tuple[float, float, Array]:
  """The pattern of a scale that errors fall most along, and how much."""
  slopes = np.einsum('fgc,c->fg', form, rest) * np.outer(size, size)
  values, vectors = np.linalg.eigh(slopes)
  return values[-1], scale, vectors[:, -1] * size
