"""What a model really answers: only that breaks a property."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.bounds.domains import Goals
from tfmot_paoding.compat import keras
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


class Judge:
  """Looks for points where a goal that should be impossible is met.

  A point's lead with a goal is the largest of row y - offset over its rows: at
  most 0 where all of them hold.

  Args:
    outputs: A model with one input whose outputs the goals are about.
  """

  def __init__(self, outputs: keras.Model):
    self._outputs = outputs
    shape = outputs.input_shape[1:]
    classes = outputs.output_shape[-1]
    branches = compat.may_branch(outputs)
    traced = tf.function(self._slope, autograph=branches)
    self._gradient = traced.get_concrete_function(
      tf.TensorSpec((None, *shape), tf.float32),
      tf.TensorSpec((None, None, classes), tf.float32),
      tf.TensorSpec((None, None), tf.float32),
    )

  def gradient(
    self, points: Array, rows: Array, offsets: Array
  ) -> tuple[Array, Array]:
    """The lead's gradient by each point, and the lead."""
    gradient, lead = self._gradient(
      tf.constant(points, tf.float32),
      tf.constant(rows, tf.float32),
      tf.constant(offsets, tf.float32),
    )
    return gradient.numpy(), lead.numpy().astype(np.float64)

  def _slope(
    self, points: tf.Tensor, rows: tf.Tensor, offsets: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
      tape.watch(points)
      outputs = tf.cast(self._outputs(points, training=False), tf.float32)
      lead = tf.einsum('dmo,do->dm', rows, outputs) - offsets
      lead = tf.reduce_max(lead, 1)
    return tape.gradient(lead, points), lead


class Case:
  """The counterexamples of one box.

  Args:
    judge: Of the model.
    goals: What makes one.
    box: In float32 and rounded inwards, (1, *shape).
    confirms: Whether a point, of the input's shape, is a counterexample: the
      word of the model itself.

  Attributes:
    least: The least lead that was met at any point.
    example: A point that the model confirms, or None.
  """

  def __init__(
    self,
    judge: Judge,
    goals: Goals,
    box: Interval,
    confirms: Callable[[Array], bool],
  ):
    self._confirms = confirms
    self._judge = judge
    self._goals = goals
    self._box = box
    self.least = np.inf
    self.example: Array | None = None

  def look(self, points: Array, goals: Array, steps: int) -> bool:
    """Whether a counterexample is found on the way down from some points.

    Args:
      points: Where to start, (points, *shape).
      goals: Which goal each is to meet, (points,).
      steps: Gradient steps, whose size falls from a quarter of the box.
    """
    rows, offsets = self._goals.rows[goals], self._goals.offsets[goals]
    low, high = self._box
    x = np.clip(points.astype(np.float32), low, high)
    for step in range(steps + 1):
      gradient, lead = self._judge.gradient(x, rows, offsets)
      if self._found(x, lead):
        return True
      if step == steps:
        break
      rate = np.float32(0.25 * (1 - step / steps)) * (high - low)
      x = np.clip(x - rate * np.sign(gradient), low, high)
    return False

  def start_anywhere(
    self, rng: np.random.Generator, starts: int, steps: int
  ) -> bool:
    """`look` from the middle, and from points drawn evenly, for each goal."""
    low, high = self._box
    shape = starts, *low.shape[1:]
    x = (low + rng.random(shape) * (high - low)).astype(np.float32)
    x[0] = 0.5 * (low[0] + high[0])
    count = len(self._goals.offsets)
    goals = np.repeat(np.arange(count), starts)
    return self.look(np.tile(x, (count, *(1,) * (x.ndim - 1))), goals, steps)

  def _found(self, points: Array, lead: Array) -> bool:
    order = np.argsort(lead)
    self.least = min(self.least, float(lead[order[0]]))
    # More than a few that the model takes back are its rounding.
    for k in order[:4]:
      if lead[k] <= 0 and self._confirms(points[k]):
        self.example = points[k]
        return True
    return False
