"""A model as steps in the order of computation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tfmot_paoding.bounds.steps import Ends, Step, step_of
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.ops import Op, Params, Shape


class NoRelaxationError(ValueError):
  """An operation that leads to an output has no sound relaxation."""


@dataclasses.dataclass
class Program:
  """Steps in the order of computation.

  Attributes:
    shapes: Each value's shape without the batch axis.
    inputs: The values that are the model's inputs.
    outputs: The values that are asked for.
    steps: The steps that lead to them.
    gaps: For a value that is the difference of two others: these two.
  """

  shapes: list[Shape]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...] = ()
  steps: list[Step] = dataclasses.field(default_factory=list)
  gaps: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)

  def add_value(self, shape: Shape) -> int:
    """A new value of a shape."""
    self.shapes.append(tuple(shape))
    return len(self.shapes) - 1

  def add(
    self, op: Op, params: Params, inputs: tuple[int, ...], output: int
  ) -> None:
    """The step of an operation."""
    in_shapes = [self.shapes[value] for value in inputs]
    self.steps.append(
      step_of(op, params, Ends(inputs, output, in_shapes, self.shapes[output]))
    )


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of an operation of a graph.

  Attributes:
    op: Linear, or relaxed by lines.
    inputs: The values that it reads.
    output: The value that it makes.
  """

  op: Op
  inputs: tuple[int, ...]
  output: int


def build_program(
  graph: Graph, params: Params, outputs: tuple[int, ...] | None = None
) -> Program:
  """The steps of a model.

  Args:
    graph: The model's graph.
    params: Its weights.
    outputs: Values of the graph that are asked for; None for its outputs.

  Raises:
    NoRelaxationError: an operation that leads to them has no sound relaxation.
  """
  outputs = tuple(outputs or graph.outputs)
  program = Program(list(graph.shapes), graph.inputs, outputs)
  for piece in pieces(graph, program, outputs):
    program.add(piece.op, params, piece.inputs, piece.output)
  return program


def pieces(
  graph: Graph, program: Program, outputs: tuple[int, ...]
) -> Iterator[Piece]:
  """The parts of every operation that leads to some values.

  Args:
    graph: The graph.
    program: Takes the values between two parts of one operation.
    outputs: The values.

  Raises:
    NoRelaxationError: an operation has no sound relaxation.
  """
  needed = set(outputs)
  nodes = []
  for node in reversed(graph.nodes):
    if node.outputs[0] in needed:
      needed |= set(node.inputs)
      nodes.append(node)
  for node in reversed(nodes):
    _check(node)
    inputs = node.inputs
    parts = node.op.pieces(graph.shapes[inputs[0]])
    shape = graph.shapes[inputs[0]]
    for part in parts[:-1]:
      shape = part.out_shape(shape, shape)
      value = program.add_value(shape)
      yield Piece(part, inputs, value)
      inputs = (value,)
    yield Piece(parts[-1], inputs, node.outputs[0])


def in_front(
  graph: Graph, kinds: tuple[type[Op], ...]
) -> list[tuple[int, Op | None]]:
  """Each output's value in front of its last operation, and that operation.

  Args:
    graph: The graph.
    kinds: The kinds of last operations to stop in front of; behind any other
      the output itself is the value, and None the operation.
  """
  writer = graph.writer()
  found = []
  for value in graph.outputs:
    node = writer.get(value)
    if node is not None and isinstance(node.op, kinds):
      found.append((node.inputs[0], node.op))
    else:
      found.append((value, None))
  return found


def _check(node: Node) -> None:
  op, name = node.op, '/'.join(node.path)
  reason = op.obstacle if op.known else op.reason
  if reason is not None:
    named = f'{name!r} {reason}' if op.known else reason
    raise NoRelaxationError(f'No sound relaxation: {named}.')
