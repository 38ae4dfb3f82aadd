"""Walks a graph with bounds: of values, of changes, and of gains.

The walk knows no arithmetic and the operations know no graph. Everything is
float64 and rounded outwards where sums are long; what overflows is unbounded.
Arrays broadcast to their value's shape: see `ops.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval, over_positions
from tfmot_paoding.ops import (
  Concatenate,
  Gain,
  Op,
  Params,
  Product,
  Reshape,
  WeightedSum,
  WeightRef,
)

Array = np.ndarray
T = TypeVar('T')


# Overflow is no accident to warn of: it opens the bound, see `outward`.
_overflow_opens = np.errstate(over='ignore', invalid='ignore')


def operand(op: Op, sources: Sequence[T]) -> T | tuple[T, ...]:
  """What an operation's methods take: all inputs, or the only one."""
  return tuple(sources) if op.joins else sources[0]


@_overflow_opens
def propagate(
  graph: Graph, params: Params, boxes: Sequence[Interval]
) -> list[Interval | None]:
  """Bounds of every value for inputs in the given boxes.

  Args:
    graph: The model's graph.
    params: Its weights.
    boxes: Bounds of each input, of its shape without the batch axis.

  Returns:
    Bounds by value; None behind an operation that is not known.
  """
  found: list[Interval | None] = [None] * len(graph.shapes)
  for value, box in zip(graph.inputs, boxes, strict=True):
    found[value] = intervals.compressed(box)
  for node in graph.nodes:
    sources = [found[value] for value in node.inputs]
    if _is_closed(node.op, sources):
      continue
    found[node.outputs[0]] = node.op.bounds(params, operand(node.op, sources))
  return found


def propagate_constants(graph: Graph, params: Params) -> list[Array | None]:
  """The entries that no input can change, by value.

  Returns:
    Arrays that broadcast to each value's shape, NaN where an entry varies;
    None behind an operation that is not known.
  """
  found: list[Array | None] = [None] * len(graph.shapes)
  for value in graph.inputs:
    shape = graph.shapes[value]
    found[value] = np.full((*(1,) * len(shape[:-1]), *shape[-1:]), np.nan)
  for node in graph.nodes:
    sources = [found[value] for value in node.inputs]
    if not _is_closed(node.op, sources):
      found[node.outputs[0]] = node.op.constant(
        params, operand(node.op, sources)
      )
  return found


def output_gain(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  wanted: Collection[int] = (),
  weights: Array | None = None,
) -> list[Gain | None]:
  """How far the model's outputs move per unit of movement of every value.

  One backward pass, linear in the change: sound for changes that lie in
  [-a, b] with a, b >= 0, as every change by a merge does.

  Args:
    graph: The model's graph.
    params: Its weights.
    bounds: Bounds of every value, from `propagate`, on both sides of the
      change (which small changes leave nearly as they are).
    wanted: The values whose gains are wanted; the pass stops when it has
      them. None given: all but the model's inputs.
    weights: If given, shape (outputs,): the gains of the one sum of upward
      and downward movements with these weights, not of each output.

  Returns:
    Gains of shape (*entries, outputs) by value, the entries of the bounds of
    all the model's output tensors in one row; None where nothing known leads
    to an output, and for values that are not wanted.
  """
  found: list[Gain | None] = [None] * len(graph.shapes)
  if any(bounds[value] is None for value in graph.outputs):
    return found
  for value, start in _starting_gains(graph, bounds, weights):
    found[value] = _sum_gains(found[value], start)
  keep = set(wanted) or set(range(len(graph.shapes)))
  waiting = set(wanted) or keep - set(graph.inputs)
  for node in reversed(graph.nodes):
    waiting -= set(node.outputs)
    if not waiting:
      break
    gain = found[node.outputs[0]]
    sources = [bounds[value] for value in node.inputs]
    if gain is None or _is_closed(node.op, sources):
      continue
    back = node.op.pullback(params, gain, operand(node.op, sources))
    parts = back if node.op.joins else (back,)
    for source, part in zip(node.inputs, parts, strict=True):
      part = part.fitted(bounds[source].low.shape)
      found[source] = _sum_gains(found[source], part)
    if node.outputs[0] not in keep:
      found[node.outputs[0]] = None  # wide networks have large ones
  return [gain if v in keep else None for v, gain in enumerate(found)]


