"""What makes a group's units, as plain arrays: weights with all that is fixed.

Behind a producer come operations on each channel alone. Those with weights
belong to what a unit is: two units are twins only if all of it is alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.groups import Group, Member
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray


def incoming_weights(
  graph: Graph, params: Params, group: Group
) -> tuple[Array, Array]:
  """A group's effective incoming weights.

  Batch normalization and depthwise kernels straight behind a producer are
  folded in, activations between them taken as linear. Weights of other
  carriers stand beside them, scaled to the size of the rest.

  Args:
    graph: The network's graph.
    params: Its weights.
    group: The group.

  Returns:
    Weights (d, n) and biases (producers, n).
  """
  readers = graph.readers()
  weights, biases, folded = [], [], set()
  for member in group.producers:
    op = member.node.op
    rows = op.matrix(params)
    bias = np.broadcast_to(op.offset(params), rows.shape[1:])
    units = member.units
    for node in _chain(member.node, readers):
      rows, bias = node.op.unfold(params, rows, bias)
      units = units[node.op.source_of(np.arange(len(bias)))]
      folded.add(node)
    places = Member(member.node, units).places
    if np.array_equal(places[:, 0], np.arange(len(bias))):
      weights.append(rows)  # as they are: no copy of a large kernel
      biases.append(bias)
      continue
    for k in range(places.shape[1]):
      weights.append(rows[:, places[:, k]])
      biases.append(bias[places[:, k]])
  apart = [m for m in group.carriers if m.node not in folded]
  if apart:
    norms = np.linalg.norm(np.concatenate(weights), axis=0)
    for member in apart:
      weights += _traits(member, params, float(np.mean(norms)))
  if len(weights) == 1:
    return weights[0], biases[0][None]
  return np.concatenate(weights), np.stack(biases)


def rows_at_scales(
  graph: Graph, params: Params, group: Group
) -> dict[WeightRef, Array]:
  """What makes the values that batch normalization in a group sees.

  Args:
    graph: The network's graph.
    params: Its weights.
    group: The group.

  Returns:
    Weights (d, channels) by the reference of each variance; zeros where a join
    stands between the producer and the batch normalization.
  """
  readers = graph.readers()
  found = {
    member.node.op.statistics[1]: np.zeros((1, len(member.units)))
    for member in group.carriers
    if member.node.op.statistics is not None
  }
  for member in group.producers:
    rows = member.node.op.matrix(params)
    bias = np.zeros(rows.shape[1])
    for node in _chain(member.node, readers):
      _, variance = node.op.statistics or (None, None)
      if variance in found:
        found[variance] = rows
      rows, bias = node.op.unfold(params, rows, bias)
  return found


def producer_kernels(params: Params, group: Group) -> Array:
  """The kernels of a group's producers as they are, shape (d, n)."""
  parts = []
  for member in group.producers:
    matrix, places = member.node.op.matrix(params), member.places
    parts += [matrix[:, places[:, k]] for k in range(places.shape[1])]
  return np.concatenate(parts)


def _chain(node: Node, readers: dict[int, list[Node]]) -> Iterator[Node]:
  """The channelwise operations behind a node, as long as nothing branches."""
  while True:
    following = readers[node.outputs[0]]
    if len(following) != 1:
      return
    node = following[0]
    # Positions and activations go by; joins and all else end the chain.
    if not node.op.channelwise:
      return
    yield node


def _traits(member: Member, params: Params, size: float) -> Iterator[Array]:
  """A carrier's own weights by unit, in the size of the other weights."""
  traits = member.node.op.traits(params)
  if not len(traits):
    return
  places = member.places
  mean = float(np.mean(np.linalg.norm(traits, axis=0))) or 1.0
  for k in range(places.shape[1]):
    yield traits[:, places[:, k]] * (size / mean)
