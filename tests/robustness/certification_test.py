"""Certificates: never what an attack breaks, on thousands of samples."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tests.testing import conv_net, draw
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras

L = keras.layers
RANGE = (-1.0, 1.0)
MODELS = {
  'batch norm': testing.with_batch_norm,
  'conv net': testing.conv_net,
  'pooled': testing.pooled,
  'sequence': testing.sequence,
  'squeezed': testing.squeezed,
}
METHODS = ('ibp', 'crown-ibp', 'crown', 'alpha-crown')


def labels_of(model, x):
  return model(x.astype(np.float32)).numpy().argmax(-1)


@functools.cache
def trained():
  """A digits classifier on data that ships with a dependency."""
  datasets = pytest.importorskip('sklearn.datasets')
  x, y = datasets.load_digits(return_X_y=True)
  x = (x / 16).astype(np.float32)
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input((64,)),
      L.Dense(32, 'relu'),
      L.Dense(32, 'relu'),
      L.Dense(10, 'softmax'),
    ]
  )
  model.compile('adam', 'sparse_categorical_crossentropy')
  model.fit(x, y, epochs=15, batch_size=32, verbose=0)
  return model, x, y


@pytest.mark.parametrize('epsilon', [0.01, 0.03])
def test_thousands_of_samples_against_pgd(epsilon):
  model, x, y = trained()
  attacked = robustness.pgd(model, x, y, epsilon, steps=20, restarts=2)
  broken = labels_of(model, attacked) != y
  assert len(x) > 1700
  counts = []
  for method in ('ibp', 'crown-ibp', 'crown'):
    proved = robustness.certified(model, x, y, epsilon, method=method)
    assert not (proved & broken).any()
    counts.append(proved.sum())
  assert counts[0] <= counts[1] <= counts[2]
  assert counts[2] > 0.5 * len(x)


@pytest.mark.parametrize('seed', range(2))
def test_random_networks_against_pgd(seed):
  model = testing.mlp((5, 16, 16, 3), seed=seed)
  x = draw((5,), 400, seed=seed)
  y = labels_of(model, x)
  attacked = robustness.pgd(model, x, y, 0.15, RANGE, 20, 3)
  broken = labels_of(model, attacked) != y
  assert broken.any()
  for method in METHODS:
    proved = robustness.certified(model, x, y, 0.15, RANGE, method)
    assert not (proved & broken).any()
    assert proved.any() or method == 'ibp'


def test_methods_by_strength():
  model = testing.mlp((5, 16, 16, 3), seed=3)
  x = draw((5,), 200)
  y = labels_of(model, x)
  found = [
    robustness.margins(model, x, y, 0.15, RANGE, method) for method in METHODS
  ]
  proved = [(one > 0).sum() for one in found]
  assert proved == sorted(proved)
  assert proved[0] < proved[2]
  assert np.all(found[3] >= found[2] - 1e-9)


def test_margins_everywhere_are_those_of_the_method_alone():
  model = testing.mlp((5, 16, 16, 3), seed=3)
  x = draw((5,), 40)
  y = labels_of(model, x)
  y[:5] = (y[:5] + 1) % 3
  cheap = robustness.margins(model, x, y, 0.02, RANGE)
  full = robustness.margins(model, x, y, 0.02, RANGE, everywhere=True)
  assert np.all(full >= cheap)
  proved_by_intervals = robustness.certified(model, x, y, 0.02, RANGE, 'ibp')
  assert np.any(full > cheap, where=proved_by_intervals)
  assert np.any(full[:5] > cheap[:5])
  np.testing.assert_array_equal(full > 0, cheap > 0)


def test_wrong_answers_are_never_certified():
  model = testing.mlp((5, 8, 3))
  x = draw((5,), 50)
  y = (labels_of(model, x) + 1) % 3
  for method in METHODS:
    assert not robustness.certified(model, x, y, 0.0, RANGE, method).any()


def test_without_a_ball_right_answers_are_certified():
  model = conv_net()
  x = draw(model.input_shape[1:], 20)
  assert robustness.certified(model, x, labels_of(model, x), 0.0, RANGE).all()


@pytest.mark.parametrize('units', [1, 2])
def test_two_classes_by_one_sigmoid_or_by_two_scores(units):
  """One sigmoid of z is a softmax of (0, z)."""
  model = testing.mlp((5, 8, 1), activation='sigmoid')
  if units == 2:
    kernel, bias = model.layers[-1].get_weights()
    twin = testing.mlp((5, 8, 2), activation='softmax')
    twin.layers[0].set_weights(model.layers[0].get_weights())
    twin.layers[1].set_weights(
      [np.hstack([0 * kernel, kernel]), np.append(0, bias)]
    )
  else:
    twin = model
  x = draw((5,), 60)
  y = (model(x.astype(np.float32)).numpy()[:, 0] > 0.5).astype(int)
  one = robustness.certified(model, x, y, 0.1, RANGE)
  np.testing.assert_array_equal(
    one, robustness.certified(twin, x, y, 0.1, RANGE)
  )
  assert one.any()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('final', ['softmax', 'sigmoid', 'linear', 'relu'])
def test_output_bounds_are_of_the_outputs(final, method):
  model = testing.mlp((5, 10, 4), activation=final)
  x = draw((5,), 3)
  low, high = robustness.output_bounds(model, x, 0.1, RANGE, method)
  assert low.shape == high.shape == (3, 4)
  rng = np.random.default_rng(0)
  z = np.clip(x + rng.uniform(-0.1, 0.1, (300, *x.shape)), -1, 1)
  value = model(z.reshape(-1, 5).astype(np.float32)).numpy()
  value = value.reshape(300, 3, 4)
  assert np.all(low <= value + 1e-5)
  assert np.all(value <= high + 1e-5)
  if final in ('softmax', 'sigmoid'):
    assert np.all((low >= 0) & (high <= 1))
  assert (high - low).max() < (0.9 if final != 'relu' else np.inf)


def test_softmax_is_bounded_by_differences():
  """All logits move together: their probabilities do not."""
  model = testing.mlp((1, 1, 2), activation='softmax')
  model.layers[0].set_weights([np.ones((1, 1)), np.array([2.0])])
  model.layers[1].set_weights([np.ones((1, 2)), np.zeros(2)])
  low, high = robustness.output_bounds(model, [[0.0]], 0.9, RANGE, 'crown')
  np.testing.assert_allclose(low, 0.5, atol=1e-9)
  np.testing.assert_allclose(high, 0.5, atol=1e-9)


def test_several_outputs_come_as_a_list():
  inputs = keras.Input((5,))
  x = L.Dense(6, 'relu')(inputs)
  model = testing.fill(
    keras.Model(inputs, [L.Dense(2)(x), L.Dense(3, 'softmax')(x)])
  )
  found = robustness.output_bounds(model, draw((5,)), 0.1, RANGE)
  assert [low.shape for low, _ in found] == [(4, 2), (4, 3)]


@pytest.mark.parametrize('name', MODELS)
def test_every_model_kind_is_certified_soundly(name):
  model = MODELS[name]()
  x = draw(model.input_shape[1:], 30)
  y = labels_of(model, x)
  for epsilon in (0.005, 0.05):
    attacked = robustness.pgd(model, x, y, epsilon, RANGE, 10)
    broken = labels_of(model, attacked) != y
    proved = robustness.certified(model, x, y, epsilon, RANGE, 'crown-ibp')
    assert not (proved & broken).any()


class TestBadInput:
  def test_method(self):
    model = testing.mlp((5, 8, 3))
    with pytest.raises(ValueError, match="'ibp', 'crown-ibp', 'crown'"):
      robustness.certified(model, draw((5,)), [0] * 4, 0.1, RANGE, 'best')

  def test_layers_without_relaxation_are_named(self):
    class Sorted(L.Layer):
      def call(self, z):
        return tf.sort(z)

    inputs = keras.Input((5,))
    x = Sorted(name='norm')(L.Dense(4)(inputs))
    model = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
    for run in (robustness.certified, robustness.margins):
      with pytest.raises(robustness.NoRelaxationError, match="'norm'"):
        run(model, draw((5,)), [0] * 4, 0.1, RANGE)
    with pytest.raises(robustness.NoRelaxationError, match="'norm'"):
      robustness.output_bounds(model, draw((5,)), 0.1, RANGE)

  def test_epsilon_labels_and_range(self):
    model = testing.mlp((5, 8, 3))
    with pytest.raises(ValueError, match='`epsilon`'):
      robustness.certified(model, draw((5,)), [0] * 4, -1, RANGE)
    with pytest.raises(ValueError, match='Labels'):
      robustness.certified(model, draw((5,)), [7] * 4, 0.1, RANGE)
    with pytest.raises(ValueError, match='outside'):
      robustness.certified(model, draw((5,)) + 9, [0] * 4, 0.1, RANGE)


def test_functions_of_somebodys_own_are_opened():
  inputs = keras.Input((4,))
  x = keras.layers.Dense(6, 'relu')(inputs)
  x = keras.layers.Lambda(lambda t: t * 2.0)(x)
  model = keras.Model(inputs, keras.layers.Dense(3)(x))
  x = np.full((2, 4), 0.5, np.float32)
  y = model(x).numpy().argmax(-1)
  assert robustness.certified(model, x, y, 1e-4, (0, 1)).shape == (2,)
