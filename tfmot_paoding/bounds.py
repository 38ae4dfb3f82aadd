"""Walks a graph with bounds: of values, of changes, and of gains.

The walk knows no arithmetic and the operations know no graph. Everything is
float64 and rounded outwards where sums are long; what overflows is unbounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tfmot_paoding import intervals
from tfmot_paoding.graph import Graph, Node
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops import Gain, MatMul, Opaque, Params, Reshape, WeightRef

Array = np.ndarray


# Overflow is no accident to warn of: it opens the bound, see `outward`.
_overflow_opens = np.errstate(over='ignore', invalid='ignore')


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
    found[value] = box
  for node in graph.nodes:
    sources = [found[value] for value in node.inputs]
    if isinstance(node.op, Opaque) or None in sources:
      continue
    found[node.outputs[0]] = node.op.bounds(params, *sources)
  return found


def propagate_constants(graph: Graph, params: Params) -> list[Array | None]:
  """The entries that no input can change, by value.

  Returns:
    Arrays of each value's shape, NaN where an entry varies; None behind an
    operation that is not known.
  """
  found: list[Array | None] = [None] * len(graph.shapes)
  for value in graph.inputs:
    found[value] = np.full(graph.shapes[value], np.nan)
  for node in graph.nodes:
    source = found[node.inputs[0]]
    if source is not None and not isinstance(node.op, Opaque):
      found[node.outputs[0]] = node.op.constant(params, source)
  return found


def output_gain(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  wanted: Collection[int] = (),
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

  Returns:
    Gains of shape (entries, outputs) by value, the outputs of all the model's
    output tensors in one row; None where nothing known leads to an output,
    and for values that are not wanted.
  """
  found: list[Gain | None] = [None] * len(graph.shapes)
  total = sum(int(np.prod(graph.shapes[value])) for value in graph.outputs)
  start = 0
  for value in graph.outputs:
    size = int(np.prod(graph.shapes[value]))
    up = np.zeros((size, total))
    up[np.arange(size), start + np.arange(size)] = 1.0
    found[value] = _sum_gains(found[value], Gain(up, np.zeros_like(up)))
    start += size
  waiting = set(wanted) or set(range(len(graph.shapes))) - set(graph.inputs)
  for node in reversed(graph.nodes):
    waiting -= set(node.outputs)
    if not waiting:
      break
    gain = found[node.outputs[0]]
    if gain is None or isinstance(node.op, Opaque):
      continue
    source = node.inputs[0]
    if bounds[source] is None:
      continue
    back = node.op.pullback(params, gain, bounds[source])
    found[source] = _sum_gains(found[source], back)
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
    merges: For the input value of a consumer, (entries,) the entry that each
      entry was merged into, or -1. It only makes the bound tighter: sound
      whatever it says.

  Returns:
    Bounds of the change by value; None behind an operation not known.
  """
  found: list[Interval | None] = [None] * len(graph.shapes)
  for value in graph.inputs:
    found[value] = intervals.zeros(graph.shapes[value])
  for node in graph.nodes:
    source, target = node.inputs[0], node.outputs[0]
    if isinstance(node.op, Opaque) or found[source] is None:
      continue
    x, y = bounds_before[source], bounds_after[source]
    change = node.op.difference(after, found[source], x, y)
    moved = _moved_weights(node, before, after)
    if moved and isinstance(node.op, MatMul):
      merged = None if merges is None else merges.get(source)
      pairs = _pair_bounds(graph, before, bounds_before, source, merged)
      change = intervals.add(
        change, _matmul_change(node.op, before, after, x, pairs)
      )
    elif moved:
      # Any other operation's weights: bounded by what they do to the
      # original input, one set beside the other.
      change = intervals.add(
        change,
        intervals.subtract(node.op.bounds(after, x), node.op.bounds(before, x)),
      )
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

  Joint where the value comes from a matrix product through channelwise
  operations and reshapes: z_l - z_r = (w_l - w_r) x + b_l - b_r, then slopes
  between the two. Separate bounds where it does not. They hold at every
  position before the last axis.

  Args:
    graph: The model's graph.
    params: Its weights.
    bounds: Bounds of every value.
    value: The value.
    left: Entry numbers along its last axis, shape (pairs,).
    right: Entry numbers along its last axis, shape (pairs,).
    by_unit: Kernels laid out by unit, filled in here; kept by callers that
      ask for a few pairs at a time.

  Returns:
    Bounds of shape (pairs,).
  """
  by_unit = {} if by_unit is None else by_unit
  own = over_positions(bounds[value])
  apart = intervals.subtract(take(own, left), take(own, right))
  joint = _joint_difference(
    graph, params, bounds, value, left, right, by_unit, graph.writer()
  )
  return apart if joint is None else intervals.intersect(joint, apart)


