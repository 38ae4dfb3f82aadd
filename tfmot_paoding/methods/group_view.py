"""What a criterion may look at: one group as plain arrays, read only."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tfmot_paoding.methods.distances import points_of
from tfmot_paoding.methods.group_bounds import GroupBounds
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.outgoing import Outgoing
from tfmot_paoding.methods.refits import ConsumerFit
from tfmot_paoding.methods.unit_weights import (
  incoming_weights,
  producer_kernels,
)
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.outputs import is_one_scale
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Gain

Array = np.ndarray


@dataclasses.dataclass
class UnitState:
  """What of a group's n units changes as units go; an edit's own.

  Attributes:
    alive: Which units are still there, (n,) of bool.
    outgoing: Consumer weights, (n, m); several rows of one unit one after
      another.
    masses: How many original units each stands for, (n,).
    changed: The units whose weights the last removal changed.
    shifted: Those among them that stand for more units, elsewhere.
    staying: Units known to stay at this step, (n,) of bool; None where a
      selection does not choose all removals at once.
    moved: The incoming weights and biases, and the distances between units,
      once kept units have moved; None as long as they are the network's.
  """

  alive: Array
  outgoing: Array
  masses: Array
  changed: Array = dataclasses.field(default_factory=lambda: np.zeros(0, int))
  shifted: Array = dataclasses.field(default_factory=lambda: np.zeros(0, int))
  staying: Array | None = None
  moved: tuple[Array, Array, Array] | None = None

  @classmethod
  def begin(cls, network: NetworkView, group: Group, alive: Array) -> UnitState:
    """What a group is before the first removal of a step."""
    return cls(
      alive.copy(),
      Outgoing(group).gather(network.params),
      network.memory.masses_of(group.name, group.size),
    )


class GroupView:
  """One group of n units at the network's current weights; changes nothing.

  Its arrays cannot be written to: `GroupEdit` changes a group, and a view
  shows at once what an edit has done.

  Args:
    network: The network.
    group: The group.
    state: What changes as units go.

  Attributes:
    name: Of the group: its first layer's path, joined by '/'.
    size: n.
  """

  def __init__(self, network: NetworkView, group: Group, state: UnitState):
    self._network = network
    self._group = group
    self._state = state
    self._outgoing = Outgoing(group)
    self._bounds = GroupBounds(network, group, self._outgoing)
    self.name = '/'.join(group.name)
    self.size = group.size

  # What is there now.

  @property
  def alive(self) -> Array:
    """Which units are still there, (n,) of bool."""
    return _read_only(self._state.alive)

  @property
  def outgoing(self) -> Array:
    """Consumer weights, (n, m).

    A unit read in several rows of a kernel (taps, positions) has them one
    after another. Compensation changes them as units go.
    """
    return _read_only(self._state.outgoing)

  @property
  def masses(self) -> Array:
    """How many original units each stands for, (n,)."""
    return _read_only(self._state.masses)

  @property
  def changed(self) -> Array:
    """The units whose weights the last removal changed."""
    return _read_only(self._state.changed)

  @property
  def shifted(self) -> Array:
    """Those among them that stand for more units now, elsewhere."""
    return _read_only(self._state.shifted)

  @property
  def staying(self) -> Array | None:
    """Units known to stay at this step, (n,) of bool.

    None where a selection does not choose all removals at once.
    """
    staying = self._state.staying
    return None if staying is None else _read_only(staying)

  # What makes the units.

  @functools.cached_property
  def _incoming(self) -> tuple[Array, Array]:
    network = self._network
    return incoming_weights(network.graph, network.params, self._group)

  @property
  def incoming(self) -> Array:
    """What makes the units, (d, n).

    The weights of all producers, with batch normalization and depthwise
    kernels behind them folded in.
    """
    moved = self._state.moved
    return _read_only(self._incoming[0] if moved is None else moved[0])

  @property
  def biases(self) -> Array:
    """The producers' biases likewise, (producers, n)."""
    moved = self._state.moved
    return _read_only(self._incoming[1] if moved is None else moved[1])

  @functools.cached_property
  def kernels(self) -> Array:
    """The producers' kernels as they are, nothing folded in, (d', n)."""
    return producer_kernels(self._network.params, self._group)

  @functools.cached_property
  def _pair_distances(self) -> Array:
    alive = self._state.alive
    points = points_of(self.incoming, self.biases, alive)
    memory = self._network.memory
    return memory.pair_distances(self._group.name, alive, points)

  @property
  def pair_distances(self) -> Array:
    """||(w_i, b_i) - (w_j, b_j)|| of all pairs alive, shape (n, n)."""
    moved = self._state.moved
    return self._pair_distances if moved is None else _read_only(moved[2])

  def twins(self, units: Array) -> Array:
    """For each of some units a living one that equals it, or -1, (k,)."""
    found = np.full(len(units), -1)
    asked = np.arange(len(units))
    if self._state.moved is None:
      asked = np.flatnonzero(self._have_twins[units])
    equal = self.pair_distances[units[asked]] == 0
    equal &= self.alive
    equal[np.arange(len(asked)), units[asked]] = False
    found[asked] = np.where(equal.any(1), equal.argmax(1), -1)
    return found

  @functools.cached_property
  def _have_twins(self) -> Array:
    """Which units equal another before any has moved, (n,) of bool."""
    equal = self._pair_distances == 0
    np.fill_diagonal(equal, False)
    return equal.any(1)

  @functools.cached_property
  def _points(self) -> tuple[Array, Array]:
    points = np.vstack([self.incoming, self.biases])
    return points, np.linalg.norm(points, axis=0)

  @property
  def points(self) -> Array:
    """Weights and biases of all units, (d + producers, n)."""
    if self._state.moved is None:
      return self._points[0]
    return np.vstack([self.incoming, self.biases])

  @property
  def point_sizes(self) -> Array:
    """||(w, b)|| of all units, (n,)."""
    if self._state.moved is None:
      return self._points[1]
    return np.linalg.norm(self.points, axis=0)

  def cosines(self, unit: int) -> Array:
    """Cosines of (w, b) with those of all units, (n,); 0 where one is zero."""
    products = self.points[:, unit] @ self.points
    sizes = self.point_sizes[unit] * self.point_sizes
    return np.where(sizes > 0, products / np.where(sizes > 0, sizes, 1), 0.0)

  # What the units feed.

  @functools.cached_property
  def column_weights(self) -> Array:
    """What the outgoing weights count in pair saliency, shape (m,) or ().

    1 where the outputs are of one scale; else what they move of the outputs,
    each in units of its own width, or without bounds in units of all that
    their consumer reads.
    """
    network = self._network
    if is_one_scale(network.heads):
      return np.ones(())
    if self.has_bounds:
      largest = self.relative_gain.max()
      if largest <= 0 or is_one_scale(network.heads, network.output_widths):
        return np.ones(())
      return self.relative_gain / largest
    matrices = self._outgoing.matrices(network.params)
    sizes = np.array([np.linalg.norm(matrix) for matrix in matrices])
    if is_one_scale(network.heads, sizes):
      return np.ones(())
    widths = self._outgoing.widths(network.params)
    return np.repeat(1 / np.where(sizes > 0, sizes, 1.0), widths)

  def outgoing_sizes(self, units: Array) -> Array:
    """||v_j|| of some units, columns weighed, (k,)."""
    return np.linalg.norm(self.outgoing[units] * self.column_weights, axis=1)

  @functools.cached_property
  def fits(self) -> list[ConsumerFit]:
    """The consumers as least squares see them.

    Raises:
      ValueError: the method did not say that it needs samples.
    """
    network, members = self._network, self._group.consumers
    if network.fitting is None:
      raise ValueError(
        'There are no samples to fit on: set `needs_samples` in the class of '
        'the criterion or compensation that asks for them.'
      )
    values = network.consumer_inputs(self._group)
    return [
      network.fitting.elimination(
        network.graph, network.params, member, values, self._state.alive
      )
      for member in members
    ]

  # How far they can move over the declared inputs: see `GroupBounds`.

  @property
  def has_bounds(self) -> bool:
    """Whether finite bounds reach this group and lead on to the outputs."""
    return self._bounds.exist

  def difference(self, kept: Array, removed: Array) -> Interval:
    """Bounds of a_kept - a_removed where consumers read them, (pairs,)."""
    return self._bounds.difference(kept, removed)

  @property
  def output_gain(self) -> Gain:
    """Gains behind the outgoing weights, two arrays (m, outputs)."""
    return self._bounds.output_gain

  @property
  def relative_gain(self) -> Array:
    """Mean output width per unit of width behind the outgoing weights, (m,)."""
    return self._bounds.relative_gain

  @property
  def output_widths(self) -> Array:
    """Widths of the network's own outputs over the box, (outputs,)."""
    return self._network.output_widths

  @property
  def ranges(self) -> Interval:
    """What consumers read of each unit over the box, (n,); see `has_bounds`."""
    return self._bounds.ranges

  @functools.cached_property
  def silent(self) -> Array:
    """Units that give 0 for every input, (n,) of bool."""
    if not self.has_bounds:
      return np.zeros(self.size, bool)
    return (self.ranges.low == 0) & (self.ranges.high == 0)

  @property
  def instability(self) -> Array:
    """How unstable each unit's activation is over the box, (n,), 0 to 1."""
    return self._bounds.instability


def view_group(network: NetworkView, group: Group, alive: Array) -> GroupView:
  """A view of a group that nothing edits.

  Args:
    network: The network.
    group: The group of n units.
    alive: Which units are there, (n,) of bool.
  """
  return GroupView(network, group, UnitState.begin(network, group, alive))


def _read_only(array: Array) -> Array:
  view = array.view()
  view.flags.writeable = False
  return view
