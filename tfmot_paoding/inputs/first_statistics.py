"""The statistics that normalization stored of affine functions of an input.

Where nothing but affine operations lies between an input and a normalization,
the stored means are linear in the mean of the inputs and the stored variances
in their covariance.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf

from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import Op, Params, Shape

Array = np.ndarray

# How many numbers one pass over a network's beginning may make.
_PASS = 4_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class FirstStatistics:
  """What one normalization stored of an affine function of an input.

  Attributes:
    name: The normalization's layer.
    mean: Shape (channels,).
    variance: Shape (channels,).
    shape: The input's.
    params: The weights of the operations.
    operations: From the input to the normalization.
    positions: How many positions it takes its statistics over.
  """

  name: str
  mean: Array
  variance: Array
  shape: Shape
  params: Params
  operations: tuple[Op, ...]
  positions: int

  def response(self, x: Array) -> Array:
    """The function on inputs.

    Args:
      x: Shape (samples, *shape).

    Returns:
      Shape (samples, positions, channels).
    """
    x = np.asarray(x, np.float64).reshape(-1, *self.shape)
    size = self._pass_size()
    return np.concatenate(
      [
        self._run(tf.constant(x[start : start + size])).numpy()
        for start in range(0, len(x), size)
      ]
    )

  def offset(self) -> Array:
    """The response to zeros, shape (positions, channels)."""
    return self.response(np.zeros((1, *self.shape)))[0]

  def mean_rows(self) -> Array:
    """How the mean over positions depends on each entry.

    Returns:
      Shape (channels, *shape).
    """
    entries = math.prod(self.shape)
    if entries <= self._pass_size():
      # Each entry by itself, in less time than a gradient takes to trace.
      alone = self.response(np.eye(entries)) - self.offset()
      return alone.mean(1).T.reshape(-1, *self.shape)
    return self._sloped_rows()

  def _sloped_rows(self) -> Array:
    """`mean_rows` by gradients, of which there is one a channel."""
    directions = tf.eye(len(self.mean), dtype=tf.float64)

    # In a graph: the eager gradient of three-dimensional convolutions fails.
    # Rewriting what has no branches (autograph) takes longer than all the rest.
    @tf.function(
      jit_compile=False,
      autograph=False,
      input_signature=[tf.TensorSpec((None, len(self.mean)), tf.float64)],
    )
    def rows(directions: tf.Tensor) -> tf.Tensor:
      x = tf.zeros((tf.shape(directions)[0], *self.shape), tf.float64)
      with tf.GradientTape() as tape:
        tape.watch(x)
        # Of each sample its own: no sample depends on another.
        value = tf.reduce_sum(tf.reduce_mean(self._run(x), 1) * directions)
      return tape.gradient(value, x, unconnected_gradients='zero')

    # A function that is called once a trace would be warned of.
    rows, size = rows.get_concrete_function(), self._pass_size()
    return np.concatenate(
      [
        rows(directions[start : start + size]).numpy()
        for start in range(0, len(self.mean), size)
      ]
    )

  def _pass_size(self) -> int:
    """How many samples a pass takes."""
    largest = max(self.positions * len(self.mean), math.prod(self.shape))
    return max(_PASS // largest, 1)

  def _run(self, x: tf.Tensor) -> tf.Tensor:
    for op in self.operations:
      x = op.run(self.params, x)
    return tf.reshape(x, (-1, self.positions, len(self.mean)))


def first_statistics(network: Network, index: int) -> list[FirstStatistics]:
  """All that tells of an input in this way.

  Args:
    network: The model.
    index: Of the input.
  """
  chains = _chains(network.graph, network.graph.inputs[index])
  if not chains:
    return []
  params = network.params()
  return [_of_chain(network.graph, index, params, *chain) for chain in chains]


def has_first_statistics(network: Network, index: int) -> bool:
  """Whether there are any."""
  return bool(_chains(network.graph, network.graph.inputs[index]))


def _chains(graph: Graph, value: int) -> list[tuple[list[Op], Node]]:
  """Affine operations from a value, and the normalizations behind them."""
  readers = graph.readers()
  chains, waiting = [], [(value, [])]
  while waiting:
    value, chain = waiting.pop()
    for node in readers[value]:
      if node.op.statistics is not None:
        chains.append((chain, node))
      elif _is_affine(node, value, graph):
        waiting.append((node.outputs[0], [*chain, node.op]))
  return chains


def _is_affine(node: Node, value: int, graph: Graph) -> bool:
  op = node.op
  return (
    op.known
    and op.linear
    and not op.joins
    and not op.looks_up
    and tuple(node.inputs) == (value,)
    and len(node.outputs) == 1
    and op.pieces(graph.shapes[value]) == (op,)
  )


def _of_chain(
  graph: Graph, index: int, params: Params, chain: list[Op], norm: Node
) -> FirstStatistics:
  mean, variance = (params[ref] for ref in norm.op.statistics)
  shape = graph.shapes[norm.inputs[0]]
  return FirstStatistics(
    '/'.join(norm.path),
    mean,
    variance,
    graph.shapes[graph.inputs[index]],
    params,
    tuple(chain),
    math.prod(shape[:-1]),
  )
