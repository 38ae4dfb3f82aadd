"""How far two entries of one value lie apart, seen from what made both.

Bounds of each by itself lose that both come from the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval, over_positions
from tfmot_paoding.ops import (
  Concatenate,
  Params,
  Reshape,
  WeightedSum,
  WeightRef,
)

Array = np.ndarray


@intervals.overflow_opens
def difference_of_entries(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  value: int,
  left: Array,
  right: Array,
  by_unit: dict[WeightRef, Array] | None = None,
) -> Interval:
  """Bounds of x[..., left] - x[..., right] of a value, both from one input.

  Joint where the value comes from operations that make units, through
  channelwise ones, sums, concatenations and reshapes: z_l - z_r =
  (w_l - w_r) x + b_l - b_r, then slopes between the two. Separate bounds where
  it does not. They hold at every position before the last axis.

  Args:
    graph: The model's graph.
    params: Its weights.
    bounds: Bounds of every value.
    value: The value.
    left: Channels, shape (pairs,).
    right: Channels, shape (pairs,).
    by_unit: Kernels laid out by unit, filled in here; kept by callers that
      ask for a few pairs at a time.

  Returns:
    Bounds of shape (pairs,).
  """
  by_unit = {} if by_unit is None else by_unit
  walk = _JointDifference(graph, params, bounds, by_unit)
  own = over_positions(bounds[value])
  apart = intervals.subtract(take(own, left), take(own, right))
  joint = walk(value, left, right)
  return apart if joint is None else intervals.intersect(joint, apart)


class _JointDifference:
  """The difference of two entries, seen from what made both."""

  def __init__(self, graph, params, bounds, by_unit):
    self._graph = graph
    self._params = params
    self._bounds = bounds
    self._by_unit = by_unit
    self._writers = graph.writer()

  def __call__(self, value: int, left: Array, right: Array) -> Interval | None:
    """Bounds of shape (pairs,), or None where nothing joint is known."""
    node = self._writers.get(value)
    if node is None or not node.op.known:
      return None
    op = node.op
    if op.makes_units:
      x = self._bounds[node.inputs[0]]
      return op.pair_difference(self._params, x, left, right, self._by_unit)
    if isinstance(op, WeightedSum):
      return self._sum(node, left, right)
    if isinstance(op, Concatenate):
      return self._concatenation(node, left, right)
    if isinstance(op, Reshape):
      return self._reshape(node, left, right)
    if not op.channelwise:
      return None
    source = node.inputs[0]
    from_left, from_right = op.source_of(left), op.source_of(right)
    gap = self(source, from_left, from_right)
    if gap is None:
      return None
    x = over_positions(self._bounds[source])
    a, b = take(x, from_left), take(x, from_right)
    return op.pair(self._params, gap, a, b, left, right)

  def _sum(self, node: Node, left: Array, right: Array) -> Interval | None:
    total = None
    for source, factor in zip(node.inputs, node.op.factors, strict=True):
      own = over_positions(self._bounds[source])
      if own.low.size == 1:
        return None  # one entry for all channels
      part = intervals.subtract(take(own, left), take(own, right))
      joint = self(source, left, right)
      if joint is not None:
        part = intervals.intersect(joint, part)
      part = intervals.scale(part, np.asarray(factor))
      total = part if total is None else intervals.add(total, part)
    return total

  def _concatenation(
    self, node: Node, left: Array, right: Array
  ) -> Interval | None:
    if not node.op.last:
      return None
    sizes = [self._graph.shapes[value][-1] for value in node.inputs]
    ends = np.cumsum(sizes)
    part = np.searchsorted(ends, left, side='right')
    if np.any(part != np.searchsorted(ends, right, side='right')):
      return None
    low, high = np.empty((2, len(left)))
    for k in np.unique(part):
      chosen = part == k
      start = ends[k] - sizes[k]
      found = self(node.inputs[k], left[chosen] - start, right[chosen] - start)
      if found is None:
        return None
      low[chosen], high[chosen] = found
    return Interval(low, high)

  def _reshape(self, node: Node, left: Array, right: Array) -> Interval | None:
    # Entries of one position before it are of one position, row by row.
    size = self._graph.shapes[node.outputs[0]][-1]
    width = self._graph.shapes[node.inputs[0]][-1]
    if width % size == 0:
      # The channels are divided among positions: a pair lies in each.
      starts = np.arange(0, width, size)[:, None]
      pairs = [(starts + side).ravel() for side in (left, right)]
      found = self(node.inputs[0], *pairs)
      return None if found is None else _over_blocks(found, len(starts))
    if size % width or np.any(left // width != right // width):
      return None
    codes, inverse = np.unique(
      (left % width) * width + right % width, return_inverse=True
    )
    found = self(node.inputs[0], codes // width, codes % width)
    return None if found is None else take(found, inverse)


def _over_blocks(x: Interval, blocks: int) -> Interval:
  """The hull over as many blocks of a rank 1 interval, one after another."""
  return Interval(
    x.low.reshape(blocks, -1).min(0), x.high.reshape(blocks, -1).max(0)
  )


def take(x: Interval, index: Array) -> Interval:
  """Entries of a rank 1 interval."""
  return Interval(x.low[index], x.high[index])
