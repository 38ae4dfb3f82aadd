"""Whether the statistics that a model stored can have come from a range.

Batch normalization behind the first layers stored the mean and variance of what
came in. Bounds of that over the declared range hold whatever the inputs were: a
mean beyond them, or a deviation of more than half their width, proves that the
model was trained on another range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

# Bounds behind more layers with weights are too wide to tell anything.
_MOST_LAYERS = 3
# Of its living channels: pruning may leave the statistics of some behind.
_FEW = 0.2
# The variance of a small batch is corrected upwards, by n / (n - 1).
_ROOM = 1.2


def disproof(graph: Graph, boxes: Sequence[Interval]) -> str | None:
  """Why inputs in these boxes cannot be what a model was trained on.

  Args:
    graph: The model's graph.
    boxes: The range of each input.

  Returns:
    The layer and its figures, or None where nothing is proved.
  """
  for nodes in _first_norms(graph):
    reason = _disproof(
      graph, dict(zip(graph.inputs, boxes, strict=True)), nodes
    )
    if reason is not None:
      return reason
  return None


def _first_norms(graph: Graph) -> Iterator[list[Node]]:
  """What leads to each normalization that has no other in front of it."""
  writer = graph.writer()
  for node in graph.nodes:
    if not node.op.normalizes:
      continue
    behind, waiting = {}, list(node.inputs)
    while waiting:
      made = writer.get(waiting.pop())
      if made is not None and id(made) not in behind:
        behind[id(made)] = made
        waiting += made.inputs
    ops = [other.op for other in behind.values()]
    weighted = sum(bool(op.weights()) for op in ops)
    strange = any(op.normalizes or op.looks_up or not op.known for op in ops)
    if ops and not strange and weighted <= _MOST_LAYERS:
      yield [n for n in graph.nodes if id(n) in behind] + [node]


def _disproof(
  graph: Graph, values: dict[int, Interval], nodes: list[Node]
) -> str | None:
  params = {
    ref: np.asarray(keras.backend.get_value(graph.weight(ref)), np.float64)
    for node in nodes
    for ref in node.op.weights()
  }
  if not all(np.all(np.isfinite(value)) for value in params.values()):
    return None
  *before, norm = nodes
  for node in before:
    x = tuple(values[value] for value in node.inputs)
    values[node.outputs[0]] = node.op.bounds(
      params, x if node.op.joins else x[0]
    )
  x, op = values[norm.inputs[0]], norm.op
  axes = tuple(range(x.low.ndim - 1))
  low, high = x.low.min(axes), x.high.max(axes)
  mean, deviation = params[op.mean], np.sqrt(params[op.variance])
  # Moving statistics come from 0 and 1: while they do, they are in between.
  low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
  most = _ROOM * np.maximum((high - low) / 2, 1.0)
  living = high > low
  if op.gamma is not None:
    living = living & (params[op.gamma] != 0)
  far = (mean < low) | (mean > high) | (deviation > most)
  if not (far & living).sum() > _FEW * max(living.sum(), 1):
    return None
  name = '/'.join(norm.path)
  worst = np.argmax(
    np.where(living, np.maximum(np.abs(mean), deviation) / most, 0.0)
  )
  return (
    f'layer {name!r} stored means and deviations that inputs in it cannot have '
    f'given (in {(far & living).sum()} of {living.sum()} channels; in channel '
    f'{worst} a mean of {mean[worst]:.3g} and a deviation of '
    f'{deviation[worst]:.3g}, where {low[worst]:.3g} to {high[worst]:.3g} is '
    'possible)'
  )
