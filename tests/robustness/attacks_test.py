"""FGSM and PGD: by hand, in the box, deterministic, and never idle."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests import testing
from tests.testing import conv_net, draw
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras

L = keras.layers
RANGE = (-1.0, 1.0)


def labels_of(model, x):
  return model(x.astype(np.float32)).numpy().argmax(-1)


def test_fgsm_by_hand():
  """Logits (x1 - x2, 0), label 0: the loss falls with x1, rises with x2."""
  model = testing.fill(keras.Sequential([keras.Input((3,)), L.Dense(2)]))
  model.set_weights([np.array([[1, 0], [-1, 0], [0, 0]]), np.zeros(2)])
  x = np.array([[0.5, 0.5, 0.5]])
  found = robustness.fgsm(model, x, [0], 0.1, (0.0, 1.0))
  # A pixel without gradient stays.
  np.testing.assert_allclose(found, [[0.4, 0.6, 0.5]], atol=1e-6)
  found = robustness.fgsm(model, x, [0], 0.7, (0.0, 1.0))
  np.testing.assert_allclose(found, [[0.0, 1.0, 0.5]], atol=1e-6)


def test_a_sure_softmax_is_attacked_through_its_logits():
  model = testing.fill(
    keras.Sequential([keras.Input((2,)), L.Dense(2, activation='softmax')])
  )
  model.set_weights([np.array([[400.0, 0], [0, 0]]), np.zeros(2)])
  x = np.array([[0.5, 0.5]])
  assert model(x).numpy()[0, 0] == 1.0
  found = robustness.fgsm(model, x, [0], 0.1, (0.0, 1.0))
  np.testing.assert_allclose(found, [[0.4, 0.5]], atol=1e-6)


@pytest.mark.parametrize('final', ['linear', 'softmax'])
@pytest.mark.parametrize('attack', ['fgsm', 'pgd'])
def test_examples_lie_in_ball_and_range(attack, final):
  model = testing.mlp((5, 12, 3), activation=final)
  x = draw((5,), 40) * 1.25
  y = labels_of(model, x)
  found = getattr(robustness, attack)(model, x, y, 0.3, RANGE)
  assert found.shape == x.shape
  assert found.dtype == np.float32
  # Also to the last digit: the ball is rounded inwards.
  assert np.all(np.abs(found.astype(np.float64) - x) <= 0.3 + 1e-15)
  assert np.all(np.abs(found) <= 1)


def test_pgd_breaks_at_least_what_fgsm_and_its_start_break():
  model = conv_net()
  x = draw(model.input_shape[1:], 60)
  y = labels_of(model, x)
  fgsm = robustness.fgsm(model, x, y, 0.1, RANGE)
  pgd = robustness.pgd(model, x, y, 0.1, RANGE, 20, 2)
  broken = [(labels_of(model, a) != y).sum() for a in (x, fgsm, pgd)]
  assert broken[0] == 0
  assert 0 < broken[1] <= broken[2]


def test_restarts_only_help():
  model = testing.mlp((5, 24, 24, 3), seed=4)
  x = draw((5,), 200)
  y = labels_of(model, x)
  counts = [
    (
      labels_of(model, robustness.pgd(model, x, y, 0.25, RANGE, 5, n)) != y
    ).sum()
    for n in (1, 5)
  ]
  assert counts[0] <= counts[1]


def test_same_seed_same_examples():
  model = testing.mlp((5, 12, 3))
  x = draw((5,), 20)
  y = labels_of(model, x)
  attack = functools.partial(robustness.pgd, model, x, y, 0.1, RANGE, 5, 3)
  np.testing.assert_array_equal(attack(seed=1), attack(seed=1))


def test_batches_do_not_change_fgsm():
  model = testing.mlp((5, 12, 3))
  x = draw((5,), 20)
  y = labels_of(model, x)
  one = robustness.fgsm(model, x, y, 0.1, RANGE)
  many = robustness.fgsm(model, x, y, 0.1, RANGE, batch_size=7)
  np.testing.assert_allclose(one, many, atol=1e-6)


def test_binary_and_several_inputs():
  a, b = keras.Input((3,)), keras.Input((2,))
  x = L.Dense(6, 'relu')(L.Concatenate()([a, b]))
  model = testing.fill(keras.Model([a, b], L.Dense(1, 'sigmoid')(x)))
  x = [draw((3,), 30), draw((2,), 30, seed=1)]
  z = [part.astype(np.float32) for part in x]
  y = (model(z).numpy()[:, 0] > 0.5).astype(int)
  found = robustness.pgd(model, x, y, 0.4, RANGE, 10)
  assert isinstance(found, list)
  # Attacks move the probability of the label down, sample by sample.
  p = [model(v).numpy()[:, 0] for v in (z, found)]
  own = [np.where(y == 1, q, 1 - q) for q in p]
  assert np.all(own[1] <= own[0] + 1e-6)
  assert np.median(own[0] - own[1]) > 0.01


def test_the_model_stays_as_it_is():
  model = testing.mlp((5, 12, 3), activation='softmax')
  before = [w.copy() for w in model.get_weights()]
  config = model.get_config()
  x = draw((5,), 4)
  robustness.pgd(model, x, labels_of(model, x), 0.1, RANGE, 3)
  assert model.trainable
  assert model.get_config() == config
  for old, new in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


class TestBadInput:
  model = staticmethod(functools.cache(lambda: testing.mlp((5, 8, 3))))

  def attack(self, x=None, y=None, epsilon=0.1, input_range=RANGE, **settings):
    x = draw((5,), 4) if x is None else x
    y = np.zeros(len(x), int) if y is None else y
    name = settings.pop('name', 'fgsm')
    run = getattr(robustness, name)
    return run(self.model(), x, y, epsilon, input_range, **settings)

  @pytest.mark.parametrize('epsilon', [-0.1, float('nan'), float('inf'), 'x'])
  def test_epsilon(self, epsilon):
    with pytest.raises(ValueError, match='`epsilon`'):
      self.attack(epsilon=epsilon)

  @pytest.mark.parametrize('y', [[0, 1, 2, 3], [0, -1, 0, 0]])
  def test_labels_out_of_range(self, y):
    with pytest.raises(ValueError, match=r'Labels must lie in \[0, 2\]'):
      self.attack(y=y)

  def test_labels_that_are_no_integers(self):
    with pytest.raises(ValueError, match='must be integers'):
      self.attack(y=[0.5, 0, 0, 0])
    for bad in ('a', np.nan, None):
      with pytest.raises(ValueError, match='must be integers'):
        self.attack(y=[bad, 0, 0, 0])
    with pytest.raises(ValueError, match='argmax'):
      self.attack(y=np.eye(3)[[0, 1, 2, 0]])

  def test_samples_outside_the_range(self):
    with pytest.raises(ValueError, match='2 of 4 samples lie outside'):
      self.attack(x=np.array([[0.0] * 5, [2.0] * 5, [0.5] * 5, [-3.0] * 5]))

  def test_samples_of_a_wrong_shape(self):
    with pytest.raises(ValueError, match=r'shape \(batch, 5\)'):
      self.attack(x=np.zeros((4, 6)))
    with pytest.raises(ValueError, match='NaN'):
      self.attack(x=np.full((4, 5), np.nan))
    with pytest.raises(ValueError, match='at least one'):
      self.attack(x=np.zeros((0, 5)))

  @pytest.mark.parametrize('setting', ['steps', 'restarts', 'batch_size'])
  def test_counts(self, setting):
    with pytest.raises(ValueError, match=f'`{setting}`'):
      self.attack(name='pgd', **{setting: 0})

  def test_probabilities_in_disguise(self):
    inputs = keras.Input((5,))
    logits = L.Dense(3)(inputs)
    made = L.Lambda(lambda z: keras.backend.softmax(z), name='odd')(logits)
    model = testing.fill(keras.Model(inputs, made))
    with pytest.raises(ValueError, match='probabilities'):
      robustness.fgsm(model, draw((5,), 4), [0] * 4, 0.1, RANGE)

  def test_models_that_are_no_classifiers(self):
    for model in (
      testing.mlp((5, 8, 1)),
      testing.mlp((5, 8, 3), activation='sigmoid'),
    ):
      with pytest.raises(ValueError, match='classif|one of several'):
        robustness.fgsm(model, draw((5,), 4), [0] * 4, 0.1, RANGE)
    with pytest.raises(TypeError):
      robustness.fgsm(object(), draw((5,), 4), [0] * 4, 0.1, RANGE)
