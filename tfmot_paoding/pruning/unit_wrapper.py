"""What whoever prunes a model asks of the wrappers in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.named import Method
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.ops import WeightRef


class UnitWrapper:
  """A pruning wrapper whose masks remove whole units; a declared interface.

  Attributes:
    layer: The layer inside.
    pruning_schedule: When its units go, and how many.
    method: How they are chosen.
    input_range: The range of the model's inputs; None for what the model says.
    range_notes: What else `prune_low_saliency` settled of it, or None.
    seed: Of the method's random choices.
    allocation: How the sparsity is spread over groups.
    masses: How many units each stands for, by the name of the group.
    attention: What leaves of attention's heads.
    origin: What the model was before pruning, as long as it lives; or None.
    pruning_vars: (weight, mask, threshold) of each weight that has a mask.
    pruning_step: The variable that counts training steps.
    removes_units: True, which tells it from wrappers that mask single weights.
  """

  removes_units = True

  layer: Any
  pruning_schedule: compat.PruningSchedule
  method: Method
  input_range: Any
  range_notes: Mapping[str, Any] | None
  seed: int
  allocation: Allocation
  masses: Mapping[str, list[float]]
  attention: str
  origin: Any = None
  pruning_vars: list[tuple[Any, Any, Any]]
  pruning_step: Any

  def get_config(self) -> dict[str, Any]:
    """The settings."""
    return super().get_config()  # the layer's; this class holds none itself


def mask_variables(graph: Graph) -> dict[WeightRef, Any]:
  """The mask of each weight that carries one, in a wrapped model's graph."""
  found = {}
  for ref in graph.weight_refs():
    wrapper = graph.wrappers.get(ref.layer)
    if not isinstance(wrapper, UnitWrapper):
      continue
    weight = graph.weight(ref)
    for variable, mask, _ in wrapper.pruning_vars:
      if variable is weight:
        found[ref] = mask
  return found
