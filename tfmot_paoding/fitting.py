"""What least squares need of a network: moments, and fresh statistics."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph
from tfmot_paoding.groups import Member
from tfmot_paoding.ops import Conv, Params, Scale, WeightRef
from tfmot_paoding.reconstruction import (
  MOST_ROWS,
  Elimination,
  RowMoments,
  row_samples,
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

  @property
  def refreshes(self) -> bool:
    """Whether batch norm's statistics shall follow."""
    return self._settings.refresh

  def values(self, params: Params, members: tuple[Member, ...]) -> dict:
    """The inputs of consumers on the samples, by value."""
    return self._simulation.run(params, {m.node.inputs[0] for m in members})

  def elimination(
    self,
    graph: Graph,
    params: Params,
    member: Member,
    value: Array | None,
    alive: Array,
  ) -> ConsumerFit:
    """A consumer's weights, ready to lose units."""
    return ConsumerFit(
      graph, params, member, value, alive, self._settings.ridge
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
  """

  def __init__(
    self,
    graph: Graph,
    params: Params,
    member: Member,
    value: Array | None,
    alive: Array,
    ridge: float,
  ):
    op = member.node.op
    self.op = op
    matrix, rows = op.matrix(params), member.rows
    scale = _scale_behind(graph, member)
    centred = op.bias is not None or scale is not None
    known = value is not None and supports(op)
    self._taps = 1
    if known and isinstance(op, Conv) and len(matrix) > MOST_ROWS:
      self._taps = len(op.padded)
      matrix = _by_channel(matrix, self._taps)
      rows = member.places
      samples = value.reshape(-1, value.shape[-1])[:20000].astype(float)
    elif known:
      samples = row_samples(op, graph.layers[member.node.path], value, 0)
    if known:
      moments = RowMoments(samples, ridge, centred)
    else:
      moments = RowMoments.unknown(len(matrix))
    weights = np.ones(matrix.shape[1])
    if scale is not None and self._taps == 1:
      spread = np.einsum('rm,rs,sm->m', matrix, moments.covariance, matrix)
      gamma = 1.0 if scale.gamma is None else params[scale.gamma]
      weights = np.abs(gamma) / np.sqrt(np.maximum(spread, 1e-12))
    self.fit = Elimination(matrix, rows, moments, weights, alive)

  @property
  def matrix(self) -> Array:
    """The consumer's matrix as it is now."""
    if self._taps == 1:
      return self.fit.matrix
    return _by_row(self.fit.matrix, self._taps)

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, (columns,)."""
    return self.fit.shift.reshape(self._taps, -1).sum(0)


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
    node for node in graph.nodes if member.node.outputs[0] in node.inputs
  ]
  if len(readers) == 1 and isinstance(readers[0].op, Scale):
    return readers[0].op
  return None
