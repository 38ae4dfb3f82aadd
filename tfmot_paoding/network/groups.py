"""Channel groups: which units live or die together, and where they are used.

Every entry of every tensor carries the number of the unit it belongs to.
A producer makes new units; shape operations carry the numbers along exactly;
where two tensors are added, the units that meet are tied and count as one; a
consumer reads off which unit each of its rows belongs to. A layer that is
called several times has the same units in all its calls. Units are frozen
where their removal is not understood: at the model's outputs, at operations
that the package does not know. Units of which all of this is alike form a
group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfmot_paoding.layers.base import Path, resizes
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.unit_numbers import Numbering
from tfmot_paoding.ops import Op, WeightRef, core, last_axis
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row

Array = np.ndarray

# The reason why the last layer is left alone, as everybody expects.
ARE_OUTPUTS = 'its units are outputs of the model'


@dataclasses.dataclass(frozen=True)
class Member:
  """One operation's part in a group.

  Attributes:
    node: The operation, in the first call of its layer.
    units: For each channel of a producer's or carrier's output, or of a
      consumer's input, the group's unit, shape (channels,); -1 for a channel
      of another group.
    incoming: The same of a carrier's input.
    more_calls: The same operation in further calls of its layer.
  """

  node: Node
  units: Array
  incoming: Array | None = None
  more_calls: tuple[Node, ...] = ()

  @property
  def calls(self) -> tuple[Node, ...]:
    """The operation in every call of its layer."""
    return (self.node, *self.more_calls)

  @property
  def places(self) -> Array:
    """The channels of each unit, in order, shape (units, positions)."""
    order = np.argsort(self.units, kind='stable')
    order = order[self.units[order] >= 0]
    return order.reshape(self.units.max() + 1, -1)

  @property
  def block(self) -> Member:
    """A consumer as one block of a grouped convolution sees it.

    All blocks see the same units in the same places.
    """
    blocks = self.node.op.kernel_axes().blocks
    units = self.units[: len(self.units) // blocks]
    return dataclasses.replace(self, units=units)

  @property
  def rows(self) -> Array:
    """The rows of a consumer's matrix that read each unit, (units, rows).

    A grouped convolution reads tied units of all its blocks in the same rows;
    each is there once.
    """
    places = self.places
    rows = self.node.op.rows_of(places, len(self.units))
    rows = rows.reshape(len(places), -1)
    first = np.unique(rows[0], return_index=True)[1]
    return rows[:, np.sort(first)]


@dataclasses.dataclass(frozen=True)
class Group:
  """Units that are removed one by one, each everywhere at once.

  Attributes:
    name: The path of the first producer; with a number behind it where an
      earlier group has that name.
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

  @property
  def layer(self) -> Path:
    """The path of the first producer."""
    return self.producers[0].node.path

  def weights(self) -> Iterator[tuple[WeightRef, int, bool, Array]]:
    """Each weight that the units lie in.

    Yields:
      (the weight, the axis that the units run along, whether removing a unit
      zeroes its entries, the unit of each entry along that axis or -1).
    """
    yield from self.own_weights()
    yield from self.read_weights()

  def read_weights(self) -> Iterator[tuple[WeightRef, int, bool, Array]]:
    """`weights` of consumers alone: what reads the units."""
    for member in self.consumers:
      yield from _along(member, True, member.units)

  def own_weights(self) -> Iterator[tuple[WeightRef, int, bool, Array]]:
    """`weights` of producers and carriers alone: what makes the units."""
    for member in self.producers:
      yield from _along(member, False, member.units)
    for member in self.carriers:
      yield from _along(member, False, member.units)
      yield from _along(member, True, member.incoming)

  @property
  def paths(self) -> dict[Path, None]:
    """The layers that take part, each once."""
    return {member.node.path: None for member in self.members}

  @property
  def why_named(self) -> str | None:
    """Why its units leave only where somebody names them; None where not.

    What others are measured with is a width of the whole network rather than
    of one layer, and costs more answers.
    """
    for member in self.carriers:
      if member.node.op.told_by == 'pad':
        why = f'{_label(member.node)!r} takes the mean over its units'
        name = '/'.join(self.layer)
        if not self.can_be_named:
          return f'{why}, and {name!r} is the name of others that it makes'
        return (
          f'{why}, which would go on to be measured as zeros: they leave where '
          f'a dict of layer name to sparsity names {name!r}'
        )
    return None

  @property
  def can_be_named(self) -> bool:
    """Whether its first layer's name stands for no units but its."""
    return self.name == self.layer


