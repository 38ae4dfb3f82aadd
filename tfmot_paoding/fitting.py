"""What least squares need of a network: moments, and fresh statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph
from tfmot_paoding.groups import Member
from tfmot_paoding.heads import heads_of
from tfmot_paoding.ops import (
  Conv,
  ConvTranspose,
  Params,
  Product,
  Scale,
  WeightRef,
)
from tfmot_paoding.reconstruction import (
  MOST_ROWS,
  Elimination,
  RowMoments,
  channel_samples,
  least_squares,
  row_samples,
  shares_taps,
  supports,
)
from tfmot_paoding.simulation import Simulation

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """How fits are made.

  Attributes:
    ridge: Added to a covariance's diagonal, as a fraction of its mean.
    samples: How many inputs to draw from the prior, or to take of those given;
      None for as many as a network's size allows in seconds.
    refresh: Whether batch norm's statistics follow; training does it itself.
  """

  ridge: float = 1e-2
  samples: int | None = None
  refresh: bool = True

  def count(self, macs: int) -> int:
    """How many inputs, for a network of so many multiply-accumulates."""
    if self.samples is not None:
      return self.samples
    if macs <= 2e7:
      return int(np.clip(2e9 / max(macs, 1), 512, 4096))
    return int(np.clip(1e10 / macs, 32, 512))


class Fitting:
  """Moments of a network's activations, and its batch norm's statistics.

  Args:
    model: The model, wrapped or not.
    params: Its weights, which the statistics belong to.
    samples: Inputs by input of the model.
    settings: Ridge and sizes.
  """

  def __init__(
    self,
    model: keras.Model,
    params: Params,
    samples: list[Array],
    settings: FitSettings,
  ):
    self._simulation = Simulation(model, samples)
    self._settings = settings
    self._original = dict(params)
    self._first = self._simulation.statistics(params)
    self._heads = heads_of(self._simulation.graph)

  @property
  def refreshes(self) -> bool:
    """Whether batch norm's statistics shall follow."""
    return self._settings.refresh

  def values(self, params: Params, members: tuple[Member, ...]) -> dict:
    """The inputs of consumers on the samples, by value."""
    wanted = {call.inputs[0] for m in members for call in m.calls}
    return self._simulation.run(params, wanted)

  def change(self, params: Params) -> float:
    """How far a network's answers have moved, without data.

    Args:
      params: Its weights.

    Returns:
      The mean squared change of each output's logits on the samples, as a
      share of the original's variance; infinite where an output is not known.
    """
    total = 0.0
    for found, wanted in zip(self._logits(params), self._answers, strict=True):
      if wanted is None or found is None:
        return float('inf')
      total += np.mean(np.square(found - wanted)) / max(wanted.var(), 1e-12)
    return float(total)

  @functools.cached_property
  def _answers(self) -> list[Array | None]:
    return self._logits(self._original)

  def _logits(self, params: Params) -> list[Array | None]:
    """The logits of every output on the samples."""
    outputs = self._simulation.graph.outputs
    values = self._simulation.run(params, outputs)
    return [
      head.logits(values[value]).numpy() if value in values else None
      for head, value in zip(self._heads, outputs, strict=True)
    ]

  def elimination(
    self,
    graph: Graph,
    params: Params,
    member: Member,
    values: Mapping[int, Array],
    alive: Array,
  ) -> ConsumerFit:
    """A consumer's weights, ready to lose units."""
    matrix, sampled = rows_seen(graph, params, member, values)
    scale = _scale_behind(graph, member)
    if sampled is None:
      moments = RowMoments.unknown(len(matrix))
    else:
      centred = _is_centred(graph, member)
      moments = RowMoments(sampled, self._settings.ridge, centred)
    weights = None
    if scale is not None and len(matrix) == len(member.node.op.matrix(params)):
      spread = (matrix * (moments.covariance @ matrix)).sum(0)
      gamma = 1.0 if scale.gamma is None else params[scale.gamma]
      weights = np.abs(gamma) / np.sqrt(np.maximum(spread, 1e-12))
    return ConsumerFit(params, member, moments, alive, weights)

  def refitted(
    self,
    graph: Graph,
    params: tuple[Params, Params],
    member: Member,
    values: tuple[Mapping[int, Array], Mapping[int, Array]],
    alive: Array,
  ) -> Refitted:
    """A consumer's best weights for units that have been folded.

    Args:
      graph: The network's graph.
      params: Its weights before, and with the folded units' rows added up.
      member: The consumer.
      values: What consumers read before and after, by value.
      alive: Which units are left, shape (units,).
    """
    wanted, old = rows_seen(graph, params[0], member, values[0])
    start, new = rows_seen(graph, params[1], member, values[1])
    op, taps = member.node.op, taps_apart(member, params[0], len(wanted))
    if old is None or new is None:
      return Refitted(op, op.matrix(params[1]), np.zeros(1))
    rows = member.places if taps > 1 else member.rows
    gone = rows[~alive].ravel()
    matrix, shift = least_squares(
      wanted,
      start,
      old,
      new,
      np.setdiff1d(np.arange(len(wanted)), gone),
      self._settings.ridge,
      _is_centred(graph, member),
    )
    return Refitted(op, _by_row(matrix, taps), shift.reshape(taps, -1).sum(0))

  def refreshed(self, graph: Graph, params: Params) -> dict[WeightRef, Array]:
    """Batch norm statistics, moved as those of the samples have moved.

    Args:
      graph: The graph that `params` belong to.
      params: The pruned weights.
    """
    now, found = self._simulation.statistics(params), {}
    for node in graph.nodes:
      op = node.op
      if not isinstance(op, Scale) or op.mean not in now:
        continue
      (mean, variance), (old_mean, old_variance) = (
        now[op.mean],
        self._first[op.mean],
      )
      alive = variance > 1e-12 * (1 + old_variance)
      real = self._original[op.variance]
      ratio = real / np.maximum(old_variance, 1e-12)
      shift = (mean - old_mean) * np.sqrt(ratio)
      found[op.mean] = np.where(
        alive, self._original[op.mean] + shift, params[op.mean]
      )
      found[op.variance] = np.where(
        alive, variance * ratio, params[op.variance]
      )
    return found


