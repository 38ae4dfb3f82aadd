"""TFMOT's own callback prunes, in whatever way the model came about."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras

_sparsity = tfmot.sparsity.keras
_layers = keras.layers
X = testing.samples((5,), 48).astype(np.float32)  # 12 batches of 8

pytestmark = pytest.mark.filterwarnings("ignore:TFMOT's UpdatePruningStep")


def schedule():
  return paoding.ProgressiveSparsity(0.5, 0.25, begin_step=3, frequency=4)


def wrap(make=testing.mlp):
  return paoding.prune_low_saliency(make(), schedule())


def train(wrapped, optimizer='adam', callback=None, samples=96, **compiled):
  """One epoch of 12 batches under TFMOT's own callback."""
  wrapped.compile(optimizer, 'mse', **compiled)
  wrapped.fit(
    X[:samples],
    X[:samples, :3],
    batch_size=8,
    verbose=0,
    callbacks=[callback or _sparsity.UpdatePruningStep()],
  )
  return wrapped


def units(wrapped, answers=testing.answers):
  """Of the stripped model made compact, which answers as the wrapped one."""
  stripped = _sparsity.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  expected = answers(wrapped, X)
  np.testing.assert_allclose(stripped(X), expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(small(X), expected, rtol=1e-4, atol=1e-5)
  return [layer.units for layer in small.layers if hasattr(layer, 'units')]


@pytest.mark.parametrize(
  'how',
  [
    {},
    {'run_eagerly': True},
    {'jit_compile': True},
    {'steps_per_execution': 5},
  ],
)
def test_tfmots_callback_prunes(how):
  assert units(train(wrap(), **how)) == [4, 3, 3]


def by_hand():
  def wrapped(layer):
    fresh = type(layer).from_config(layer.get_config())
    return paoding.PruneLowSaliency(fresh, schedule())

  return keras.models.clone_model(testing.mlp(), clone_function=wrapped)


def cloned():
  clone = keras.models.clone_model(wrap())
  clone.set_weights(wrap().get_weights())
  return clone


def nested():
  inputs = keras.Input((5,))
  x = keras.Sequential(testing.mlp((5, 8, 6)).layers, name='inner')(inputs)
  outputs = _layers.Dense(3, name='logits')(_layers.ReLU()(x))
  model = testing.fill(keras.Model(inputs, outputs))
  return paoding.prune_low_saliency(model, schedule())


def normed():
  return wrap(testing.with_batch_norm)


@pytest.mark.parametrize('make', [by_hand, cloned, normed])
def test_models_made_in_other_ways(make):
  assert units(train(make())) == [4, 3, 3]


def test_nested_models():
  wrapped = train(nested())
  small = paoding.compact(_sparsity.strip_pruning(wrapped))
  inner = small.get_layer('inner')
  assert [layer.units for layer in inner.layers] == [4, 3]


@pytest.mark.parametrize('file', ['model.h5', 'model.keras', 'saved_model'])
def test_models_from_files(tmp_path, file):
  wrap().save(tmp_path / file)
  assert units(train(keras.models.load_model(tmp_path / file))) == [4, 3, 3]


class _Trainer(keras.Model):
  """A model that trains another."""

  def __init__(self, net):
    super().__init__()
    self.net = net

  def call(self, inputs, training=None):
    return self.net(inputs, training=training)


@pytest.mark.parametrize(
  'callback', [_sparsity.UpdatePruningStep, paoding.UpdatePruningStep]
)
def test_a_model_inside_a_subclassed_one(callback):
  wrapped = wrap()
  train(_Trainer(wrapped), callback=callback())
  assert units(wrapped) == [4, 3, 3]


def test_replicas():
  strategy = tf.distribute.MirroredStrategy(['CPU:0'])
  with strategy.scope():
    wrapped = wrap()
    train(wrapped)

  def answers(model, x):
    # TFMOT updates masked variables on replicas, which `predict` sets up.
    return model.predict(x, verbose=0)

  assert units(wrapped, answers) == [4, 3, 3]


def test_tfmots_wrappers_beside():
  def wrapped(layer):
    fresh = type(layer).from_config(layer.get_config())
    if layer.name == 'hidden_0':
      constant = _sparsity.ConstantSparsity(0.5, 0, frequency=1)
      return _sparsity.prune_low_magnitude(fresh, constant)
    return paoding.PruneLowSaliency(fresh, schedule())

  made = testing.mlp((5, 8, 6, 6, 3))
  model = train(keras.models.clone_model(made, clone_function=wrapped))
  assert units(model)[1:] == [3, 3, 3]
  kernel = model.layers[0].layer.kernel.numpy()
  assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.05)


def test_one_fit_after_another_goes_on():
  wrapped, callback = wrap(), _sparsity.UpdatePruningStep()
  wrapped.compile('adam', 'mse')
  found = []
  for _ in range(4):
    wrapped.fit(
      X[:24], X[:24, :3], batch_size=8, verbose=0, callbacks=[callback]
    )
    small = paoding.compact(wrapped)
    found.append([layer.units for layer in small.layers])
  assert found == [[6, 5, 3], [6, 5, 3], [4, 3, 3], [4, 3, 3]]


def test_a_callback_may_serve_one_model_after_another():
  callback = _sparsity.UpdatePruningStep()
  for _ in range(2):
    assert units(train(wrap(), callback=callback)) == [4, 3, 3]


