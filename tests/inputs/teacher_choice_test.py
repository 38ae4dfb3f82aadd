"""What a network is surest of, evenly over its classes."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.teacher_choice import (
  choose_samples,
  classes_and_margins,
  evenly,
)
from tfmot_paoding.network.outputs import Head


def test_classes_take_turns_and_the_surest_come_first():
  classes = np.array([0, 0, 0, 0, 1, 1, 2])
  margins = np.array([1.0, 4.0, 3.0, 2.0, 0.5, 0.7, 9.0])
  assert evenly(classes, margins, 3).tolist() == [1, 5, 6]
  assert evenly(classes, margins, 5).tolist() == [1, 2, 4, 5, 6]
  assert evenly(classes, margins, 7).tolist() == list(range(7))


def test_margins_of_logits_by_hand():
  head = Head('logits', (3,))
  found = classes_and_margins(
    head, np.array([[1.0, 5.0, 2.0], [0.0, -1.0, -4.0]], np.float32)
  )
  assert found[0].tolist() == [1, 0]
  np.testing.assert_allclose(found[1], [3.0, 1.0], atol=1e-6)


def test_probabilities_count_by_their_logits():
  p = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
  classes, margins = classes_and_margins(Head('softmax', (2,)), p)
  assert classes.tolist() == [0, 1]
  np.testing.assert_allclose(margins, np.log([9.0, 7 / 3]), rtol=1e-5)
  classes, margins = classes_and_margins(
    Head('sigmoid', (1,)), np.array([[0.9], [0.3]], np.float32)
  )
  assert classes.tolist() == [1, 0]
  np.testing.assert_allclose(margins, np.log([9.0, 7 / 3]), rtol=1e-5)


def test_positions_have_one_class_and_a_mean_margin():
  outputs = np.array([[[[0, 2.0], [0, 4.0]], [[1, 0.0], [0, 6.0]]]], np.float32)
  classes, margins = classes_and_margins(Head('logits', (2, 2, 2)), outputs)
  assert classes.tolist() == [1]
  np.testing.assert_allclose(margins, [(2 + 4 + 1 + 6) / 4])


def classifier():
  model = testing.mlp((5, 8, 4))
  model.layers[-1].set_weights(
    [model.layers[-1].get_weights()[0], np.zeros(4, np.float32)]
  )
  return model


def test_a_classifier_gets_even_and_sure_samples():
  model = classifier()
  x = np.random.default_rng(0).normal(size=(800, 5)).astype(np.float32)
  (kept,) = choose_samples(model, [x], 100)
  assert kept.shape == (100, 5)
  before, after = (
    np.bincount(model(a).numpy().argmax(1), minlength=4) / len(a)
    for a in (x, kept)
  )
  assert np.ptp(after) < np.ptp(before)
  sure = [
    np.ptp(np.sort(model(a).numpy())[:, -2:], 1).mean() for a in (x, kept)
  ]
  assert sure[1] > 1.2 * sure[0]


def test_what_answers_with_numbers_keeps_the_first():
  model = testing.fill(
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
  )
  x = np.arange(30, dtype=np.float32).reshape(10, 3)
  (kept,) = choose_samples(model, [x], 4)
  np.testing.assert_array_equal(kept, x[:4])
  with pytest.raises(ValueError, match='there are 10'):
    choose_samples(model, [x], 11)
