"""How many neurons are unstable around samples, layer by layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_paoding.bounds import build_program, walks
from tfmot_paoding.bounds.balls import balls
from tfmot_paoding.bounds.walks import check_method
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, input_boxes, resolve_range
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.graph import read_params
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class LayerStability:
  """The neurons of one activation, means over the samples.

  Attributes:
    layer: The path of the layer, joined by '/'.
    neurons: How many there are, positions counted apart.
    unstable: With a kink inside their bounds.
    active: On the part above the last kink.
    inactive: On the part below the first.
  """

  layer: str
  neurons: int
  unstable: float
  active: float
  inactive: float

  @property
  def fraction(self) -> float:
    """The unstable share."""
    return self.unstable / self.neurons


def neuron_stability(
  model: keras.Model,
  x: Any = None,
  epsilon: float = 0.0,
  input_range: RangeLike = None,
  method: str = 'crown-ibp',
  *,
  batch_size: int = 32,
  verbose: int | str = 'auto',
) -> list[LayerStability]:
  """Counts neurons whose activation is no line under given bounds.

  This is what a verifier must branch on, and what pruning for certified
  robustness reduces (Li et al. 2022, arXiv 2206.07311).

  Args:
    model: A tf_keras model.
    x: Samples whose balls to look at; None for the whole input range.
    epsilon: The balls' radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    method: The bounds: 'ibp' (and 'crown-ibp', the same in front of
      activations) or 'crown'.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    One entry for each piecewise linear activation, inputs first; none for a
    network that has only smooth ones.

  Raises:
    TypeError: `model` is no tf_keras model.
    NoRelaxationError: an operation has no sound relaxation.
    ValueError: a setting is bad.
  """
  model = as_opened(model)
  check_method(method)
  graph = Network.of(model).graph
  shapes = [graph.shapes[value] for value in graph.inputs]
  if x is None:
    input_range = resolve_range(model, input_range)
    boxes = [
      Interval(box.low[None], box.high[None])
      for box in input_boxes(model, input_range, shapes)
    ]
  else:
    boxes = balls(model, x, epsilon, input_range, shapes)
  program = build_program(graph, read_params(graph))
  needed = {step.output for step in program.steps}
  nodes = [
    node for node in graph.nodes if node.op.kinks and node.outputs[0] in needed
  ]
  counts = np.zeros((len(nodes), 3))
  for _, walk in walks(program, boxes, method, None, batch_size, verbose):
    for count, node in zip(counts, nodes, strict=True):
      count += _count(walk.bounds(node.inputs[0]), node.op.kinks)
  counts /= len(boxes[0].low)
  return [
    LayerStability(
      '/'.join(node.path), int(np.prod(graph.shapes[node.inputs[0]])), *count
    )
    for node, count in zip(nodes, counts.tolist(), strict=True)
  ]


def _count(x: Interval, kinks: tuple[float, ...]) -> Array:
  """Unstable, active and inactive neurons of a batch."""
  inside = [(x.low < kink) & (kink < x.high) for kink in kinks]
  unstable = np.any(inside, axis=0)
  return np.array(
    [
      unstable.sum(),
      (~unstable & (x.low >= max(kinks))).sum(),
      (~unstable & (x.high <= min(kinks))).sum(),
    ],
    float,
  )