def _along(
  member: Member, incoming: bool, units: Array
) -> Iterator[tuple[WeightRef, int, bool, Array]]:
  """A member's own weights along its input's, or its output's, units."""
  weights = member.node.op.weights()
  for ref in member.node.op.unit_weights:
    axes = weights[ref]
    axis = axes.incoming if incoming else axes.outgoing
    if axis is not None:
      laid = axes.along_incoming if incoming else axes.along_outgoing
      yield ref, axis, axes.masked, laid(units)


def along(axis: int, entries: Array) -> tuple:
  """The index of these entries along an axis, which may count from the end."""
  if axis >= 0:
    return (*[slice(None)] * axis, entries)
  return (..., entries, *[slice(None)] * (-1 - axis))


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

  @property
  def offered(self) -> tuple[Group, ...]:
    """The groups that lose units where nobody names layers."""
    return tuple(group for group in self.groups if group.why_named is None)

  @property
  def stays(self) -> dict[Path, str]:
    """The reason why, for each layer that keeps its units where nobody does."""
    named = {
      group.name: group.why_named
      for group in self.groups
      if group.why_named is not None
    }
    return self.left_alone | named


def find_groups(graph: Graph) -> Grouping:
  """The channel groups of a graph.

  Args:
    graph: The model's graph.

  Returns:
    The groups, and for every other layer with units why it is left alone.
  """
  book = Numbering()
  values = _carry(graph, book)
  for value in graph.outputs:
    book.freeze(values[value], ARE_OUTPUTS)
  for value, reason in graph.held.items():
    book.freeze(values[value], reason)
  _straighten(graph, book, values)
  roots, frozen = book.roots(), book.frozen()
  values = [_mapped(value, roots) for value in values]
  parts = _parts(graph, values)
  groups, renumbered = [], {}
  for units in _alike(parts, frozen):
    group = _group_of(parts, units, {other.name for other in groups})
    groups.append(group)
    start = len(renumbered)
    renumbered.update({unit: start + k for k, unit in enumerate(units)})
  table = np.full(len(roots), -1)
  for old, new in renumbered.items():
    table[old] = new
  return Grouping(
    tuple(groups),
    _left_alone(graph, values, groups, frozen),
    tuple(_mapped(value, table) for value in values),
  )


def _carry(graph: Graph, book: Numbering) -> list[Array]:
  """The unit number of every entry of every value."""
  values: list[Array | None] = [None] * len(graph.shapes)
  firsts: dict[Any, Node] = {}
  places = {
    id(node): place
    for call in graph.layer_calls
    if call.inside
    for place, node in enumerate(call.nodes)
  }
  for value in graph.inputs:
    values[value] = np.broadcast_to(-1, graph.shapes[value])
  for node in graph.nodes:
    book.label = _label(node)
    sources = tuple(values[value] for value in node.inputs)
    for value in node.outputs:
      values[value] = node.op.carry(book, sources, graph.shapes[value])
    for key in _shared(graph, node, places):
      first = firsts.setdefault(key, node)
      _tie_calls(book, values, first, node)
  return values


def _shared(graph: Graph, node: Node, places: dict[int, int]) -> Iterator[Any]:
  """Equal for what must lose the same units; nothing where nothing must.

  Operations that share weights, in one call or in several; those of one place
  in the inside of a layer; and those whose layer is told its size in its
  config, which all its calls share as well.

  Args:
    graph: The graph.
    node: The operation.
    places: Its place in its layer, for those of an inside, by its id.
  """
  if not node.op.known:
    return
  if node.op.own_weights:
    yield node.op.own_weights
  if graph.calls[node.path] == 1:
    return
  layer = graph.layers[node.path]
  if id(node) in places:
    yield node.path, places[id(node)]
  elif resizes(layer) and not layer.weights:
    yield node.path, type(node.op)


def _tie_calls(
  book: Numbering, values: list[Array], first: Node, other: Node
) -> None:
  """Ties the units of two calls, place by place."""
  if first is other:
    return
  reason = f'{book.label!r} is called with unlike shapes'
  for one, two in zip(
    first.inputs + first.outputs, other.inputs + other.outputs, strict=True
  ):
    one, two = values[one], values[two]
    if one.shape == two.shape:
      tie_all(book, one, two)
    elif _by_channel(first.op) and one.shape[-1:] == two.shape[-1:]:
      tie_all(book, channel_row(book, one), channel_row(book, two))
    else:
      book.freeze(one, reason)
      book.freeze(two, reason)


def _by_channel(op: Op) -> bool:
  """Whether an operation is to units what it is to one position's channels."""
  return bool(op.weights()) or op.carries


