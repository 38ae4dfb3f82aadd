"""A model's values on its way from inputs to outputs, as Keras computes them.

With gradients, and inside of a `tf.function` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.network.graph import Graph


def hidden_values(
  graph: Graph, x: Sequence[tf.Tensor], wanted: Iterable[int]
) -> dict[int, Any]:
  """Some of a network's values, computed in inference.

  Args:
    graph: The network's.
    x: A batch of each input of the model.
    wanted: The values, that inputs are or layers give.

  Returns:
    Tensors with a batch axis, by value.
  """
  wanted = set(wanted)
  values: dict[int, Any] = dict(zip(graph.inputs, x, strict=True))
  for call in graph.layer_calls:
    if wanted <= values.keys():
      break
    if not call.nodes:
      continue
    sources = [values[value] for value in call.inputs]
    made = compat.call_again(call.keras_node, sources, False)
    values.update(zip(call.outputs, tf.nest.flatten(made), strict=True))
  return {value: values[value] for value in wanted}
