"""`fit` under every objective: learns, and stays within TFMOT's ways."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import robustness, training
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.training.objectives import objectives

L = keras.layers
EPSILON = 0.08

OBJECTIVES = {
  'natural': training.Natural(),
  'adversarial': training.Adversarial(EPSILON, steps=4),
  'trades': training.Adversarial(EPSILON, steps=4, trades=6.0),
  'verifiable': training.Verifiable(training.Ramp(0.0, EPSILON, 20, 150)),
  'crown-ibp': training.Verifiable(
    training.Ramp(0.0, EPSILON, 20, 150),
    training.Ramp(1.0, 0.5, 20, 150),
    training.Ramp(1.0, 0.0, 20, 150),
  ),
  'smoothing': training.Smoothing(0.1),
}


@functools.cache
def blobs():
  """Three classes in five dimensions, in [0, 1]."""
  rng = np.random.default_rng(0)
  centres = rng.uniform(0.2, 0.8, (3, 5))
  y = rng.integers(0, 3, 600)
  x = np.clip(centres[y] + 0.09 * rng.normal(size=(600, 5)), 0, 1)
  return x.astype(np.float32), y


def net(final='linear'):
  keras.utils.set_random_seed(0)
  return keras.Sequential(
    [
      keras.Input((5,)),
      L.Dense(24, 'relu'),
      L.Dense(16, 'relu'),
      L.Dense(3, final),
    ]
  )


def fit(model, objective, epochs=10, callbacks=(), **settings):
  trainee = training.robust_model(model, objective, **settings)
  probabilities = model.layers[-1].output_shape and _is_softmax(model)
  trainee.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities),
    metrics=['accuracy'],
  )
  x, y = blobs()
  return trainee.fit(
    x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=list(callbacks)
  )


@pytest.mark.parametrize(
  ('optimizer', 'times'),
  [('Adam', 1), ('legacy.Adam', 2)],  # the latter cannot be built before
)
def test_a_step_is_traced_once(optimizer, times, monkeypatch):
  seen, step = [], training.RobustModel.train_step

  def counted(model, data):
    seen.append(tf.executing_eagerly())
    return step(model, data)

  monkeypatch.setattr(training.RobustModel, 'train_step', counted)
  trainee = training.robust_model(net(), OBJECTIVES['adversarial'], (0, 1))
  make = functools.reduce(getattr, optimizer.split('.'), keras.optimizers)
  trainee.compile(
    make(0.01),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=['accuracy'],
  )
  x, y = blobs()
  for _ in range(2):
    history = trainee.fit(x[:96], y[:96], verbose=0).history
  assert seen == [False] * times
  assert set(history) == {'loss', 'accuracy'}
  assert trainee.optimizer.iterations == 6


def _is_softmax(model):
  last = model.layers[-1]
  inner = getattr(last, 'layer', last)
  return inner.activation is keras.activations.softmax


@pytest.mark.parametrize(
  ('name', 'final'),
  [
    *testing.paired(OBJECTIVES, ['linear', 'softmax']),
    ('crown-ibp', 'softmax'),
  ],
)
def test_every_objective_learns(name, final):
  model = net(final)
  history = fit(model, OBJECTIVES[name]).history
  x, y = blobs()
  assert robustness.answered_right(model, x, y).mean() > 0.85
  assert np.all(np.isfinite(history['loss']))
  assert history['accuracy'][-1] > history['accuracy'][0] - 0.02


def test_objectives_do_what_they_are_for():
  x, y = blobs()
  models = {}
  for name in ('natural', 'adversarial', 'verifiable'):
    models[name] = net()
    fit(models[name], OBJECTIVES[name], epochs=15)
  attacked = {
    name: robustness.answered_right(
      model, robustness.pgd(model, x, y, EPSILON, steps=20), y
    ).mean()
    for name, model in models.items()
  }
  proved = {
    name: robustness.certified(model, x, y, EPSILON, method='ibp').mean()
    for name, model in models.items()
  }
  assert attacked['adversarial'] > attacked['natural']
  assert proved['verifiable'] > proved['natural'] + 0.2


def normalized():
  """Batch normalization whose moving statistics are far from its batches'."""
  keras.utils.set_random_seed(0)
  layers = [keras.Input((5,))]
  for width in (24, 16):
    layers += [L.Dense(width), L.BatchNormalization(), L.ReLU()]
  return keras.Sequential([*layers, L.Dense(3)])


