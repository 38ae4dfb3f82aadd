"""Inputs moved to where a student differs more from its teacher.

What is drawn without data seldom comes near the borders between classes that
small networks have learned, and says little about them. A step up the gradient
of the difference leads there, and the teacher is asked again.

References: Heo et al. 2019, arXiv 1805.05532; Micaelli and Storkey 2019, arXiv
1905.09768.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat, replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.training.lesson import Lesson

Array = np.ndarray

# The part of all inputs that is moved.
_PART = 1 / 2
# How often others are, evenly over a lesson.
_TIMES = 12
# The gradient, in its deviation over a sample's entries, that is worth a whole
# step. Signs alone would hang on rounding where it is next to nothing.
_WHOLE = 0.1


def renewals(steps: int) -> list[int]:
  """The numbers of steps before which others are moved, the first left out."""
  return sorted({steps * k // _TIMES for k in range(1, _TIMES)} - {0})


class AdversarialInputs:
  """Moves inputs of a lesson, others each time.

  Args:
    lesson: What is learned from; its inputs change.
    teacher: The original.
    student: The model that learns.
    reach: How far, in standard deviations of each entry; 0 for no moves. They
      end where the inputs that were drawn do.
    rng: Chooses which are moved.
  """

  def __init__(
    self,
    lesson: Lesson,
    teacher: keras.Model,
    student: keras.Model,
    reach: float,
    rng: np.random.Generator,
  ):
    self._lesson, self._rng = lesson, rng
    self._teacher, self._student = teacher, student
    drawn = lesson.inputs(slice(0, lesson.size))
    self._steps = [_step(x, reach) for x in drawn]
    self._ends = [(x.min(0), x.max(0)) for x in drawn]
    self._moved = self._move
    # Replicas each read copies of weights of their own.
    strategy = replicas.sharing()
    if strategy is None or strategy.num_replicas_in_sync == 1:
      specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in drawn]
      self._moved = tf.function(
        self._move,
        input_signature=[specs],
        autograph=compat.may_branch(teacher) or compat.may_branch(student),
      )

  def renew(self) -> None:
    """Puts moved inputs in the place of half of those drawn."""
    if not any(step.any() for step in self._steps):
      return
    size = self._lesson.size
    rows = np.sort(self._rng.permutation(size)[: int(size * _PART)])
    x = self._lesson.inputs(rows)
    found = self._lesson.mapped(
      lambda part: self._moved([tf.constant(a) for a in part]), x
    )
    self._lesson.show(rows, found[: len(x)], found[len(x) :])

  def _move(self, x: list[tf.Tensor]) -> list[tf.Tensor]:
    """Inputs one step up the difference, and the teacher's logits there."""
    with tf.GradientTape() as tape:
      tape.watch([a for a in x if a.dtype.is_floating])
      logits = self._lesson.logits(self._teacher, x)
      gap = self._lesson.loss(self._student, x, logits)
    gradients = tape.gradient(gap, x)
    x = [
      a if g is None else tf.clip_by_value(a + step * _direction(g), *ends)
      for a, g, step, ends in zip(
        x, gradients, self._steps, self._ends, strict=True
      )
    ]
    return [*x, *self._lesson.logits(self._teacher, x)]


def _direction(gradient: tf.Tensor) -> tf.Tensor:
  """Its signs, from -1 to 1, less where it is small."""
  axes = list(range(1, gradient.shape.rank))
  size = tf.sqrt(tf.reduce_mean(tf.square(gradient), axes, keepdims=True))
  return tf.clip_by_value(
    tf.math.divide_no_nan(gradient, _WHOLE * size), -1.0, 1.0
  )


def _step(x: Array, reach: float) -> Array:
  """How far each entry moves; indices have nothing between them."""
  if not np.issubdtype(x.dtype, np.floating):
    return np.zeros(x.shape[1:])
  return (reach * x.std(0, dtype=np.float64)).astype(x.dtype)
