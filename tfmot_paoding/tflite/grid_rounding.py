"""Weights on a grid of few steps, for the least error of what a layer gives.

Each weight rounded to the nearest of 15 steps is far from the best: what one
rounding adds to an output, another may take away, as inputs go together. So one
column after the other is rounded, and what it adds is made up for by those that
are still real, as the inputs' covariance tells (Frantar et al., GPTQ, 2023;
Hassibi and Stork, 1993). Steps are those, of a few, that serve each row best,
and then the least squares for the rounded row.

In every row, or in the whole layer where all rows have one step, the largest
weight comes to an end of the grid, so that who makes the step from the largest
weight finds the grid again.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Four bits that are symmetric: -7 to 7.
_END = 7
# Of the mean variance, added to each: covariances are of a hundred inputs. Of
# .001 to .1 the best for three networks' training images.
_DAMPING = 0.1
# What rows are cut off at, as a share of their largest weight.
_CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Columns whose errors are handed on together.
_BLOCK = 64


def on_grid(
  weights: Array, covariance: Array | None = None, *, one_step: bool = False
) -> Array:
  """Weights that are multiples -7 to 7 of a step for each row, or of one.

  Args:
    weights: Of a layer, (units, inputs).
    covariance: Of what it reads, (inputs, inputs); None where that is not
      known: all inputs alike, and each for itself.
    one_step: Whether all rows have the same step.

  Returns:
    The rounded weights. With `damped(covariance)` for `c` and their errors for
    `e`, no row's `e @ c @ e` is larger than that of the nearest multiples of
    a seventh of its largest weight; with one step, the sum over rows is no
    larger than that of the nearest multiples of a seventh of the largest of
    all.
  """
  rows = weights.astype(np.float64)
  if covariance is None:
    covariance = np.eye(rows.shape[1])
  cost = damped(covariance)
  largest, ends = _ends(rows, one_step)
  tried = np.concatenate([rows] * len(_CUTS))
  steps = np.concatenate([ends * cut / _END for cut in _CUTS])
  grid = _with_feedback(tried, steps, cost, np.tile(largest, len(_CUTS)))
  forms = (len(_CUTS), *rows.shape)
  fitted = _least_squares(rows, grid.reshape(forms), cost, one_step)
  steps = (ends / _END)[:, None]
  made = np.concatenate([fitted, np.rint(rows / steps)[None] * steps])
  errors = made - rows
  costs = np.sum((errors @ cost) * errors, -1)
  if one_step:
    return made[costs.sum(1).argmin()]
  return made[costs.argmin(0), np.arange(len(rows))]


def _ends(rows: Array, one_step: bool) -> tuple[Array, Array]:
  """The column of each row that comes to an end, or -1, and how large it is."""
  sizes = np.abs(rows)
  largest, ends = sizes.argmax(1), sizes.max(1, initial=0.0)
  if one_step:
    first = ends.argmax()
    largest[np.arange(len(rows)) != first] = -1
    ends[:] = ends[first]
  ends[ends == 0] = 1.0
  return largest, ends


def damped(covariance: Array) -> Array:
  """A covariance of few inputs, as that of all of them may be.

  Args:
    covariance: (inputs, inputs).
  """
  mean = np.diag(covariance).mean() or 1.0
  return covariance + _DAMPING * mean * np.eye(len(covariance))


def _with_feedback(
  rows: Array, steps: Array, cost: Array, largest: Array
) -> Array:
  """Multiples of steps, (rows, inputs), by what they cost together.

  Those of much variance are rounded first, while most others can still make up
  for them.

  Args:
    rows: (rows, inputs).
    steps: (rows,).
    cost: (inputs, inputs).
    largest: The column of each row that comes to an end; -1 where none does.
  """
  order = np.argsort(-np.diag(cost), kind='stable')
  # Row j: what those after j change by for an error of j, over its own weight.
  inverse = np.linalg.inv(cost[np.ix_(order, order)])
  share = np.linalg.cholesky(inverse).T
  left = rows[:, order]
  found = np.empty_like(left)
  count = left.shape[1]
  for begin in range(0, count, _BLOCK):
    end = min(begin + _BLOCK, count)
    errors = np.empty((len(left), end - begin))
    for j in range(begin, end):
      multiple = np.clip(np.rint(left[:, j] / steps), -_END, _END)
      at_end = largest == order[j]
      multiple[at_end] = np.where(rows[at_end, order[j]] < 0, -_END, _END)
      found[:, j] = multiple
      error = (left[:, j] - multiple * steps) / share[j, j]
      left[:, j + 1 : end] -= error[:, None] * share[j, j + 1 : end]
      errors[:, j - begin] = error
    left[:, end:] -= errors @ share[begin:end, end:]
  return found[:, np.argsort(order)]


def _least_squares(
  rows: Array, grid: Array, cost: Array, one_step: bool
) -> Array:
  """Multiples by the steps that cost least, (forms, rows, inputs).

  Args:
    rows: (rows, inputs).
    grid: Forms of these in multiples, (forms, rows, inputs).
    cost: (inputs, inputs).
    one_step: Whether all rows of a form have the same step.
  """
  weighted = grid @ cost
  over = (1, 2) if one_step else 2
  shares = np.sum(weighted * rows, over, keepdims=True) / np.sum(
    weighted * grid, over, keepdims=True
  )
  return np.maximum(shares, 0.0) * grid
