"""What outputs mean, and their logits."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.outputs import Head, heads_of


def kinds(model, task=None):
  return [head.kind for head in heads_of(build_graph(model), task)]


@pytest.mark.parametrize(
  ('last', 'units', 'kind'),
  [
    ('softmax', 3, 'softmax'),
    ('sigmoid', 1, 'sigmoid'),
    ('sigmoid', 3, 'sigmoid'),
    (None, 3, 'logits'),
    (None, 1, 'values'),
    (None, 5, 'values'),  # an autoencoder of 5 inputs
    ('sigmoid', 5, 'values'),
    ('relu', 3, 'values'),
  ],
)
def test_told_by_the_last_operation(last, units, kind):
  model = testing.mlp((5, 4, units), activation=last)
  assert kinds(model) == [kind]


def test_the_task_overrides():
  model = testing.mlp((5, 4, 5))
  assert kinds(model, 'classification') == ['logits']
  assert kinds(testing.mlp((5, 4, 3)), 'regression') == ['values']
  assert kinds(testing.mlp((5, 4, 3), activation='softmax'), 'regression') == [
    'values'
  ]


def test_an_activation_layer_counts_as_well():
  model = keras.Sequential(
    [keras.Input((5,)), keras.layers.Dense(3), keras.layers.Softmax()]
  )
  assert kinds(model) == ['softmax']


def test_softmax_gives_its_logits_back_but_for_their_mean():
  z = np.array([[1.0, -2.0, 4.0], [0.0, 0.0, 3.0]])
  p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
  found = Head('softmax', (3,)).logits(p).numpy()
  np.testing.assert_allclose(found, z - z.mean(1, keepdims=True), atol=1e-5)
  found = Head('logits', (3,)).logits(z).numpy()
  np.testing.assert_allclose(found, z - z.mean(1, keepdims=True), atol=1e-5)


def test_sigmoid_gives_its_logits_back():
  z = np.array([[1.0, -2.0], [0.0, 5.0]])
  found = Head('sigmoid', (2,)).logits(1 / (1 + np.exp(-z))).numpy()
  np.testing.assert_allclose(found, z, atol=1e-4)


def test_saturated_outputs_have_finite_logits():
  for kind in ('softmax', 'sigmoid'):
    found = Head(kind, (2,)).logits(np.array([[0.0, 1.0]])).numpy()
    assert np.all(np.isfinite(found))
    assert found[0, 0] < -5 < 5 < found[0, 1]


def test_classes_are_drawn_evenly():
  labels = Head('softmax', (4,)).draw(40, np.random.default_rng(0))
  np.testing.assert_array_equal(np.bincount(labels), [10] * 4)
  labels = Head('logits', (6, 6, 4)).draw(3, np.random.default_rng(0))
  assert labels.shape == (3, 6, 6)
  flags = Head('sigmoid', (2,)).draw(500, np.random.default_rng(0))
  assert set(np.unique(flags)) == {0.0, 1.0}
  assert abs(flags.mean() - 0.5) < 0.1


def test_cross_entropy_by_hand():
  p = np.array([[0.25, 0.75], [0.5, 0.5]])
  loss = Head('softmax', (2,)).loss(np.array([1, 0], np.int32), p)
  expected = -(np.log(0.75) + np.log(0.5)) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  loss = Head('sigmoid', (2,)).loss(np.array([[1.0, 0.0]], np.float32), p[:1])
  expected = -(np.log(0.25) + np.log(0.25)) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_answers():
  assert Head('sigmoid', (1,)).answers(np.array([[0.6], [0.4]])).tolist() == [
    [True],
    [False],
  ]
  scores = np.array([[0.1, 0.9], [2.0, 1.0]])
  assert Head('logits', (2,)).answers(scores).tolist() == [1, 0]


def test_columns_of_other_orders_of_size_are_no_scores():
  model = testing.mlp((5, 4, 3))
  assert kinds(model) == ['logits']
  kernel = model.layers[-1].kernel
  kernel.assign(kernel * np.array([1.0, 1.0, 1000.0]))
  assert kinds(model) == ['values']
  assert kinds(model, 'classification') == ['logits']


def test_numbers_count_by_their_own_columns_and_scores_by_all():
  rng = np.random.default_rng(0)
  wanted = rng.normal(size=(500, 3)) * [1.0, 1000.0, 0.0] + np.array(
    [0, 0, 4.0]
  )
  found = wanted + np.array([0.5, 0.5, 0.0])
  values = Head('values', (3,))
  own = 0.25 / wanted[:, 0].var() + 0.25 / wanted[:, 1].var()
  assert values.distance(wanted, found) == pytest.approx(own / 3)
  scores = Head('logits', (3,))
  share = np.square(found - wanted).mean() / wanted.var()
  assert scores.distance(wanted, found) == pytest.approx(share)
  # What never varies counts as much as the others.
  assert values.variance(wanted)[2] == values.variance(wanted)[:2].mean()
  assert values.distance(wanted, found * np.nan) == np.inf


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_divergences_are_the_formula(temperature):
  rng = np.random.default_rng(0)
  a, b = rng.normal(0, 3, (2, 7, 4)).astype(np.float32)
  p, q = (np.exp(z / temperature) for z in (a, b))
  p, q = (x / x.sum(1, keepdims=True) for x in (p, q))
  wanted = temperature**2 * (p * np.log(p / q)).sum(1).mean()
  found = Head('logits', (4,)).divergence(a, b, temperature)
  np.testing.assert_allclose(found, wanted, rtol=1e-4)
  p, q = (1 / (1 + np.exp(-z / temperature)) for z in (a, b))
  terms = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
  found = Head('sigmoid', (4,)).divergence(a, b, temperature)
  np.testing.assert_allclose(found, temperature**2 * terms.mean(), rtol=1e-4)


def test_a_divergence_is_of_classes_and_zero_at_the_teacher():
  z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  for kind in ('logits', 'softmax', 'sigmoid'):
    found = float(Head(kind, (3,)).divergence(z, z, 4.0))
    assert found == pytest.approx(0.0, abs=1e-6)
  with pytest.raises(ValueError, match='no classes'):
    Head('values', (3,)).divergence(z, z, 4.0)


def test_gaps_are_divergences_of_classes_whatever_their_unit():
  rng = np.random.default_rng(0)
  wanted = 4 * rng.normal(size=(50, 3)).astype(np.float32)
  found = wanted + rng.normal(size=(50, 3)).astype(np.float32)
  head = Head('logits', (3,))
  temperature = float(np.sqrt(wanted.var()) / 3)
  gap = head.divergence(wanted, found, temperature) / wanted.var()
  np.testing.assert_allclose(head.gap(wanted, found), gap, rtol=1e-5)
  np.testing.assert_allclose(
    head.gap(1e3 * wanted, 1e3 * found), gap, rtol=1e-4
  )
  # Far into the class that it is in anyway: no other answer.
  certain = np.array([[9.0, 0, 0], [0, 9, 0]], np.float32)
  moved = certain + np.array([[6, 0, 0], [0, 6, 0]], np.float32)
  crossed = certain + np.array([[0, 6, 0], [0, 0, 6]], np.float32)
  assert head.gap(certain, moved) < 0.2 * head.gap(certain, crossed)
  assert head.distance(certain, moved) == head.distance(certain, crossed)


def test_gaps_of_numbers_are_squares():
  head, rng = Head('values', (2,)), np.random.default_rng(0)
  wanted, found = rng.normal(size=(2, 9, 2))
  assert head.gap(wanted, found) == head.distance(wanted, found)
  assert Head('logits', (2,)).gap(wanted, found * np.nan) == float('inf')
