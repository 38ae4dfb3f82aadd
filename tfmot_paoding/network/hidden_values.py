"""A model's values on its way from inputs to outputs, as Keras computes them.

With gradients, and inside of a `tf.function` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.network.graph import Call, Graph


def hidden_values(
  graph: Graph, x: Sequence[tf.Tensor], wanted: Iterable[int]
) -> dict[int, Any]:
  """Some of a network's values, as the model computes them at inference.

  Args:
    graph: The network's.
    x: A batch of each input of the model.
    wanted: The values, that inputs are or layers give.

  Returns:
    Tensors with a batch axis, by value.
  """
  wanted = set(wanted)
  values: dict[int, Any] = dict(zip(graph.inputs, x, strict=True))
  done = read_last(graph.layer_calls)
  for number, call in enumerate(graph.layer_calls):
    if wanted <= values.keys():
      break
    if not call.nodes:
      continue
    sources = [values[value] for value in call.inputs]
    training = None if in_training(call) else False
    made = compat.call_again(call.keras_node, sources, training)
    values.update(zip(call.outputs, tf.nest.flatten(made), strict=True))
    for value in done[number] - wanted:
      values.pop(value, None)  # wide networks have large ones
  return {value: values[value] for value in wanted}


def in_training(call: Call) -> bool:
  """Whether a layer is called as in training, whatever the model does."""
  return compat.training_of(call.keras_node) not in (None, False)


def read_last(calls: list[Call]) -> list[set[int]]:
  """The values that each call is the last to read."""
  last: dict[int, int] = {}
  for number, call in enumerate(calls):
    if call.nodes:
      last.update(dict.fromkeys(call.inputs, number))
  found: list[set[int]] = [set() for _ in calls]
  for value, number in last.items():
    found[number].add(value)
  return found