def _joint_difference(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  value: int,
  left: Array,
  right: Array,
  by_unit: dict[WeightRef, Array],
  writers: Mapping[int, Node],
) -> Interval | None:
  """The difference seen from the product that made both entries, or None."""
  node = writers.get(value)
  if node is None:
    return None
  source = node.inputs[0]
  if isinstance(node.op, MatMul):
    x = over_positions(bounds[source])
    return product_pair_difference(node.op, params, x, left, right, by_unit)
  if isinstance(node.op, Reshape):
    # Entries of one position before it are of one position, row by row.
    size, width = graph.shapes[value][-1], graph.shapes[source][-1]
    if size % width or np.any(left // width != right // width):
      return None
    left, right = left % width, right % width
  elif not node.op.channelwise:
    return None
  joint = _joint_difference(
    graph, params, bounds, source, left, right, by_unit, writers
  )
  if joint is None or isinstance(node.op, Reshape):
    return joint
  x = over_positions(bounds[source])
  return pair_through_op(node, params, joint, x, left, right)


def product_pair_difference(
  op: MatMul,
  params: Params,
  x: Interval,
  left: Array,
  right: Array,
  by_unit: dict[WeightRef, Array] | None = None,
) -> Interval:
  """Bounds of z_left - z_right of one matrix product, shape (pairs,)."""
  by_unit = {} if by_unit is None else by_unit
  if op.kernel not in by_unit:
    by_unit[op.kernel] = np.ascontiguousarray(params[op.kernel].T)
  kernel = by_unit[op.kernel]
  low, high = np.empty((2, len(left)))
  bias = np.broadcast_to(op.offset(params), (kernel.shape[0],))
  slack = (kernel.shape[1] + 2) * np.finfo(np.float64).eps
  rows = max(1, (1 << 22) // kernel.shape[1])  # about 32 MiB at a time
  for start in range(0, len(left), rows):
    part = slice(start, start + rows)
    gap = kernel[left[part]] - kernel[right[part]]
    # The biases' difference first: it may be small beside the biases.
    shift = bias[left[part]] - bias[right[part]]
    centre = gap @ x.centre + shift
    np.abs(gap, out=gap)
    radius = gap @ (x.radius + slack * x.magnitude)
    radius += slack * (np.abs(centre) + np.abs(shift))
    low[part], high[part] = centre - radius, centre + radius
  return intervals.outward(low, high)


def pair_through_op(
  node: Node,
  params: Params,
  gap: Interval,
  x: Interval,
  left: Array,
  right: Array,
) -> Interval:
  """The bounds of x_left - x_right taken through a channelwise operation."""
  a, b = take(x, left), take(x, right)
  op = node.op
  if hasattr(op, 'slopes'):
    return intervals.multiply(gap, op.slopes(intervals.hull(a, b)))
  factor, offset = op.factor(params), op.offset(params)
  # s_l a - s_r b = s_r (a - b) + (s_l - s_r) a, or the same the other way.
  near = intervals.add(
    intervals.scale(gap, factor[right]),
    intervals.scale(a, factor[left] - factor[right]),
  )
  far = intervals.add(
    intervals.scale(gap, factor[left]),
    intervals.scale(b, factor[left] - factor[right]),
  )
  shift = offset[left] - offset[right]
  both = intervals.intersect(near, far)
  return Interval(both.low + shift, both.high + shift)


def over_positions(x: Interval) -> Interval:
  """The hull over all axes but the last, shape (entries,)."""
  axes = tuple(range(x.low.ndim - 1))
  return Interval(x.low.min(axes), x.high.max(axes))


def take(x: Interval, index: Array) -> Interval:
  """Entries of a rank 1 interval."""
  return Interval(x.low[index], x.high[index])


def _sum_gains(a: Gain | None, b: Gain) -> Gain:
  return b if a is None else Gain(a.up + b.up, a.down + b.down)


def _moved_weights(node: Node, before: Params, after: Params) -> bool:
  return any(
    not np.array_equal(before[ref], after[ref]) for ref in node.op.weights()
  )


def _pair_bounds(
  graph: Graph,
  params: Params,
  bounds: Sequence[Interval | None],
  value: int,
  merged: Array | None,
) -> tuple[Array, Array, Interval] | None:
  """The merged entries, their keepers, and bounds of keeper - merged."""
  if merged is None:
    return None
  gone = np.flatnonzero(merged >= 0)
  if not gone.size:
    return None
  kept = merged[gone]
  gap = difference_of_entries(graph, params, bounds, value, kept, gone)
  return gone, kept, gap


def _matmul_change(
  op: MatMul,
  before: Params,
  after: Params,
  x: Interval,
  pairs: tuple[Array, Array, Interval] | None,
) -> Interval:
  """Bounds of x (W' - W) + b' - b.

  Merged entries contribute v_j (x_i - x_j), bounded jointly; whatever of
  W' - W merges do not explain sees x itself.
  """
  rest = after[op.kernel] - before[op.kernel]
  shift = op.offset(after) - op.offset(before)
  if pairs is None:
    return intervals.affine(x, rest, shift)
  gone, kept, gap = pairs
  rows = before[op.kernel][gone]
  np.subtract.at(rest, kept, rows)
  np.add.at(rest, gone, rows)
  # Rounding leaves dust where a merge explains a row exactly.
  return intervals.add(
    intervals.affine(x, rest, shift), intervals.affine(gap, rows)
  )
