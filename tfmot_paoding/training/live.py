"""Bounds of a network that is being trained, as differentiable tensors.

Intervals forward (IBP, Gowal et al. 2018, arXiv 1810.12715), and linear bounds
of the label's lead backward over lines that intervals allow (CROWN-IBP, Zhang
et al. 2020, arXiv 1906.06316), of the variables as they are. float32, not
rounded outwards: what is certified in the end is certified by `robustness`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfmot_paoding.bounds.program import (
  NoRelaxationError,
  Piece,
  Program,
  pieces,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.numerics.activations import Activation
from tfmot_paoding.ops import (
  Elementwise,
  Extreme,
  Largest,
  LearnedSlope,
  MatMul,
  Multiply,
  Op,
  WeightRef,
)

LiveParams = dict[WeightRef, tf.Tensor]

# Activations that rise everywhere: their ends are those of their argument.
_RISING: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
  'linear': tf.identity,
  'elu': tf.nn.elu,
  'selu': tf.nn.selu,
  'sigmoid': tf.nn.sigmoid,
  'tanh': tf.nn.tanh,
  'hard_sigmoid': lambda z: tf.clip_by_value(0.2 * z + 0.5, 0.0, 1.0),
  'softplus': tf.nn.softplus,
  'softsign': tf.nn.softsign,
  'exponential': tf.exp,
}


class Box(NamedTuple):
  """Bounds of one value, (batch, *shape) each."""

  low: tf.Tensor
  high: tf.Tensor


class LiveBounds:
  """Bounds of a classifier's scores under its current variables.

  Args:
    graph: The model's graph.
    value: The value that holds the scores.
    linear: Whether linear bounds are wanted as well.

  Raises:
    NoRelaxationError: an operation that leads to the scores has no sound
      bounds that can be trained through; its layer is named.
  """

  def __init__(self, graph: Graph, value: int, linear: bool = False):
    program = Program(list(graph.shapes), graph.inputs)
    self._graph = graph
    self._value = value
    self._shapes = program.shapes
    self._pieces = list(pieces(graph, program, (value,)))
    self._names = {node.outputs[0]: node.path for node in graph.nodes}
    for piece in self._pieces:
      self._check(piece, linear)

  @property
  def value(self) -> int:
    """The value that holds the scores."""
    return self._value

  def _check(self, piece: Piece, linear: bool) -> None:
    op = piece.op
    name = '/'.join(self._names.get(piece.output, ('max pooling',)))
    if op.linear or isinstance(op, (Largest, LearnedSlope, Extreme)):
      known = op.linear or not linear or isinstance(op, LearnedSlope)
    elif isinstance(op, Elementwise):
      rectifier = op.activation.below is not None
      known = rectifier or (not linear and _rising(op.activation) is not None)
    else:
      known = isinstance(op, Multiply) and not linear
    if not known:
      kind = getattr(getattr(op, 'activation', None), 'name', type(op).__name__)
      raise NoRelaxationError(
        f'{name!r} has no bounds that can be trained through ({kind}'
        f'{", linear bounds" if linear else ""}). Use ReLU, or another '
        'objective.'
      )

  def params(self) -> LiveParams:
    """The variables as they are, float32."""
    return {
      ref: tf.cast(tf.convert_to_tensor(self._graph.weight(ref)), tf.float32)
      for ref in self._graph.weight_refs()
    }

  def in_training(
    self, params: LiveParams, inputs: Sequence[tf.Tensor]
  ) -> LiveParams:
    """The variables as batch normalization that trains takes them.

    It normalizes by the statistics of its batch, with their gradients. Bounds
    by its moving ones would be those of another network, which nothing that the
    loss on the data trains holds fast (Shi et al. 2021, arXiv 2103.17268).

    Args:
      params: The variables as they are.
      inputs: A batch, one tensor an input.
    """
    last = max(
      (k for k, piece in enumerate(self._pieces) if self._trains(piece.op)),
      default=-1,
    )
    params = dict(params)
    found = dict(zip(self._graph.inputs, inputs, strict=True))
    for piece in self._pieces[: last + 1]:
      x = [found[value] for value in piece.inputs]
      if self._trains(piece.op):
        axes = list(range(len(x[0].shape) - 1))
        moments = tf.nn.moments(x[0], axes)
        params.update(zip(piece.op.statistics, moments, strict=True))
      boxes = [Box(value, value) for value in x]
      found[piece.output] = _bounds(piece.op, params, boxes).low
    return params

  def _trains(self, op: Op) -> bool:
    """Whether an operation takes its batch's statistics in training."""
    if op.statistics is None:
      return False
    layer = self._graph.layers[op.statistics[0].layer]
    norms = isinstance(layer, keras.layers.BatchNormalization)
    return norms and layer.trainable

  def forward(self, params: LiveParams, boxes: Sequence[Box]) -> dict[int, Box]:
    """Bounds of every value for a batch of boxes, one an input."""
    found = dict(zip(self._graph.inputs, boxes, strict=True))
    for piece in self._pieces:
      x = [found[value] for value in piece.inputs]
      found[piece.output] = _bounds(piece.op, params, x)
    return found

  def activations(self) -> list[tuple[int, int, WeightRef | None]]:
    """For each activation with a kink: the value before it and after it.

    The third is the scale of the batch normalization right before it, if there
    is one.
    """
    writers = {piece.output: piece.op for piece in self._pieces}
    found = []
    for piece in self._pieces:
      if piece.op.kinks:
        (source,) = piece.inputs
        norm = writers.get(source)
        gamma = norm.gamma if norm is not None and norm.normalizes else None
        found.append((source, piece.output, gamma))
    return found

  def leads(
    self, params: LiveParams, bounds: dict[int, Box], rows: tf.Tensor
  ) -> tf.Tensor:
    """Lower bounds of sums of scores, the last product taken along.

    Args:
      params: The weights.
      bounds: From `forward`.
      rows: Factors of the scores, (batch, rows, scores).

    Returns:
      Shape (batch, rows).
    """
    last = self._pieces[-1]
    if not isinstance(last.op, MatMul):
      return _lowest(rows, bounds[self._value])
    kernel = params[last.op.kernel]
    back = tf.einsum('brk,dk->brd', rows, kernel)
    found = _lowest(back, bounds[last.inputs[0]])
    if last.op.bias is not None:
      found += tf.einsum('brk,k->br', rows, params[last.op.bias])
    return found

  def linear_leads(
    self, params: LiveParams, bounds: dict[int, Box], rows: tf.Tensor
  ) -> tf.Tensor:
    """The same by linear bounds back to the inputs."""
    batch, count = tf.shape(rows)[0], tf.shape(rows)[1]
    held = {self._value: rows}
    total = tf.zeros((batch, count))
    for piece in reversed(self._pieces):
      coefficients = held.pop(piece.output, None)
      if coefficients is None:
        continue
      if piece.op.linear:
        moved, back = self._affine(piece, params, coefficients)
      else:
        moved, back = _bent(
          piece.op, params, bounds[piece.inputs[0]], coefficients
        )
      total += moved
      for source, part in zip(piece.inputs, back, strict=True):
        held[source] = held[source] + part if source in held else part
    for source, coefficients in held.items():
      flat = tf.reshape(coefficients, (batch, count, -1))
      box = Box(*(tf.reshape(end, (batch, -1)) for end in bounds[source]))
      total += _lowest(flat, box)
    return total

  def _affine(
    self, piece: Piece, params: LiveParams, coefficients: tf.Tensor
  ) -> tuple[tf.Tensor, list[tf.Tensor]]:
    shape = tf.shape(coefficients)
    flat = tf.reshape(coefficients, tf.concat([[-1], shape[2:]], 0))
    zeros = [
      tf.ensure_shape(
        tf.zeros(tf.concat([tf.shape(flat)[:1], self._shapes[value]], 0)),
        (None, *self._shapes[value]),
      )
      for value in piece.inputs
    ]
    with tf.GradientTape() as tape:
      tape.watch(zeros)
      made = piece.op.transform(params, *zeros)
      made = tf.broadcast_to(made, tf.shape(flat))
    back = tape.gradient(made, zeros, flat, tf.UnconnectedGradients.ZERO)
    back = [
      tf.reshape(part, tf.concat([shape[:2], self._shapes[value]], 0))
      for part, value in zip(back, piece.inputs, strict=True)
    ]
    offset = tf.cast(piece.op.intercept(params), tf.float32)
    axes = list(range(2, len(self._shapes[piece.output]) + 2))
    return tf.reduce_sum(coefficients * offset, axes), back


