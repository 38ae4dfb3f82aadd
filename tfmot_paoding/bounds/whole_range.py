"""Walks a graph with bounds: of values, of changes, and of gains.

The walk knows no arithmetic and the operations know no graph. Everything is
float64 and rounded outwards where sums are long; what overflows is unbounded.
Arrays broadcast to their value's shape: see `ops.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tfmot_paoding.bounds.joint_difference import difference_of_entries
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import (
  Gain,
  Op,
  Params,
  Product,
)

Array = np.ndarray
T = TypeVar('T')


def operand(op: Op, sources: Sequence[T]) -> T | tuple[T, ...]:
  """What an operation's methods take: all inputs, or the only one."""
  return tuple(sources) if op.joins else sources[0]


@intervals.overflow_opens
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


@intervals.overflow_opens
def output_gain(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  wanted: Collection[int] = (),
  weights: Array | None = None,
) -> list[Gain | None]:
  """How far the model's outputs move per unit of movement of every value.

  One backward pass, linear in the change: sound for changes that lie in
  [-a, b] with a, b >= 0, as every change by a merge does. Behind a recurrence
  of many steps it may be an order alone, no bound.

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


@intervals.overflow_opens
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
