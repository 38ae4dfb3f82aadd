"""Where operations at a model's inputs move entries to."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_paoding.inputs.layer_functions import moved_by
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.ops.windows import Crop, Pad, Repeat

Array = np.ndarray


def mixes_entries(node: Node) -> bool:
  """Whether an operation over positions makes more of entries than moves."""
  move = getattr(node.op, 'move', None)
  return node.op.moves_positions and not isinstance(move, (Crop, Pad, Repeat))


def entry_places(graph: Graph, node: Node, value: int) -> list[Array] | None:
  """The entry of a value, counted from 1, behind each result; 0 for none.

  Args:
    graph: The model's.
    node: An operation that reads the value.
    value: The value.

  Returns:
    An int array for each result, of its shape; None where the operation does
    something else than to move entries.
  """
  op = node.op
  if mixes_entries(node):
    return None
  sources = []
  for source in node.inputs:
    shape = graph.shapes[source]
    numbers = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64)
    own = source == value
    numbers = numbers if own else np.zeros_like(numbers)
    sources.append(tf.constant(numbers.reshape((1, *shape))))
  if op.rearranges or op.moves_positions:
    moved = op.transform({}, *sources)
  else:
    moved = moved_by(graph.layers[node.path], sources)
  if moved is None:
    return None
  moved = list(moved) if isinstance(moved, (list, tuple)) else [moved]
  shapes = [(1, *graph.shapes[output]) for output in node.outputs]
  if [tuple(part.shape) for part in moved] != shapes:
    return None
  return [np.asarray(part)[0].astype(np.int64) for part in moved]
