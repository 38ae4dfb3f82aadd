"""What least squares need of a network: moments, and fresh statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.methods.elimination import (
  MOST_ROWS,
  Elimination,
  RowMoments,
  channel_samples,
  least_squares,
  row_samples,
  shares_taps,
)
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Member
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import heads_of, is_one_scale
from tfmot_paoding.ops import (
  Params,
  Product,
  Scale,
  WeightRef,
)

Array = np.ndarray

# Of the largest squared gradient.
_LEAST_SHARE = 1e-6


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
    model: keras.Model | Network,
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
      share of the original's variance, see `Head.distance`; infinite where an
      output is not known.
    """
    total = 0.0
    for head, found, wanted in zip(
      self._heads, self._logits(params), self._answers, strict=True
    ):
      if wanted is None or found is None:
        return float('inf')
      total += head.distance(wanted, found)
    return total

  @functools.cached_property
  def _answers(self) -> list[Array | None]:
    return self._logits(self._original)

  @functools.cached_property
  def _scales(self) -> list[Array] | None:
    """Each output's deviations; None where all are much alike."""
    if any(logits is None for logits in self._answers):
      return None
    found = [
      np.sqrt(head.variance(logits))
      for head, logits in zip(self._heads, self._answers, strict=True)
    ]
    spreads = np.concatenate([scale.ravel() for scale in found])
    return None if is_one_scale(self._heads, spreads) else found

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
    """A consumer's weights, ready to lose units.

    Errors count by what they move of the outputs, each in units of its own
    deviation, where a model's answers are of several scales.
    """
    centred, scale = _is_centred(graph, member), _scale_behind(graph, member)
    seen = rows_seen(graph, params, member, values)
    moments = [RowMoments(x, self._settings.ridge, centred) for _, x in seen]
    weights = None
    if scale is not None and sum(len(matrix[0]) for matrix, _ in seen) == len(
      member.node.op.matrix(params)[0]
    ):
      spread = np.concatenate(
        [
          (matrix * (part.covariance @ matrix)).sum(0)
          for (matrix, _), part in zip(seen, moments, strict=True)
        ]
      )
      gamma = 1.0 if scale.gamma is None else params[scale.gamma]
      weights = np.abs(gamma) / np.sqrt(np.maximum(spread, 1e-12))
    if self._scales is not None:
      weights = self._sensitivity(params, member)
    return ConsumerFit(params, member, moments, alive, weights)

  def _sensitivity(self, params: Params, member: Member) -> Array:
    """How far an error of each of a consumer's columns moves the outputs.

    Returns:
      Shape (columns,): the root of the mean squared gradient, positions
      summed up, of the outputs in units of their deviation.
    """
    columns = member.node.op.matrix(params).shape[1]
    found = np.zeros(columns)
    for call in member.calls:
      found += self._simulation.squared_gradient(
        params, call.outputs[0], self._heads, self._scales, columns
      )
    if not (np.isfinite(found).all() and found.any()):
      return np.ones(columns)
    # A column that no sample wakes is not worth nothing.
    return np.sqrt(np.maximum(found, _LEAST_SHARE * found.max()))

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
    before = rows_seen(graph, params[0], member, values[0])
    after = rows_seen(graph, params[1], member, values[1])
    size = len(before[0][0])
    taps = taps_apart(member, params[0], size)
    rows = member.block.places if taps > 1 else member.rows
    matrices, shifts = [], []
    for (wanted, old), (start, new) in zip(before, after, strict=True):
      matrix, shift = least_squares(
        wanted,
        start,
        old,
        new,
        np.setdiff1d(np.arange(size), rows[~alive].ravel()),
        self._settings.ridge,
        _is_centred(graph, member),
      )
      matrices.append(_by_row(matrix, taps))
      shifts.append(shift.reshape(taps, -1).sum(0))
    return Refitted(
      member.node.op, np.concatenate(matrices, 1), np.concatenate(shifts)
    )

  def refreshed(self, graph: Graph, params: Params) -> dict[WeightRef, Array]:
    """Batch norm statistics, moved as those of the samples have moved.

    Args:
      graph: The graph that `params` belong to.
      params: The pruned weights.
    """
    now, found = self._simulation.statistics(params), {}
    for node in graph.nodes:
      op = node.op
      if op.statistics is None or op.mean not in now:
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
  stands for all taps. Each block of a grouped convolution sees channels of its
  own and is fitted by itself.

  Args:
    params: The network's weights.
    member: The consumer.
    moments: Of its rows, or of its channels; one for each block, or one for
      all of them.
    alive: Which units are still there.
    weights: What an error of each column counts; None for 1.

  Attributes:
    op: The consumer.
    parts: The fit of each block.
  """

  def __init__(
    self,
    params: Params,
    member: Member,
    moments: Sequence[RowMoments],
    alive: Array,
    weights: Array | None = None,
  ):
    self.op = member.node.op
    matrix = self.op.matrix(params)
    self._taps = taps_apart(member, params, len(moments[0].mean))
    rows = member.block.places if self._taps > 1 else member.rows
    self.parts = []
    columns = np.arange(matrix.shape[1])
    for chosen, part in zip(
      np.split(columns, len(moments)), moments, strict=True
    ):
      own = matrix[:, chosen]
      if self._taps > 1:
        own = _by_channel(own, self._taps)
      counts = np.ones(own.shape[1])
      if weights is not None:
        counts = np.tile(weights[chosen], self._taps)
      self.parts.append(Elimination(own, rows, part, counts, alive))

  def eliminate(self, unit: int) -> None:
    """Takes a unit out and re-fits the rest."""
    for part in self.parts:
      part.eliminate(unit)

  def merge(self, unit: int, twin: int) -> None:
    """Takes a unit out; one that equals it takes over all it feeds."""
    for part in self.parts:
      part.merge(unit, twin)

  @property
  def matrix(self) -> Array:
    """The consumer's matrix as it is now."""
    return np.concatenate(
      [_by_row(part.matrix, self._taps) for part in self.parts], 1
    )

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, (columns,)."""
    return np.concatenate(
      [part.shift.reshape(self._taps, -1).sum(0) for part in self.parts]
    )


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
) -> list[tuple[Array, Array]]:
  """A consumer's matrix, and samples of what its rows see in all its calls.

  Args:
    graph: The network's graph.
    params: Its weights.
    member: The consumer.
    values: Samples of what consumers read, with a batch axis, by value.

  Returns:
    (rows, columns) and (samples, rows) of each block of a grouped convolution,
    of all else one such pair; where that would be too many rows, its channels
    with the columns of all taps.
  """
  op, layer = member.node.op, graph.layers[member.node.path]
  blocks, found = op.kernel_axes().blocks, []
  reads = [np.split(values[c.inputs[0]], blocks, -1) for c in member.calls]
  for k, matrix in enumerate(np.split(op.matrix(params), blocks, 1)):
    parts = [blocks_read[k] for blocks_read in reads]
    too_many = op.taps > 1 and len(matrix) > MOST_ROWS
    if too_many or shares_taps(op, layer):
      matrix = _by_channel(matrix, len(matrix) // parts[0].shape[-1])
      rows = [channel_samples(part) for part in parts]
    else:
      rows = [
        row_samples(call.op, layer, part, 0)
        for call, part in zip(member.calls, parts, strict=True)
      ]
    found.append((matrix, np.concatenate(rows)))
  return found


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
  covariance = np.eye(len(block.units))
  level = max(ridge * np.trace(gram) / len(gram), 1e-12)  # all may be dead
  gram = gram + level * np.eye(len(gram))
  for channels in block.places.T:
    covariance[np.ix_(channels, channels)] = gram
  return RowMoments.of_covariance(covariance)


def _is_centred(graph: Graph, member: Member) -> bool:
  """Whether a bias, or batch normalization behind, can take the means.

  Not behind a transposed convolution: each position sees its own taps.
  """
  op = member.node.op
  takes = op.bias is not None or _scale_behind(graph, member) is not None
  return takes and not op.taps_vary


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
  return scale if alone and scale.normalizes else None
