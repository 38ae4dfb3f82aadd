"""Least squares: kept units take over what removed ones contributed.

With mean mu and covariance C of what a consumer's rows see, taking out the
rows R of a unit and re-fitting the rest costs tr(V_R^T K V_R), where K is
([C^-1]_RR)^-1, and the best fit is V -= [C^-1]_:R K V_R; C^-1 loses the rows by
a downdate. The bias takes the mean's share.

Reference: Hassibi and Stork 1993 (optimal brain surgeon), block by block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmot_paoding.ops import Product

Array = np.ndarray

# More rows than this share one covariance for all taps of a channel.
MOST_ROWS = 2500
_MOST_SAMPLES = 20000
# Rows that go before what they did to the others is worked out for all, and
# from how many rows on that pays.
_WAITING = 64
_SMALL = 256


class RowMoments:
  """Mean and covariance of what the rows of one consumer see.

  Attributes:
    mean: Shape (rows,); zero where no bias could take it.
    covariance: Shape (rows, rows), with the ridge on its diagonal.
  """

  def __init__(self, samples: Array, ridge: float, centred: bool = True):
    self.mean = samples.mean(0) if centred else np.zeros(samples.shape[1])
    moved = samples - self.mean
    self.covariance = moved.T @ moved / len(samples)
    size = max(len(self.mean), 1)
    level = ridge * float(np.trace(self.covariance)) / size
    self.covariance[np.diag_indices(size)] += max(level, 1e-12)

  @classmethod
  def of_covariance(cls, covariance: Array) -> RowMoments:
    """Of rows whose means no bias takes."""
    made = cls.__new__(cls)
    made.mean, made.covariance = np.zeros(len(covariance)), covariance
    return made


def row_samples(op: Product, x: Array, seed: int) -> Array:
  """What a consumer's rows see, one line a position, (positions, rows).

  Args:
    op: The consumer.
    x: The consumer's input, with a batch axis.
    seed: Of the choice of positions where there are too many.
  """
  if op.taps == 1:
    return channel_samples(x, seed)
  rank = len(op.seen.size) + 1
  # Steps of TimeDistributed are samples as well.
  x = x.reshape(-1, *x.shape[-rank:])
  windows = len(x) * int(np.prod(op.seen.counts(x.shape[1:-1])))
  return op.seen.patches(x, _chosen(windows, seed)).astype(np.float64)


def channel_samples(x: Array, seed: int = 0) -> Array:
  """What channels see, one line a position, (positions, channels)."""
  flat = x.reshape(-1, x.shape[-1])
  if len(flat) > _MOST_SAMPLES:
    flat = flat[_chosen(len(flat), seed)]
  return flat.astype(np.float64)


def _chosen(count: int, seed: int) -> Array:
  """Which of so many lines are looked at."""
  if count <= _MOST_SAMPLES:
    return np.arange(count)
  rng = np.random.default_rng(seed)
  return rng.choice(count, _MOST_SAMPLES, replace=False)


def shares_taps(op: Product) -> bool:
  """Whether one covariance of channels stands for all taps.

  For kernels with too many rows; where each position sees some of the taps
  alone; and where the window is not known.
  """
  return op.taps_vary or (op.taps > 1 and op.seen is None)


class Elimination:
  """One consumer's weights as units leave.

  Args:
    matrix: The consumer's matrix, shape (rows, columns).
    rows: The rows of each unit, shape (units, rows of a unit).
    moments: Of all rows.
    weights: What an error of each column counts, shape (columns,).
    alive: Which units are still there, shape (units,).

  Attributes:
    matrix: The weights as they are now.
    energy: The weighted variance of what the consumer makes.
  """

  def __init__(
    self,
    matrix: Array,
    rows: Array,
    moments: RowMoments,
    weights: Array,
    alive: Array,
  ):
    self._rows = rows
    self._weights = weights
    self._mean = moments.mean
    others = np.setdiff1d(np.arange(len(matrix)), rows.ravel())
    self._used = np.concatenate([others, rows[alive].ravel()])
    self._before = matrix
    spread = (matrix * (moments.covariance @ matrix)).sum(0)
    self.energy = float(np.square(weights) @ spread)
    self.matrix = np.array(matrix)
    self.matrix[rows[~alive].ravel()] = 0.0
    size = len(matrix)
    inverse = np.zeros((size, size))
    inside = np.ix_(self._used, self._used)
    inverse[inside] = np.linalg.inv(moments.covariance[inside])
    self._inverse = _Downdated(inverse)
    # What a unit's own rows are to one another in it, (units, rows, rows).
    self._blocks = inverse[rows[:, :, None], rows[:, None, :]]

  def costs(self, units: Array) -> Array:
    """What taking each unit out costs, the rest re-fitted, (k,)."""
    rows = self._rows[units]
    blocks = self._blocks[units]
    values = self.matrix[rows] * self._weights
    if rows.shape[1] == 1:
      return np.square(values[:, 0]).sum(1) / blocks[:, 0, 0]
    solved = np.linalg.solve(blocks, values)
    return (solved * values).sum((1, 2))

  def eliminate(self, unit: int) -> None:
    """Takes a unit out and re-fits the rest."""
    self.matrix -= self._take_out(unit).T @ self.matrix[self._rows[unit]]
    self.matrix[self._rows[unit]] = 0.0

  def merge(self, unit: int, twin: int) -> None:
    """Takes a unit out; one that equals it takes over all it feeds."""
    self._take_out(unit)
    self.matrix[self._rows[twin]] += self.matrix[self._rows[unit]]
    self.matrix[self._rows[unit]] = 0.0

  def _take_out(self, unit: int) -> Array:
    """What each row takes over of the unit's, (rows of a unit, rows)."""
    rows = self._rows[unit]
    column = self._inverse.columns(rows)
    gain = np.linalg.solve(column[rows], column.T)
    self._inverse.lose(rows, column, gain)
    gains = np.moveaxis(gain.T[self._rows], -1, -2)
    self._blocks -= column[self._rows] @ gains
    return gain

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, shape (columns,)."""
    return self._mean @ (self._before - self.matrix)


class _Downdated:
  """A symmetric matrix that loses rows, and what they did to the others.

  Only columns are asked for on the way. What has been lost is taken off the
  whole of it for many rows at a time: one by one, a matrix of thousands of rows
  goes through the memory for each.

  Args:
    matrix: Shape (rows, rows); taken over.
  """

  def __init__(self, matrix: Array):
    self._matrix = matrix
    self._columns: list[Array] = []
    self._gains: list[Array] = []

  def columns(self, rows: Array) -> Array:
    """These columns as they are now, shape (all rows, rows)."""
    found = self._matrix[:, rows]
    if self._columns:
      lost = np.concatenate([gain[:, rows] for gain in self._gains])
      found = found - np.concatenate(self._columns, 1) @ lost
    return found

  def lose(self, rows: Array, column: Array, gain: Array) -> None:
    """Takes off `column` times `gain`, with which rows come to nothing.

    Args:
      rows: These.
      column: Shape (all rows, rows).
      gain: Shape (rows, all rows).
    """
    self._columns.append(column)
    self._gains.append(gain)
    waiting = sum(map(len, self._gains))
    if waiting >= _WAITING or len(self._matrix) < _SMALL:
      self._settle()
    self._matrix[rows] = 0.0
    self._matrix[:, rows] = 0.0
    for one, other in zip(self._columns, self._gains, strict=True):
      one[rows] = 0.0
      other[:, rows] = 0.0

  def _settle(self) -> None:
    self._matrix -= np.concatenate(self._columns, 1) @ np.concatenate(
      self._gains
    )
    self._columns, self._gains = [], []


def least_squares(
  wanted: Array,
  start: Array,
  old: Array,
  new: Array,
  used: Array,
  ridge: float,
  centred: bool,
) -> tuple[Array, Array]:
  """The matrix V that makes `new` V most like `old` W.

  Args:
    wanted: W, shape (rows, columns).
    start: What V is drawn towards, shape (rows, columns).
    old: Samples of what the rows saw, shape (samples, rows).
    new: Samples of what they see now, shape (samples, rows).
    used: The rows that V may use.
    ridge: How strongly V is drawn, as a fraction of the mean variance.
    centred: Whether a bias takes the means.

  Returns:
    V, zero in rows that are not used, and what the bias takes, (columns,).
  """
  means = [x.mean(0) if centred else np.zeros(x.shape[1]) for x in (old, new)]
  before, after = old - means[0], (new - means[1])[:, used]
  gram = after.T @ after / len(after)
  level = ridge * float(np.trace(gram)) / max(len(used), 1)
  gram[np.diag_indices(len(used))] += max(level, 1e-12)
  missing = before @ wanted - after @ start[used]
  found = np.zeros_like(wanted)
  found[used] = start[used]
  found[used] += np.linalg.solve(gram, after.T @ missing / len(after))
  return found, means[0] @ wanted - means[1] @ found


def combined_costs(parts: Sequence[Elimination], units: Array) -> Array:
  """The sum over consumers, (k,)."""
  return np.sum([part.costs(units) for part in parts], axis=0)
