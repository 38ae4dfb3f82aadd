"""In `fit` the schedule drives the pruning, and removed units stay removed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.pruning import callbacks
from tfmot_paoding.training import first_step

_sparsity = tfmot.sparsity.keras

_RNG = np.random.default_rng(0)
X = _RNG.uniform(-1, 1, (96, 5)).astype(np.float32)
Y = _RNG.integers(0, 3, 96)


def fit(wrapped, epochs=2, optimizer='adam', callbacks=(), **more):
  """Trains 12 steps an epoch; the pruning callback."""
  compiled = {k: more.pop(k) for k in list(more) if k in _COMPILE}
  wrapped.compile(
    optimizer,
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=['accuracy'],
    **compiled,
  )
  callback = paoding.UpdatePruningStep()
  wrapped.fit(
    X,
    Y,
    batch_size=8,
    epochs=epochs,
    verbose=0,
    callbacks=[callback, *callbacks],
    **more,
  )
  return callback


_COMPILE = ('run_eagerly', 'jit_compile', 'steps_per_execution')


def removed_entries(wrapped):
  """Every masked-out weight entry of a wrapped model."""
  entries = [
    weight.numpy()[mask.numpy() == 0]
    for layer in wrapped.layers
    if isinstance(layer, paoding.PruneLowSaliency)
    for weight, mask, _ in layer.pruning_vars
  ]
  return np.concatenate(entries)


def schedule():
  return paoding.ProgressiveSparsity(0.5, 0.25, begin_step=3, frequency=4)


MODELS = {
  'relu': lambda: testing.mlp((5, 8, 6, 3)),
  'sigmoid': lambda: testing.mlp((5, 8, 6, 3), 'sigmoid'),
  'norm before': lambda: testing.with_batch_norm(True),
  'norm after': lambda: testing.with_batch_norm(False),
}


@pytest.mark.parametrize(
  ('name', 'optimizer'),
  testing.paired(MODELS, ['adam', keras.optimizers.SGD(0.1, momentum=0.9)]),
)
def test_removed_units_stay_removed(name, optimizer):
  wrapped = paoding.prune_low_saliency(MODELS[name](), schedule())
  if not isinstance(optimizer, str):
    optimizer = type(optimizer).from_config(optimizer.get_config())
  callback = fit(wrapped, optimizer=optimizer)
  assert callback.history.step == [3, 7]
  assert callback.history.units_removed == [2 + 1, 4 + 3]
  entries = removed_entries(wrapped)
  assert entries.size > 0
  assert not entries.any()
  small = paoding.compact(wrapped)
  dense = [x.units for x in small.layers if hasattr(x, 'units')]
  assert dense == [4, 3, 3]
  np.testing.assert_allclose(small(X), wrapped(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'how', [{'run_eagerly': True}, {'jit_compile': True}, {}]
)
def test_every_way_of_running(how):
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  fit(wrapped, epochs=1, **how)
  assert not removed_entries(wrapped).any()
  assert removed_entries(wrapped).size


def test_several_steps_in_one_execution_miss_nothing():
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  callback = fit(wrapped, epochs=1, steps_per_execution=6)
  assert callback.history.step == [3, 7]


def loop(wrapped, callback, epochs=2, batch_end=False, compiled=False):
  """TFMOT's guide to a training loop of one's own, 12 steps an epoch."""
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  optimizer = keras.optimizers.Adam()

  def train(x, y):
    with tf.GradientTape() as tape:
      value = loss(y, wrapped(x, training=True))
    weights = wrapped.trainable_variables
    optimizer.apply_gradients(
      zip(tape.gradient(value, weights), weights, strict=True)
    )

  train = tf.function(train) if compiled else train
  callback.set_model(wrapped)
  callback.on_train_begin()
  for _ in range(epochs):
    for k in range(12):
      callback.on_train_batch_begin(batch=-1)
      train(X[8 * k : 8 * k + 8], Y[8 * k : 8 * k + 8])
      if batch_end:
        callback.on_train_batch_end(batch=-1)
    callback.on_epoch_end(batch=-1)
  return callback


@pytest.mark.parametrize('batch_end', [False, True])
@pytest.mark.parametrize(
  'one,steps',
  [
    (paoding.ProgressiveSparsity(0.5, 0.125), [0, 1, 2, 3]),
    (paoding.ProgressiveSparsity(0.5, 0.25, begin_step=5), [5, 6]),
    (paoding.ProgressiveSparsity(0.5, 0.5, begin_step=12), [12]),
    (paoding.ProgressiveSparsity(0.5, 0.25, 23), [23, 24]),
    (_sparsity.ConstantSparsity(0.5, 5, frequency=100), [5]),
  ],
)
def test_a_loop_of_ones_own_prunes_as_the_schedule_says(one, steps, batch_end):
  wrapped = paoding.prune_low_saliency(testing.mlp(), one)
  callback = loop(wrapped, paoding.UpdatePruningStep(), batch_end=batch_end)
  assert callback.history.step == steps
  assert callback.history.units_removed[-1] == 4 + 3
  assert not removed_entries(wrapped).any()
  small = paoding.compact(_sparsity.strip_pruning(wrapped))
  assert [layer.units for layer in small.layers] == [4, 3, 3]
  np.testing.assert_allclose(small(X), wrapped(X), rtol=1e-4, atol=1e-5)


def test_such_a_loop_may_be_compiled():
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  callback = loop(wrapped, paoding.UpdatePruningStep(), compiled=True)
  assert callback.history.step == [3, 7]


def test_a_loop_sees_each_step_pruned_before_the_next():
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  gone = []

  class Watched(paoding.UpdatePruningStep):
    def on_train_batch_begin(self, batch, logs=None):
      super().on_train_batch_begin(batch, logs)
      mask = wrapped.layers[0].pruning_vars[0][1].numpy()
      gone.append(int((mask.sum(0) == 0).sum()))

  loop(wrapped, Watched(), epochs=1)
  assert gone == [0] * 3 + [2] * 4 + [4] * 5


def test_a_model_saved_before_its_step_was_carried_out_goes_on(tmp_path):
  one = paoding.ProgressiveSparsity(0.5, 0.125, begin_step=9)
  wrapped = paoding.prune_low_saliency(testing.mlp(), one)
  early = keras.callbacks.ModelCheckpoint(
    str(tmp_path / '{batch}.h5'), save_freq=4
  )
  wrapped.compile('adam', 'mse', steps_per_execution=4)
  wrapped.fit(
    X,
    X[:, :3],
    batch_size=8,
    verbose=0,
    callbacks=[early, paoding.UpdatePruningStep()],
  )
  loaded = keras.models.load_model(tmp_path / '12.h5')
  assert not any(
    (mask.numpy() == 0).any()
    for layer in loaded.layers
    for _, mask, _ in layer.pruning_vars
  )
  assert fit(loaded, epochs=1).history.step == [9, 10, 11, 12]


def test_training_changes_what_is_kept():
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  before = wrapped.layers[0].layer.kernel.numpy()
  fit(wrapped)
  after = wrapped.layers[0].layer.kernel.numpy()
  kept = wrapped.layers[0].pruning_vars[0][1].numpy() == 1
  # All but those of a unit whose ReLU is off for every sample.
  assert np.mean(before[kept] != after[kept]) > 0.5


def test_the_schedule_may_begin_before_the_first_step():
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.25, 0.25)
  )
  assert fit(wrapped, epochs=1).history.step == [0]


@pytest.mark.parametrize(
  'tfmot_schedule',
  [
    _sparsity.ConstantSparsity(0.5, 5, frequency=2),
    _sparsity.PolynomialDecay(0.1, 0.5, 2, 14, frequency=4),
  ],
)
def test_tfmot_schedules_drive(tfmot_schedule):
  wrapped = paoding.prune_low_saliency(testing.mlp(), tfmot_schedule)
  callback = fit(wrapped)
  assert callback.history.units_removed[-1] == 4 + 3


def test_further_fits_go_on():
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.5, 0.25, 3, 12)
  )
  assert fit(wrapped, epochs=1).history.step == [3]
  assert fit(wrapped, epochs=1).history.step == [15]
  assert fit(wrapped, epochs=1).history.step == []
  assert not removed_entries(wrapped).any()


def test_after_run_schedule_fit_keeps_what_is_gone():
  wrapped = paoding.prune_low_saliency(testing.mlp())
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(wrapped)
  assert fit(wrapped).history.step == []
  again = paoding.compact(wrapped)
  assert [x.units for x in again.layers] == [x.units for x in small.layers]


def test_other_callbacks_and_validation_work_beside_it(tmp_path):
  wrapped = paoding.prune_low_saliency(testing.mlp(), schedule())
  summaries = _sparsity.PruningSummaries(log_dir=str(tmp_path))
  stop = keras.callbacks.EarlyStopping('val_loss', patience=0, min_delta=1e9)
  fit(wrapped, epochs=9, callbacks=[summaries, stop], validation_data=(X, Y))
  assert list(tmp_path.rglob('events*'))
  assert not removed_entries(wrapped).any()
  tags = set()
  for file in tmp_path.rglob('events*'):
    for event in tf.compat.v1.train.summary_iterator(str(file)):
      tags |= {value.tag for value in event.summary.value}
  assert any('kernel_mask' in tag and tag.endswith('sparsity') for tag in tags)
  assert any('bias_mask' in tag for tag in tags)


def test_it_is_tfmots_callback_and_tfmot_demands_one():
  assert issubclass(paoding.UpdatePruningStep, _sparsity.UpdatePruningStep)
  wrapped = paoding.prune_low_saliency(testing.mlp())
  wrapped.compile('sgd', 'mse')
  with pytest.raises(Exception, match='UpdatePruningStep'):
    wrapped.fit(X, np.zeros((96, 3)), verbose=0)


def test_there_is_no_history_before_training():
  with pytest.raises(ValueError, match='no history before training'):
    _ = paoding.UpdatePruningStep().history


def test_tfmots_own_wrappers_are_served_as_tfmot_serves_them():
  wrapped = _sparsity.prune_low_magnitude(
    testing.mlp(), _sparsity.ConstantSparsity(0.5, 0, frequency=1)
  )
  callback = fit(wrapped, epochs=1)
  kernel = wrapped.layers[0].layer.kernel.numpy()
  assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.05)
  with pytest.raises(ValueError, match='no history'):
    _ = callback.history


class _Doubled(keras.layers.Layer):
  """A layer that nobody taught the package about, nor its function."""

  def call(self, inputs):
    return 2 * tf.math.real(tf.complex(inputs, 1.0))


def test_layers_that_stay_are_told_once():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((5,)),
        keras.layers.Dense(8, name='strange'),
        _Doubled(),
        keras.layers.Dense(8, 'relu', name='known'),
        keras.layers.Dense(3, name='logits'),
      ]
    )
  )
  wrapped = paoding.prune_low_saliency(model, schedule())
  with pytest.warns(UserWarning, match='keep their units') as told:
    fit(wrapped, epochs=2)
  (message,) = [str(w.message) for w in told if 'keep their' in str(w.message)]
  assert 'strange: ' in message
  assert '_Doubled' in message
  assert 'logits' not in message
  assert 'known' not in message.replace('not known', '')


def test_output_layers_are_not_told(recwarn):
  fit(paoding.prune_low_saliency(testing.mlp(), schedule()), epochs=1)
  assert not [w for w in recwarn if 'keep their units' in str(w.message)]


def test_layers_wrapped_in_part_are_told():
  def wrap(layer):
    fresh = type(layer).from_config(layer.get_config())
    if layer.name == 'norm_1':
      return fresh
    return paoding.PruneLowSaliency(fresh, schedule())

  wrapped = keras.models.clone_model(
    testing.with_batch_norm(), clone_function=wrap
  )
  with pytest.warns(UserWarning, match="hidden_1: layer 'norm_1', which"):
    fit(wrapped, epochs=1)


def several():
  """Two outputs of unlike kinds, in a dict."""
  x = keras.Input((5,))
  hidden = keras.layers.Dense(8, 'relu', name='hidden')(x)
  outputs = {
    'a': keras.layers.Dense(3, name='a')(hidden),
    'b': keras.layers.Dense(1, name='b')(hidden),
  }
  return testing.fill(keras.Model(x, outputs))


def _trained(make, optimizer, **more):
  """The history of a fit of two epochs, and the weights that it came to."""
  wrapped = paoding.prune_low_saliency(make(), schedule())
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  y, losses, metrics = Y, loss, ['accuracy']
  if make is several:
    y = {'b': X[:, :1], 'a': Y}
    losses, metrics = {'a': loss, 'b': 'mse'}, {'b': 'mae', 'a': 'accuracy'}
  wrapped.compile(optimizer(), losses, metrics=metrics, **more)
  callback = paoding.UpdatePruningStep()
  fits = [
    wrapped.fit(X, y, 8, verbose=0, shuffle=False, callbacks=[callback])
    for _ in range(2)
  ]
  return [each.history for each in fits], wrapped.get_weights()


@pytest.mark.parametrize(
  ('make', 'optimizer', 'more', 'times'),
  [
    (testing.mlp, keras.optimizers.Adam, {}, 1),
    # The step is in the function twice: in front of a loop and in it.
    (several, keras.optimizers.SGD, {'steps_per_execution': 3}, 2),
    (testing.mlp, keras.optimizers.legacy.Adam, {}, 2),
  ],
)
def test_the_first_step_is_traced_once(
  make, optimizer, more, times, monkeypatch
):
  seen, step = [], keras.Model.train_step

  def counted(model, data):
    seen.append(tf.executing_eagerly())
    return step(model, data)

  with monkeypatch.context() as patch:
    patch.setattr(keras.Model, 'train_step', counted)
    histories, weights = _trained(make, optimizer, **more)
  assert seen == [False] * times
  # All else is as Keras makes it.
  monkeypatch.setattr(callbacks, 'trace_once', lambda model: None)
  wanted, others = _trained(make, optimizer, **more)
  for history, other in zip(histories, wanted, strict=True):
    assert history.keys() == other.keys()
    for name, values in history.items():
      np.testing.assert_allclose(values, other[name], rtol=1e-5)
  for weight, other in zip(weights, others, strict=True):
    np.testing.assert_allclose(weight, other, atol=1e-5)


def test_a_step_of_ones_own_is_left_alone():
  class Own(keras.Model):
    def train_step(self, data):
      return super().train_step(data)

  plain = testing.mlp()
  model = Own(plain.inputs, plain.outputs)
  model.compile('adam', 'mse')
  train = model.make_train_function()
  first_step.trace_once(model)
  assert model.train_function is train
