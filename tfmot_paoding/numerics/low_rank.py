"""A matrix as two thinner ones, where what it is used for says what counts.

Of all matrices of rank r the nearest to W, shape (n, m), in

  tr((V - W)' C (V - W) G),

C (n, n) the second moments of what is multiplied by it and G (m, m) those of
how much an error of each column counts, is

  V = L^-T svd_r(L' W R) R^-1,  C = L L',  G = R R'

(Eckart and Young 1936, in the norm that C and G make). The two factors are
A = L^-T U, so that what stands between them is white, x A having the unit as
its covariance, and B = S V' R^-1: every number in between has the same range,
which is what integers of one scale lose least by.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Array = np.ndarray

_LEAST = 1e-14  # of a largest square


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """A matrix by what its parts count, largest first.

  Attributes:
    left: L^-T U, shape (n, k).
    right: S V' R^-1, shape (k, m).
    values: S, the singular values, descending, shape (k,).
  """

  left: Array
  right: Array
  values: Array

  def factors(self, rank: int) -> tuple[Array, Array]:
    """The two factors, shapes (n, rank) and (rank, m)."""
    return self.left[:, :rank], self.right[:rank]

  def at(self, rank: int) -> Array:
    """The nearest matrix of a rank, shape (n, m)."""
    left, right = self.factors(rank)
    return left @ right

  @property
  def losses(self) -> Array:
    """What each rank from 0 to k loses, shape (k + 1,)."""
    return losses(self.values)


def losses(values: Array) -> Array:
  """What is lost with all singular values but so many of the first.

  Args:
    values: Shape (k,), descending.

  Returns:
    Sums of squares for ranks 0 to k, shape (k + 1,).
  """
  return np.append(np.cumsum(np.square(values[::-1]))[::-1], 0.0)


def spectrum(matrix: Array, moments: Array, counts: Array) -> Spectrum:
  """A matrix in the order of what its parts count.

  Args:
    matrix: Shape (n, m).
    moments: Second moments of what is multiplied by it, positive definite,
      shape (n, n); or of one of n / k parts of equal moments, which do not
      depend on one another, shape (k, k).
    counts: Of how much an error of each column counts, positive definite,
      shape (m, m).
  """
  left, right = np.linalg.cholesky(moments), np.linalg.cholesky(counts)
  own = matrix.reshape(-1, len(left), matrix.shape[1])
  whitened = (left.T @ own).reshape(matrix.shape) @ right
  u, s, vt = np.linalg.svd(whitened, full_matrices=False)
  u = np.linalg.solve(left.T, u.reshape(*own.shape[:2], -1))
  return Spectrum(
    u.reshape(len(matrix), -1),
    np.linalg.solve(right.T, (s[:, None] * vt).T).T,
    s,
  )


def spectrum_of_products(
  matrix: Array, products: Array, counts: Array
) -> Spectrum:
  """`spectrum`, where the rows are too many for their moments.

  All that is asked of C is W' C W: the eigenvectors V of R' W' C W R are the
  right singular ones, and L^-T U is W R V S^-1. Squares lose what is small, so
  that parts which count less than a rounding of the largest are left out.

  Args:
    matrix: W, shape (n, m).
    products: W' C W, positive semidefinite, shape (m, m).
    counts: G, positive definite, shape (m, m).
  """
  right = np.linalg.cholesky(counts)
  squares, vectors = np.linalg.eigh(right.T @ products @ right)
  kept = squares > _LEAST * max(float(squares[-1]), np.finfo(float).tiny)
  order = np.flatnonzero(kept)[::-1]
  values, vectors = np.sqrt(squares[order]), vectors[:, order]
  return Spectrum(
    matrix @ (right @ (vectors / values)),
    np.linalg.solve(right.T, vectors * values).T,
    values,
  )


def with_ridge(moments: Array, share: float) -> Array:
  """Moments that are positive definite.

  Args:
    moments: Shape (n, n), positive semidefinite.
    share: Of their mean, added to the diagonal.
  """
  found = np.array(moments, np.float64)
  level = share * float(np.trace(found)) / max(len(found), 1)
  found[np.diag_indices_from(found)] += max(level, 1e-12)
  return found
