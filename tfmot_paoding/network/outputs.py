"""What a model's outputs mean: classes or numbers, and their logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.ops import Op, Shape

Array = np.ndarray

TASKS = ('classification', 'regression')
# Probabilities nearer to 0 or 1 than this say no more about their logits.
_LEAST = 1e-7
# How much larger one column's weights are where its unit is another one.
_OTHER_ORDER = 10
# Outputs whose spreads are further apart do not count as they are.
_OTHER_SCALE = 30
# Of values: a variance below it is none.
_NOTHING = 1e-12
# What float32 may differ by, as a share of a value.
_RESOLUTION = 1e-5
# Of the deviation of logits: two MLPs on digits at a tenth of their units keep
# .67 and .80 of the answers at the whole of it, .74 and .84 at a third.
_SHARE = 1 / 3


def signed_sum(
  heads: Sequence[Head],
  outputs: Sequence[tf.Tensor],
  scales: Sequence[Array],
  rng: np.random.Generator,
) -> tf.Tensor:
  """All logits with random signs, a scalar.

  In squares of its gradient, products of two logits drop out in the mean.

  Args:
    heads: What the outputs mean.
    outputs: A batch of each.
    scales: The unit that each output's logits count in.
    rng: Draws the signs.
  """
  total = tf.zeros([])
  for head, output, scale in zip(heads, outputs, scales, strict=True):
    logits = head.logits(output)
    signs = rng.choice([-1.0, 1.0], logits.shape) / scale
    total += tf.reduce_sum(logits * signs.astype(np.float32))
  return total


@dataclasses.dataclass(frozen=True)
class Head:
  """One output of a model.

  Attributes:
    kind: 'softmax' or 'sigmoid', what the output went through; 'logits',
      classes by the largest; 'values', no classes.
    shape: The output's shape without the batch axis.
    is_guessed: Whether linear outputs are taken for the scores of classes by
      their shape alone: they may be numbers.
  """

  kind: str
  shape: Shape
  is_guessed: bool = False

  @property
  def is_classes(self) -> bool:
    """Whether the output stands for classes."""
    return self.kind != 'values'

  def as_numbers(self) -> Head:
    """The same output, taken for numbers."""
    return Head('values', self.shape)

  def draw(self, count: int, rng: np.random.Generator) -> Array:
    """Answers, drawn evenly over the classes.

    Returns:
      Classes, shape (count, *positions), int32; for a sigmoid 0 or 1 of every
      unit, shape (count, *shape), float32.
    """
    if self.kind == 'sigmoid':
      return rng.integers(0, 2, (count, *self.shape)).astype(np.float32)
    size = (count, *self.shape[:-1])
    labels = np.arange(int(np.prod(size))) % self.shape[-1]
    return rng.permutation(labels).reshape(size).astype(np.int32)

  def loss(self, answers: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of an output to the answers that were drawn."""
    logits = self.logits(output)
    if self.kind == 'sigmoid':
      terms = tf.nn.sigmoid_cross_entropy_with_logits(answers, logits)
    else:
      terms = tf.nn.sparse_softmax_cross_entropy_with_logits(answers, logits)
    return tf.reduce_mean(terms)

  def logits(self, output: tf.Tensor) -> tf.Tensor:
    """What stood before softmax or sigmoid, float32.

    Logits that a softmax adds up to one are known up to a constant; theirs
    and those of class scores have mean 0.
    """
    output = tf.cast(output, tf.float32)
    if self.kind == 'values':
      return output
    if self.kind == 'sigmoid':
      inside = tf.clip_by_value(output, _LEAST, 1 - _LEAST)
      return tf.math.log(inside) - tf.math.log1p(-inside)
    if self.kind == 'softmax':
      output = tf.math.log(tf.maximum(output, _LEAST))
    return output - tf.reduce_mean(output, axis=-1, keepdims=True)

  @property
  def has_columns(self) -> bool:
    """Whether each entry of the last axis means something of its own.

    Numbers may be of different units; the scores of classes are of one.
    """
    return self.kind in ('values', 'sigmoid')

  def variance(self, logits: Array) -> Array:
    """What an error of each logit counts by: their own variance.

    A column that hardly varies counts by the mean of the others.

    Args:
      logits: Those of the original, shape (samples, *shape).

    Returns:
      Shape (columns,), or () where columns mean nothing of their own.
    """
    logits = np.asarray(logits, np.float64)  # squares of large values overflow
    if not (self.has_columns and self.shape):
      return np.maximum(logits.var(), _NOTHING)
    flat = logits.reshape(-1, logits.shape[-1])
    found = flat.var(0)
    varies = found > np.square(_RESOLUTION * flat).mean(0) + _NOTHING
    if not varies.any():
      return np.maximum(found, _NOTHING)
    return np.where(varies, found, found[varies].mean())

  def distance(self, wanted: Array, found: Array) -> float:
    """The mean squared gap of logits, in units of the first ones' variance.

    Column by column where each means something of its own; infinite where a
    gap is no number.
    """
    wanted, found = np.asarray(wanted, np.float64), np.asarray(found)
    gap = np.mean(np.square(found - wanted) / self.variance(wanted))
    return float(gap) if np.isfinite(gap) else float('inf')

  def temperature(self, variance: Array) -> float:
    """What logits are divided by to compare classes.

    A share of their deviation, so that it does not matter in what unit they
    are. Probabilities say in what unit their logits are: colder than they are,
    all would be certain.

    Args:
      variance: Of the teacher's logits, see `variance`.
    """
    found = float(np.sqrt(np.mean(variance))) * _SHARE
    return found if self.kind == 'logits' else max(found, 1.0)

  def gap(self, wanted: Array, found: Array) -> float:
    """How far logits are from others: classes by divergence, numbers squared.

    Args:
      wanted: The teacher's logits, shape (samples, *shape).
      found: The student's.

    Returns:
      The divergence at `temperature`, in units of the variance, or `distance`;
      infinite where it is no number.
    """
    if not self.is_classes:
      return self.distance(wanted, found)
    wanted, found = (np.asarray(z, np.float32) for z in (wanted, found))
    variance = self.variance(wanted)
    gap = self.divergence(wanted, found, self.temperature(variance))
    gap = float(gap) / float(np.mean(variance))
    return gap if np.isfinite(gap) else float('inf')

  def divergence(
    self, wanted: tf.Tensor, found: tf.Tensor, temperature: float
  ) -> tf.Tensor:
    """How far the classes of logits are from those of others, a scalar.

    The mean Kullback-Leibler divergence at a temperature, times its square so
    that gradients stay of one size (Hinton et al. 2015, arXiv 1503.02531).

    Args:
      wanted: The teacher's logits, shape (samples, *shape).
      found: The student's.
      temperature: What logits are divided by.

    Raises:
      ValueError: the output stands for no classes.
    """
    if not self.is_classes:
      raise ValueError('An output of numbers has no classes to compare.')
    wanted, found = wanted / temperature, found / temperature
    if self.kind == 'sigmoid':
      ends = tf.sigmoid(wanted)
      entropy = tf.nn.sigmoid_cross_entropy_with_logits(ends, wanted)
      cross = tf.nn.sigmoid_cross_entropy_with_logits(ends, found)
    else:
      ends = tf.nn.softmax(wanted)
      entropy = tf.nn.softmax_cross_entropy_with_logits(ends, wanted)
      cross = tf.nn.softmax_cross_entropy_with_logits(ends, found)
    return temperature**2 * tf.reduce_mean(cross - entropy)

  def answers(self, output: Array) -> Array:
    """The classes that an output stands for, by largest or by sign."""
    if self.kind == 'sigmoid':
      return output > 0.5
    return output.argmax(-1)

  def information(self, output: Array) -> float:
    """What an input says about the answer, the mutual information, in nats.

    Args:
      output: What the model gives, shape (samples, *shape); positions count as
        inputs, sigmoids add up.
    """
    logits = np.asarray(self.logits(output), np.float64)
    logits = logits.reshape(-1, logits.shape[-1])
    if self.kind == 'sigmoid':
      likely = np.asarray(tf.sigmoid(logits))
      parts = np.stack([likely, 1 - likely], -1)
    else:
      parts = np.asarray(tf.nn.softmax(logits))
    return float(np.sum(_entropy(parts.mean(0)) - _entropy(parts).mean(0)))


