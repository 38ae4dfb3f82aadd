"""A teacher's answers, on the data and under attack."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tests.testing import draw
from tfmot_paoding import robustness, training
from tfmot_paoding.compat import keras, strip_pruning

EPSILON = 0.1
RANGE = (-1.0, 1.0)


def loss_of(student, objective, x):
  trainee = training.robust_model(student, objective, RANGE)
  trainee.compile('sgd', 'sparse_categorical_crossentropy')
  loss, outputs = objective.loss(trainee, tf.constant(x), tf.zeros(len(x)))
  np.testing.assert_allclose(outputs, student(x), rtol=1e-6)
  return float(loss)


def log_softmax(scores):
  scores = np.asarray(scores, np.float64)
  return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


@functools.cache
def pair():
  """A teacher, a student, and inputs."""
  x = draw((5,), 64).astype(np.float32)
  return testing.mlp((5, 16, 3), seed=1), testing.mlp((5, 6, 3), seed=2), x


@pytest.mark.parametrize('natural', [0.0, 0.25, 1.0])
def test_without_a_ball_it_is_the_divergence(natural):
  teacher, student, x = pair()
  objective = training.RobustDistillation(teacher, 0.0, natural=natural)
  told, said = log_softmax(teacher(x)), log_softmax(student(x))
  wanted = (np.exp(told) * (told - said)).sum(-1).mean()
  assert loss_of(student, objective, x) == pytest.approx(wanted, rel=1e-4)


def test_an_attack_makes_it_larger_by_the_share_that_is_attacked():
  teacher, student, x = pair()
  found = [
    loss_of(
      student, training.RobustDistillation(teacher, EPSILON, natural=share), x
    )
    for share in (1.0, 0.5, 0.0)
  ]
  assert found[0] < found[1] < found[2]


@pytest.mark.parametrize('final', ['softmax', 'linear'])
def test_teachers_that_end_in_softmax_or_in_scores(final):
  teacher, student, x = pair()
  other = testing.mlp((5, 16, 3), activation=final)
  other.set_weights(teacher.get_weights())
  objective = training.RobustDistillation(other, 0.0)
  told, said = log_softmax(teacher(x)), log_softmax(student(x))
  wanted = (np.exp(told) * (told - said)).sum(-1).mean()
  assert loss_of(student, objective, x) == pytest.approx(wanted, rel=1e-4)


def test_a_wrapped_student_learns_its_teachers_answers_without_labels():
  teacher, student, x = pair()
  wrapped = training.with_fixed_masks(student)
  trainee = training.robust_model(
    wrapped, training.RobustDistillation(teacher, 0.02, steps=2), RANGE
  )
  trainee.compile(
    keras.optimizers.Adam(0.02),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
  )
  before = teacher.get_weights()
  noise = np.random.default_rng(0).integers(0, 3, len(x))
  trainee.fit(
    x,
    noise,
    batch_size=16,
    epochs=40,
    verbose=0,
    callbacks=[paoding.UpdatePruningStep()],
  )
  y = teacher(x).numpy().argmax(-1)
  learned = strip_pruning(wrapped)
  assert robustness.answered_right(learned, x, y).mean() > 0.85
  for one, other in zip(before, teacher.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)


class TestBadInput:
  def test_settings(self):
    teacher, *_ = pair()
    with pytest.raises(ValueError, match='natural'):
      training.RobustDistillation(teacher, 0.1, natural=1.5)
    with pytest.raises(ValueError, match='steps'):
      training.RobustDistillation(teacher, 0.1, steps=0)
    with pytest.raises(TypeError, match='epsilon'):
      training.RobustDistillation(teacher, 'much')
    with pytest.raises(TypeError):
      training.RobustDistillation('teacher', 0.1)

  def test_a_config_cannot_hold_a_teacher(self):
    teacher, *_ = pair()
    with pytest.raises(ValueError, match='pass the object'):
      training.RobustDistillation(teacher, 0.1).get_config()

  def test_another_number_of_classes(self):
    _, student, x = pair()
    objective = training.RobustDistillation(testing.mlp((5, 8, 4)), 0.1)
    with pytest.raises(ValueError, match='4 classes'):
      loss_of(student, objective, x)
