"""Distances between units, exact where units are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

Array = np.ndarray

# About 32 MiB of float64 at a time.
_ENTRIES = 1 << 22


def euclidean_distances(points: Array) -> Array:
  """Distances between all rows by one Gram matrix, shape (n, n).

  ||p||^2 + ||q||^2 - 2 p.q cancels for near twins, so pairs that come out
  close are computed again directly: identical rows are exactly 0 apart.

  Args:
    points: Shape (n, d).
  """
  distances = points @ points.T
  squares = np.diag(distances).copy()
  distances *= -2.0
  distances += squares[:, None]
  distances += squares
  near = distances <= 1e-7 * (squares[:, None] + squares)
  np.fill_diagonal(near, False)
  if near.any():
    _recompute(distances, points, near)
  np.fill_diagonal(distances, 0.0)
  return np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)


def points_of(incoming: Array, biases: Array, alive: Array) -> Array:
  """Weights and biases of each living unit, as contiguous rows.

  Filled in place: for the widest layers every copy counts.

  Args:
    incoming: Shape (d, n).
    biases: Shape (producers, n).
    alive: Which units are there, shape (n,).

  Returns:
    Shape (units alive, inputs in use + producers).
  """
  used = (incoming != 0).any(1)  # inputs that were removed add nothing
  rows = int(used.sum())
  points = np.empty((int(alive.sum()), rows + len(biases)))
  points[:, rows:] = biases[:, alive].T
  step = max(1, _ENTRIES // len(alive))
  for start, chosen in _chunks(np.flatnonzero(used), step):
    columns = slice(start, start + len(chosen))
    points[:, columns] = incoming[chosen][:, alive].T
  return points


def digest(row: Array) -> bytes:
  """A fingerprint of a contiguous row; -0.0 counts as 0.0."""
  return hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()


def _chunks(entries: Array, size: int) -> Iterator[tuple[int, Array]]:
  """Runs of at most `size` entries, and where each begins."""
  for start in range(0, len(entries), size):
    yield start, entries[start : start + size]


def _recompute(squared: Array, points: Array, near: Array) -> None:
  """Replaces the marked squared distances by directly computed ones."""
  # Identical rows first: a layer full of them has too many pairs.
  numbers: dict[bytes, int] = {}
  kind = np.array(
    [numbers.setdefault(digest(row), len(numbers)) for row in points]
  )
  same = kind[:, None] == kind
  squared[same] = 0.0
  pairs = np.argwhere(np.triu(near & ~same, 1))
  rows = max(1, _ENTRIES // max(points.shape[1], 1))
  for start in range(0, len(pairs), rows):
    i, j = pairs[start : start + rows].T
    exact = np.square(points[i] - points[j]).sum(1)
    squared[i, j] = squared[j, i] = exact
