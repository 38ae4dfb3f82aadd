"""Inputs that are moved to where a student differs from its teacher."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.network import Network
from tfmot_paoding.training import DistillSettings
from tfmot_paoding.training.adversarial_inputs import (
  AdversarialInputs,
  _direction,
  renewals,
)
from tfmot_paoding.training.lesson import Lesson

COUNT, LEARNED = 64, 56
ALL = np.arange(LEARNED)


def lesson_of(model, *samples):
  heads = Network.of(model).heads()
  return Lesson(model, list(samples), heads, DistillSettings(), 16, 16)


def adversary(lesson, teacher, student, reach=0.3):
  rng = np.random.default_rng(0)
  return AdversarialInputs(lesson, teacher, student, reach, rng)


@pytest.fixture
def pair():
  teacher, student = (testing.mlp((5, 16, 12, 3), seed=k) for k in (1, 2))
  x = testing.samples((5,), COUNT // 2, seed=3).astype(np.float32)
  x[:, 4] = 0.25
  x[LEARNED:] *= 0.5  # the largest are among those that are learned from
  return teacher, student, x, lesson_of(teacher, x)


def test_half_moves_a_step_and_never_beyond_what_was_drawn(pair):
  teacher, student, x, lesson = pair
  adversary(lesson, teacher, student).renew()
  (shown,), _ = lesson.batch(ALL)
  drawn = x[:LEARNED]
  moved = (shown != drawn).any(1)
  assert LEARNED // 3 < moved.sum() <= LEARNED // 2  # some stand in a corner
  step = 0.3 * drawn.std(0)
  far = np.abs(shown - drawn)
  assert (far <= step + 1e-6).all()
  assert (far[:, :4] > 0.99 * step[:4]).any(0).all()
  assert (shown >= drawn.min(0)).all()
  assert (shown <= drawn.max(0)).all()
  assert (shown[:, 4] == 0.25).all()  # where nothing varies nothing moves


def test_the_teacher_is_asked_again_and_they_differ_more(pair):
  teacher, student, x, lesson = pair
  drawn, wanted = lesson.batch(ALL)
  adversary(lesson, teacher, student, 0.05).renew()
  shown, told = lesson.batch(ALL)
  moved = (shown[0] != drawn[0]).any(1)
  np.testing.assert_array_equal(told[0][~moved], wanted[0][~moved])
  np.testing.assert_allclose(
    told[0], lesson.logits(teacher, shown)[0], atol=1e-5
  )
  gaps = [
    float(lesson.loss(student, [a[0][moved]], [z[0][moved]]))
    for a, z in ((drawn, wanted), (shown, told))
  ]
  assert gaps[1] > gaps[0]
  # Those kept apart are judged by, and stay.
  np.testing.assert_array_equal(lesson.inputs(slice(LEARNED, None))[0], x[56:])


def test_others_move_each_time_from_where_they_were(pair):
  teacher, student, x, lesson = pair
  moving = adversary(lesson, teacher, student)
  found = []
  for _ in range(2):
    moving.renew()
    found.append((lesson.batch(ALL)[0][0] != x[:LEARNED]).any(1))
  assert (found[0] != found[1]).any()
  assert found[1].sum() <= LEARNED // 2


def test_they_are_renewed_evenly():
  assert renewals(120) == list(range(10, 120, 10))
  assert renewals(1) == []
  assert renewals(3) == [1, 2]


def test_the_direction_is_of_signs_and_continuous():
  found = _direction(tf.constant([[3.0, -3.0, 0.0, 1e-9], [0.0] * 4])).numpy()
  np.testing.assert_allclose(found[0, :3], [1, -1, 0])
  assert 0 < found[0, 3] < 1e-7
  assert (found[1] == 0).all()


def test_no_reach_moves_nothing(pair):
  teacher, student, x, lesson = pair
  adversary(lesson, teacher, student, 0.0).renew()
  np.testing.assert_array_equal(lesson.batch(ALL)[0][0], x[:LEARNED])


def test_indices_stay_and_numbers_beside_them_move():
  ids = keras.Input((3,), dtype='int32')
  numbers = keras.Input((2,))
  read = keras.layers.Flatten()(keras.layers.Embedding(7, 2)(ids))
  hidden = keras.layers.Concatenate()([read, numbers])
  outputs = keras.layers.Dense(3)(
    keras.layers.Dense(8, activation='tanh')(hidden)
  )
  model = testing.fill(keras.Model([ids, numbers], outputs), 1)
  student = testing.fill(keras.models.clone_model(model), 2)
  rng = np.random.default_rng(0)
  x = [
    rng.integers(0, 7, (COUNT, 3)).astype(np.int32),
    rng.normal(size=(COUNT, 2)).astype(np.float32),
  ]
  lesson = lesson_of(model, *x)
  adversary(lesson, model, student).renew()
  shown, _ = lesson.batch(ALL)
  np.testing.assert_array_equal(shown[0], x[0][:LEARNED])
  assert (shown[1] != x[1][:LEARNED]).any(1).sum() == LEARNED // 2


def test_what_the_teacher_has_no_answer_to_is_not_shown(pair):
  _, _, x, lesson = pair
  rows = np.array([3, 5])
  logits = np.ones((2, 3), np.float32)
  logits[0, 1] = np.nan
  lesson.show(rows, [np.zeros((2, 5), np.float32)], [logits])
  shown, told = lesson.batch(rows)
  np.testing.assert_array_equal(shown[0], [x[3], np.zeros(5)])
  np.testing.assert_array_equal(told[0][1], logits[1])
  assert np.isfinite(told[0]).all()
