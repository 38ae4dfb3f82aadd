"""What chains in a layer's place cost the answers.

To second order an error E of what a layer makes moves the outputs by E' G E,
with G the second moments of their gradients there, and E is what the layer
reads times the error of its matrix: all that counts are the moments of what it
reads, C, and G, and the best chain of each rank follows from a decomposition.
What it loses is in squares of the outputs' own deviations, the same for every
layer, so that layers can be weighed against one another.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.factorization.candidates import Candidate
from tfmot_paoding.factorization.forms import Form
from tfmot_paoding.methods.elimination import (
  MOST_ROWS,
  channel_samples,
  row_samples,
)
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.outputs import Head
from tfmot_paoding.numerics.low_rank import (
  Spectrum,
  losses,
  spectrum,
  spectrum_of_products,
  with_ridge,
)
from tfmot_paoding.ops import Params

Array = np.ndarray

# Of the mean of moments, on their diagonals.
RIDGE = 1e-2


@dataclasses.dataclass(frozen=True)
class Seen:
  """What a layer's rows see, or where these are too many, its channels.

  Attributes:
    rows: Samples, shape (samples, k): of n rows, or of the n / taps channels
      that stand for all taps.
    mean: What a bias can take of each, (k,); zeros without one.
  """

  rows: Array
  mean: Array

  @classmethod
  def of(cls, layer: Candidate, x: Array) -> Seen:
    """Of what a layer reads, with a batch axis."""
    size = layer.size
    if size.taps > 1 and size.taps * size.channels > MOST_ROWS:
      rows = channel_samples(x)
    else:
      rows = row_samples(layer.op, x, 0)
    has_bias = layer.op.bias is not None
    mean = rows.mean(0) if has_bias else np.zeros(rows.shape[1])
    return cls(rows, mean)

  @property
  def moved(self) -> Array:
    """The samples without what a bias takes."""
    return self.rows - self.mean

  def moments(self) -> Moments:
    """Second moments of these, with a ridge."""
    moved = self.moved
    if moved.shape[1] > MOST_ROWS:
      level = RIDGE * float(np.square(moved).mean())
      return Wide(moved, max(level, 1e-12))
    return with_ridge(moved.T @ moved / len(moved), RIDGE)


@dataclasses.dataclass(frozen=True)
class Wide:
  """Moments of more rows than there could be a matrix of.

  Attributes:
    moved: Samples without their means, shape (samples, n).
    level: The ridge.
  """

  moved: Array
  level: float

  def products(self, matrix: Array) -> Array:
    """W' C W of a matrix W, shape (n, m), so that it is (m, m)."""
    made = self.moved @ matrix
    return made.T @ made / len(made) + self.level * (matrix.T @ matrix)


# Shape (k, k), of all rows or of the channels that stand for all taps.
Moments = Array | Wide


def products(matrix: Array, moments: Moments) -> Array:
  """Second moments of what a matrix makes, (columns, columns)."""
  if isinstance(moments, Wide):
    return moments.products(matrix)
  own = matrix.reshape(-1, len(moments), matrix.shape[1])
  return np.einsum('tkm,tkn->mn', own, moments @ own)


def _spectrum(matrix: Array, moments: Moments, counts: Array) -> Spectrum:
  if isinstance(moments, Wide):
    made = moments.products(matrix)
    return spectrum_of_products(matrix, made, counts)
  return spectrum(matrix, moments, counts)


def channel_moments(moments: Array, channels: int) -> Array:
  """Those of channels, in the mean over taps, shape (channels, channels)."""
  taps = len(moments) // channels
  blocks = moments.reshape(taps, channels, taps, channels)
  return np.einsum('tctd->cd', blocks) / taps


@dataclasses.dataclass(frozen=True)
class Chain:
  """The matrices of a chain; None for a link that is not there.

  Attributes:
    front: Shape (channels, ranks).
    core: Shape (taps * channels or ranks, columns or ranks).
    behind: Shape (ranks, columns).
  """

  front: Array | None
  core: Array
  behind: Array | None

  def matrix(self) -> Array:
    """What the chain multiplies by, (taps * channels, columns)."""
    found = self.core if self.behind is None else self.core @ self.behind
    if self.front is None:
      return found
    own = found.reshape(-1, self.front.shape[1], found.shape[1])
    return (self.front @ own).reshape(-1, found.shape[1])


