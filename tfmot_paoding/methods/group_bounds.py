"""How far a group's units can move, and the network's outputs with them."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from tfmot_paoding.bounds.instability import group_instability
from tfmot_paoding.bounds.joint_difference import difference_of_entries
from tfmot_paoding.methods.memory import LastPartners
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.outgoing import Outgoing
from tfmot_paoding.network.graph import Node
from tfmot_paoding.network.groups import Group
from tfmot_paoding.numerics.intervals import Interval, hull, over_positions
from tfmot_paoding.ops import Gain

Array = np.ndarray


class GroupBounds:
  """Bounds of one group's n units over the declared inputs, on demand.

  They are those of the weights that a step begins with.

  Args:
    network: The network.
    group: The group.
    outgoing: How its m outgoing weights lie side by side.
  """

  def __init__(self, network: NetworkView, group: Group, outgoing: Outgoing):
    self._network = network
    self._group = group
    self._outgoing = outgoing
    self._places = [member.places for member in group.consumers]
    self._partners = LastPartners(group.size, self._difference)

  def difference(self, kept: Array, removed: Array) -> Interval:
    """Bounds of a_kept - a_removed where consumers read them, (pairs,).

    Several positions or consumers: the hull over all of them.
    """
    return self._partners.bounds(kept, removed)

  @functools.cached_property
  def output_gain(self) -> Gain:
    """Gains behind the outgoing weights, two arrays (m, outputs)."""
    return self._outgoing.laid_out(self._network.gains_behind(self._group))

  @functools.cached_property
  def relative_gain(self) -> Array:
    """Mean output width per unit of width behind the outgoing weights, (m,).

    Each output counts in units of its own width over the box.
    """
    gain = self._outgoing.laid_out(self._relative_gains)
    return (gain.up + gain.down)[:, 0]

  @functools.cached_property
  def ranges(self) -> Interval:
    """What consumers read of each unit, (n,); only where `exist`."""
    found = None
    for call, places in self._reads():
      own = over_positions(self._network.bounds[call.inputs[0]])
      one = Interval(own.low[places].min(1), own.high[places].max(1))
      found = one if found is None else hull(found, one)
    return found

  @functools.cached_property
  def instability(self) -> Array:
    """How unstable each unit's activation is over the box, (n,), 0 to 1."""
    network = self._network
    return group_instability(network.graph, network.bounds, self._group)

  @functools.cached_property
  def exist(self) -> bool:
    """Whether finite bounds reach this group and lead on to the outputs."""
    bounds = self._network.bounds
    reached = [call.inputs[0] for call, _ in self._reads()]
    reached += self._network.graph.outputs
    return all(_is_finite(bounds[v]) for v in reached) and all(
      gain is not None and np.isfinite(gain.up + gain.down).all()
      for gain in self._relative_gains
    )

  @functools.cached_property
  def _relative_gains(self) -> list[Gain | None]:
    widths, graph = self._network.output_widths, self._network.graph
    sizes = [self._network.bounds[v].low.size for v in graph.outputs]
    # Each output tensor counts alike, and its entries by their own widths.
    share = np.repeat(1 / np.array(sizes), sizes) / len(sizes)
    weights = share / np.where(widths > 0, widths, 1.0)
    return self._network.gains_behind(self._group, weights)

  def _difference(self, kept: Array, removed: Array) -> Interval:
    network, found = self._network, None
    for call, places in self._reads():
      one = difference_of_entries(
        network.graph,
        network.params,
        network.bounds,
        call.inputs[0],
        places[kept].ravel(),
        places[removed].ravel(),
        network.by_unit,
      ).reshape((-1, places.shape[1]))
      one = Interval(one.low.min(1), one.high.max(1))
      found = one if found is None else hull(found, one)
    return found

  def _reads(self) -> Iterator[tuple[Node, Array]]:
    """Every call of the consumers, and the channels of each unit there."""
    for member, places in zip(self._group.consumers, self._places, strict=True):
      for call in member.calls:
        yield call, places


def _is_finite(bounds: Interval | None) -> bool:
  return bounds is not None and bool(np.isfinite(bounds.magnitude).all())
