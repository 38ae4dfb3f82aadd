"""How unstable units are: activations whose kink lies inside their bounds.

An unstable ReLU is what a verifier must split on and what loosens a linear
bound; a stable one is a line, on or off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.groups import Group
from tfmot_paoding.numerics.intervals import Interval, over_positions

Array = np.ndarray


def instability(x: Interval, kink: float = 0.0) -> Array:
  """How far inside its bounds a kink lies: 0 outside, 1 in the middle.

  2 min(k - low, high - k) / (high - low) for low < k < high, elementwise.

  Args:
    x: Bounds of what goes into the activation, any shape.
    kink: k.
  """
  near = np.minimum(kink - x.low, x.high - kink)
  width = np.where(x.width > 0, x.width, 1.0)
  with np.errstate(invalid='ignore'):
    found = 2.0 * np.maximum(near, 0.0) / width
  return np.where(np.isnan(found), 1.0, found)


def group_instability(
  graph: Graph, bounds: Sequence[Interval | None], group: Group
) -> Array:
  """How unstable each unit of a group is, shape (units,), in [0, 1].

  The most unstable of all activations that a unit goes through, over all
  positions; 0 where none has a kink, or no bounds are known.

  Args:
    graph: The model's graph.
    bounds: Bounds of every value.
    group: The group.
  """
  found = np.zeros(group.size)
  made = (
    (member, call.outputs[0])
    for member in group.producers
    for call in member.calls
  )
  for member, value in made:
    channels = np.arange(graph.shapes[value][-1])
    for node, source in _activations(graph, value, channels):
      x = bounds[node.inputs[0]]
      if x is None:
        continue
      x = over_positions(x)
      for kink in node.op.kinks:
        share = np.broadcast_to(instability(x, kink), source.shape)
        units = member.units[source]
        np.maximum.at(found, units[units >= 0], share[units >= 0])
  return found


def _activations(
  graph: Graph, value: int, source: Array
) -> Iterator[tuple[Node, Array]]:
  """Activations that a value's channels go into, and each one's channel."""
  for node in graph.readers()[value]:
    if node.op.kinks:
      yield node, source
    elif node.op.channelwise and not node.op.joins:
      target = node.outputs[0]
      entries = node.op.source_of(np.arange(graph.shapes[target][-1]))
      yield from _activations(graph, target, source[entries])
