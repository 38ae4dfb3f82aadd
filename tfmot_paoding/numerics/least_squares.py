"""Least squares under signs, and the folds that tell what it is worth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Array = np.ndarray

_TOLERANCE = 1e-9
# Of the mean power, so that two columns may be alike.
_RIDGE = 1e-11
# Of the mean power, where samples are few for the columns.
_SHARE = 1e-3


def non_negative(
  matrix: Array, target: Array, start: Array | None = None
) -> Array:
  """The x >= 0 of least |matrix x - target| (Lawson and Hanson 1974).

  Args:
    matrix: Shape (equations, unknowns).
    target: Shape (equations,).
    start: What is least where only the unknowns above 0 may be, (unknowns,);
      it saves finding these. None for all 0.

  Returns:
    Shape (unknowns,).
  """
  gram, right = matrix.T @ matrix, matrix.T @ target
  unknowns = len(right)
  x = np.zeros(unknowns) if start is None else start
  positive = x > 0
  least = _TOLERANCE * max(np.abs(right).max(initial=0.0), 1e-300)
  for _ in range(3 * unknowns):
    gradient = np.where(positive, -np.inf, right - gram @ x)
    if gradient.max(initial=-np.inf) <= least:
      break
    positive[gradient.argmax()] = True
    while True:
      step = np.zeros(unknowns)
      own = gram[np.ix_(positive, positive)]
      own = own + _RIDGE * np.trace(own) / len(own) * np.eye(len(own))
      step[positive] = np.linalg.solve(own, right[positive])
      below = positive & (step <= 0)
      if not below.any():
        break
      # As far towards it as all stay positive; who is first at 0 is let go.
      ways = x[below] / np.maximum(x[below] - step[below], 1e-300)
      x = np.where(positive, x + ways.min() * (step - x), 0.0)
      first = np.flatnonzero(below)[ways == ways.min()]
      positive[first] = False
      x[first] = 0.0
    x = step
  return x


def ridge(source: Array, target: Array) -> tuple[Array, Array]:
  """The map of least squares from rows to rows, kept small.

  Args:
    source: Shape (samples, columns).
    target: Shape (samples, others).

  Returns:
    A matrix, shape (columns, others), and what is added, (others,).
  """
  means = source.mean(0), target.mean(0)
  source, target = source - means[0], target - means[1]
  gram = source.T @ source
  power = max(np.trace(gram) / len(gram), np.finfo(float).tiny)
  gram[np.diag_indices_from(gram)] += _SHARE * power
  matrix = np.linalg.solve(gram, source.T @ target)
  return matrix, means[1] - means[0] @ matrix


def folds(count: int, most: int = 5) -> Iterator[Array]:
  """Which equations to hold out, turn by turn; of one alone, none.

  Args:
    count: Of equations.
    most: Of folds.

  Yields:
    Bool arrays, shape (count,).
  """
  if count < 2:
    yield np.zeros(count, bool)
    return
  parts = min(most, count)
  for part in range(parts):
    yield np.arange(count) % parts == part


def simplest(errors: Array, complexity: Array, floor: float = 0.0) -> int:
  """The simplest candidate that is as good as the best, within its noise.

  The rule of one standard error (Breiman et al. 1984).

  Args:
    errors: Squared errors on held-out equations, (candidates, equations).
    complexity: Of each candidate.
    floor: Means of squared errors below it are all as good.
  """
  means = errors.mean(1)
  best = int(means.argmin())
  noise = errors[best].std() / np.sqrt(errors.shape[1])
  as_good = means <= max(means[best] + noise, floor)
  return int(np.where(as_good, complexity, np.inf).argmin())