def chain_of(
  matrix: Array, moments: Moments, counts: Array, form: Form, channels: int
) -> Chain:
  """The best chain of a form.

  Args:
    matrix: The layer's, shape (taps * channels, columns).
    moments: Of what its rows, or its channels, see.
    counts: Of how much errors of its columns count.
    form: The ranks.
    channels: In, for each tap.
  """
  front, core = None, matrix
  if form.front is not None:
    front = _front_basis(matrix, moments, counts, form.front, channels)
    core, moments = _behind_basis(matrix, moments, front)
  if form.behind is None:
    return Chain(front, core, None)
  left, right = _spectrum(core, moments, counts).factors(form.behind)
  return Chain(front, left, right)


def losses_of(
  matrix: Array, moments: Moments, counts: Array, channels: int
) -> tuple[Array, Array]:
  """What each rank in front, and each behind, loses, from rank 0 on.

  Args:
    matrix: The layer's, shape (taps * channels, columns).
    moments: Of what its rows, or its channels, see.
    counts: Of how much errors of its columns count.
    channels: In, for each tap.
  """
  behind = _spectrum(matrix, moments, counts).losses
  most = min(matrix.shape)
  behind = np.append(behind, np.zeros(most + 1 - len(behind)))
  if len(matrix) == channels:
    return np.zeros(1), behind
  _, values = _channel_spectrum(matrix, moments, counts, channels)
  return losses(values), behind


def _channel_spectrum(
  matrix: Array, moments: Array, counts: Array, channels: int
) -> tuple[Array, Array]:
  """Directions of channels, white, and what each counts, (channels,)."""
  left = np.linalg.cholesky(channel_moments(moments, channels))
  right = np.linalg.cholesky(counts)
  own = left.T @ matrix.reshape(-1, channels, matrix.shape[1]) @ right
  gram = np.einsum('tcm,tdm->cd', own, own)
  squares, vectors = np.linalg.eigh(gram)
  values = np.sqrt(np.maximum(squares[::-1], 0.0))
  return np.linalg.solve(left.T, vectors[:, ::-1]), values


def _front_basis(
  matrix: Array, moments: Array, counts: Array, rank: int, channels: int
) -> Array:
  """The link in front, shape (channels, rank)."""
  return _channel_spectrum(matrix, moments, counts, channels)[0][:, :rank]


def _behind_basis(
  matrix: Array, moments: Array, front: Array
) -> tuple[Array, Array]:
  """What is best behind a link in front, and the moments of what it reads."""
  channels, rank = front.shape
  parts = len(moments) // channels
  blocks = moments.reshape(parts, channels, parts, channels)
  half = np.einsum('cr,tcud->trud', front, blocks)
  inner = np.einsum('trud,ds->trus', half, front)
  inner = inner.reshape(parts * rank, parts * rank)
  own = matrix.reshape(-1, parts * channels, matrix.shape[1])
  right = half.reshape(parts * rank, parts * channels) @ own
  core = np.linalg.solve(inner, right).reshape(-1, matrix.shape[1])
  return core, inner


class Answers:
  """How outputs move with what layers make, on samples of an original.

  Args:
    simulation: The original on the samples.
    params: Its weights.
    heads: What its outputs mean.
    scales: The deviation of each output's logits; None where one is unknown.
  """

  def __init__(
    self,
    simulation: Simulation,
    params: Params,
    heads: list[Head],
    scales: list[Array] | None,
  ):
    self._simulation, self._params = simulation, params
    self._heads, self._scales = heads, scales

  def counts(self, layer: Candidate, moments: Moments) -> Array:
    """How much errors of a layer's columns count, (columns, columns).

    Where no gradient tells, as shares of what the layer makes, with a warning.

    Args:
      layer: The layer.
      moments: Of what it reads.
    """
    columns, found = layer.size.columns, None
    if self._scales is not None:
      found = self._simulation.gradient_moments(
        self._params,
        layer.node.outputs[0],
        self._heads,
        self._scales,
        columns,
      )
    if found is not None:
      return with_ridge(found, RIDGE)
    warnings.warn(
      f'How the outputs move with what layer {layer.name!r} makes cannot be '
      'told, since no gradient leads to them: it is weighed by its own '
      'numbers. Give its rank by `ranks` if that matters.',
      stacklevel=callers.level(),
    )
    matrix = layer.op.matrix(self._params)
    made = float(np.trace(products(matrix, moments)))
    return np.eye(columns) / max(made, 1e-12)
