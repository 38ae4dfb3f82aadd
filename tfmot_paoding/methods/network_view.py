"""The whole network at its current weights, as its groups look at it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.bounds import whole_range as bounds_lib
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.consumer_fits import Fitting
from tfmot_paoding.methods.memory import Memory
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.outputs import Head, heads_of
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Gain, Params, WeightRef

Array = np.ndarray


class NetworkView:
  """The whole network at its current weights; bounds on demand.

  Args:
    graph: The model's graph.
    params: Its current weights.
    boxes: Bounds of each input.
    memory: What groups keep from one step to the next; None for nothing yet.
    fitting: Moments for least squares, if a method wants them.

  Attributes:
    answer_curves: What it costs the answers that one group alone has fewer
      units, by group name, as far as that was asked for.
  """

  def __init__(
    self,
    graph: Graph,
    params: Params,
    boxes: Sequence[Interval],
    memory: Memory | None = None,
    fitting: Fitting | None = None,
  ):
    self.fitting = fitting
    self.graph = graph
    self.params = params
    self.memory = Memory() if memory is None else memory
    self.by_unit: dict[WeightRef, Array] = {}
    self.answer_curves: dict[Path, Array] = {}
    self._boxes = boxes
    self._inputs_of: tuple[tuple, dict[int, Array]] = (), {}

  def at(self, params: Params) -> NetworkView:
    """The same network at other weights."""
    return NetworkView(
      self.graph, params, self._boxes, self.memory, self.fitting
    )

  @functools.cached_property
  def heads(self) -> list[Head]:
    """What the network's outputs mean."""
    return heads_of(self.graph)

  @functools.cached_property
  def bounds(self) -> list[Interval | None]:
    """Bounds of every value over the declared inputs."""
    return bounds_lib.propagate(self.graph, self.params, self._boxes)

  def gains_behind(
    self, group: Group, weights: Array | None = None
  ) -> list[Gain | None]:
    """How far the outputs move with what a group's consumers make.

    Args:
      group: The group.
      weights: If given, shape (outputs,): the gains of the one sum of
        movements with these weights, not of each output.
    """
    arriving = [
      [self._arrives_at(call) for call in member.calls]
      for member in group.consumers
    ]
    gains = bounds_lib.output_gain(
      self.graph,
      self.params,
      self.bounds,
      {value for values in arriving for value in values},
      weights,
    )
    return [_over_calls([gains[v] for v in values]) for values in arriving]

  def _arrives_at(self, call: Node) -> int:
    """The value that moves with what a consumer makes."""
    if not call.op.feeds_back:
      return call.outputs[0]
    # It is added to the gates that the states were made of.
    return self._writers[call.inputs[0]].inputs[0]

  @functools.cached_property
  def _writers(self) -> dict[int, Node]:
    return self.graph.writer()

  def consumer_inputs(self, group: Group) -> dict[int, Array]:
    """What a group's consumers read on the samples, by value.

    Kept for the group asked for last: every attempt on it starts there.
    """
    name, found = self._inputs_of
    if name != group.name:
      self.fitting.stand_before(self.params, group)
      found = self.fitting.values(self.params, group.consumers)
      self._inputs_of = group.name, found
    return found

  def unseen(self, group: Group) -> str | None:
    """Why a group's consumers cannot be fitted on samples, or None."""
    found = self.consumer_inputs(group)
    for call in (call for m in group.consumers for call in m.calls):
      layer, value = '/'.join(call.path), found.get(call.inputs[0])
      if value is None:
        return f'what layer {layer!r} reads of them cannot be simulated'
      if not np.all(np.isfinite(value)):
        return f'what layer {layer!r} reads of them overflows'
    return None

  @functools.cached_property
  def output_widths(self) -> Array:
    """Widths of the network's own outputs over the box, (outputs,)."""
    return np.concatenate(
      [self.bounds[v].width.ravel() for v in self.graph.outputs]
    )


def _over_calls(gains: list[Gain | None]) -> Gain | None:
  """What all calls of a layer move together."""
  if any(gain is None for gain in gains):
    return None
  if len(gains) == 1:
    return gains[0]
  # Positions that move at once add up, where calls have more or fewer.
  channels = [gain.fitted(gain.up.shape[-2:-1]) for gain in gains]
  return Gain(sum(g.up for g in channels), sum(g.down for g in channels))
