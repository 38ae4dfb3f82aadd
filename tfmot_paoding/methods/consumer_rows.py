"""The rows of a consumer, and samples of what they see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfmot_paoding.methods.elimination import (
  MOST_ROWS,
  RowMoments,
  channel_samples,
  row_samples,
  shares_taps,
)
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Member
from tfmot_paoding.ops import Params

Array = np.ndarray


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
  op = member.node.op
  blocks, found = op.kernel_axes().blocks, []
  reads = [np.split(values[c.inputs[0]], blocks, -1) for c in member.calls]
  for k, matrix in enumerate(np.split(op.matrix(params), blocks, 1)):
    parts = [blocks_read[k] for blocks_read in reads]
    too_many = op.taps > 1 and len(matrix) > MOST_ROWS
    if too_many or shares_taps(op):
      matrix = by_channel(matrix, len(matrix) // parts[0].shape[-1])
      rows = [channel_samples(part) for part in parts]
    else:
      rows = [
        row_samples(call.op, part, 0)
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


def by_channel(matrix: Array, taps: int) -> Array:
  """(taps * channels, m) as (channels, taps * m)."""
  columns = matrix.shape[1]
  return (
    matrix.reshape(taps, -1, columns)
    .transpose(1, 0, 2)
    .reshape(-1, taps * columns)
  )


def by_row(matrix: Array, taps: int) -> Array:
  """The reverse of `by_channel`."""
  channels = len(matrix)
  return (
    matrix.reshape(channels, taps, -1)
    .transpose(1, 0, 2)
    .reshape(taps * channels, -1)
  )
