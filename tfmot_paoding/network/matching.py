"""Which of the original's units a pruned model still has, and what it merged.

Read off the weights of two models of one structure. A wrong guess costs
tightness of a bound, never soundness.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path, view_between, with_all_units
from tfmot_paoding.network.chains import multiplied_out
from tfmot_paoding.network.graph import Graph, build_graph, read_params
from tfmot_paoding.network.groups import Grouping, Member, find_groups
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.ordered_match import ordered_match
from tfmot_paoding.ops import Params, Product, WeightAxes, WeightRef, last_axis

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two models of one structure on the original's graph.

  Attributes:
    graph: The original's graph.
    grouping: Its groups.
    before: The original's weights.
    after: The pruned model's, of the same shapes.
  """

  graph: Graph
  grouping: Grouping
  before: Params
  after: Params

  def merges(self) -> dict[int, Array]:
    """See `recover_merges`."""
    return recover_merges(self.graph, self.grouping, self.before, self.after)


def pair_models(original: keras.Model, pruned: keras.Model) -> Pair:
  """The two models' weights, laid out alike.

  Args:
    original: The model before pruning.
    pruned: The wrapped, stripped or compact model, fine-tuned or not; chains
      of thinner layers are multiplied out.

  Raises:
    ValueError: the two differ in structure.
  """
  networks = Network.of(original), Network.of(pruned)
  graph, other = (network.graph for network in networks)
  views = _views(graph, other)
  if any(views != one.views for one in (graph, other)):
    graph, other = (build_graph(one.model, views) for one in networks)
  before, chains = read_params(graph), multiplied_out(graph, other)
  other, after = chains.graph, chains.params
  after = _with_all_channels(graph, before, after)
  check_twins(graph, other)
  grouping = find_groups(graph)
  after = scatter(graph, grouping, before, after)
  return Pair(graph, grouping, before, _widened(graph, other, after))


def _views(graph: Graph, other: Graph) -> dict[Path, str]:
  """What units have gone of layers that leave a choice.

  By their sizes; where these are the same, by the wrappers of the pruned model.
  """
  return {
    path: (path in other.layers and _between(graph, other, path)) or view
    for path, view in (graph.views | other.views).items()
  }


def _between(graph: Graph, other: Graph, path: Path) -> str | None:
  return view_between(graph.layers[path], other.layers[path])


def _with_all_channels(graph: Graph, before: Params, after: Params) -> Params:
  """A pruned model's weights, where layers have lost units of several views.

  Those of other views than the graph's are put back, with zeros for weights.
  """
  found = dict(after)
  for path in graph.views:
    refs = [ref for ref in before if ref.layer == path and ref in after]
    one, two = (
      {ref.name: params[ref] for ref in refs} for params in (before, after)
    )
    wide = with_all_units(graph.layers[path], graph.views[path], one, two)
    found |= {ref: wide[ref.name] for ref in refs}
  return found


def check_twins(graph: Graph, other: Graph) -> None:
  """Raises unless two graphs compute the same of the same.

  Raises:
    ValueError: they differ in structure; the first place is named.
  """
  if are_twins(graph, other):
    return
  both = zip(_structure(graph), _structure(other), strict=False)
  gap = next((a for a, b in both if a != b), None)
  where = f', first at {"/".join(gap[0])!r}' if gap else ''
  raise ValueError(
    f'`original` and `pruned` differ in structure{where}. Pass a model and '
    'what pruning made of it.'
  )


def are_twins(graph: Graph, other: Graph) -> bool:
  """Whether two graphs compute the same of the same, whatever their sizes."""
  same = _structure(graph) == _structure(other)
  return same and graph.outputs == other.outputs


def counterparts(graph: Graph, other: Graph) -> dict[int, int]:
  """Which value of another graph stands where each of a graph's does.

  Of twins all; where the other has more layers, what layers of the same paths
  give, call by call, at the same positions; none where some are missing.

  Args:
    graph: The original's.
    other: That of what was made of it.
  """
  if are_twins(graph, other):
    return {value: value for value in range(len(graph.shapes))}
  ours, theirs = (_given(one) for one in (graph, other))
  if not ours.keys() <= theirs.keys():
    return {}
  return {
    value: theirs[place]
    for place, value in ours.items()
    if graph.shapes[value][:-1] == other.shapes[theirs[place]][:-1]
  }


def _given(graph: Graph) -> dict[tuple[Path, int, int], int]:
  """What layers give, by path, number of the call and of the output."""
  found: dict[tuple[Path, int, int], int] = {}
  counts: dict[Path, int] = {}
  for call in graph.layer_calls:
    number = counts[call.path] = counts.get(call.path, -1) + 1
    for k, value in enumerate(call.outputs):
      found[call.path, number, k] = value
  return found