def _starting_gains(
  graph: Graph, bounds: Sequence[Interval], weights: Array | None
) -> list[tuple[int, Gain]]:
  """Each output's gain upon itself."""
  shapes = [bounds[value].low.shape for value in graph.outputs]
  sizes = [int(np.prod(shape)) for shape in shapes]
  total, start, found = sum(sizes), 0, []
  for value, shape, size in zip(graph.outputs, shapes, sizes, strict=True):
    if weights is None:
      up = np.zeros((size, total))
      up[np.arange(size), start + np.arange(size)] = 1.0
    else:
      up = weights[start : start + size, None]
    gain = Gain(up, np.zeros_like(up))
    found.append((value, gain.reshape(shape)))
    start += size
  return found


@_overflow_opens
def propagate_change(
  graph: Graph,
  before: Params,
  after: Params,
  bounds_before: Sequence[Interval | None],
  bounds_after: Sequence[Interval | None],
  merges: Mapping[int, Array] | None = None,
) -> list[Interval | None]:
  """Bounds of value(after) - value(before), both seeing the same input.

  ReluDiff's idea (Paulsen et al. 2020, arXiv 2001.03662): differences are
  propagated as such, never as the gap between two separate bounds.

  Args:
    graph: The graph that both sets of weights fit.
    before: The original weights.
    after: The changed weights.
    bounds_before: Bounds of every value under `before`.
    bounds_after: Bounds of every value under `after`.
    merges: For the input value of a consumer, (channels,) the channel that
      each was merged into, or -1. It only makes the bound tighter: sound
      whatever it says.

  Returns:
    Bounds of the change by value; None behind an operation not known.
  """
  found: list[Interval | None] = [None] * len(graph.shapes)
  for value in graph.inputs:
    found[value] = intervals.zeros(bounds_before[value].low.shape)
  for node in graph.nodes:
    op, target = node.op, node.outputs[0]
    if _is_closed(op, [found[value] for value in node.inputs]):
      continue
    d, x, y = (
      operand(op, [bounds[value] for value in node.inputs])
      for bounds in (found, bounds_before, bounds_after)
    )
    change = op.difference(after, d, x, y)
    if _moved_weights(node, before, after):
      if op.consumes_units and op.kernel_axes().blocks == 1:
        merged = None if merges is None else merges.get(node.inputs[0])
        pairs = _pair_bounds(
          graph, before, bounds_before, node.inputs[0], merged
        )
        moved = _product_change(op, before, after, x, pairs)
      else:
        moved = op.changed(before, after, x)
      change = intervals.add(change, moved)
    apart = intervals.subtract(bounds_after[target], bounds_before[target])
    found[target] = intervals.intersect(change, apart)
  return found


@_overflow_opens
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


def _is_closed(op: Op, sources: Sequence[Interval | Array | None]) -> bool:
  """Whether nothing can be said of what an operation makes."""
  return not op.known or any(source is None for source in sources)


def _sum_gains(a: Gain | None, b: Gain) -> Gain:
  return b if a is None else Gain(a.up + b.up, a.down + b.down)


def _moved_weights(node: Node, before: Params, after: Params) -> bool:
  return any(
    before[ref] is not after[ref]
    and not np.array_equal(before[ref], after[ref])
    for ref in node.op.weights()
  )


def _pair_bounds(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  value: int,
  merged: Array | None,
) -> tuple[Array, Array, Interval] | None:
  """The merged channels, their keepers, and bounds of keeper - merged."""
  if merged is None:
    return None
  gone = np.flatnonzero(merged >= 0)
  if not gone.size:
    return None
  kept = merged[gone]
  gap = difference_of_entries(graph, params, bounds, value, kept, gone)
  return gone, kept, gap


def _product_change(
  op: Product,
  before: Params,
  after: Params,
  x: Interval,
  pairs: tuple[Array, Array, Interval] | None,
) -> Interval:
  """Bounds of rows(x) (W' - W) + b' - b.

  Merged channels contribute v_j (x_i - x_j), bounded jointly; whatever of
  W' - W merges do not explain sees x itself.
  """
  old = op.matrix(before)
  rest = op.matrix(after) - old
  shift = op.offset(after) - op.offset(before)
  if pairs is None:
    return intervals.affine(op.rows(x), rest, shift)
  gone, kept, gap = pairs
  channels = x.low.shape[-1]
  moved = old[op.rows_of(gone, channels).T]  # (taps, merged, units)
  for rows, one in zip(op.rows_of(kept, channels).T, moved, strict=True):
    np.subtract.at(rest, rows, one)
  for rows, one in zip(op.rows_of(gone, channels).T, moved, strict=True):
    np.add.at(rest, rows, one)
  # Rounding leaves dust where a merge explains a row exactly.
  seen = op.rows(gap)
  return intervals.add(
    intervals.affine(op.rows(x), rest, shift),
    intervals.affine(seen, moved.reshape(-1, moved.shape[-1])),
  )
