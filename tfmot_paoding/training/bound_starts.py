"""Weights from which training under interval bounds learns.

Usual ones make intervals wider from layer to layer: of five hidden layers they
leave nothing to learn from. Shi et al. 2021, arXiv 2103.17268. Their two terms
for the time of the ramp gained nothing beside (digits, two and five layers, two
or three seeds: proved by IBP .683 and .643 with them, .684 and .660 without).
"""

from __future__ import annotations

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.cloning import copied
from tfmot_paoding.network.graph import Graph, check_model
from tfmot_paoding.network.network import Network


def initialized_for_bounds(model: keras.Model, seed: int = 0) -> keras.Model:
  """A copy with kernels under which intervals keep their width.

  Normal ones of deviation sqrt(2 pi) / fan-in, so that the magnitudes of what a
  unit reads add up to 2, of which rectifiers leave half. The last layer and
  depthwise ones keep their own.

  Args:
    model: A model that nobody has trained; it is not changed.
    seed: Of the kernels.

  Returns:
    The copy.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built, or has no hidden layer.
  """
  model = as_tf_keras(model)
  check_model(model)
  copy = copied(model)
  graph = Network.of(copy).graph
  last = _made_last(graph)
  rng = np.random.default_rng(seed)
  kernels = {
    node.op.kernel: node.op.weights()[node.op.kernel].outgoing
    for node in graph.nodes
    if node.op.makes_units and node.outputs[0] not in last
  }
  if not kernels:
    raise ValueError(
      f'The model {model.name!r} has no hidden layer whose kernel could be '
      'drawn anew.'
    )
  for kernel, axis in kernels.items():
    variable = graph.weight(kernel)
    shape = tuple(variable.shape)
    deviation = np.sqrt(2 * np.pi) * shape[axis] / np.prod(shape)
    keras.backend.set_value(variable, rng.normal(0.0, deviation, shape))
  return copy


def _made_last(graph: Graph) -> set[int]:
  """The values that become outputs without another kernel."""
  found = set(graph.outputs)
  for node in reversed(graph.nodes):
    if found & set(node.outputs) and not node.op.makes_units:
      found |= set(node.inputs)
  return found