def _lowest(rows: tf.Tensor, box: Box) -> tf.Tensor:
  """The least of sums over a box: rows (batch, rows, n), box (batch, n)."""
  low = tf.einsum('brd,bd->br', tf.maximum(rows, 0.0), box.low)
  return low + tf.einsum('brd,bd->br', tf.minimum(rows, 0.0), box.high)


def _bounds(op: Op, params: LiveParams, x: list[Box]) -> Box:
  if op.rearranges:
    low = op.transform(params, *[part.low for part in x])
    return Box(low, op.transform(params, *[part.high for part in x]))
  if op.linear:
    centre = op.transform(params, *[0.5 * (b.high + b.low) for b in x])
    centre += tf.cast(op.intercept(params), tf.float32)
    radius = op.spread(params, *[0.5 * (b.high - b.low) for b in x])
    return Box(centre - radius, centre + radius)
  if isinstance(op, Largest):
    return Box(*(tf.reduce_max(end, -2) for end in x[0]))
  if isinstance(op, Extreme):
    pick = tf.maximum if op.largest else tf.minimum
    low, high = x[0]
    for part in x[1:]:
      low, high = pick(low, part.low), pick(high, part.high)
    return Box(low, high)
  if isinstance(op, Multiply):
    return _product(x)
  if isinstance(op, LearnedSlope):
    return _rectified(x[0], params[op.alpha])
  function = _rising(op.activation)
  if function is None:  # a rectifier with a falling part
    return _rectified(x[0], tf.constant(op.activation.below, tf.float32))
  return Box(function(x[0].low), function(x[0].high))