class ConsumerFit:
  """One consumer of a group as least squares see it.

  Where a covariance of all its rows would be too large, that of its channels
  stands for all taps; where its input is not known, removed units are missed.

  Args:
    params: The network's weights.
    member: The consumer.
    moments: Of its rows, or of its channels.
    alive: Which units are still there.
    weights: What an error of each column counts; None for 1.
  """

  def __init__(
    self,
    params: Params,
    member: Member,
    moments: RowMoments,
    alive: Array,
    weights: Array | None = None,
  ):
    self.op = member.node.op
    matrix = self.op.matrix(params)
    self._taps = taps_apart(member, params, len(moments.mean))
    if self._taps > 1:
      matrix = _by_channel(matrix, self._taps)
    rows = member.block.places if self._taps > 1 else member.rows
    if weights is None:
      weights = np.ones(matrix.shape[1])
    self.fit = Elimination(matrix, rows, moments, weights, alive)

  @property
  def matrix(self) -> Array:
    """The consumer's matrix as it is now."""
    return _by_row(self.fit.matrix, self._taps)

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, (columns,)."""
    return self.fit.shift.reshape(self._taps, -1).sum(0)


class Refitted(NamedTuple):
  """A consumer that was fitted at once.

  Attributes:
    op: The consumer.
    matrix: Its matrix now.
    shift: What its bias takes of the means.
  """

  op: Product
  matrix: Array
  shift: Array


def rows_seen(
  graph: Graph, params: Params, member: Member, values: Mapping[int, Array]
) -> tuple[Array, Array | None]:
  """A consumer's matrix, and samples of what its rows see in all its calls.

  Returns:
    (rows, columns) and (samples, rows); where that would be too many rows, its
    channels with the columns of all taps. None for samples that cannot be had.
  """
  op = member.node.op
  matrix = op.matrix(params)
  reads = [values.get(call.inputs[0]) for call in member.calls]
  if any(value is None for value in reads) or not supports(op):
    return matrix, None
  layer = graph.layers[member.node.path]
  too_many = isinstance(op, Conv) and len(matrix) > MOST_ROWS
  if too_many or shares_taps(op, layer):
    by_channel = _by_channel(matrix, len(op.padded))
    return by_channel, np.concatenate([channel_samples(x) for x in reads])
  parts = [
    row_samples(call.op, layer, value, 0)
    for call, value in zip(member.calls, reads, strict=True)
  ]
  return matrix, np.concatenate(parts)


def taps_apart(member: Member, params: Params, rows: int) -> int:
  """How many taps each of so many rows of a fit stands for."""
  return len(member.node.op.matrix(params)) // rows


def weight_moments(member: Member, gram: Array, ridge: float) -> RowMoments:
  """Moments of a consumer's channels, were units what their weights are.

  Of a grouped convolution those of one block's.

  Args:
    member: The consumer.
    gram: Inner products of the units' incoming weights, (units, units).
    ridge: Added to the diagonal, as a fraction of its mean.
  """
  block = member.block
  moments = RowMoments.unknown(len(block.units))
  level = max(ridge * np.trace(gram) / len(gram), 1e-12)  # all may be dead
  gram = gram + level * np.eye(len(gram))
  for channels in block.places.T:
    moments.covariance[np.ix_(channels, channels)] = gram
  return moments


def _is_centred(graph: Graph, member: Member) -> bool:
  """Whether a bias, or batch normalization behind, can take the means.

  Not behind a transposed convolution: each position sees its own taps.
  """
  op = member.node.op
  takes = op.bias is not None or _scale_behind(graph, member) is not None
  return takes and not isinstance(op, ConvTranspose)


def _by_channel(matrix: Array, taps: int) -> Array:
  """(taps * channels, m) as (channels, taps * m)."""
  columns = matrix.shape[1]
  return (
    matrix.reshape(taps, -1, columns)
    .transpose(1, 0, 2)
    .reshape(-1, taps * columns)
  )


def _by_row(matrix: Array, taps: int) -> Array:
  """The reverse of `_by_channel`."""
  channels = len(matrix)
  return (
    matrix.reshape(channels, taps, -1)
    .transpose(1, 0, 2)
    .reshape(taps * channels, -1)
  )


def _scale_behind(graph: Graph, member: Member) -> Scale | None:
  """The batch normalization that alone reads what a consumer makes."""
  readers = [
    [node for node in graph.nodes if call.outputs[0] in node.inputs]
    for call in member.calls
  ]
  scales = {node.op for nodes in readers for node in nodes}
  alone = all(len(nodes) == 1 for nodes in readers) and len(scales) == 1
  (scale, *_) = (*scales, None)
  return scale if alone and isinstance(scale, Scale) else None
