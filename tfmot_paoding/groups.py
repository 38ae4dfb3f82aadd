"""Channel groups: which units live or die together, and where they are used.

Every entry of every tensor carries the number of the unit it belongs to.
A producer makes new units; shape operations carry the numbers along exactly;
a consumer reads off which unit each of its rows belongs to. Units are frozen
where their removal is not understood: at the model's outputs, at operations
that the package does not know, in layers used twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfmot_paoding.graph import Graph, Node
from tfmot_paoding.layers.base import Path
from tfmot_paoding.ops import MatMul, Opaque, Reshape, Softmax, WeightRef

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Member:
  """One operation's part in a group.

  Attributes:
    node: The operation.
    units: For each entry of its channel axis (a producer's or carrier's
      output, a consumer's input), the group's unit, shape (entries,); -1 for
      an entry of another group.
  """

  node: Node
  units: Array

  @property
  def places(self) -> Array:
    """The entries of each unit, in order, shape (units, positions)."""
    order = np.argsort(self.units, kind='stable')
    order = order[self.units[order] >= 0]
    return order.reshape(self.units.max() + 1, -1)


@dataclasses.dataclass(frozen=True)
class Group:
  """Units that are removed one by one, each everywhere at once.

  Attributes:
    name: The path of the first producer.
    size: The number of units.
    producers: Whose out-channels the units are.
    carriers: What is carried along per channel.
    consumers: Whose in-channels the units are.
  """

  name: Path
  size: int
  producers: tuple[Member, ...]
  carriers: tuple[Member, ...]
  consumers: tuple[Member, ...]

  @property
  def members(self) -> tuple[Member, ...]:
    """Producers, carriers and consumers."""
    return self.producers + self.carriers + self.consumers

  def weights(self) -> Iterator[tuple[Member, WeightRef, int, bool]]:
    """Each weight that the units lie in.

    Yields:
      (the member, its weight, the axis that the units run along, whether
      removing a unit zeroes its entries).
    """
    for members, incoming in (
      (self.producers + self.carriers, False),
      (self.consumers, True),
    ):
      for member in members:
        for ref, axes in member.node.op.weights().items():
          axis = axes.incoming if incoming else axes.outgoing
          if axis is not None:
            yield member, ref, axis, axes.masked

  @property
  def paths(self) -> dict[Path, None]:
    """The layers that take part, each once."""
    return {member.node.path: None for member in self.members}


@dataclasses.dataclass(frozen=True)
class Grouping:
  """A model's groups, and the units that must be left alone.

  Attributes:
    groups: In the order of computation.
    left_alone: The reason why, for each producer that is in no group, and for
      each layer with weights that is not known.
    units: For each value, the unit number of every entry, counted on from one
      group to the next; -1 where an entry belongs to no group.
  """

  groups: tuple[Group, ...]
  left_alone: dict[Path, str]
  units: tuple[Array, ...]


class _Numbering:
  """Unit numbers, and which of them are frozen and why."""

  def __init__(self):
    self._count = 0
    self.frozen: dict[int, str] = {}

  def new(self, shape: tuple[int, ...]) -> Array:
    """New units along the last axis, the same at every position."""
    numbers = np.arange(self._count, self._count + shape[-1])
    self._count += shape[-1]
    return np.broadcast_to(numbers, shape)

  def freeze(self, units: Array, reason: str) -> None:
    """Marks units as left alone; the first reason stays."""
    for unit in np.unique(units):
      if unit >= 0:
        self.frozen.setdefault(int(unit), reason)


def find_groups(graph: Graph) -> Grouping:
  """The channel groups of a graph.

  Args:
    graph: The model's graph.

  Returns:
    The groups, and for every other layer with units why it is left alone.
  """
  numbering = _Numbering()
  values = _carry(graph, numbering)
  for value in graph.outputs:
    numbering.freeze(values[value], 'its units are outputs of the model')
  groups, left_alone, renumbered = [], {}, {}
  for node in graph.nodes:
    if isinstance(node.op, Opaque) and graph.layers[node.path].weights:
      left_alone.setdefault(node.path, node.op.reason)
    if not isinstance(node.op, MatMul) or node.path in left_alone:
      continue
    numbers = np.unique(values[node.outputs[0]])
    reason = next(
      (numbering.frozen[n] for n in numbers if n in numbering.frozen), None
    )
    if reason is None:
      group = _group_of(graph, values, node, numbers)
      reason = None if group.consumers else 'nothing reads its units'
    if reason is not None:
      left_alone[node.path] = reason
      continue
    groups.append(group)
    renumbered.update(
      {int(n): len(renumbered) + k for k, n in enumerate(numbers)}
    )
  return Grouping(
    tuple(groups),
    left_alone,
    tuple(_renumber(value, renumbered) for value in values),
  )


def _carry(graph: Graph, numbering: _Numbering) -> list[Array]:
  """The unit number of every entry of every value."""
  values: list[Array | None] = [None] * len(graph.shapes)
  for value in graph.inputs:
    values[value] = np.full(graph.shapes[value], -1)
  for node in graph.nodes:
    sources = [values[value] for value in node.inputs]
    if graph.calls[node.path] > 1:
      for source in sources:
        numbering.freeze(
          source,
          f'they feed layer {_label(node)!r}, which is used repeatedly',
        )
    carried = _carry_node(graph, numbering, node, sources)
    for value, numbers in zip(node.outputs, carried, strict=True):
      _freeze_scattered(numbering, numbers, _label(node))
      if graph.calls[node.path] > 1:
        numbering.freeze(numbers, f'layer {_label(node)!r} is used repeatedly')
      values[value] = numbers
  return values


def _carry_node(
  graph: Graph, numbering: _Numbering, node: Node, sources: list[Array]
) -> list[Array]:
  """The unit numbers of a node's outputs."""
  shapes = [graph.shapes[value] for value in node.outputs]
  op = node.op
  if isinstance(op, Opaque):
    for source in sources:
      numbering.freeze(source, op.reason)
    return [np.full(shape, -1) for shape in shapes]
  if isinstance(op, MatMul):
    if _last_axis(sources[0]) is None:
      numbering.freeze(
        sources[0], f'their channel is not the last axis at {_label(node)!r}'
      )
    return [numbering.new(shapes[0])]
  if isinstance(op, Softmax):
    numbering.freeze(
      sources[0], f'softmax in {_label(node)!r} ties them to one another'
    )
  if isinstance(op, Reshape):
    return [sources[0].reshape(op.shape)]
  return [sources[0]]


def _last_axis(numbers: Array) -> Array | None:
  """The numbers along the last axis, or None if they differ elsewhere."""
  row = numbers.reshape(-1, numbers.shape[-1])[0] if numbers.size else None
  if row is None or np.any(numbers != row):
    return None
  return row


def _freeze_scattered(
  numbering: _Numbering, numbers: Array, label: str
) -> None:
  """Freezes units whose removal would not leave a rectangular tensor."""
  varying = [
    axis
    for axis in range(numbers.ndim)
    if np.any(numbers != np.take(numbers, [0], axis=axis))
  ]
  if len(varying) > 1:
    numbering.freeze(numbers, f'{label!r} spreads them over several axes')


def _group_of(
  graph: Graph, values: list[Array], producer: Node, numbers: Array
) -> Group:
  """The group of a producer's units, wherever they are read."""
  index = {int(n): k for k, n in enumerate(numbers)}

  def member(node: Node, row: Array) -> Member:
    return Member(node, np.asarray([index.get(int(n), -1) for n in row]))

  carriers, consumers = [], []
  for node in graph.nodes:
    if not node.op.weights():
      continue
    row = _last_axis(values[node.inputs[0]])
    if row is None or not np.isin(row, numbers).any():
      continue
    kind = consumers if isinstance(node.op, MatMul) else carriers
    kind.append(member(node, row))
  row = _last_axis(values[producer.outputs[0]])
  return Group(
    name=producer.path,
    size=len(numbers),
    producers=(member(producer, row),),
    carriers=tuple(carriers),
    consumers=tuple(consumers),
  )


def _renumber(numbers: Array, renumbered: dict[int, int]) -> Array:
  if not renumbered or not numbers.size:
    return np.full(numbers.shape, -1)
  table = np.full(max(numbers.max(), max(renumbered)) + 2, -1)
  for old, new in renumbered.items():
    table[old] = new
  return table[numbers]  # -1 reads the last entry, which is -1


def _label(node: Node) -> str:
  return '/'.join(node.path)
