"""Which layers can become chains of thinner ones, and why others cannot."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.forms import Size
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Call, Graph, Node
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import Product

_layers = keras.layers
CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
_KINDS = (_layers.Dense, *CONVOLUTIONS)


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A layer that a chain can stand for.

  Attributes:
    path: The layer's.
    node: Its product.
    size: What decides what it takes.
  """

  path: Path
  node: Node
  size: Size

  @property
  def name(self) -> str:
    """As a user calls it."""
    return '/'.join(self.path)

  @property
  def op(self) -> Product:
    """Its product."""
    return self.node.op


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What of a network can become chains.

  Attributes:
    layers: In the order of computation.
    outputs: The names of those that make the model's outputs.
    left_alone: Why each other layer with a kernel stays as it is, by name.
  """

  layers: tuple[Candidate, ...]
  outputs: frozenset[str]
  left_alone: dict[str, str]

  def hidden(self) -> list[Candidate]:
    """Those that do not make the model's outputs."""
    return [one for one in self.layers if one.name not in self.outputs]


def find_candidates(network: Network) -> Candidates:
  """Reads a network for layers that chains can stand for."""
  graph = network.graph
  kernels = _kernels(graph)
  found, left_alone = [], {}
  for call in graph.layer_calls:
    name, layer = '/'.join(call.path), graph.layers[call.path]
    if name in left_alone or not _has_kernel(layer):
      continue
    why = _obstacle(graph, call, layer, kernels)
    if why is not None:
      left_alone[name] = why
      continue
    node = call.nodes[0]
    found.append(Candidate(call.path, node, _size(graph, node)))
  return Candidates(tuple(found), frozenset(_output_layers(graph)), left_alone)


def _output_layers(graph: Graph) -> set[str]:
  """Whose numbers are outputs, as they are or behind activations and sums."""
  writer, waiting, seen = graph.writer(), list(graph.outputs), set()
  found = set()
  while waiting:
    value = waiting.pop()
    if value in seen or value not in writer:
      continue
    seen.add(value)
    node = writer[value]
    if node.op.makes_units or not node.op.known:
      found.add('/'.join(node.path))
    else:
      waiting += node.inputs
  return found


def _obstacle(
  graph: Graph, call: Call, layer: Any, kernels: dict[int, int]
) -> str | None:
  """Why a layer stays whole, or None."""
  kind = type(layer).__name__
  if type(layer) not in _KINDS:
    return (
      f'it is a {kind}; only Dense, Conv1D, Conv2D and Conv3D become chains'
    )
  if graph.calls[call.path] > 1:
    return f'it is shared: it is called {graph.calls[call.path]} times'
  op = call.nodes[0].op
  if not op.known:
    return op.reason
  if getattr(layer, 'groups', 1) > 1:
    return 'it convolves groups of channels apart'
  if layer.kernel_constraint is not None:
    return 'its kernel has a constraint, which two factors would not keep'
  if kernels[id(layer.kernel)] > 1:
    return "its kernel is another layer's as well"
  return None


def _kernels(graph: Graph) -> dict[int, int]:
  """How many layers have each kernel."""
  found: dict[int, int] = {}
  for layer in graph.layers.values():
    if compat.is_graph_model(layer):
      continue  # its layers are there as well
    own = {id(variable) for variable in layer.weights}
    for one in own:
      found[one] = found.get(one, 0) + 1
  return found


def _has_kernel(layer: Any) -> bool:
  """Whether a layer has a matrix that could be two."""
  return not compat.is_graph_model(layer) and any(
    len(variable.shape) > 1 for variable in layer.weights
  )


def _size(graph: Graph, node: Node) -> Size:
  rows, columns = _matrix_shape(graph, node)
  taps = node.op.taps
  entries, positions = (
    math.prod(graph.shapes[value][:-1])
    for value in (node.inputs[0], node.outputs[0])
  )
  return Size(taps, rows // taps, columns, entries, positions)


def _matrix_shape(graph: Graph, node: Node) -> tuple[int, int]:
  shape = tuple(graph.weight(node.op.kernel).shape)
  return math.prod(shape[:-1]), shape[-1]