def test_it_begins_before_the_first_step():
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.5, 0.5)
  )
  callback = _sparsity.UpdatePruningStep()
  callback.set_model(wrapped)
  callback.on_train_begin()
  assert units(wrapped) == [4, 3, 3]
  assert wrapped.layers[0].pruning_step.numpy() == 0


@pytest.mark.parametrize('begin_step', [0, 5, 24])
def test_a_training_loop_of_ones_own(begin_step):
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.5, 0.5, begin_step)
  )
  callback = _sparsity.UpdatePruningStep()
  callback.set_model(wrapped)
  callback.on_train_begin()
  optimizer = keras.optimizers.Adam()
  for _ in range(2):
    for k in range(12):
      callback.on_train_batch_begin(batch=-1)
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(wrapped(X[8 * k : 8 * k + 8], training=True) ** 2)
      weights = wrapped.trainable_variables
      optimizer.apply_gradients(
        zip(tape.gradient(loss, weights), weights, strict=True)
      )
    callback.on_epoch_end(batch=-1)
  assert units(wrapped) == [4, 3, 3]


def test_steps_carried_out_together_are_told():
  with pytest.warns(UserWarning, match='carried out there together'):
    train(wrap())


def test_pruning_is_the_same_as_by_steps_where_nothing_is_learned():
  one, other = wrap(), wrap()
  train(one, keras.optimizers.SGD(0.0))
  train(other, keras.optimizers.SGD(0.0), paoding.UpdatePruningStep())
  for a, b in zip(one.weights, other.weights, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def _fails(wrapped, match, **how):
  before = wrapped.get_weights()
  with pytest.raises(ValueError, match=match):
    train(wrapped, **how)
  for a, b in zip(before, wrapped.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_what_cannot_be_pruned_is_refused_before_the_first_step():
  single = [_layers.Dense(3, input_shape=(5,))]
  wrapped = keras.Sequential([paoding.PruneLowSaliency(*single, schedule())])
  _fails(wrapped, 'its units are outputs of the model')


def test_a_model_that_is_not_built_is_refused():
  layers = [_layers.Dense(8), _layers.Dense(3)]
  wrapped = keras.Sequential([paoding.PruneLowSaliency(x) for x in layers])
  with pytest.raises(ValueError, match='is not built'):
    train(wrapped)


def test_layers_wrapped_in_a_subclassed_model_are_refused():
  class Own(keras.Model):
    def __init__(self):
      super().__init__()
      self.one = paoding.PruneLowSaliency(_layers.Dense(8))
      self.two = paoding.PruneLowSaliency(_layers.Dense(3))

    def call(self, inputs, training=None):
      return self.two(self.one(inputs, training=training), training=training)

  wrapped = Own()
  wrapped.build((None, 5))
  _fails(wrapped, 'is subclassed')


@pytest.mark.parametrize(
  'make',
  [
    lambda: keras.optimizers.Adam(use_ema=True),
    lambda: keras.mixed_precision.LossScaleOptimizer(
      keras.optimizers.SGD(0.1, 0.9, use_ema=True)
    ),
  ],
)
def test_averages_of_weights_hold_no_removed_units(make):
  sigmoid = paoding.prune_low_saliency(
    testing.mlp(hidden='sigmoid'), schedule()
  )
  train(sigmoid, make(), samples=96)
  assert units(sigmoid) == [4, 3, 3]
  train(sigmoid, make(), samples=24)
  # As they stand: nobody has called the model since.
  for layer in sigmoid.layers:
    for weight, mask, _ in layer.pruning_vars:
      assert not np.any(weight.numpy()[mask.numpy() == 0])


def test_averages_in_a_training_loop_of_ones_own():
  wrapped = paoding.prune_low_saliency(
    testing.mlp(hidden='sigmoid'), schedule()
  )
  callback = paoding.UpdatePruningStep()
  callback.set_model(wrapped)
  wrapped.optimizer = optimizer = keras.optimizers.Adam(use_ema=True)
  callback.on_train_begin()
  weights = wrapped.trainable_variables
  for k in range(12):
    callback.on_train_batch_begin(batch=-1)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(wrapped(X[8 * k : 8 * k + 8], training=True) ** 2)
    optimizer.apply_gradients(
      zip(tape.gradient(loss, weights), weights, strict=True)
    )
  callback.on_epoch_end(batch=-1)
  optimizer.finalize_variable_values(weights)
  small = paoding.compact(_sparsity.strip_pruning(wrapped))
  assert [layer.units for layer in small.layers] == [4, 3, 3]
  np.testing.assert_allclose(small(X), wrapped(X), rtol=1e-4, atol=1e-5)


def test_without_a_callback_that_asks_weights_are_only_masked():
  wrapped = wrap()
  for layer in wrapped.layers[1:]:
    if isinstance(layer, paoding.PruneLowSaliency):
      layer.pruning_step.assign(50)
      layer.pruning_obj.weight_mask_op()
  assert units(wrapped) == [8, 6, 3]


@pytest.mark.parametrize('eagerly', [False, True])
def test_training_without_a_callback_says_what_is_missing(eagerly):
  wrapped = wrap()
  wrapped.compile('sgd', 'mse', run_eagerly=eagerly)
  with pytest.raises(tf.errors.InvalidArgumentError, match='UpdatePruningStep'):
    wrapped.fit(X, wrapped(X), verbose=0)