@pytest.mark.parametrize('shape', [(-1,), (-1, 1)])
@pytest.mark.parametrize('linear', [0.0, 1.0])
def test_bounds_of_one_score_for_two_classes(linear, shape):
  """In a ball of no size, the worst score is that of the data."""
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [keras.Input((5,)), L.Dense(8, 'relu'), L.Dense(1, 'sigmoid')]
  )
  objective = training.Verifiable(0.0, 0.0, linear)
  trainee = training.robust_model(model, objective)
  trainee.compile('sgd', 'binary_crossentropy')
  x, y = blobs()
  y = (y > 0).astype(np.float32).reshape(shape)
  loss, outputs = objective.loss(trainee, tf.constant(x), tf.constant(y))
  wanted = keras.losses.binary_crossentropy(y.reshape(-1, 1), outputs)
  np.testing.assert_allclose(loss, tf.reduce_mean(wanted), rtol=1e-4)


@pytest.mark.parametrize('linear', [0.0, 1.0])
def test_bounds_are_of_the_network_that_trains(linear):
  """In a ball of no size, the worst scores are those of the data."""
  model = normalized()
  objective = training.Verifiable(0.0, 0.0, linear)
  trainee = training.robust_model(model, objective)
  trainee.compile('sgd', keras.losses.SparseCategoricalCrossentropy(True))
  x, y = (tf.constant(a[:64]) for a in blobs())
  loss, outputs = objective.loss(trainee, x, y)
  wanted = keras.losses.sparse_categorical_crossentropy(y, outputs, True)
  np.testing.assert_allclose(loss, tf.reduce_mean(wanted), rtol=1e-4)


def test_the_regularizer_makes_neurons_stable():
  counts = []
  for stability in (None, training.StabilityRegularizer(EPSILON, 0.1)):
    model = net()
    fit(model, 'natural', stability=stability)
    layers = robustness.neuron_stability(model, blobs()[0][:50], EPSILON)
    counts.append(sum(layer.unstable for layer in layers))
  assert counts[1] < 0.7 * counts[0]


def test_the_regularizer_by_hand():
  """One neuron, bounds [-0.5, 1.5] and gamma 2: -tanh(1 - 0.75 / 4)."""
  inputs = keras.Input((1,))
  x = L.Dense(1, use_bias=False, name='one')(inputs)
  x = L.BatchNormalization(name='norm', epsilon=1e-9)(x)
  model = keras.Model(inputs, L.Dense(2)(L.ReLU()(x)))
  model.get_layer('one').set_weights([np.ones((1, 1))])
  model.get_layer('norm').set_weights(
    [np.array([2.0]), np.array([0.0]), np.array([0.0]), np.array([4.0])]
  )
  model.get_layer('norm').trainable = False  # by its moving statistics
  regularizer = training.StabilityRegularizer(1.0, weight=1.0)
  trainee = training.robust_model(
    model, 'natural', (-1.0, 2.0), stability=regularizer
  )
  trainee.compile('sgd', 'mse')
  found = regularizer(trainee, tf.constant([[0.5]]))
  assert float(found) == pytest.approx(-np.tanh(1 - 0.75 / 4), rel=1e-5)