def _straighten(graph: Graph, book: Numbering, values: list[Array]) -> None:
  """Ties units that no rectangular tensor could lose one by one.

  A reshape that divides the channels of a Dense layer among positions leaves
  one unit for each channel behind it; a shuffle, one for each place in its
  blocks. What is tied for one tensor may scatter units of another.
  """
  changed = True
  while changed:
    changed = False
    for node in graph.nodes:
      book.label = _label(node)
      for value in node.outputs:
        changed |= book.straighten(values[value])


@dataclasses.dataclass(frozen=True)
class _Part:
  """A node's part in groups: its role and the unit of each channel."""

  node: Node
  role: str
  units: Array
  incoming: Array | None = None
  more_calls: tuple[Node, ...] = ()


def _parts(graph: Graph, values: list[Array]) -> list[_Part]:
  """What each operation with weights is to the units that pass it."""
  found = []
  for node, *others in _by_weights(graph):
    incoming = last_axis(values[node.inputs[0]])
    outgoing = last_axis(values[node.outputs[0]])
    if node.op.consumes_units and incoming is not None:
      found.append(_Part(node, 'consumers', incoming, None, tuple(others)))
    if node.op.makes_units and outgoing is not None:
      found.append(_Part(node, 'producers', outgoing, None, tuple(others)))
    elif node.op.carries and outgoing is not None and incoming is not None:
      found.append(_Part(node, 'carriers', outgoing, incoming, tuple(others)))
  return found


def _by_weights(graph: Graph) -> list[list[Node]]:
  """The operations with weights, with those of further calls behind each."""
  found: dict[tuple, list[Node]] = {}
  for node in graph.nodes:
    op = node.op
    if op.unit_weights and op.known:
      found.setdefault((op.own_weights, op.unit_weights), []).append(node)
  return list(found.values())


def _alike(parts: list[_Part], frozen: dict[int, str]) -> list[list[int]]:
  """The units of each group, in the order of their first producers."""
  roles: dict[int, list[tuple[int, int]]] = {}
  first: dict[int, int] = {}
  for number, part in enumerate(parts):
    units, counts = np.unique(part.units, return_counts=True)
    for unit, count in zip(units.tolist(), counts.tolist(), strict=True):
      if unit >= 0 and unit not in frozen:
        roles.setdefault(unit, []).append((number, count))
        if part.role == 'producers':
          first.setdefault(unit, number)
  groups: dict[tuple, list[int]] = {}
  for unit, role in roles.items():
    kinds = {parts[number].role for number, _ in role}
    if {'producers', 'consumers'} <= kinds:
      groups.setdefault(tuple(role), []).append(unit)
  return sorted(
    (sorted(units) for units in groups.values()),
    key=lambda units: (first[units[0]], units[0]),
  )


def _group_of(parts: list[_Part], units: list[int], taken: set[Path]) -> Group:
  """The group of units that have the same roles."""
  index = {unit: k for k, unit in enumerate(units)}

  def within(row: Array) -> Array:
    return np.asarray([index.get(int(unit), -1) for unit in row])

  members: dict[str, list[Member]] = {
    'producers': [],
    'carriers': [],
    'consumers': [],
  }
  for part in parts:
    if not np.isin(units[0], part.units):
      continue
    incoming = None if part.incoming is None else within(part.incoming)
    members[part.role].append(
      Member(part.node, within(part.units), incoming, part.more_calls)
    )
  name = first = members['producers'][0].node.path
  number = 1
  while name in taken:
    number += 1
    name = (*first, str(number))
  return Group(
    name, len(units), **{role: tuple(found) for role, found in members.items()}
  )


def _left_alone(
  graph: Graph,
  values: list[Array],
  groups: list[Group],
  frozen: dict[int, str],
) -> dict[Path, str]:
  """Why each other layer with units, or that is not known, is in no group."""
  used = {m.node.path for group in groups for m in group.producers}
  found: dict[Path, str] = {}
  readers = graph.readers()
  for node in graph.nodes:
    if not node.op.known and graph.layers[node.path].weights:
      found.setdefault(node.path, node.op.reason)
    if not node.op.makes_units or node.path in used:
      continue
    numbers = np.unique(core(values[node.outputs[0]]))
    reasons = (frozen[n] for n in numbers.tolist() if n in frozen)
    alone = 'nothing reads its units'
    if readers[node.outputs[0]]:
      alone = 'no product with a kernel reads its units'
    found.setdefault(node.path, next(reasons, alone))
  return found


def _mapped(numbers: Array, table: Array) -> Array:
  """Unit numbers through a table whose last entry is for -1."""
  return np.broadcast_to(table[core(numbers)], numbers.shape)


def _label(node: Node) -> str:
  return '/'.join(node.path)
