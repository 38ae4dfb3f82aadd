"""A robust teacher's answers in place of labels, also under attack."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.robustness.scores import by_class, scores_model
from tfmot_paoding.training.objectives import (
  Adversarial,
  Objective,
  Trainee,
  divergence,
)
from tfmot_paoding.training.ramps import Number, check_number


@dataclasses.dataclass(frozen=True)
class RobustDistillation(Objective):
  """Answers as a robust teacher gives them on the data, near them as well.

  With the teacher's probabilities on the data: `natural` times their divergence
  from the student's there plus (1 - natural) times that from the student's at
  the point of the ball where it is largest, as PGD finds it (RSLAD, Zi et al.
  2021, arXiv 2108.07969). Labels and the compiled loss play no part.
  The network that was trained under `Adversarial` before pruning is the teacher
  to take. For small networks it was worth no more under attack than
  `Adversarial` by itself: see examples/figures/robust_training.md.

  Made in the scope of a `tf.distribute` strategy if the student is. It has no
  config, since a model is no plain value: pass the object.

  Attributes:
    teacher: A classifier with the student's inputs and classes; a copy is kept.
    epsilon: The balls' radius, in units of the inputs.
    steps: Gradient steps of the attack.
    step_size: Of each; None for 2.5 epsilon / steps.
    natural: The share of the data as they are.
  """

  teacher: keras.Model
  epsilon: Number
  steps: int = 7
  step_size: float | None = None
  natural: float = 1 / 6

  def __post_init__(self):
    check_number(self.natural, 'natural', most=1.0)
    attack = Adversarial(self.epsilon, self.steps, self.step_size)
    # A frozen dataclass has no other way.
    object.__setattr__(self, '_attack', attack)
    object.__setattr__(self, '_scores', scores_model(self.teacher))

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The mixture of both divergences.

    Raises:
      ValueError: the teacher has other classes.
    """
    told = self._told(x)
    outputs = trainee.run(x, True)
    own = trainee.scores(outputs)
    if own.shape[-1] != told.shape[-1]:
      raise ValueError(
        f'`teacher` has {told.shape[-1]} classes, but the model that it '
        f'teaches {own.shape[-1]}. Pass the network that the model was pruned '
        'from.'
      )
    radius = self._attack.radius(trainee)
    moved = self._attack.attacked(trainee, x, y, radius, told)
    near = trainee.scores(trainee.run(moved, True))
    loss = self.natural * divergence(told, own)
    return loss + (1.0 - self.natural) * divergence(told, near), outputs

  def get_config(self) -> dict[str, Any]:
    """Raises.

    Raises:
      ValueError: always: a teacher is no plain value.
    """
    raise ValueError(
      'RobustDistillation holds a teacher, which no config can: pass the '
      'object.'
    )

  def _told(self, x: tf.Tensor) -> tf.Tensor:
    """The teacher's probabilities, (batch, classes), float32."""
    scores = tf.cast(self._scores(x, training=False), tf.float32)
    return tf.stop_gradient(tf.nn.softmax(by_class(scores)))
