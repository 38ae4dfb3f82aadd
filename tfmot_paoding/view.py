"""What a criterion may look at: one group as plain arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tfmot_paoding import bounds as bounds_lib
from tfmot_paoding.graph import Graph
from tfmot_paoding.groups import Group
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops import Gain, MatMul, Params, Scale, WeightRef

Array = np.ndarray


class NetworkView:
  """The whole network at its current weights; bounds on demand.

  Args:
    graph: The model's graph.
    params: Its current weights.
    boxes: Bounds of each input.
  """

  def __init__(self, graph: Graph, params: Params, boxes: Sequence[Interval]):
    self.graph = graph
    self.params = params
    self._boxes = boxes

  @functools.cached_property
  def bounds(self) -> list[Interval | None]:
    """Bounds of every value over the declared inputs."""
    return bounds_lib.propagate(self.graph, self.params, self._boxes)

  @functools.cached_property
  def gains(self) -> list[Gain | None]:
    """How far the outputs move with every value."""
    return bounds_lib.output_gain(self.graph, self.params, self.bounds)


class GroupView:
  """One group of n units at the network's current weights.

  Attributes:
    alive: Which units are still there, shape (n,).
    incoming: Producer weights, batch normalization folded in, (d, n).
    bias: Producer biases, batch normalization folded in, (n,).
    outgoing: Consumer weights, (n, m); a unit read at several positions has
      them one after another. Compensation changes it as units go.
    changed: The units whose outgoing weights the last removal changed.
  """

  def __init__(self, network: NetworkView, group: Group, alive: Array):
    self._network = network
    self._group = group
    self.size = group.size
    self.alive = alive.copy()
    self.incoming, self.bias = _incoming(network, group)
    self._places = [_places(member) for member in group.consumers]
    self.outgoing = self._gather_outgoing()
    self.changed = np.zeros(0, int)

  # What criteria read.

  @functools.cached_property
  def pair_distances(self) -> Array:
    """||(w_i, b_i) - (w_j, b_j)|| of all pairs, shape (n, n)."""
    return euclidean_distances(np.vstack([self.incoming, self.bias]))

  def difference(self, kept: Array, removed: Array) -> Interval:
    """Bounds of a_kept - a_removed where consumers read them, (pairs,).

    Several positions or consumers: the hull over all of them.
    """
    found = None
    for member, places in zip(self._group.consumers, self._places, strict=True):
      value = member.node.inputs[0]
      for k in range(places.shape[1]):
        one = bounds_lib.difference_of_entries(
          self._network.graph,
          self._network.params,
          self._network.bounds,
          value,
          places[kept, k],
          places[removed, k],
        )
        found = one if found is None else _hull(found, one)
    return found

  @functools.cached_property
  def output_gain(self) -> Gain:
    """Gains behind the outgoing weights, two arrays (m, outputs)."""
    parts = []
    for member, places in zip(self._group.consumers, self._places, strict=True):
      gain = self._network.gains[member.node.outputs[0]]
      columns = self._columns(member)
      outputs = gain.up.shape[-1]
      # One row a column of the kernel: positions of a longer tensor add up.
      up = gain.up.reshape(-1, columns, outputs).sum(0)
      down = gain.down.reshape(-1, columns, outputs).sum(0)
      parts += [Gain(up, down)] * places.shape[1]
    return Gain(
      np.concatenate([part.up for part in parts]),
      np.concatenate([part.down for part in parts]),
    )

  @functools.cached_property
  def output_widths(self) -> Array:
    """Widths of the network's own outputs over the box, (outputs,)."""
    network = self._network
    return np.concatenate(
      [network.bounds[v].width.ravel() for v in network.graph.outputs]
    )

  @property
  def has_bounds(self) -> bool:
    """Whether sound bounds reach this group and lead on to the outputs."""
    network = self._network
    return all(
      network.bounds[member.node.inputs[0]] is not None
      and network.gains[member.node.outputs[0]] is not None
      for member in self._group.consumers
    ) and all(network.bounds[v] is not None for v in network.graph.outputs)

  # What a removal changes.

  def absorb(self, removed: int, kept: int, share: float = 1.0) -> None:
    """v_kept += share * v_removed."""
    self.outgoing[kept] += share * self.outgoing[removed]
    self.changed = np.append(self.changed, kept)

  def remove(self, unit: int) -> None:
    """Takes a unit out; its outgoing weights become zero."""
    self.outgoing[unit] = 0.0
    self.alive[unit] = False

  def consumer_kernels(self) -> dict[WeightRef, Array]:
    """The consumers' kernels with the current outgoing weights in place."""
    kernels, start = {}, 0
    for member, places in zip(self._group.consumers, self._places, strict=True):
      ref = member.node.op.kernel
      kernel = np.array(kernels.get(ref, self._network.params[ref]))
      for k in range(places.shape[1]):
        width = kernel.shape[1]
        kernel[places[:, k]] = self.outgoing[:, start : start + width]
        start += width
      kernels[ref] = kernel
    return kernels

  def _gather_outgoing(self) -> Array:
    parts = []
    for member, places in zip(self._group.consumers, self._places, strict=True):
      kernel = self._network.params[member.node.op.kernel]
      parts += [kernel[places[:, k]] for k in range(places.shape[1])]
    return np.concatenate(parts, axis=1)

  def _columns(self, member) -> int:
    return self._network.params[member.node.op.kernel].shape[1]


def euclidean_distances(points: Array) -> Array:
  """Distances between all columns by one Gram matrix, shape (n, n).

  ||p||^2 + ||q||^2 - 2 p.q cancels for near twins, so pairs that come out
  close are computed again directly: identical columns are exactly 0 apart.
  """
  gram = points.T @ points
  squares = np.diag(gram).copy()
  distances = -2.0 * gram
  distances += squares[:, None]
  distances += squares[None, :]
  scale = squares[:, None] + squares[None, :]
  near = np.argwhere(np.triu(distances <= 1e-7 * scale, 1))
  for start in range(0, len(near), 4096):
    i, j = near[start : start + 4096].T
    exact = np.square(points[:, i] - points[:, j]).sum(0)
    distances[i, j] = distances[j, i] = exact
  np.fill_diagonal(distances, 0.0)
  return np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)


def _incoming(network: NetworkView, group: Group) -> tuple[Array, Array]:
  """Producer weights and biases, a batch normalization behind folded in."""
  readers = network.graph.readers()
  kernels, biases = [], []
  for member in group.producers:
    op: MatMul = member.node.op
    kernel = network.params[op.kernel]
    bias = np.broadcast_to(op.offset(network.params), kernel.shape[1:])
    following = readers[member.node.outputs[0]]
    if len(following) == 1 and isinstance(following[0].op, Scale):
      scale = following[0].op
      factor = scale.factor(network.params)
      kernel, bias = (
        kernel * factor,
        bias * factor + scale.offset(network.params),
      )
    order = np.argsort(member.units)
    kernels.append(kernel[:, order])
    biases.append(bias[order])
  return np.concatenate(kernels), np.mean(biases, axis=0)


def _places(member) -> Array:
  """The consumer's rows of each unit, in order, shape (n, positions)."""
  order = np.argsort(member.units, kind='stable')
  order = order[member.units[order] >= 0]
  size = member.units.max() + 1
  return order.reshape(size, -1)


def _hull(a: Interval, b: Interval) -> Interval:
  return Interval(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
