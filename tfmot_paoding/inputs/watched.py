"""A model's outputs, and beside them what its batch normalizations read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat, replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.network.answering import outputs_of
from tfmot_paoding.network.cloning import (
  clone_with,
  computes_halves,
  copy_weights,
  fresh_layer,
  without_halves,
)
from tfmot_paoding.network.graph import Graph, unwrapped
from tfmot_paoding.network.network import Network

# A normalization and what one call of it reads.
Read = tuple[keras.layers.Layer, tf.Tensor]


class Watched:
  """A model at inference, each of whose normalizations tells what it reads.

  Attributes:
    model: What is called; not the user's, though it may share layers with it.
    norms: Its batch normalizations.
  """

  def __init__(self, network: Network):
    shared = _sharing_layers(network)
    self._calls: list[Any] = []
    if shared is not None:
      self.norms = _norms(network.graph)
      self.model, self._calls = shared
      return
    self.model, graph = _copied(network)
    self.norms = _norms(graph)
    self._seen: list[Read] = []
    for layer in self.norms:
      layer.call = self._noting(layer, layer.call)

  def __call__(
    self, x: Sequence[tf.Tensor]
  ) -> tuple[list[tf.Tensor], list[Read]]:
    """Every output for one batch, and what normalizations read of it.

    Args:
      x: One tensor an input, with a batch axis.
    """
    # Replicas take turns: the next begins while this one waits for sums.
    self._seen = seen = []
    outputs = outputs_of(self.model, x)
    ends = len(outputs) - len(self._calls)
    seen += zip(self._calls, outputs[ends:], strict=True)
    return outputs[:ends], seen

  def _noting(self, layer: keras.layers.Layer, call: Callable) -> Callable:
    def noted(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
      self._seen.append((layer, inputs))
      return call(inputs, *args, **kwargs)

    return noted


def _sharing_layers(
  network: Network,
) -> tuple[keras.Model, list[keras.layers.Layer]] | None:
  """A model of the same layers that has what normalizations read as outputs.

  To copy a model takes as long as a short descent.

  Args:
    network: The model.

  Returns:
    It, and the normalization of each output that is added; None where that
    takes a copy: for wrappers, halves, normalizations inside nested models,
    replicas, which have variables of their own, and layers that may change as
    they are called.
  """
  model, graph = network.model, network.graph
  norms = _norms(graph)
  nodes = [
    node
    for level in model._nodes_by_depth.values()
    for node in level
    if any(node.layer is norm for norm in norms)
  ]
  called = sum(
    graph.calls.get(path, 0)
    for path, layer in graph.layers.items()
    if any(layer is norm for norm in norms)
  )
  if (
    len(nodes) != called
    or graph.wrappers
    or computes_halves(model)
    or compat.may_branch(model)
    or any(layer.stateful for layer in graph.layers.values())
    or replicas.sharing() is not None
  ):
    return None
  outputs = [*model.outputs, *(node.keras_inputs[0] for node in nodes)]
  return keras.Model(model.inputs, outputs), [node.layer for node in nodes]


def _copied(network: Network) -> tuple[keras.Model, Graph]:
  """A private copy without wrappers and halves, and its graph."""
  model = network.model
  copy = clone_with(model, lambda layer, _: fresh_layer(unwrapped(layer)))
  copy_weights(model, copy)
  copy = without_halves(copy)
  return copy, network.like(copy).graph


def _norms(graph: Graph) -> list[keras.layers.Layer]:
  """The batch normalization layers that a model calls."""
  return [
    layer
    for layer in graph.layers.values()
    if isinstance(layer, keras.layers.BatchNormalization)
  ]
