"""What makes up for units that leave where they were measured together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_paoding.layers.base import Path, handler_of
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.ops import Params, Rescaled, WeightRef

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Told:
  """What a layer must be told of channels that leave.

  Attributes:
    epsilons: What it adds to each mean square, by the name of the factors
      behind it.
    width: How many channels it measures; None for those that it is given.
  """

  epsilons: dict[str, float] = dataclasses.field(default_factory=dict)
  width: int | None = None

  def joined(self, made: Rescaled) -> Told:
    """With what one more of its operations says."""
    found = dict(self.epsilons)
    if made.epsilon is not None:
      found |= {ref.name: made.epsilon for ref in made.weights}
    return Told(found, made.width or self.width)

  def make(
    self, layer: Any, config: dict[str, Any]
  ) -> tuple[type, dict[str, Any]]:
    """The class and the config of the layer that measures fewer units."""
    handler = handler_of(layer)
    if self.epsilons:
      config = handler.readjust(layer, config, self.epsilons)
    if self.width is None:
      return type(layer), config
    return handler.pad(layer, config, self.width)


def rescaled(
  graph: Graph, params: Params, kept: Callable[[int], Array]
) -> tuple[dict[WeightRef, Array], dict[Path, Told]]:
  """What makes up for channels that leave.

  Args:
    graph: The model's graph.
    params: Its weights.
    kept: Which channels of a value stay, (channels,) of bool.

  Returns:
    Changed weights; and what layers must be told.
  """
  weights: dict[WeightRef, Array] = {}
  told: dict[Path, Told] = {}
  for node in graph.nodes:
    if not node.op.rescales:
      continue
    flags = kept(node.inputs[0])
    if flags.all():
      continue
    # The same in all its calls.
    made = node.op.rescaled(params, len(flags), int(flags.sum()))
    weights |= made.weights
    if node.op.told_by is None:
      continue
    path = node.op.own_weights[0].layer
    told[path] = told.get(path, Told()).joined(made)
  return weights, told