def _entropy(parts: Array) -> Array:
  """Of distributions along the last axis."""
  return -(parts * np.log(np.maximum(parts, 1e-300))).sum(-1)


def heads_of(graph: Graph, task: str | None = None) -> list[Head]:
  """The heads of a model, in the order of its outputs.

  Args:
    graph: The model's graph.
    task: 'classification', 'regression', or None to tell by the model: outputs
      behind a softmax or sigmoid are classes, and so are vectors of two or
      more linear outputs that are not shaped like an input, unless its loss
      says that they are numbers, or nothing, and their weights are of other
      orders of size.

  Raises:
    ValueError: `task` is unknown.
  """
  if task is not None and task not in TASKS:
    raise ValueError(
      f'`task` must be None or one of {", ".join(map(repr, TASKS))}, but got '
      f'{task!r}.'
    )
  writer = graph.writer()
  input_shapes = [graph.shapes[value] for value in graph.inputs]
  found = []
  for k, value in enumerate(graph.outputs):
    op = writer[value].op if value in writer else None
    shape = graph.shapes[value]
    kind = _kind(op, shape, input_shapes, task)
    said = task or (graph.told[k] if graph.told else None)
    is_guessed = kind == 'logits' and said is None
    if kind == 'logits' and (
      said == 'regression' or (is_guessed and _has_units(graph, op))
    ):
      kind, is_guessed = 'values', False
    found.append(Head(kind, shape, is_guessed))
  return found


def _has_units(graph: Graph, op: Op) -> bool:
  """Whether columns are of other orders of size, as scores never are."""
  kernel = np.asarray(keras.backend.get_value(graph.weight(op.kernel)))
  matrix = op.matrix({op.kernel: kernel.astype(np.float64)})
  sizes = np.linalg.norm(matrix, axis=0)
  sizes = sizes[sizes > 0]
  return sizes.size > 0 and sizes.max() > _OTHER_ORDER * sizes.min()


def is_one_scale(heads: list[Head], spreads: Array | None = None) -> bool:
  """Whether all that a model answers is of one scale, such as class scores.

  Args:
    heads: The heads of its outputs.
    spreads: How far each output or entry spreads, in any unit, where known.
  """
  (first, *others) = heads
  single = not first.shape or first.shape[-1] == 1
  if not others and (single or not first.has_columns):
    return True
  if spreads is None:
    return False
  spreads = spreads[np.isfinite(spreads) & (spreads > 0)]
  return spreads.size < 2 or spreads.max() <= _OTHER_SCALE * spreads.min()


def _kind(
  op: Op | None, shape: Shape, input_shapes: list[Shape], task: str | None
) -> str:
  if task == 'regression':
    return 'values'
  answers = 'values' if op is None else op.answers
  if answers == 'softmax':
    return 'softmax'
  if answers == 'sigmoid':
    return 'sigmoid' if shape not in input_shapes or task else 'values'
  is_scores = (
    answers == 'logits'
    and len(shape) == 1
    and shape[0] > 1
    and shape not in input_shapes
  )
  return 'logits' if is_scores or (task and shape[-1:] > (1,)) else 'values'
