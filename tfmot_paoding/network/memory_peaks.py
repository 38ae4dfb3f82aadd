"""Where in a network the memory of activations peaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Group


def activation_peaks(graph: Graph, groups: Iterable[Group]) -> dict[str, float]:
  """The most that is alive while each layer's units are, by layer name.

  Args:
    graph: The model's graph.
    groups: Groups of it.

  Returns:
    For each first producer of a group, the elements of all values alive at
    that moment, as a fraction of the most there ever are.
  """
  homes, last = _homes(graph), {}
  for step, node in enumerate(graph.nodes):
    for value in node.inputs:
      last[homes[value]] = step
  for value in graph.outputs:
    last[homes[value]] = len(graph.nodes)
  alive = {homes[value] for value in graph.inputs}
  totals: list[tuple[float, set[int]]] = []
  for step, node in enumerate(graph.nodes):
    alive |= {homes[value] for value in node.outputs}
    size = sum(np.prod(graph.shapes[value], dtype=float) for value in alive)
    totals.append((size, set(alive)))
    alive = {value for value in alive if last.get(value, -1) > step}
  most = max(size for size, _ in totals)
  found: dict[str, float] = {}
  for group in groups:
    own = _values_of(graph, group, homes)
    peak = max((size for size, held in totals if held & own), default=0.0)
    name = '/'.join(group.layer)
    found[name] = max(found.get(name, 0.0), float(peak / most))
  return found


def _homes(graph: Graph) -> dict[int, int]:
  """The value whose memory each value lies in: activations work in place."""
  homes = {value: value for value in graph.inputs}
  for node in graph.nodes:
    source, result = node.inputs[0], node.outputs[0]
    in_place = (
      len(node.inputs) == 1
      and node.op.channelwise
      and graph.shapes[source] == graph.shapes[result]
    )
    for value in node.outputs:
      homes[value] = homes[source] if in_place else value
  return homes


def _values_of(
  graph: Graph, group: Group, homes: Mapping[int, int]
) -> set[int]:
  """The memory in which a group's units lie."""
  made = {
    homes[call.outputs[0]]
    for member in (*group.producers, *group.carriers)
    for call in member.calls
  }
  return made | {
    homes[call.inputs[0]] for member in group.consumers for call in member.calls
  }
