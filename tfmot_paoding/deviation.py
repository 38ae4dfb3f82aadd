"""How far pruning can have moved a model's outputs, for every input in a box.

The pruned model's units are matched to the original's (by order and weights),
and merges are read off the weights; both only tighten the bound. Whatever
they miss is bounded as a plain change of weights, so the bound is sound for
any two models of one structure: the same functions, wired alike, that differ
in weights and widths alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_paoding.bounds import propagate, propagate_change
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph, build_graph, read_params
from tfmot_paoding.groups import Grouping, Member, find_groups
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops import (
  Elementwise,
  MatMul,
  Op,
  Opaque,
  Params,
  Reshape,
  WeightRef,
)
from tfmot_paoding.ranges import input_boxes

Array = np.ndarray


def deviation_bound(
  original: keras.Model, pruned: keras.Model, input_range: Any = (0.0, 1.0)
) -> Array | list[Array]:
  """A sound bound on |pruned(x) - original(x)| for every x in the box.

  Differences between the two networks are propagated as such (ReluDiff,
  Paulsen et al. 2020, arXiv 2001.03662), in float64 and rounded outwards. It
  speaks of the networks as functions of real numbers: what float32 rounds
  differently while running comes on top.

  Args:
    original: The model before pruning.
    pruned: The wrapped, stripped or compact model, fine-tuned or not.
    input_range: The range of the inputs, as in `prune_low_saliency`.

  Returns:
    The bound for each output, of the output's shape without the batch axis;
    a list of these for a model with several outputs.

  Raises:
    TypeError: an argument is no tf_keras model.
    ValueError: the two differ in structure, or an operation without known
      bounds leads to an output.
  """
  graph, other = build_graph(original), build_graph(pruned)
  before, after = read_params(graph), read_params(other)
  _check_twins(graph, other)
  shapes = [graph.shapes[value] for value in graph.inputs]
  boxes = input_boxes(original, input_range, shapes)
  grouping = find_groups(graph)
  after = scatter(graph, grouping, before, after)
  merges = recover_merges(grouping, before, after)
  change = ChangeBound(graph, before, boxes)(after, merges)
  if any(interval is None for interval in change):
    reasons = [n.op.reason for n in graph.nodes if isinstance(n.op, Opaque)]
    raise ValueError(f'No sound bound: {"; ".join(reasons)}.')
  found = [interval.magnitude for interval in change]
  return found if len(found) > 1 else found[0]


class ChangeBound:
  """Bounds each output's change from one set of weights to others.

  Args:
    graph: The graph that all the weights fit.
    before: The original weights.
    boxes: Bounds of each input.
  """

  def __init__(self, graph: Graph, before: Params, boxes: list[Interval]):
    self._graph = graph
    self._before = before
    self._boxes = boxes
    self._bounds = propagate(graph, before, boxes)

  def __call__(
    self, after: Params, merges: Mapping[int, Array]
  ) -> list[Interval | None]:
    """Bounds by output; None behind an operation without known bounds.

    Args:
      after: The changed weights.
      merges: As `bounds.propagate_change` takes them.
    """
    change = propagate_change(
      self._graph,
      self._before,
      after,
      self._bounds,
      propagate(self._graph, after, self._boxes),
      merges,
    )
    return [change[value] for value in self._graph.outputs]


def scatter(
  graph: Graph, grouping: Grouping, before: Params, after: Params
) -> dict[WeightRef, Array]:
  """A compact model's weights at the original's shapes, zeros elsewhere.

  Args:
    graph: The original's graph.
    grouping: The original's groups.
    before: The original's weights.
    after: The compact model's weights (or ones of full shape).

  Returns:
    Weights of the original's shapes that compute what `after` computes.

  Raises:
    ValueError: `after` is not a pruned form of `before`.
  """
  after = dict(after)
  for group in grouping.groups:
    producer = group.producers[0].node.op
    size = after[producer.kernel].shape[1]
    if size == group.size:
      continue
    kept = match_units(
      _signature(before, producer), _signature(after, producer), group.name
    )
    for member, ref, axis, masked in group.weights():
      entries = np.flatnonzero(np.isin(member.units, kept) | (member.units < 0))
      # Statistics that no mask zeroes keep their original value, so that the
      # scale stays finite; a removed unit's gamma or column is zero anyway.
      rest = np.zeros_like(before[ref]) if masked else before[ref]
      after[ref] = _spread(after[ref], rest, axis, entries)
  for ref, value in after.items():
    if value.shape != before[ref].shape:
      raise ValueError(
        f'Weight {ref.name!r} of layer {"/".join(ref.layer)!r} has shape '
        f'{value.shape} in the pruned model, {before[ref].shape} in the '
        'original: it is not a pruned form of the same model.'
      )
  return after


def match_units(original: Array, pruned: Array, name: Any) -> Array:
  """Which of the original's units the pruned model's are.

  The order-preserving match of least total distance, by dynamic programming.

  Args:
    original: Incoming weights and bias of n units, shape (d, n).
    pruned: The same of the k units that are left, shape (d, k).
    name: The group's, for errors.

  Returns:
    The original number of each unit left, ascending, shape (k,).

  Raises:
    ValueError: the pruned model has more units than the original.
  """
  count, left = original.shape[1], pruned.shape[1]
  if left > count:
    raise ValueError(
      f'Layer {"/".join(name)!r} has {left} units in the pruned model, but '
      f'only {count} in the original.'
    )
  squares = np.square(original).sum(0) - 2 * (pruned.T @ original)
  cost = squares + np.square(pruned).sum(0)[:, None]
  # best[j]: the least cost of matching the units so far within the first j.
  best = np.zeros(count + 1)
  taken = np.zeros((left, count + 1), bool)
  for unit in range(left):
    here = np.full(count + 1, np.inf)
    here[1:] = best[:-1] + cost[unit]
    lowest = np.minimum.accumulate(here)
    taken[unit] = here <= lowest
    best = lowest
  kept, j = np.empty(left, int), count
  for unit in reversed(range(left)):
    while not taken[unit, j]:
      j -= 1
    j -= 1
    kept[unit] = j
  return kept


def recover_merges(
  grouping: Grouping, before: Params, after: Params
) -> dict[int, Array]:
  """Reads off the weights which entry each removed entry was merged into.

  A merge adds the removed unit's row to its keeper's. For each removed row,
  the keeper whose change it explains best is taken; a wrong guess costs
  tightness, not soundness.

  Args:
    grouping: The groups.
    before: The original weights.
    after: The changed weights, of the same shapes.

  Returns:
    For each consumer's input value, (entries,) the keeper's entry or -1.
  """
  return {
    member.node.inputs[0]: _keepers(member, before, after)
    for group in grouping.groups
    for member in group.consumers
  }


def _keepers(member: Member, before: Params, after: Params) -> Array:
  op: MatMul = member.node.op
  old, new = before[op.kernel], after[op.kernel]
  alive = np.any(new != 0, axis=0)
  gone = np.flatnonzero(~new.any(1) & old.any(1) & (member.units >= 0))
  change = (new - old)[:, alive]
  kept = np.flatnonzero(new.any(1) & (member.units >= 0))
  found = np.full(len(member.units), -1)
  if not (gone.size and kept.size and alive.any()):
    return found
  change, rows = change[kept], old[np.ix_(gone, alive)]
  # Explaining v by change c lowers ||c||^2 by 2 c.v - ||v||^2.
  product = change @ rows.T
  squares = np.square(rows).sum(1)
  waiting = np.ones(len(gone), bool)
  inner = rows @ rows.T
  for _ in gone:
    gain = np.where(waiting, 2 * product - squares, -np.inf)
    keeper, row = np.unravel_index(np.argmax(gain), gain.shape)
    if gain[keeper, row] <= 0:
      break
    found[gone[row]] = kept[keeper]
    waiting[row] = False
    product[keeper] -= inner[row]
  return found


def _check_twins(graph: Graph, other: Graph) -> None:
  ours, theirs = _structure(graph), _structure(other)
  if ours != theirs or graph.outputs != other.outputs:
    gap = next((a for a, b in zip(ours, theirs, strict=False) if a != b), None)
    where = f', first at {"/".join(gap[0])!r}' if gap else ''
    raise ValueError(
      f'`original` and `pruned` differ in structure{where}. Pass a model and '
      'what pruning made of it.'
    )


def _structure(graph: Graph) -> list[tuple]:
  """What each node computes of what, its weights and sizes aside."""
  return [
    (node.path, _function(node.op), node.inputs, node.outputs)
    for node in graph.nodes
  ]


def _function(op: Op) -> Any:
  """Equal for operations that differ in sizes alone."""
  if isinstance(op, Elementwise):
    # By what it gives: two layers hold two callables for one function.
    values = op.activation.value(np.linspace(-8.0, 8.0, 33))
    return op.activation.name, op.activation.kinks, values.tobytes()
  return type(op) if isinstance(op, (Opaque, Reshape)) else op


def _signature(params: Params, op: MatMul) -> Array:
  """Incoming weights and bias of each unit, shape (d + 1, units)."""
  kernel = params[op.kernel]
  bias = np.broadcast_to(op.offset(params), kernel.shape[1:])
  return np.vstack([kernel, bias])


def _spread(value: Array, rest: Array, axis: int, entries: Array) -> Array:
  """`value` laid out along one axis at `entries`, and `rest` elsewhere.

  The other axes still have the size of `value`.
  """
  shape = list(value.shape)
  shape[axis] = rest.shape[axis]
  corner = tuple(slice(size) for size in shape)
  wide = np.array(rest[corner])
  wide[(*[slice(None)] * axis, entries)] = value
  return wide
