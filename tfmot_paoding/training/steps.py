"""Steps of a lesson: a student moved towards its teacher, batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat, replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.training.hints import Hints
from tfmot_paoding.training.lesson import Lesson

Array = np.ndarray

# Steps that are carried out in one call: a call takes a millisecond of Python,
# which is more than a step of a small network.
_STEPS = 50
_BYTES = 1 << 22  # of inputs and what is told of them, that these may take


class Steps:
  """Adam's steps on a lesson, traced once for all rates and lengths.

  Args:
    student: The model that learns.
    lesson: What it learns from.
    hints: What else it is told; None for nothing.

  Attributes:
    together: How many are carried out in one call.
  """

  def __init__(
    self, student: keras.Model, lesson: Lesson, hints: Hints | None = None
  ):
    self._lesson, self._hints = lesson, hints
    self._variables = list(student.trainable_variables)
    self._held = [_held(variable) for variable in self._variables]
    self._measured = functools.partial(lesson.loss, student)
    if hints:
      self._measured = hints.loss
      self._variables += hints.variables
      self._held += [None] * len(hints.variables)
    # Variables, so that another rate or length needs no other trace.
    self._rate, self._count = tf.Variable(0.0), tf.Variable(1.0)
    self._optimizer = keras.optimizers.Adam(
      keras.optimizers.schedules.CosineDecay(self._rate, self._count),
      jit_compile=False,
    )
    self._optimizer.build(self._variables)
    one = self._batch(np.zeros(lesson.batch_rows, int))
    heavy = sum(a.nbytes for part in one for a in part)
    self.together = min(_STEPS, max(1, _BYTES // heavy))
    specs = [
      [tf.TensorSpec((None, *a.shape), a.dtype) for a in part] for part in one
    ]
    walk = tf.function(self._walk, autograph=compat.may_branch(student))
    with sound_convolutions(student):
      self._walked = walk.get_concrete_function(*specs)

  def begin(self, learning_rate: float, count: int) -> None:
    """As before the first step.

    Args:
      learning_rate: Of the first step; it falls to 0 by a cosine.
      count: After how many.
    """
    for variable in self._optimizer.variables:
      variable.assign(tf.zeros_like(variable))
    self._rate.assign(learning_rate)
    self._count.assign(count)

  def take(self, chosen: Array) -> None:
    """Some steps.

    Args:
      chosen: The numbers of the inputs of each, (steps, batch).
    """
    self._walked(*([tf.constant(a) for a in p] for p in self._batch(chosen)))

  def _batch(self, chosen: Array) -> list[list[Array]]:
    told = self._hints.batch(chosen) if self._hints else []
    return [part for part in (*self._lesson.batch(chosen), told) if part]

  def _walk(self, *parts: list[tf.Tensor]) -> None:
    """A step for each entry of the parts' first axis."""

    def one(k: tf.Tensor) -> tf.Tensor:
      replicas.run(self._step, *([a[k] for a in arrays] for arrays in parts))
      return k + 1

    tf.while_loop(lambda k: k < tf.shape(parts[0][0])[0], one, [tf.constant(0)])

  def _step(self, *parts: Sequence[tf.Tensor]) -> None:
    part = replicas.part_of(self._lesson.batch_rows)
    with tf.GradientTape() as tape:
      found = self._measured(*(part.take(arrays) for arrays in parts))
      loss = part.mean(found)
    gradients = tape.gradient(loss, self._variables)
    pairs = [
      (gradient if mask is None else gradient * mask, variable)
      for gradient, mask, variable in zip(
        gradients, self._held, self._variables, strict=True
      )
      if gradient is not None
    ]
    self._optimizer.apply_gradients(pairs)


def _held(variable: tf.Variable) -> tf.Tensor | None:
  """A mask of the entries that may move; None if all may.

  What a removed unit of a stripped model has left are zeros in matrices; with
  these held, its bias moves nothing and gets no gradient.
  """
  value = variable.numpy()
  if value.ndim < 2 or np.all(value != 0):
    return None
  return tf.constant(value != 0, variable.dtype)