def _structure(graph: Graph) -> list[tuple]:
  """What each node computes of what, its weights and sizes aside."""
  return [
    (node.path, node.op.function(), node.inputs, node.outputs)
    for node in graph.nodes
  ]


def _widened(graph: Graph, other: Graph, params: Params) -> Params:
  """A compact model's weights as they measure zeros in places that are gone.

  Args:
    graph: The original's graph.
    other: The compact model's.
    params: Its weights at the original's shapes.

  Raises:
    ValueError: a layer adds another epsilon than its size explains.
  """
  found = dict(params)
  for node, twin in zip(graph.nodes, other.nodes, strict=True):
    if not node.op.rescales:
      continue
    value = node.inputs[0]
    few, many = (g.shapes[value][-1] for g in (other, graph))
    made = twin.op.rescaled(params, few, many)
    if made.width != node.op.rescaled(params, many, many).width:
      raise ValueError(
        f'Layer {"/".join(node.path)!r} measures '
        f'{made.width or many} channels in the pruned model, as many zeros '
        'among them as its size leaves, and another number in the original. '
        'Pass a model and what pruning made of it.'
      )
    if made.epsilon is not None and not np.isclose(
      made.epsilon, node.op.epsilon, rtol=1e-4, atol=0.0
    ):
      raise ValueError(
        f'Layer {"/".join(node.path)!r} has the epsilon {twin.op.epsilon:.3g} '
        f'in the pruned model, {node.op.epsilon:.3g} in the original: its size '
        'does not explain that. Pass a model and what pruning made of it.'
      )
    if few < many:
      found |= made.weights
  return found


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
  if all(value.shape == before[ref].shape for ref, value in after.items()):
    return dict(after)
  flags = _kept_units(graph, grouping, before, after)
  found = {}
  for node in graph.nodes:
    keep = [
      flags[last_axis(grouping.units[value])]
      if last_axis(grouping.units[value]) is not None
      else None
      for value in (node.inputs[0], node.outputs[0])
    ]
    weights = node.op.weights()
    for ref in node.op.own_weights:
      found[ref] = _spread(after[ref], before[ref], weights[ref], *keep)
  for ref, value in found.items():
    if value is None:
      raise ValueError(
        f'Weight {ref.name!r} of layer {"/".join(ref.layer)!r} has shape '
        f'{after[ref].shape} in the pruned model, {before[ref].shape} in the '
        'original: it is not a pruned form of the same model.'
      )
  return found


def _kept_units(
  graph: Graph, grouping: Grouping, before: Params, after: Params
) -> Array:
  """Which units the pruned model still has, by number; for -1 as index, True.

  Raises:
    ValueError: a layer has more units in the pruned model.
  """
  sizes = [group.size for group in grouping.groups]
  starts = np.cumsum([0, *sizes])
  flags, known = np.ones(starts[-1] + 1, bool), np.zeros(starts[-1] + 1, bool)
  known[-1] = True
  for group, start in zip(grouping.groups, starts, strict=False):
    node = group.producers[0].node
    op = node.op
    columns = last_axis(grouping.units[node.outputs[0]])
    incoming = last_axis(grouping.units[node.inputs[0]])
    old = _signature(before, op)
    if incoming is not None and op.consumes_units:
      old = old[_kept_rows(op, flags[incoming], len(old))]
    new = _signature(after, op)
    if len(old) != len(new):
      continue  # the shapes will say so
    run = op.weights()[op.kernel].outgoing_run
    old, new, columns = _runs(old, run), _runs(new, run), columns[::run]
    count, in_rows = _columns_each(columns)
    if new.shape[1] % count == 0:
      # Units of several columns: each is matched by all of them.
      old, new = (_stacked(part, count, in_rows) for part in (old, new))
      columns = _stacked(columns[None], count, in_rows)[0]
    kept = match_units(
      old, new, group.name, known[columns] & flags[columns], ~flags[columns]
    )
    flags[start : start + group.size] = np.isin(
      np.arange(start, start + group.size), columns[kept]
    )
    known[start : start + group.size] = True
  return flags


def _columns_each(columns: Array) -> tuple[int, bool]:
  """How many columns each unit of a producer has, and how they lie.

  Args:
    columns: The unit of each column.

  Returns:
    The number, and whether they lie side by side, unit after unit, and not in
    blocks of all units; 1 where neither holds.
  """
  count = int(np.bincount(columns[columns >= 0]).max())
  width, rest = divmod(len(columns), count)
  if not rest and np.array_equal(columns, np.tile(columns[:width], count)):
    return count, False
  if not rest and np.array_equal(columns, np.repeat(columns[::count], count)):
    return count, True
  return 1, False


