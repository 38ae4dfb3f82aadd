"""What a network and its units cost: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.groups import Group
from tfmot_paoding.ops import (
  Params,
  Shape,
  WeightRef,
)

Array = np.ndarray

COSTS = ('parameters', 'macs')


def graph_macs(graph: Graph) -> int:
  """Multiply-accumulates of one sample; sizes left open count as 1."""
  return sum(_node_macs(graph, node) for node in graph.nodes)


def unit_costs(
  graph: Graph,
  groups: list[Group],
  params: Params,
  alive: Mapping[Path, Array],
  cost: str,
) -> dict[Path, float]:
  """What removing one unit of each group saves, by group name.

  Weights between two groups shrink with both: counted is what is still there.

  Args:
    graph: The network's graph.
    groups: Its groups.
    params: Its weights, for their shapes.
    alive: Which units each group still has, by group name.
    cost: 'parameters' or 'macs'.
  """
  left = _share_left(groups, params, alive)
  uses = {
    node.op.multiplies: _uses(graph, node)
    for node in graph.nodes
    if node.op.multiplies is not None
  }
  found = {}
  for group in groups:
    saved = 0.0
    for ref, axis, _, units in group.weights():
      size, length = params[ref].size, params[ref].shape[axis]
      # Other axes at what is left of them, this one at a single unit.
      others = left[ref] / left[ref, axis % params[ref].ndim]
      part = size / length * others * float((units >= 0).sum()) / group.size
      saved += part * (uses.get(ref, 0) if cost == 'macs' else 1)
    if cost == 'macs':
      saved += _contracted(graph, group)
    found[group.name] = saved
  return found


def _contracted(graph: Graph, group: Group) -> float:
  """Multiply-accumulates of a unit with what no weight stands between."""
  readers, total = graph.readers(), 0.0
  for member in group.producers:
    channels = float((member.units >= 0).sum()) / group.size
    for call in member.calls:
      (made,) = call.outputs
      # A node that reads a value twice is listed twice.
      for node in {id(node): node for node in readers[made]}.values():
        each = _contractions(graph, node)
        own = [n for v, n in zip(node.inputs, each, strict=True) if v == made]
        total += channels * sum(own)
  return total


def _contractions(graph: Graph, node: Node) -> tuple[int, ...]:
  return node.op.contractions(tuple(graph.shapes[v] for v in node.inputs))


def _share_left(
  groups: list[Group], params: Params, alive: Mapping[Path, Array]
) -> dict:
  """The share of each weight, and of each of its axes, that is still alive."""
  flags: dict[tuple[WeightRef, int], Array] = {}
  for group in groups:
    for ref, axis, _, units in group.weights():
      axis %= params[ref].ndim
      kept = flags.setdefault((ref, axis), np.ones(len(units), bool))
      kept &= (units < 0) | alive[group.name][units]
  found: dict = {}
  for (ref, axis), kept in flags.items():
    found[ref, axis] = max(float(kept.mean()), 1e-9)
    found[ref] = found.get(ref, 1.0) * found[ref, axis]
  return found


def _node_macs(graph: Graph, node: Node) -> int:
  kernel = node.op.multiplies
  each = _contractions(graph, node)
  if any(each):
    sizes = [graph.shapes[value][-1] for value in node.inputs]
    return sum(n * size for n, size in zip(each, sizes, strict=True))
  if kernel is not None:
    return _uses(graph, node) * math.prod(graph.weight(kernel).shape)
  return 0 if node.op.known else _recurrent_macs(graph, node)


def _recurrent_macs(graph: Graph, node: Node) -> int:
  """Of a layer that multiplies by its matrices at every step of time."""
  steps = math.prod(_positions(graph.shapes[node.inputs[0]]))
  return steps * sum(
    math.prod(kernel.shape)
    for cell in _cells(graph.layers[node.path])
    for kernel in (cell.kernel, cell.recurrent_kernel)
  )


def _cells(layer: keras.layers.Layer) -> list[Any]:
  """What a recurrent layer runs at every step; none for other layers."""
  if isinstance(layer, keras.layers.Bidirectional):
    return [*_cells(layer.forward_layer), *_cells(layer.backward_layer)]
  if not isinstance(layer, keras.layers.RNN):
    return []
  cell = layer.cell
  cells = getattr(cell, 'cells', [cell])
  known = (
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    keras.layers.SimpleRNNCell,
  )
  return [cell for cell in cells if isinstance(cell, known)]


def _uses(graph: Graph, node: Node) -> int:
  """At how many positions a node applies its kernel."""
  value = node.inputs[0] if node.op.from_input else node.outputs[0]
  return math.prod(_positions(graph.shapes[value]))


def _positions(shape: Shape) -> Shape:
  return shape[:-1]
