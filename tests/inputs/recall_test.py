"""Inputs recalled from a model: its statistics, its answers, its range."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.prior import Prior

QUICK = paoding.inputs.RecallSettings(steps=40, batch_size=64)


def recall(model, count=64, input_range=(-1.0, 1.0), **settings):
  return paoding.recall_inputs(
    model, count, input_range, verbose=0, **{'settings': QUICK, **settings}
  )


def conv_net(rank=2, norm=True, last='softmax', seed=0):
  """A small convolutional classifier of any rank."""
  size = {1: (12, 3), 2: (8, 8, 3), 3: (6, 6, 6, 2)}[rank]
  conv = getattr(keras.layers, f'Conv{rank}D')
  pool = getattr(keras.layers, f'GlobalAveragePooling{rank}D')
  layers = [keras.Input(size), conv(6, 3, padding='same')]
  if norm:
    layers.append(keras.layers.BatchNormalization())
  layers += [keras.layers.ReLU(), pool(), keras.layers.Dense(4)]
  if last:
    layers.append(keras.layers.Activation(last))
  return testing.fill(keras.Sequential(layers), seed)


def mismatch(model, x):
  """How unlike the stored ones the statistics of all batch norms are."""
  found = 0.0
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      values = keras.Model(model.inputs, layer.input)(x).numpy()
      axes = tuple(range(values.ndim - 1))
      deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
      shift = (values.mean(axes) - layer.moving_mean.numpy()) / deviation
      ratio = values.std(axes) / deviation
      found += np.mean(shift**2) + np.mean((ratio - 1) ** 2)
  return found


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_statistics_come_nearer_than_the_priors(rank):
  model = conv_net(rank)
  x = recall(model)
  assert x.shape == (64, *model.input_shape[1:])
  assert x.dtype == np.float32
  box = testing.Interval(
    np.full(model.input_shape[1:], -1.0), np.full(model.input_shape[1:], 1.0)
  )
  prior = Prior().sample(box, 64, np.random.default_rng(0)).clip(-1, 1)
  assert mismatch(model, x) < 0.5 * mismatch(model, prior)


@pytest.mark.parametrize('last', ['softmax', None])
def test_class_impressions_answer_more_surely_than_the_prior(last):
  model = conv_net(norm=False, last=last)
  logits = keras.Model(model.inputs, model.layers[3].output)
  box = testing.Interval(np.zeros((8, 8, 3)), np.ones((8, 8, 3)))
  prior = Prior().sample(box, 64, np.random.default_rng(0)).clip(0, 1)
  quick = paoding.inputs.RecallSettings(steps=60, batch_size=64, anchor=1.0)
  x = recall(model, input_range=(0.0, 1.0), settings=quick)

  def spread(x):
    return np.ptp(logits(x).numpy(), axis=1).mean()

  assert spread(x) > 1.1 * spread(prior)


def test_every_sigmoid_says_yes_and_no():
  model = conv_net(norm=False, last='sigmoid')
  quick = paoding.inputs.RecallSettings(steps=200, batch_size=64, anchor=0.1)
  x = recall(model, input_range=(-3.0, 3.0), settings=quick)
  share = np.mean(model(x).numpy() > 0.5, axis=0)
  assert np.all(share > 0.2)
  assert np.all(share < 0.8)


def test_same_seed_same_inputs():
  model = conv_net()
  one, two, other = (recall(model, 20, seed=seed) for seed in (3, 3, 4))
  np.testing.assert_array_equal(one, two)
  assert np.abs(one - other).max() > 0.1


def test_the_model_and_the_global_state_stay_as_they_were():
  model = conv_net()
  before = model.get_weights()
  np.random.seed(5)
  state = np.random.get_state()[1].copy()
  recall(model, 8)
  for old, new in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)
  np.testing.assert_array_equal(state, np.random.get_state()[1])
  assert np.all(np.isfinite(model(np.zeros((2, 8, 8, 3))).numpy()))


def test_inside_the_range_of_every_feature():
  model = testing.with_batch_norm()
  low, high = np.array([-1, 0, 2, -3, 0.5]), np.array([0, 4, 2, 3, 0.75])
  x = recall(model, 50, (low, high))
  assert np.all(x >= low.astype(np.float32))
  assert np.all(x <= high.astype(np.float32))
  assert np.all(x[:, 2] == 2.0)


def test_batches_give_as_many_as_asked_for():
  x = recall(conv_net(), 150)
  assert len(x) == 150
  assert len(np.unique(x.reshape(150, -1), axis=0)) == 150


def test_a_regressor_without_statistics_gives_the_prior_inside_the_range():
  model = testing.mlp((5, 8, 1))
  x = recall(model, 40, (0.0, 1.0))
  assert x.min() == 0.0
  assert 0 < x.max() <= 1.0
  task = recall(testing.mlp((5, 8, 3)), 40, (0.0, 1.0), task='regression')
  np.testing.assert_array_equal(x, task)


def test_an_autoencoder_is_no_classifier():
  model = testing.mlp((5, 8, 5))
  x = recall(model, 40, (0.0, 1.0))
  np.testing.assert_array_equal(x, recall(testing.mlp((5, 8, 1)), 40, (0, 1)))


def test_several_inputs_and_outputs():
  a, b = keras.Input((4,), name='a'), keras.Input((6, 6, 1), name='b')
  y = keras.layers.Conv2D(3, 3)(b)
  y = keras.layers.BatchNormalization()(y)
  y = keras.layers.GlobalMaxPooling2D()(keras.layers.ReLU()(y))
  y = keras.layers.Concatenate()([y, keras.layers.Dense(3)(a)])
  outputs = [
    keras.layers.Dense(2, activation='softmax')(y),
    keras.layers.Dense(1)(y),
  ]
  model = testing.fill(keras.Model([a, b], outputs))
  x = recall(model, 10, {'a': (0, 2), 'b': (-3, -1)})
  assert [v.shape for v in x] == [(10, 4), (10, 6, 6, 1)]
  assert x[0].min() >= 0
  assert x[0].max() <= 2
  assert x[1].min() >= -3
  assert x[1].max() <= -1


def test_an_embeddings_inputs_are_whole_numbers():
  tokens = keras.Input((7,), name='tokens')
  y = keras.layers.Embedding(9, 4)(tokens)
  y = keras.layers.BatchNormalization()(y)
  y = keras.layers.GlobalAveragePooling1D()(y)
  model = testing.fill(
    keras.Model(tokens, keras.layers.Dense(3, activation='softmax')(y))
  )
  x = recall(model, 30, (0, 8))
  np.testing.assert_array_equal(x, np.round(x))
  assert set(np.unique(x)) <= set(range(9))
  assert len(np.unique(x)) > 5


def test_wrapped_nested_and_keras_3_models():
  model = conv_net()
  plain = recall(model, 12)
  wrapped = paoding.prune_low_saliency(model, input_range=(-1.0, 1.0))
  np.testing.assert_allclose(recall(wrapped, 12), plain, atol=1e-4)
  inputs = keras.Input((8, 8, 3))
  nested = keras.Model(inputs, model(inputs))
  np.testing.assert_allclose(recall(nested, 12), plain, atol=1e-4)
  keras3 = pytest.importorskip('keras')
  if keras3.__version__.startswith('2'):
    pytest.skip('Keras 3 is not installed')
  three = keras3.Sequential(
    [
      keras3.Input((5,)),
      keras3.layers.Dense(6),
      keras3.layers.BatchNormalization(),
      keras3.layers.Dense(3, activation='softmax'),
    ]
  )
  assert recall(three, 9).shape == (9, 5)


def test_layers_that_pruning_leaves_alone():
  inputs = keras.Input((6, 4))
  y = keras.layers.LSTM(5)(inputs)
  y = keras.layers.BatchNormalization()(y)
  model = testing.fill(
    keras.Model(inputs, keras.layers.Dense(3, activation='softmax')(y))
  )
  assert recall(model, 9).shape == (9, 6, 4)


def test_a_layer_used_twice_is_heard_twice():
  inputs = keras.Input((5,))
  norm = keras.layers.BatchNormalization()
  y = norm(keras.layers.ReLU()(norm(inputs)))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(y)))
  assert recall(model, 9).shape == (9, 5)


def test_mixed_precision():
  policy = keras.mixed_precision.global_policy()
  keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    model = conv_net()
    x = recall(model, 9)
  finally:
    keras.mixed_precision.set_global_policy(policy)
  assert x.dtype == np.float32
  assert np.all(np.isfinite(x))


class TestErrors:
  @pytest.mark.parametrize('count', [0, -1, 2.0, True, '3'])
  def test_count(self, count):
    with pytest.raises(ValueError, match='`count` must be an integer'):
      recall(conv_net(), count)

  @pytest.mark.parametrize('seed', [-1, 1.5, None])
  def test_seed(self, seed):
    with pytest.raises(ValueError, match='`seed` must be an integer'):
      recall(conv_net(), seed=seed)

  def test_task(self):
    with pytest.raises(ValueError, match="'classification', 'regression'"):
      recall(conv_net(), task='ranking')

  def test_range(self):
    with pytest.raises(ValueError, match='low < high'):
      recall(conv_net(), input_range=(1.0, 0.0))

  def test_unknown_sizes(self):
    inputs = keras.Input((None, 3))
    y = keras.layers.GlobalAveragePooling1D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(y))
    with pytest.raises(ValueError, match='leaves sizes open'):
      recall(model)

  def test_no_model(self):
    with pytest.raises(TypeError, match='tf_keras model'):
      recall('model.h5')

  @pytest.mark.parametrize(
    ('setting', 'name'),
    [
      ({'steps': 0}, 'steps'),
      ({'batch_size': 1.5}, 'batch_size'),
      ({'learning_rate': 0.0}, 'learning_rate'),
      ({'labels': -1.0}, 'labels'),
    ],
  )
  def test_settings(self, setting, name):
    with pytest.raises(ValueError, match=f'`{name}` must be'):
      paoding.inputs.RecallSettings(**setting)
