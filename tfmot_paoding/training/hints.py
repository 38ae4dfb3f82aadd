"""Hints: hidden values of a student tell what its teacher's are.

A few numbers for each input, the answers, say little of what a network of
convolutions does with inputs that are not those it was trained on: half of a
residual network keeps .39 of .75 on CIFAR-10 as it learns the answers to drawn
inputs alone, .45 with hints. So a linear map of what stands behind each of the
student's activations, trained along with it, is to give what stands behind the
teacher's: not all of it, but in the directions that move the answers, and by
how much they do.

Reference: FitNets, Romero et al. 2015, arXiv 1412.6550.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.hidden_values import hidden_values
from tfmot_paoding.network.matching import counterparts
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.numerics.least_squares import ridge
from tfmot_paoding.ops import Shape
from tfmot_paoding.training.lesson import Lesson

Array = np.ndarray

# How many inputs tell directions and first maps, and the multiply-accumulates
# of all of them; of a batch, a part at a time, as gradients of all values stay.
_ASKED, _FEWEST, _MULTIPLY_ACCUMULATES = 128, 16, 4e9
_PARTS = 4
# Of all positions of a value, evenly spread: neighbours say the same. With 64 a
# residual network keeps .455, with these .456.
_POSITIONS = 16
# Directions that move the answers less than this, all together, are left out:
# of the answers' squared movement by a value. No more than these in any case.
_LEFT_OUT, _DIRECTIONS = 0.05, 64
_NUMBERS = 1 << 26  # of 4 bytes, that all which is told may take


def hinted_values(graph: Graph) -> list[int]:
  """The values that hints are given of: behind activations, with positions.

  A vector tells about as many numbers as the answers do, and is needed for
  little else.

  Args:
    graph: The network's.
  """
  given = {value for call in graph.layer_calls for value in call.outputs}
  made = [
    node.outputs[0]
    for node in graph.nodes
    if node.op.known and node.op.activates
  ]
  skipped = {*graph.outputs, *graph.masked, *graph.inputs}
  return [
    value
    for value in dict.fromkeys(made)
    if value in given - skipped and _has_positions(graph.shapes[value])
  ]


def _has_positions(shape: Shape) -> bool:
  return math.prod(shape[:-1]) > 1


@dataclasses.dataclass(frozen=True, eq=False)
class _Hint:
  """What is told of one value.

  Attributes:
    value: Its number in the teacher's graph.
    own: Its number in the student's.
    positions: How many of it are looked at, at most.
    directions: That the teacher's is told in, shape (channels, directions).
    middle: The teacher's mean in these, (directions,).
    power: Its variance, all directions together.
    kernel: From the student's channels, (kept channels, directions).
    bias: Shape (directions,).
  """

  value: int
  own: int
  positions: int
  directions: tf.Tensor
  middle: tf.Tensor
  power: float
  kernel: tf.Variable
  bias: tf.Variable

  def told(self, value: tf.Tensor) -> tf.Tensor:
    """Of the teacher's value, (samples, positions, directions)."""
    some = spread(value, self.positions)
    return tf.matmul(some, self.directions) - self.middle

  def gap(self, told: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """How far a student's value is from telling that, 1 for nothing told."""
    found = tf.matmul(spread(value, self.positions), self.kernel) + self.bias
    squares = tf.reduce_sum(tf.square(found - told), -1)
    return tf.reduce_mean(squares) / self.power


class Hints:
  """The hints that one network gives another of the same layers.

  Args:
    lesson: What is learned from.
    teacher: The original.
    student: What pruning made of it, compact or with zeros, or one in which
      chains of layers stand for some.
    weight: What they count beside the answers.

  Attributes:
    variables: What is trained along with the student.
  """

  def __init__(
    self,
    lesson: Lesson,
    teacher: keras.Model,
    student: keras.Model,
    weight: float,
  ):
    self._lesson, self._weight = lesson, weight
    networks = [Network.of(model) for model in (teacher, student)]
    self._graphs, self._macs = [n.graph for n in networks], networks[0].macs
    self._places = counterparts(*self._graphs) if weight else {}
    self._hints: list[_Hint] = []
    if self._places:
      with sound_convolutions(teacher):
        self._hints = self._made()
    self._told: list[Array] = []
    self.renew()
    self.variables = [
      v for hint in self._hints for v in (hint.kernel, hint.bias)
    ]

  def renew(self) -> None:
    """Asks the teacher about the inputs that the lesson shows by now."""
    if not self:
      return
    lesson, wanted = self._lesson, [hint.value for hint in self._hints]

    def tell(x: list[tf.Tensor]) -> list[tf.Tensor]:
      values = hidden_values(self._graphs[0], x, wanted)
      return [hint.told(values[hint.value]) for hint in self._hints]

    shown, _ = lesson.batch(np.arange(lesson.size))
    self._told = lesson.mapped(tell, shown)

  def batch(self, chosen: Array) -> list[Array]:
    """What is told of inputs, by their numbers: one array a hint."""
    return [told[chosen] for told in self._told]

  def loss(
    self,
    x: Sequence[tf.Tensor],
    logits: Sequence[tf.Tensor],
    told: Sequence[tf.Tensor],
  ) -> tf.Tensor:
    """How far a student is from its teacher, a scalar.

    Args:
      x: Inputs, an array for each of the network's.
      logits: The teacher's, of these.
      told: What else it tells of these, as in `batch`.
    """
    graph = self._graphs[1]
    values = [hint.own for hint in self._hints]
    found = hidden_values(graph, x, [*values, *graph.outputs])
    outputs = [found[value] for value in graph.outputs]
    gaps = [
      hint.gap(goal, found[hint.own])
      for hint, goal in zip(self._hints, told, strict=True)
    ]
    return self._lesson.gap(logits, outputs) + (
      self._weight * tf.add_n(gaps) / len(gaps)
    )

  def __bool__(self) -> bool:
    """Whether there are any."""
    return bool(self._hints)

  def _made(self) -> list[_Hint]:
    """Hints of what moves the teacher's answers."""
    ours = self._graphs[0]
    values = [v for v in hinted_values(ours) if v in self._places]
    moments = {value: _Moments() for value in values}
    rng = np.random.default_rng(0)
    for x in self._batches():
      with tf.GradientTape() as tape:
        tape.watch([a for a in x if a.dtype.is_floating])
        found = hidden_values(ours, x, [*values, *ours.outputs])
        outputs = [found[value] for value in ours.outputs]
        total = self._lesson.signed_sum(outputs, rng)
      slopes = tape.gradient(total, [found[value] for value in values])
      for value, slope in zip(values, slopes, strict=True):
        if slope is not None:
          moments[value].add(_rows(slope), _rows(found[value]))
    basis = {
      value: directions
      for value, one in moments.items()
      if (directions := one.directions()) is not None
    }
    return self._fitted(basis, moments)

  def _fitted(
    self, basis: dict[int, Array], moments: dict[int, _Moments]
  ) -> list[_Hint]:
    """Hints with the maps that are best before any lesson."""
    ours, theirs = self._graphs
    numbers = self._lesson.size * sum(d.shape[1] for d in basis.values())
    most = int(np.clip(_NUMBERS // max(numbers, 1), 1, _POSITIONS))
    sources: dict[int, list[Array]] = {value: [] for value in basis}
    goals: dict[int, list[Array]] = {value: [] for value in basis}
    for x in self._batches():
      told = hidden_values(ours, x, [*basis])
      found = hidden_values(theirs, x, [self._places[v] for v in basis])
      for value, directions in basis.items():
        mean = moments[value].mean
        goal = _rows(spread(told[value], most)) - mean
        goals[value].append(goal @ directions)
        own = found[self._places[value]]
        sources[value].append(_rows(spread(own, most)))
    made = []
    for value, directions in basis.items():
      goal, source = (np.concatenate(part[value]) for part in (goals, sources))
      power = float(np.square(goal - goal.mean(0)).sum(1).mean())
      kernel, bias = ridge(source, goal)
      made.append(
        _Hint(
          value,
          self._places[value],
          most,
          tf.constant(directions, tf.float32),
          tf.constant(moments[value].mean @ directions, tf.float32),
          power,
          tf.Variable(kernel.astype(np.float32)),
          tf.Variable(bias.astype(np.float32)),
        )
      )
    return [hint for hint in made if hint.power > 0]

  def _batches(self) -> Iterator[list[tf.Tensor]]:
    """Some of the lesson's inputs."""
    lesson = self._lesson
    asked = np.clip(_MULTIPLY_ACCUMULATES / max(self._macs, 1), _FEWEST, _ASKED)
    count, step = min(int(asked), lesson.size), -(-lesson.batch_rows // _PARTS)
    for start in range(0, count, step):
      rows = slice(start, min(start + step, count))
      yield [tf.constant(a) for a in lesson.inputs(rows)]


class _Moments:
  """What is gathered of one value, batch by batch."""

  def __init__(self):
    self._slopes: Array | float = 0.0
    self._sum: Array | float = 0.0
    self._count = 0

  def add(self, slopes: Array, values: Array) -> None:
    """Gradients of the answers at a value, and it, both (rows, channels)."""
    self._slopes = self._slopes + slopes.T @ slopes
    self._sum = self._sum + values.sum(0)
    self._count += len(values)

  @property
  def mean(self) -> Array:
    """Of the value, (channels,)."""
    return self._sum / self._count

  def directions(self) -> Array | None:
    """Those that move the answers, as long as they do; None if none does.

    Returns:
      Shape (channels, directions).
    """
    if not self._count or not np.isfinite(self._slopes).all():
      return None
    powers, vectors = np.linalg.eigh(self._slopes / self._count)
    powers = np.maximum(powers, 0.0)
    if not powers.any():
      return None
    few = np.count_nonzero(np.cumsum(powers) <= _LEFT_OUT * powers.sum())
    first = max(few, len(powers) - _DIRECTIONS)
    return (vectors * np.sqrt(powers))[:, first:]


def spread(value: tf.Tensor, most: int) -> tf.Tensor:
  """Some positions of a value, evenly spread.

  Args:
    value: Shape (samples, *positions, channels).
    most: About how many.

  Returns:
    Shape (samples, fewer positions, channels), float32.
  """
  *sizes, channels = value.shape[1:]
  step = math.ceil((math.prod(sizes) / most) ** (1 / len(sizes)))
  cut = [slice(min(step // 2, size - 1), None, step) for size in sizes]
  some = tf.cast(value[(slice(None), *cut)], tf.float32)
  return tf.reshape(some, (-1, math.prod(some.shape[1:-1]), channels))


def _rows(value: tf.Tensor) -> Array:
  """Positions as samples, (rows, channels), float64."""
  return np.reshape(np.asarray(value, np.float64), (-1, value.shape[-1]))