def _rising(activation: Activation) -> Callable | None:
  """The activation on tensors, if it never falls."""
  if activation.name in _RISING:
    return _RISING[activation.name]
  if activation.name not in ('relu', 'leaky_relu'):
    return None
  below = activation.kinks[0][1]
  if below < 0:
    return None
  top = activation.kinks[1][0] if len(activation.kinks) > 1 else None

  def rectify(z: tf.Tensor) -> tf.Tensor:
    z = tf.where(z < 0, below * z, z)
    return z if top is None else tf.minimum(z, top)

  return rectify


def _rectified(x: Box, below: tf.Tensor) -> Box:
  """x above zero, below * x under it, whatever the slope's sign."""
  ends = [tf.where(end < 0, below * end, end) for end in x]
  crosses = (x.low < 0) & (x.high > 0)
  low, high = tf.minimum(*ends), tf.maximum(*ends)
  return Box(tf.where(crosses, tf.minimum(low, 0.0), low), high)


def _product(x: list[Box]) -> Box:
  low, high = x[0]
  for part in x[1:]:
    ends = [a * b for a in (low, high) for b in part]
    low, high = ends[0], ends[0]
    for end in ends[1:]:
      low, high = tf.minimum(low, end), tf.maximum(high, end)
  return Box(low, high)


def _bent(
  op: Op, params: LiveParams, x: Box, coefficients: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor]]:
  """Back through a rectifier: the chord above, the nearer part below."""
  if isinstance(op, LearnedSlope):
    below = params[op.alpha]
  else:
    below = tf.constant(op.activation.below, tf.float32)
  crosses = (x.low < 0) & (x.high > 0)
  bottom, top = tf.where(crosses, x.low, -1.0), tf.where(crosses, x.high, 1.0)
  straight = tf.where(
    x.low >= 0, tf.ones_like(x.low), below * tf.ones_like(x.low)
  )
  chord = tf.where(crosses, (top - below * bottom) / (top - bottom), straight)
  lift = tf.where(crosses, (below - 1.0) * bottom * top / (top - bottom), 0.0)
  near = tf.where(top >= -bottom, tf.ones_like(top), below * tf.ones_like(top))
  near = tf.where(crosses, tf.stop_gradient(near), straight)
  positive = tf.maximum(coefficients, 0.0)
  negative = tf.minimum(coefficients, 0.0)
  axes = list(range(2, len(x.low.shape) + 1))
  moved = tf.reduce_sum(negative * lift[:, None], axes)
  return moved, [positive * near[:, None] + negative * chord[:, None]]