def test_adversarial_examples_stay_in_ball_and_range():
  model = net()
  trainee = training.robust_model(model, OBJECTIVES['adversarial'])
  trainee.compile('sgd', 'mse')
  x, y = (tf.constant(a) for a in blobs())
  z = OBJECTIVES['adversarial'].attacked(trainee, x, y, tf.constant(EPSILON))
  assert float(tf.reduce_max(tf.abs(z - x))) <= EPSILON + 1e-6
  assert float(tf.reduce_min(z)) >= 0
  assert float(tf.reduce_max(z)) <= 1


@pytest.mark.parametrize('dtype', ['uint8', 'float64'])
def test_inputs_of_another_type(dtype):
  x, y = blobs()
  x = np.round(255 * x).astype(dtype)
  trainee = training.robust_model(
    net(), training.Adversarial(8, steps=1), (0.0, 255.0)
  )
  trainee.compile('sgd', keras.losses.SparseCategoricalCrossentropy(True))
  history = trainee.fit(x[:64], y[:64], verbose=0).history
  assert np.all(np.isfinite(history['loss']))


class TestPruning:
  """Pruning is agnostic of the objective."""

  @pytest.mark.parametrize('name', list(OBJECTIVES)[::2])
  def test_tfmots_magnitude_pruning_in_the_middle(self, name):
    model = net()
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(
      model,
      tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 0, 60, frequency=5),
    )
    fit(
      wrapped,
      OBJECTIVES[name],
      callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    stripped = strip_pruning(wrapped)
    for layer in stripped.layers:
      kernel = layer.get_weights()[0]
      assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.05)
    x, y = blobs()
    assert robustness.answered_right(stripped, x, y).mean() > 0.8

  @pytest.mark.parametrize('name', list(OBJECTIVES)[1::2])
  def test_our_units_stay_removed(self, name):
    model = net()
    fit(model, 'natural')
    wrapped = paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(0.5, 0.25), 'impact'
    )
    fit(wrapped, OBJECTIVES[name], callbacks=[paoding.UpdatePruningStep()])
    stripped = strip_pruning(wrapped)
    small = paoding.compact(stripped)
    assert [layer.units for layer in small.layers] == [12, 8, 3]
    x, y = blobs()
    np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)
    assert robustness.answered_right(small, x, y).mean() > 0.8

  def test_summaries_and_saving(self, tmp_path):
    pytest.importorskip('tensorboard')
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(net())
    fit(
      wrapped,
      OBJECTIVES['adversarial'],
      epochs=2,
      callbacks=[
        tfmot.sparsity.keras.UpdatePruningStep(),
        tfmot.sparsity.keras.PruningSummaries(str(tmp_path / 'logs')),
      ],
    )
    assert list((tmp_path / 'logs').rglob('events*'))
    path = str(tmp_path / 'model.h5')
    strip_pruning(wrapped).save(path)
    x, _ = blobs()
    np.testing.assert_allclose(
      paoding.load_model(path)(x), wrapped(x, training=False), atol=1e-5
    )


