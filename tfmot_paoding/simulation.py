"""Runs a network on samples, with any weights, layer by layer.

Batch normalization takes the statistics of the samples: what comes out of it
then has the mean and the variance that it has on the training data, channel by
channel, whatever the samples are like.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.cloning import clone_with, copy_weights, fresh_layer
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph, Node, build_graph, unwrapped
from tfmot_paoding.intervals import Interval
from tfmot_paoding.layers.base import Path
from tfmot_paoding.ops import Opaque, Params, Scale, WeightRef

Array = np.ndarray

_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


class Simulation:
  """A private copy of a model, and samples to run it on.

  Args:
    model: The model, wrapped or not; it is not changed.
    samples: One array an input, with a batch axis.

  Values behind a call that takes more than plain tensors are not known.
  """

  def __init__(self, model: keras.Model, samples: list[Array]):
    plain = clone_with(model, lambda layer, _: fresh_layer(unwrapped(layer)))
    self.graph = build_graph(plain)
    copy_weights(build_graph(model), self.graph)
    self._samples = samples
    self._calls = _layer_calls(self.graph)
    self._read_last = _read_last(self._calls)

  def run(self, params: Params, wanted: Iterable[int]) -> dict[int, Array]:
    """The samples' values under some weights.

    Args:
      params: The weights.
      wanted: Which values to keep.

    Returns:
      Arrays with a batch axis; values inside a layer, and those that are not
      known, are left out.
    """
    wanted = set(wanted)
    values: dict[int, Array] = {
      value: tf.convert_to_tensor(x)
      for value, x in zip(self.graph.inputs, self._samples, strict=True)
    }
    self._assign(params)
    for number, (path, nodes) in enumerate(self._calls):
      if wanted <= values.keys():
        break
      if not all(value in values for value in nodes[0].inputs):
        continue
      sources = [values[value] for value in nodes[0].inputs]
      result = self._apply(path, nodes, sources)
      if result is not None:
        values[nodes[-1].outputs[0]] = result
        if nodes[0].outputs[0] in wanted - values.keys():
          values |= _inside(self.graph.layers[path], nodes, sources)
      for value in self._read_last[number] - wanted:
        values.pop(value, None)  # wide networks have large ones
    return {
      v: values[v].numpy().astype(np.float32) for v in wanted if v in values
    }

  def statistics(self, params: Params) -> dict[WeightRef, tuple[Array, Array]]:
    """Mean and variance that each batch normalization sees, by its mean."""
    sources = {
      node.op.mean: node.inputs[0]
      for node in self.graph.nodes
      if isinstance(node.op, Scale) and node.op.mean is not None
    }
    values = self.run(params, sources.values())
    return {
      ref: _moments(values[value])
      for ref, value in sources.items()
      if value in values
    }

  def _apply(
    self, path: Path, nodes: list[Node], sources: list[tf.Tensor]
  ) -> tf.Tensor | None:
    layer = self.graph.layers[path]
    op = nodes[0].op
    if isinstance(op, Opaque) and (
      len(sources) != 1 or isinstance(layer, compat.TFOpLambda)
    ):
      return None
    if isinstance(layer, keras.layers.BatchNormalization):
      return _normalized(layer, sources[0])
    if isinstance(layer, compat.TFOpLambda):
      return _evaluated(nodes, sources)
    x = sources if op.joins else sources[0]
    return layer(x, training=False) if _trains(layer) else layer(x)

  def _assign(self, params: Params) -> None:
    for ref in self.graph.weight_refs():
      variable = self.graph.weight(ref)
      variable.assign(params[ref])


def _layer_calls(graph: Graph) -> list[tuple[Path, list[Node]]]:
  """The nodes of each layer call, in order."""
  found: list[tuple[Path, list[Node]]] = []
  for node in graph.nodes:
    chained = (
      found
      and found[-1][0] == node.path
      and node.inputs == found[-1][1][-1].outputs
      and not _begins_again(graph, node, found[-1][1][0])
    )
    if chained:
      found[-1][1].append(node)
    else:
      found.append((node.path, [node]))
  return found


def _read_last(calls: list[tuple[Path, list[Node]]]) -> list[set[int]]:
  """The values that each call is the last to read."""
  last: dict[int, int] = {}
  for number, (_, nodes) in enumerate(calls):
    last.update(dict.fromkeys(nodes[0].inputs, number))
  found: list[set[int]] = [set() for _ in calls]
  for value, number in last.items():
    found[number].add(value)
  return found


def _inside(
  layer: keras.layers.Layer, nodes: list[Node], sources: list[tf.Tensor]
) -> dict[int, tf.Tensor]:
  """What stands between the two halves of a separable convolution."""
  if not isinstance(layer, _SEPARABLE):
    return {}
  x, kernel = sources[0], layer.depthwise_kernel
  strides, rates = layer.strides, layer.dilation_rate
  padding = layer.padding
  if len(strides) == 1:
    if padding == 'causal':
      reach = (layer.kernel_size[0] - 1) * rates[0]
      x, padding = tf.pad(x, [[0, 0], [reach, 0], [0, 0]]), 'valid'
    x, kernel = x[:, None], kernel[None]
    strides, rates = strides * 2, (1, *rates)
  made = keras.backend.depthwise_conv2d(
    x, kernel, strides, padding, layer.data_format, rates
  )
  if len(layer.strides) == 1:
    made = made[:, 0]
  return {nodes[0].outputs[0]: made}


def _evaluated(nodes: list[Node], sources: list[tf.Tensor]) -> tf.Tensor:
  """Operations without weights: the bounds of a point are its value."""
  if all(node.op.rearranges for node in nodes):
    x = [tf.convert_to_tensor(y) for y in sources]
    for node in nodes:
      x = [node.op.transform({}, *x)]
    return x[0]
  x = [Interval(y, y) for y in (np.asarray(s, np.float64) for s in sources)]
  for node in nodes:
    x = [node.op.bounds({}, tuple(x) if node.op.joins else x[0])]
  return tf.convert_to_tensor(x[0].low.astype(np.float32))


def _begins_again(graph: Graph, node: Node, first: Node) -> bool:
  """Whether a node is the first of another call of the same layer."""
  return graph.calls[node.path] > 1 and type(node.op) is type(first.op)


def _normalized(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
  dtype, x = x.dtype, tf.cast(x, tf.float32)
  mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
  beta, gamma = (
    None if weight is None else tf.cast(weight, tf.float32)
    for weight in (layer.beta, layer.gamma)
  )
  y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, layer.epsilon)
  return tf.cast(y, dtype)


def _moments(x: Array) -> tuple[Array, Array]:
  flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
  return flat.mean(0), flat.var(0)


def _trains(layer: keras.layers.Layer) -> bool:
  return bool(getattr(layer, '_expects_training_arg', False))
