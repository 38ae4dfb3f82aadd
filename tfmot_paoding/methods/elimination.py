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
import tensorflow as tf

from tfmot_paoding.layers import inner_layer
from tfmot_paoding.ops import Product

Array = np.ndarray

# More rows than this share one covariance for all taps of a channel.
MOST_ROWS = 2500
_MOST_SAMPLES = 20000


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


def row_samples(op: Product, layer: object, x: Array, seed: int) -> Array:
  """What a consumer's rows see, one line a position, (positions, rows).

  Args:
    op: The consumer.
    layer: Its Keras layer, for a convolution's geometry.
    x: The consumer's input, with a batch axis.
    seed: Of the choice of positions where there are too many.
  """
  if op.taps > 1:
    layer = inner_layer(layer)
    # Steps of TimeDistributed are samples as well.
    x = _patches(layer, x.reshape(-1, *x.shape[-len(layer.kernel_size) - 1 :]))
  return channel_samples(x, seed)


def channel_samples(x: Array, seed: int = 0) -> Array:
  """What channels see, one line a position, (positions, channels)."""
  flat = x.reshape(-1, x.shape[-1])
  if len(flat) > _MOST_SAMPLES:
    rng = np.random.default_rng(seed)
    flat = flat[rng.choice(len(flat), _MOST_SAMPLES, replace=False)]
  return flat.astype(np.float64)


def shares_taps(op: Product, layer: object) -> bool:
  """Whether one covariance of channels stands for all taps.

  For kernels with too many rows; where each position sees some of the taps
  alone; and where patches cannot be had.
  """
  if op.taps_vary:
    return True
  if op.taps == 1:
    return False
  layer = inner_layer(layer)
  is_volume = len(layer.kernel_size) == 3
  return is_volume and max(layer.dilation_rate) > 1


def _patches(layer: object, x: Array) -> Array:
  """The patches under a convolution's window, channels innermost."""
  rank = x.ndim - 2
  size, strides, rates = layer.kernel_size, layer.strides, layer.dilation_rate
  padding = layer.padding
  if rank == 3:
    return tf.raw_ops.ExtractVolumePatches(
      input=x,
      ksizes=[1, *size, 1],
      strides=[1, *strides, 1],
      padding=padding.upper(),
    ).numpy()
  if rank == 1:
    if padding == 'causal':
      reach = (size[0] - 1) * rates[0]
      x, padding = np.pad(x, ((0, 0), (reach, 0), (0, 0))), 'valid'
    x = x[:, None]
    size, strides, rates = (1, *size), (1, *strides), (1, *rates)
  return tf.image.extract_patches(
    x, [1, *size, 1], [1, *strides, 1], [1, *rates, 1], padding.upper()
  ).numpy()


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
    self._inverse = np.zeros((size, size))
    inside = np.ix_(self._used, self._used)
    self._inverse[inside] = np.linalg.inv(moments.covariance[inside])

  def costs(self, units: Array) -> Array:
    """What taking each unit out costs, the rest re-fitted, (k,)."""
    rows = self._rows[units]
    blocks = self._inverse[rows[:, :, None], rows[:, None, :]]
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
    column = self._inverse[:, rows]
    gain = np.linalg.solve(column[rows], column.T)
    self._inverse -= column @ gain
    self._inverse[rows] = 0.0
    self._inverse[:, rows] = 0.0
    return gain

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, shape (columns,)."""
    return self._mean @ (self._before - self.matrix)


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