def test_mixed_precision():
  keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    model = net()
  finally:
    keras.mixed_precision.set_global_policy('float32')
  for name in ('adversarial', 'verifiable', 'smoothing'):
    trainee = training.robust_model(model, OBJECTIVES[name])
    optimizer = keras.mixed_precision.LossScaleOptimizer(
      keras.optimizers.Adam(0.01)
    )
    trainee.compile(
      optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x, y = blobs()
    history = trainee.fit(x, y, batch_size=64, epochs=3, verbose=0).history
    assert np.all(np.isfinite(history['loss']))


def test_the_weights_are_the_models_own():
  model = net()
  before = model.get_weights()[0].copy()
  trainee = training.robust_model(model, 'natural')
  assert trainee.layers[-1] is model.layers[-1]
  fit(model, 'natural', epochs=1)
  assert np.abs(model.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize('name', OBJECTIVES)
def test_configs_make_a_round_trip(name):
  config = objectives.serialize(OBJECTIVES[name])
  assert objectives.get(json.loads(json.dumps(config))) == OBJECTIVES[name]


def test_configs_of_numpys_numbers():
  for epsilon in (np.float32(0.25), training.Ramp(0, np.float32(0.25), 1, 2)):
    objective = training.Adversarial(epsilon)
    config = json.loads(json.dumps(objectives.serialize(objective)))
    assert objectives.get(config) == objective


class TestBadInput:
  def test_an_objective_that_outlasts_training(self):
    with pytest.raises(ValueError, match='until step 150.*ends at step 100'):
      training.robust_model(net(), OBJECTIVES['verifiable'], steps=100)

  def test_a_pruning_schedule_that_outlasts_training(self):
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 0, 60)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(net(), schedule)
    with pytest.raises(ValueError, match='until step 60.*ends at step 59'):
      training.robust_model(wrapped, 'natural', steps=59)
    training.robust_model(wrapped, 'natural', steps=60)
    fixed = training.with_fixed_masks(net())
    training.robust_model(fixed, 'natural', steps=1)

  def test_a_layer_without_bounds(self):
    model = testing.mlp((5, 8, 3), 'gelu')
    with pytest.raises(robustness.NoRelaxationError, match="'hidden_0'"):
      training.robust_model(model, OBJECTIVES['verifiable'])
    with pytest.raises(robustness.NoRelaxationError, match="'hidden_0'"):
      training.robust_model(
        model, 'natural', stability=training.StabilityRegularizer(0.1)
      )
    training.robust_model(model, OBJECTIVES['adversarial'])

  def test_names_stand_for_objectives_whose_settings_have_defaults(self):
    @training.register_objective('mild')
    @dataclasses.dataclass(frozen=True)
    class Mild(training.Smoothing):
      sigma: float = 0.1

    try:
      assert training.robust_model(net(), 'mild')._objective == Mild()
    finally:
      del objectives._classes['mild']

  def test_names(self):
    with pytest.raises(ValueError, match='Unknown objective'):
      training.robust_model(net(), 'best')
    with pytest.raises(ValueError, match='has settings'):
      training.robust_model(net(), 'adversarial')

  @pytest.mark.parametrize(
    'make',
    [
      lambda: training.Adversarial(-0.1),
      lambda: training.Adversarial(0.1, steps=0),
      lambda: training.Adversarial(0.1, steps=1.5),
      lambda: training.Adversarial(0.1, steps='7'),
      lambda: training.Verifiable(0.1, kappa=1.5),
      lambda: training.Smoothing(float('nan')),
      lambda: training.StabilityRegularizer(0.1, weight=-1),
    ],
  )
  def test_settings(self, make):
    with pytest.raises(ValueError, match='must'):
      make()

  def test_only_some_settings_may_change(self):
    ramp = training.Ramp(0.1, 0.2, 0, 5)
    for name in ('step_size', 'trades'):
      with pytest.raises(TypeError, match=f'`{name}`'):
        training.Adversarial(0.1, **{name: ramp})

  @pytest.mark.parametrize('name', ['adversarial', 'verifiable'])
  def test_samples_outside_the_range(self, name):
    x, y = (a[:64] for a in blobs())
    trainee = training.robust_model(net(), OBJECTIVES[name], (0.0, 1.0))
    trainee.compile('sgd', keras.losses.SparseCategoricalCrossentropy(True))
    trainee.fit(np.clip(x, None, 1 + 1e-6), y, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match='`input_range`'):
      trainee.fit(2 * x, y, verbose=0)

  def test_models(self):
    with pytest.raises(TypeError):
      training.robust_model(object(), 'natural')
    with pytest.raises(ValueError, match='no classifier'):
      training.robust_model(testing.mlp((5, 8, 1)), OBJECTIVES['adversarial'])

  def test_sample_weights(self):
    trainee = training.robust_model(net(), OBJECTIVES['adversarial'])
    trainee.compile('sgd', 'sparse_categorical_crossentropy')
    x, y = blobs()
    with pytest.raises(ValueError, match='Sample weights'):
      trainee.fit(x, y, sample_weight=np.ones(len(x)), verbose=0)
