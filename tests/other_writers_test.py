"""Averages, other callbacks and momentum write weights in `fit` as well."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras

_sparsity = tfmot.sparsity.keras
X = testing.samples((5,), 48).astype(np.float32)  # 12 batches of 8
Y = np.tanh(X[:, :3] * 2)


def wrap():
  """28 of 56 units go at steps 3, 9, 15 and 21; sigmoid keeps none dead."""
  return paoding.prune_low_saliency(
    testing.mlp((5, 32, 24, 3), 'sigmoid'),
    paoding.ProgressiveSparsity(0.5, 0.125, begin_step=3, frequency=6),
  )


def fit(wrapped, callbacks, optimizer=None, epochs=3):
  wrapped.compile(optimizer or keras.optimizers.Adam(0.01), 'mse')
  return wrapped.fit(
    X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks
  )


def unmasked(wrapped):
  """How many weights of removed units are not zero as they stand."""
  return sum(
    np.count_nonzero(weight.numpy()[mask.numpy() == 0])
    for layer in wrapped.layers
    for weight, mask, _ in layer.pruning_vars
  )


def units(wrapped):
  """Of the stripped model made compact, which answers as the wrapped one."""
  assert unmasked(wrapped) == 0
  stripped = _sparsity.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  for model in (stripped, small):
    np.testing.assert_allclose(model(X), wrapped(X), rtol=1e-4, atol=1e-5)
  return [layer.units for layer in small.layers]


@pytest.mark.parametrize(
  'optimizer',
  [
    lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    lambda: keras.optimizers.SGD(
      0.01, 0.9, use_ema=True, ema_overwrite_frequency=5
    ),
    lambda: keras.mixed_precision.LossScaleOptimizer(
      keras.optimizers.Adam(0.01, use_ema=True)
    ),
    lambda: keras.optimizers.AdamW(0.01),
    lambda: keras.optimizers.legacy.SGD(0.1, momentum=0.9),
  ],
)
def test_removed_units_stay_so_under_any_optimizer(optimizer):
  wrapped = wrap()
  fit(wrapped, [paoding.UpdatePruningStep()], optimizer())
  assert units(wrapped) == [16, 12, 3]


def test_averages_are_of_the_network_that_is_left():
  """Averages of weights before a merge would answer for neither network."""
  wrapped = wrap()
  fit(
    wrapped,
    [paoding.UpdatePruningStep()],
    keras.optimizers.SGD(0.0, use_ema=True, ema_momentum=0.99),
  )
  other = wrap()
  fit(other, [paoding.UpdatePruningStep()], keras.optimizers.SGD(0.0))
  np.testing.assert_allclose(wrapped(X), other(X), rtol=1e-4, atol=1e-4)


class _Look(keras.callbacks.Callback):
  """Looks at the weights at every point where a callback may."""

  def __init__(self):
    super().__init__()
    self.seen = []

  def on_train_batch_end(self, batch, logs=None):
    self.seen.append(unmasked(self.model))

  on_epoch_end = on_train_batch_end
  on_test_begin = on_test_end = lambda self, logs=None: self.seen.append(
    unmasked(self.model)
  )


@pytest.mark.parametrize('first', [True, False])
def test_weights_are_masked_whenever_somebody_looks(first):
  look, ours = _Look(), paoding.UpdatePruningStep()
  fit(wrap(), [look, ours] if first else [ours, look])
  assert len(look.seen) == 3 * 13
  assert not any(look.seen)


def test_a_layers_own_constraint_is_kept():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((5,)),
        keras.layers.Dense(8, 'relu', kernel_constraint='non_neg'),
        keras.layers.Dense(3),
      ]
    )
  )
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.5, 3)
  )
  fit(wrapped, [paoding.UpdatePruningStep()], epochs=1)
  assert np.all(wrapped.layers[0].layer.kernel.numpy() >= 0)
  assert unmasked(wrapped) == 0


def test_wrapping_again_leaves_earlier_masks_behind():
  layer = keras.layers.Dense(3)
  for _ in range(2):
    wrapper = paoding.PruneLowSaliency(layer)
    wrapper.build((None, 4))
  assert isinstance(layer.kernel.constraint, compat.MaskConstraint)
  assert layer.kernel.constraint.mask is wrapper.pruning_vars[0][1]
  assert layer.kernel.constraint.own is None


def test_replicas_with_constraints():
  strategy = tf.distribute.MirroredStrategy(['CPU:0'])
  with strategy.scope():
    wrapped = wrap()
    optimizer = keras.optimizers.Adam(0.01, use_ema=True)
    fit(wrapped, [paoding.UpdatePruningStep()], optimizer)
    assert unmasked(wrapped) == 0


@pytest.mark.parametrize(
  ('first', 'weights_only'), [(True, True), (False, False)]
)
def test_checkpoints_are_whole_and_go_on(tmp_path, first, weights_only):
  save = keras.callbacks.ModelCheckpoint(
    str(tmp_path / '{batch}.h5'),
    save_freq=3,
    save_weights_only=weights_only,
  )
  ours = paoding.UpdatePruningStep()
  fit(wrap(), [save, ours] if first else [ours, save], epochs=1)
  widths = []
  for step in (3, 6, 9):
    if weights_only:
      loaded = wrap()
      loaded.compile('adam', 'mse')
      loaded.load_weights(tmp_path / f'{step}.h5')
    else:
      loaded = keras.models.load_model(tmp_path / f'{step}.h5')
    widths.append(units(loaded)[0])
  assert widths == ([32, 28, 28] if first else [28, 28, 24])
  loaded.fit(X, Y, 8, 2, verbose=0, callbacks=[paoding.UpdatePruningStep()])
  assert units(loaded) == [16, 12, 3]


@pytest.mark.parametrize('first', [True, False])
def test_an_interrupted_fit_is_taken_up(tmp_path, first):
  class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
      raise KeyboardInterrupt

  def callbacks():
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / 'backup'))
    ours = paoding.UpdatePruningStep()
    return [backup, ours] if first else [ours, backup]

  with pytest.raises(KeyboardInterrupt):
    fit(wrap(), [*callbacks(), Stop()])
  wrapped = wrap()
  fit(wrapped, callbacks())
  assert wrapped.layers[0].pruning_step.numpy() == 36
  assert units(wrapped) == [16, 12, 3]


def _stopping(**settings):
  return keras.callbacks.EarlyStopping(
    'loss', min_delta=1e9, patience=9, restore_best_weights=True, **settings
  )


def test_weights_of_an_earlier_step_are_told():
  wrapped = wrap()
  with pytest.warns(UserWarning, match='step 12 .* 14 of 56 .* not 28'):
    fit(wrapped, [_stopping(), paoding.UpdatePruningStep()])
  assert units(wrapped) == [24, 18, 3]
  paoding.run_schedule(wrapped, verbose=0)
  assert units(wrapped) == [16, 12, 3]


def test_weights_of_the_last_sparsity_may_be_restored(recwarn):
  wrapped = wrap()
  fit(wrapped, [_stopping(start_from_epoch=2), paoding.UpdatePruningStep()])
  assert units(wrapped) == [16, 12, 3]
  assert not [w for w in recwarn if 'restored' in str(w.message)]


@pytest.mark.parametrize(
  'callbacks,advice',
  [
    ([paoding.UpdatePruningStep, _stopping], 'before UpdatePruningStep'),
    ([_sparsity.UpdatePruningStep, _stopping], 'Pass tfmot_paoding'),
    ([_stopping, _sparsity.UpdatePruningStep], 'Pass tfmot_paoding'),
  ],
)
def test_who_would_restore_behind_our_back_is_refused(callbacks, advice):
  wrapped = wrap()
  with pytest.raises(ValueError, match=advice):
    fit(wrapped, [make() for make in callbacks])
  assert wrapped.layers[0].pruning_step.numpy() <= 0
