"""What makes up for units that leave where they were measured together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray


def rescaled(
  graph: Graph, params: Params, kept: Callable[[int], Array]
) -> tuple[dict[WeightRef, Array], dict[Path, dict[str, float]]]:
  """What makes up for channels that leave.

  Args:
    graph: The model's graph.
    params: Its weights.
    kept: Which channels of a value stay, (channels,) of bool.

  Returns:
    Changed weights; and the epsilons of layers, by the names of the factors
    that stand behind them.
  """
  weights: dict[WeightRef, Array] = {}
  epsilons: dict[Path, dict[str, float]] = {}
  for node in graph.nodes:
    share = 1.0
    if node.op.rescales:
      share = float(kept(node.inputs[0]).mean())
    if share < 1:
      made = node.op.rescaled(params, share)  # the same in all its calls
      weights |= made.weights
      if made.epsilon is None:
        continue
      for ref in made.weights:
        epsilons.setdefault(ref.layer, {})[ref.name] = made.epsilon
  return weights, epsilons