def _runs(signature: Array, run: int) -> Array:
  """Columns of one unit one under the other, (d * run, columns / run)."""
  rows = signature.reshape(len(signature), -1, run)
  return rows.transpose(0, 2, 1).reshape(len(signature) * run, -1)


def _stacked(signature: Array, count: int, side_by_side: bool) -> Array:
  """A unit's columns one under the other, (d * count, columns / count)."""
  if side_by_side:
    parts = [signature[:, k::count] for k in range(count)]
  else:
    parts = np.split(signature, count, axis=1)
  return np.concatenate(parts)


def _kept_rows(op: Product, channels: Array, size: int) -> Array:
  """Which rows of a signature are left when some input channels go."""
  rows = op.rows_of(np.arange(len(channels)), len(channels))
  kept = np.zeros(size, bool)
  kept[rows[channels].ravel()] = True
  kept[-1] = True  # the bias
  return kept


def match_units(
  original: Array,
  pruned: Array,
  name: Any,
  must: Array | None = None,
  never: Array | None = None,
) -> Array:
  """Which of the original's units the pruned model's are.

  The order-preserving match of least total distance, by dynamic programming.

  Args:
    original: Incoming weights and bias of n units, shape (d, n).
    pruned: The same of the k units that are left, shape (d, k).
    name: The group's, for errors.
    must: Units known to be left, shape (n,).
    never: Units known to be gone, shape (n,).

  Returns:
    The original number of each unit left, ascending, shape (k,).

  Raises:
    ValueError: the pruned model has more units than the original.
  """
  numbers = np.arange(original.shape[1])
  if never is not None:
    numbers = numbers[~never]
    original = original[:, ~never]
    must = None if must is None else must[~never]
  count, left = original.shape[1], pruned.shape[1]
  if left > count:
    raise ValueError(
      f'Layer {"/".join(name)!r} has {left} units in the pruned model, but '
      f'only {count} in the original.'
    )
  squares = np.square(original).sum(0) - 2 * (pruned.T @ original)
  cost = squares + np.square(pruned).sum(0)[:, None]
  if must is not None and must.any():
    cost -= must * (1 + (cost.max(initial=0) - cost.min(initial=0)) * left)
  return numbers[ordered_match(cost)]


def recover_merges(
  graph: Graph, grouping: Grouping, before: Params, after: Params
) -> dict[int, Array]:
  """Reads off the weights which entry each removed entry was merged into.

  A merge adds the removed unit's row to its keeper's. For each removed row,
  the keeper whose change it explains best is taken; a wrong guess costs
  tightness, not soundness.

  Args:
    graph: The graph.
    grouping: The groups.
    before: The original weights.
    after: The changed weights, of the same shapes.

  Returns:
    For each consumer's input value, (entries,) the keeper's entry or -1.
  """
  found: dict[int, Array] = {}
  for group in grouping.groups:
    for member in group.consumers:
      keepers = _keepers(graph, member, before, after)
      for value in (call.inputs[0] for call in member.calls):
        # Units of other groups in the same tensor have keepers of their own.
        found[value] = np.maximum(found.get(value, -1), keepers)
  return found


def _keepers(
  graph: Graph, member: Member, before: Params, after: Params
) -> Array:
  op = member.node.op
  channels = graph.shapes[member.node.inputs[0]][-1]
  rows = op.rows_of(np.arange(channels), channels)
  old, new = (
    op.matrix(params)[rows].reshape(channels, -1) for params in (before, after)
  )
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


def _signature(params: Params, op: Any) -> Array:
  """Incoming weights and bias of each unit, shape (d + 1, units)."""
  matrix = op.matrix(params)
  bias = np.broadcast_to(op.offset(params), matrix.shape[1:])
  return np.vstack([matrix, bias])


def _spread(
  value: Array,
  like: Array,
  axes: WeightAxes,
  incoming: Array | None,
  outgoing: Array | None,
) -> Array | None:
  """A compact weight laid out at its original places; None if it fits none.

  Elsewhere zeros; statistics that no mask zeroes keep their original value,
  so that scales stay finite: a removed unit's gamma or column is zero anyway.
  """
  wide = np.zeros_like(like) if axes.masked else np.array(like)
  index = [np.arange(size) for size in like.shape]
  if axes.incoming is not None and incoming is not None:
    index[axes.incoming] = np.flatnonzero(axes.along_incoming(incoming))
  if axes.outgoing is not None and outgoing is not None:
    index[axes.outgoing] = np.flatnonzero(axes.along_outgoing(outgoing))
  place = np.ix_(*index)
  if wide[place].shape != value.shape:
    return None
  wide[place] = value
  return wide
