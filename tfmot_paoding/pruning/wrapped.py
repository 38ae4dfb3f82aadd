"""What stands in a wrapped model: groups that may go, and their settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import InputRange, resolve_range
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import ARE_OUTPUTS, Group, Grouping
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import WeightRef
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper, mask_variables


@dataclasses.dataclass(frozen=True, eq=False)
class Wrapped:
  """A wrapped network, checked.

  Attributes:
    network: The network.
    groups: Its groups whose every layer is wrapped.
    left_alone: Why each other layer keeps its units.
    masks: The mask of each weight that carries one.
  """

  network: Network
  groups: list[Group]
  left_alone: dict[str, str]
  masks: Mapping[WeightRef, Any]

  @classmethod
  def of(cls, model: keras.Model | Network | Wrapped) -> Wrapped:
    """What stands in a model from `prune_low_saliency`, or one from a file.

    What was looked at already comes back as it is.

    Raises:
      ValueError: no group of the model can be pruned, or its layers were
        wrapped for different ways of pruning.
    """
    if isinstance(model, cls):
      return model
    network = Network.of(model)
    groups, left_alone = prunable(network.graph, network.groups)
    if not groups:
      raise ValueError(
        'The model has no group that is wrapped for pruning. Pass what '
        'prune_low_saliency returned, or wrap all layers that a group of units '
        f'passes. Left alone: {left_alone}.'
      )
    found = cls(network, groups, left_alone, mask_variables(network.graph))
    found._check_settings()
    return found

  def wrapper(self, group: Group) -> UnitWrapper:
    """The wrapper of a group's first layer, which holds its settings."""
    return self.network.graph.wrappers[group.layer]

  @property
  def settings(self) -> UnitWrapper:
    """The wrapper that speaks for all, as far as they are alike."""
    return self.wrapper(self.groups[0])

  def source(
    self, data: Inputs = None, prior: PriorLike = None, verbose: int | str = 0
  ) -> InputSource:
    """Where inputs come from, in the range that the wrappers keep."""
    settings = self.settings
    settled = settled_range(self.network, settings)
    if data is None and isinstance(prior, InputSource):
      return prior.given_to(self.network, settled, verbose)
    return InputSource(settled, settings.seed, data, prior, verbose)

  @property
  def unexpected(self) -> dict[str, str]:
    """The reason for each layer that somebody might expect to be pruned.

    Not those that make the outputs, nor those that nobody wrapped.
    """
    unasked = {
      '/'.join(group.name)
      for group in self.network.groups.groups
      if not any(
        isinstance(
          self.network.graph.wrappers.get(member.node.path), UnitWrapper
        )
        for member in group.producers
      )
    }
    return {
      name: why
      for name, why in self.left_alone.items()
      if why != ARE_OUTPUTS and name not in unasked
    }

  def _check_settings(self) -> None:
    """Raises where layers were wrapped for different ways of pruning."""
    first, *others = [self.wrapper(group) for group in self.groups]
    wanted = first.get_config()
    for other in others:
      config = other.get_config()
      for name in ('method', 'input_range', 'seed', 'allocation'):
        if config[name] != wanted[name]:
          raise ValueError(
            f'Layers {first.layer.name!r} and {other.layer.name!r} are wrapped '
            f'with different `{name}`: {wanted[name]!r} and {config[name]!r}. '
            'One model is pruned in one way: pass the same to all wrappers.'
          )


def prunable(graph: Graph, grouping: Grouping) -> tuple[list[Group], dict]:
  """The groups whose every layer is wrapped, and why others are left alone.

  Args:
    graph: A wrapped model's graph.
    grouping: Its groups.

  Returns:
    The groups, and the reason for each producer that is left alone.
  """
  groups, left_alone = [], dict(grouping.left_alone)
  masked = mask_variables(graph)
  for group in grouping.groups:
    bare = [
      path
      for path in group.paths
      if not isinstance(graph.wrappers.get(path), UnitWrapper)
    ]
    unmasked = [
      ref
      for ref, _, zeroed, _ in group.weights()
      if zeroed and ref not in masked
    ]
    if bare:
      left_alone[group.name] = group.why_named or (
        f'layer {"/".join(bare[0])!r}, which its units pass, is not wrapped'
      )
    elif unmasked:
      left_alone[group.name] = (
        f'the wrapper of layer {"/".join(unmasked[0].layer)!r} has no mask '
        f'for its {unmasked[0].name!r}; leave `masked_weights` out'
      )
    else:
      groups.append(group)
  return groups, {'/'.join(path): why for path, why in left_alone.items()}


def settled_range(network: Network, settings: UnitWrapper) -> InputRange:
  """The range that a wrapper keeps, or what the model says of it."""
  if settings.range_notes is None:  # wrapped by hand, or by an older version
    return resolve_range(network, settings.input_range)
  return InputRange(settings.input_range, **settings.range_notes)
