"""Hidden values of a student tell what its teacher's are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.network import Network
from tfmot_paoding.training import DistillSettings
from tfmot_paoding.training.hints import (
  Hints,
  _Moments,
  hinted_values,
  spread,
)
from tfmot_paoding.training.lesson import Lesson

BOX = {'input_range': (-1.0, 1.0), 'verbose': 0}


def plain(filters=(6, 8), classes=3, seed=0):
  inputs = x = keras.Input((8, 8, 2))
  for k, count in enumerate(filters):
    x = keras.layers.Conv2D(count, 3, activation='relu', name=f'c{k}')(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  x = keras.layers.Dense(5, activation='relu', name='d')(x)
  outputs = keras.layers.Dense(classes, name='e')(x)
  return testing.fill(keras.Model(inputs, outputs), seed)


def lesson_of(model, count=64):
  x = testing.draw(model.input_shape[1:], count).astype(np.float32)
  heads = Network.of(model).heads()
  return Lesson(model, [x], heads, DistillSettings(), 16, 16)


def parts(hints, lesson, rows=16):
  x, logits = lesson.batch(np.arange(rows))
  chosen = hints.batch(np.arange(rows))
  return float(hints.loss([tf.constant(a) for a in x], logits, chosen))


def test_values_with_positions_behind_activations():
  model = plain()
  graph = build_graph(model)
  c0, c1 = (graph.layer_outputs[(name,)][0] for name in ('c0', 'c1'))
  assert hinted_values(graph) == [c0, c1]


def test_none_of_outputs_and_vectors():
  assert hinted_values(build_graph(testing.mlp())) == []
  inputs = keras.Input((8, 8, 2))
  mask = keras.layers.Conv2D(2, 3, activation='sigmoid')(inputs)
  assert hinted_values(build_graph(keras.Model(inputs, mask))) == []


def test_positions_are_spread_by_hand():
  x = np.arange(100.0).reshape(1, 100, 1)
  np.testing.assert_array_equal(
    spread(tf.constant(x), 50)[0, :, 0], np.arange(1, 100, 2)
  )
  image = np.arange(16 * 24.0).reshape(1, 16, 24, 1)
  found = spread(tf.constant(image), 64)
  np.testing.assert_array_equal(found[0, :, 0], image[0, 1::3, 1::3, 0].ravel())
  assert found.dtype == tf.float32
  few = tf.constant(np.zeros((2, 1, 3, 5)))
  assert spread(few, 16).shape == (2, 3, 5)


def test_directions_by_hand():
  """As long as outputs move by them; what hardly moves these is left out."""
  moments = _Moments()
  moments.add(np.diag([3.0, 0.0, 0.1]), np.array([[1.0, 2.0, 3.0]] * 3))
  np.testing.assert_allclose(moments.mean, [1, 2, 3])
  found = moments.directions()
  np.testing.assert_allclose(np.abs(found), [[3**0.5], [0], [0]], atol=1e-12)
  assert _Moments().directions() is None
  moments = _Moments()
  moments.add(np.zeros((5, 3)), np.ones((5, 3)))
  assert moments.directions() is None
  moments.add(np.full((1, 3), np.inf), np.ones((1, 3)))
  assert moments.directions() is None


def test_there_are_not_too_many_directions():
  moments = _Moments()
  moments.add(np.eye(100) * np.arange(1.0, 101), np.ones((100, 100)))
  found = moments.directions()
  assert found.shape == (100, 64)
  assert not found[:36].any()


def test_the_teacher_itself_tells_nearly_all():
  """But for the ridge; and nothing is told of what is far from all answers."""
  model = plain()
  lesson = lesson_of(model)
  assert parts(Hints(lesson, model, model, 3.0), lesson) < 0.01


def test_only_what_moves_the_answers_is_told():
  """A student may lack a channel that nobody reads, and no other."""
  model = plain()
  kernel, bias = model.get_layer('d').get_weights()
  kernel[0] = 0  # channel 0 of c1 is not read
  model.get_layer('d').set_weights([kernel, bias])
  lesson = lesson_of(model)
  losses = []
  for channel in (0, 1):
    student = testing.fill(keras.models.clone_model(model))
    student.set_weights(model.get_weights())
    kernel, bias = student.get_layer('c1').get_weights()
    kernel[..., channel], bias[channel] = 0, 0
    student.get_layer('c1').set_weights([kernel, bias])
    answers = lesson.loss(student, *lesson.batch(np.arange(16)))
    losses.append(parts(Hints(lesson, model, student, 3.0), lesson) - answers)
  assert losses[0] < 0.01 < 0.05 < losses[1]


def test_a_small_student_has_maps_from_its_own_channels():
  model = plain()
  small = paoding.prune(model, 0.5, method='l1', **BOX)
  lesson = lesson_of(model)
  hints = Hints(lesson, model, small, 3.0)
  kernels = hints.variables[::2]
  assert [kernel.shape[0] for kernel in kernels] == [3, 4]
  assert hints


def test_a_lesson_with_hints_makes_hidden_values_more_alike():
  model = plain((12, 12))
  lesson = lesson_of(model, 256)
  gaps = []
  for weight in (0.0, 3.0):
    student = keras.models.clone_model(model)
    student.set_weights([_shaken(w) for w in model.get_weights()])
    settings = DistillSettings(
      steps=150, batch_size=32, samples=256, hints=weight, learning_rate=3e-3
    )
    better = paoding.training.distill(model, student, settings=settings, **BOX)
    answers = float(lesson.loss(better, *lesson.batch(np.arange(64))))
    gaps.append(parts(Hints(lesson, model, better, 1.0), lesson, 64) - answers)
  assert gaps[1] < 0.9 * gaps[0]


def _shaken(weights):
  rng = np.random.default_rng(weights.size)
  return weights + 0.5 * weights.std() * rng.normal(size=weights.shape)


def test_the_teacher_is_asked_again_of_inputs_that_moved():
  model = plain()
  lesson = lesson_of(model)
  hints = Hints(lesson, model, model, 3.0)
  rows, before = np.arange(5, 9), hints.batch(np.arange(lesson.size))
  x = [0.5 * part for part in lesson.inputs(rows)]
  lesson.show(rows, x, lesson.logits(model, x))
  hints.renew()
  assert parts(hints, lesson) < 0.01
  for old, new in zip(before, hints.batch(np.arange(lesson.size)), strict=True):
    assert set(np.flatnonzero((old != new).any((1, 2)))) == {5, 6, 7, 8}


def test_a_lesson_may_move_inputs_and_give_hints():
  model = plain((12, 12))
  small = paoding.prune(model, 0.5, method='l1', **BOX)
  settings = DistillSettings(steps=24, samples=64, hints=3.0, adversarial=0.1)
  better = paoding.training.distill(model, small, settings=settings, **BOX)
  lesson = lesson_of(model)
  batch = lesson.batch(np.arange(56))
  assert lesson.loss(better, *batch) < lesson.loss(small, *batch)


def test_hints_that_cannot_be_given_are_said_to_have_no_effect():
  model = testing.mlp()
  small = paoding.prune(model, 0.5, method='l1', **BOX)
  settings = DistillSettings(steps=2, samples=8, hints=1.0)
  with pytest.warns(UserWarning, match='`hints` has no effect'):
    paoding.training.distill(model, small, settings=settings, **BOX)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    quiet = DistillSettings(steps=2, samples=8)
    paoding.training.distill(model, small, settings=quiet, **BOX)


def test_of_inputs_of_open_sizes():
  inputs = keras.Input((None, None, 2))
  x = keras.layers.Conv2D(6, 3, activation='relu', name='c')(inputs)
  x = keras.layers.GlobalAveragePooling2D()(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  small = paoding.prune(
    model, 0.5, method='l1', data=testing.draw((9, 7, 2), 32), verbose=0
  )
  settings = DistillSettings(steps=5, hints=1.0)
  better = paoding.training.distill(
    model, small, data=testing.draw((9, 7, 2), 32), settings=settings, verbose=0
  )
  assert better.get_layer('c').get_weights()[0].shape[-1] == 3


def test_models_of_other_structure_learn_without():
  """Whoever teaches any two models of the same inputs and outputs."""
  model, other = plain(seed=1), plain(filters=(4,))
  lesson = lesson_of(model)
  assert not Hints(lesson, model, other, 3.0)


def test_layers_that_became_chains_are_told_as_well():
  model = plain()
  small = paoding.factorize(
    model, ranks={'c1': (3, 4), 'd': 2}, distillation=False, **BOX
  )
  lesson = lesson_of(model)
  hints = Hints(lesson, model, small, 1.0)
  ours, theirs = build_graph(model), build_graph(small)
  assert [hint.value for hint in hints._hints] == hinted_values(ours)
  assert [hint.own for hint in hints._hints] == [
    theirs.layer_outputs[(name,)][0] for name in ('c0', 'c1')
  ]
  assert np.isfinite(parts(hints, lesson))
  # Nothing is lost in front of the first chain.
  whole = Hints(lesson, model, model, 1.0)
  x = [tf.constant(a) for a in lesson.batch(np.arange(8))[0]]
  first, own = hints._hints[0], whole._hints[0]
  np.testing.assert_allclose(first.kernel, own.kernel, atol=1e-4)
  assert len(x) == 1


def test_networks_without_the_same_layers_give_none():
  model = plain()
  other = testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(4, 3, activation='relu', name='else'),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, name='e'),
      ]
    )
  )
  assert not Hints(lesson_of(model), model, other, 1.0)
