"""Keras masks, and all else that layers are called with, in wrapped models."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network.graph import build_graph

_layers = keras.layers

_IDS = np.array([[3, 1, 0, 0, 0], [2, 0, 0, 0, 0], [1, 4, 2, 3, 0]])


def classifier():
  """Averages the embeddings of the words that are there."""
  inputs = keras.Input((5,), dtype='int32')
  x = _layers.Embedding(5, 6, mask_zero=True)(inputs)
  x = _layers.Dense(7, 'relu', name='hidden')(x)
  x = _layers.GlobalAveragePooling1D()(x)
  x = _layers.Dense(4, 'relu')(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))


def behind_masking():
  """Steps of zeros do not count."""
  inputs = keras.Input((5, 3))
  x = _layers.Masking()(inputs)
  x = _layers.TimeDistributed(_layers.Dense(6, 'relu'))(x)
  x = _layers.Dense(5, 'relu')(x)
  x = _layers.BatchNormalization()(x)
  x = _layers.LSTM(4, return_sequences=True)(x)
  x = _layers.Dense(4, 'tanh')(x)
  x = _layers.GlobalAveragePooling1D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))


def nested():
  """The mask goes into a model and out of it again."""
  inner = keras.Sequential(
    [
      keras.Input((5, 6)),
      _layers.Dense(8, 'relu'),
      _layers.Dropout(0.5),
      _layers.Dense(6, 'relu'),
    ],
    name='inner',
  )
  inputs = keras.Input((5,), dtype='int32')
  x = inner(_layers.Embedding(5, 6, mask_zero=True)(inputs))
  x = _layers.GlobalAveragePooling1D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))


def pairs():
  """Two masks meet in a sum."""
  inputs = keras.Input((5,), dtype='int32')
  x = _layers.Embedding(5, 6, mask_zero=True)(inputs)
  x = _layers.Add()([_layers.Dense(6)(x), _layers.Dense(6, 'relu')(x)])
  return testing.fill(
    keras.Model(inputs, _layers.Dense(2)(_layers.GlobalAveragePooling1D()(x)))
  )


def samples(model):
  if model.inputs[0].dtype.is_integer:
    return _IDS
  x = testing.draw((5, 3), 3)
  x[0, 2:] = x[1, 1:] = x[2, 4:] = 0
  return x.astype('float32')


def bare(model):
  """The same layers with the mask taken off: what must not come out."""
  inputs = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype)
  x = inputs
  for layer in model.layers[1:]:
    if not isinstance(layer, _layers.Masking):
      x = layer(x)
      x = tf.identity(x)
  return keras.Model(inputs, x)


MODELS = (classifier, behind_masking, nested, pairs)


def test_masks_matter_to_these_models():
  for make in (classifier, behind_masking, nested):
    model = make()
    x = samples(model)
    assert np.abs(bare(model)(x) - model(x)).max() > 1e-2


@pytest.mark.parametrize('make', MODELS)
def test_masks_pass_through_wrappers(make):
  model = make()
  x = samples(model)
  wrapped = paoding.prune_low_saliency(model)
  np.testing.assert_allclose(wrapped(x), model(x), atol=1e-6)
  np.testing.assert_allclose(
    wrapped.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
  )


@pytest.mark.parametrize(
  ('make', 'method'), testing.paired(MODELS, ('impact', 'reconstruction'))
)
def test_wrapped_stripped_and_compact_agree_under_masks(make, method):
  model = make()
  x = samples(model)
  wrapped = paoding.prune_low_saliency(
    model, method=method, input_range=(1.0, 4.0)
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  assert history.units_removed[-1] > 0
  wanted = wrapped(x)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.count_params() < model.count_params()
  np.testing.assert_allclose(stripped(x), wanted, atol=1e-5)
  np.testing.assert_allclose(small(x), wanted, atol=1e-5)


@pytest.mark.parametrize(
  ('make', 'suffix', 'method'),
  [
    (classifier, '.h5', 'saliency'),
    (behind_masking, '.keras', 'reconstruction'),
    (classifier, '', 'saliency'),
    (behind_masking, '', 'saliency'),
  ],
)
def test_masks_pass_through_loaded_wrappers(tmp_path, make, suffix, method):
  model = make()
  x = samples(model)
  wrapped = paoding.prune_low_saliency(model, method=method)
  path = str(tmp_path / f'wrapped{suffix}')
  wrapped.save(path)
  loaded = keras.models.load_model(path)
  np.testing.assert_allclose(loaded(x), model(x), atol=1e-5)
  paoding.run_schedule(loaded, verbose=0)
  small = paoding.compact(strip_pruning(loaded))
  np.testing.assert_allclose(small(x), loaded(x), atol=1e-5)


def test_fit_and_its_history_run_on_the_masked_function():
  model = classifier()
  x, y = _IDS, np.array([0, 1, 1])
  found = []
  for one in (model, paoding.prune_low_saliency(model)):
    one.compile(
      keras.optimizers.SGD(0.1),
      keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = one.fit(
      x, y, epochs=3, verbose=0, batch_size=3, shuffle=False,
      callbacks=[paoding.UpdatePruningStep()] if found else [],
    )  # fmt: skip
    found.append((history.history['loss'][0], one.evaluate(x, y, verbose=0)))
  assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)


class _Told(_layers.Dense):
  """A layer that is told more than its inputs."""

  def call(self, inputs, factor, *, training=False, offset=None):
    y = super().call(inputs) * tf.cast(factor, inputs.dtype)
    y = y + 1.0 if training else y
    return y if offset is None else y + offset


def wrap(layer, weights):
  return paoding.PruneLowSaliency(layer, masked_weights=weights)


def test_wrappers_hand_on_every_argument_of_a_call():
  inputs = keras.Input((4,))
  layer = _Told(3, name='told')
  outer = wrap(layer, ['kernel', 'bias'])
  x = testing.draw((4,)).astype('float32')
  outer(x, 1.0)
  outer.pruning_step.assign(0)  # as the callback does
  for training in (False, True):
    found = outer(x, 2.0, training=training, offset=0.5)
    wanted = layer(x, 2.0, training=training, offset=0.5)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
  model = keras.Model(inputs, outer(inputs, inputs[:, :1], offset=1.0))
  np.testing.assert_allclose(
    model(x), layer(x, x[:, :1], offset=1.0), atol=1e-6
  )


def test_recurrent_layers_take_states_and_masks_in_their_wrapper():
  x = samples(behind_masking())
  inputs, start = keras.Input((5, 3)), keras.Input((4,))
  layer = _layers.GRU(4, return_sequences=True, return_state=True)
  seen = _layers.Masking()(inputs)
  model = keras.Model([inputs, start], layer(seen, initial_state=start))
  outer = wrap(layer, ['cell.kernel'])
  wrapped = keras.Model([inputs, start], outer(seen, initial_state=start))
  state = testing.draw((4,), 3).astype('float32')
  for found, wanted in zip(wrapped([x, state]), model([x, state]), strict=True):
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert (getattr(found, '_keras_mask', None) is None) == (
      getattr(wanted, '_keras_mask', None) is None
    )


def test_stateful_layers_are_reset_in_their_wrapper():
  layer = _layers.SimpleRNN(3, stateful=True, batch_input_shape=(2, 4, 3))
  model = keras.Sequential([wrap(layer, ['cell.kernel'])])
  x = testing.draw((4, 3), 2).astype('float32')
  first = model(x).numpy()
  assert np.abs(model(x) - first).max() > 1e-4
  model.reset_states()
  np.testing.assert_allclose(model(x), first, atol=1e-6)


def test_a_wrapped_layers_activity_is_penalized():
  inputs = keras.Input((4,))
  x = _layers.Dense(5, activity_regularizer='l2', name='hidden')(inputs)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  wrapped = paoding.prune_low_saliency(model)
  x = testing.draw((4,)).astype('float32')
  model(x), wrapped(x)
  assert float(sum(model.losses)) > 0
  assert float(sum(wrapped.losses)) == pytest.approx(float(sum(model.losses)))


def test_wrappers_compute_in_the_precision_of_their_layer():
  inputs = keras.Input((4,))
  x = _layers.Dense(5, 'relu', dtype='mixed_float16')(inputs)
  x = _layers.Dense(4, 'relu', dtype='float32')(x)
  model = keras.Model(inputs, _layers.Dense(2, dtype='mixed_float16')(x))
  testing.fill(model)
  wrapped = paoding.prune_low_saliency(model)
  assert [t.dtype for t in wrapped.outputs] == [t.dtype for t in model.outputs]
  x = testing.draw((4,)).astype('float32')
  np.testing.assert_array_equal(wrapped(x), model(x))
  keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    wrapped = paoding.prune_low_saliency(model)
    np.testing.assert_array_equal(wrapped(x), model(x))
  finally:
    keras.mixed_precision.set_global_policy('float32')


def test_the_graph_knows_where_masks_run():
  model = nested()
  graph = build_graph(model)
  pooled = graph.layer_outputs[model.layers[-2].name,][0]
  embedded = graph.layer_outputs[model.layers[1].name,][0]
  assert embedded in graph.masked  # and on through the nested model
  assert graph.layer_inputs[model.layers[-2].name,][0] in graph.masked
  assert pooled not in graph.masked
  assert not set(graph.outputs) & graph.masked
  assert not build_graph(testing.sequence()).masked


@pytest.mark.parametrize('make', (classifier, nested, pairs))
def test_a_mean_under_a_mask_is_bounded_as_such(make):
  """Positions of their own ranges: the mean of all is no bound of some."""
  model = make()
  low = np.array([1.0, 1, 0, 0, 0])
  high = np.array([1.0, 4, 4, 4, 4])
  small = paoding.prune(
    model,
    0.5,
    method='saliency',
    input_range=(low, high),
    distillation=False,
    verbose=0,
  )
  rng = np.random.default_rng(0)
  x = rng.integers(low.astype(int), high.astype(int) + 1, (200, 5))
  found = np.abs(small(x) - model(x)).max(0)
  bound = paoding.deviation_bound(model, small, (low, high))
  assert np.all(found <= bound + 1e-5)
  assert np.all(bound < 1e6)


def test_masking_is_bounded_at_the_inputs_and_left_alone_elsewhere():
  inputs = keras.Input((5, 3))
  x = _layers.Masking(0.25)(inputs)
  x = _layers.Dense(6, 'relu')(x)
  x = _layers.GlobalAveragePooling1D()(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  wrapped = paoding.prune_low_saliency(model)
  history = paoding.run_schedule(wrapped, verbose=0)
  x = testing.draw((5, 3), 20, seed=1).astype('float32') * 0.5 + 0.5
  x[:10, 1:4] = 0.25
  gap = np.abs(wrapped(x) - model(x)).max()
  assert 0 < gap <= history.bound[-1]
  inputs = keras.Input((5, 3))
  x = _layers.Dense(6, 'relu', name='before')(inputs)
  x = _layers.Dense(6, 'relu', name='behind')(_layers.Masking()(x))
  model = keras.Model(inputs, _layers.Dense(2)(x))
  wrapped = paoding.prune_low_saliency(testing.fill(model))
  history = paoding.run_schedule(wrapped, verbose=0)
  assert 'compares' in history.left_alone['before']
  assert history.units == 6


def test_no_line_is_drawn_through_what_masks_decide():
  inputs = keras.Input((5, 3))
  x = _layers.Masking()(inputs)
  x = _layers.GlobalAveragePooling1D(name='mean')(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  with pytest.raises(ValueError, match='takes steps away'):
    paoding.robustness.output_bounds(model, testing.draw((5, 3)), 0.1)
  (mean,) = (n for n in build_graph(model).nodes if n.path == ('mean',))
  assert 'mask' in mean.op.obstacle


@pytest.mark.parametrize('make', (classifier, nested, pairs))
def test_samples_of_masked_steps_alone_are_left_out(make):
  """Keras gives NaN for a mean over nothing."""
  model = make()
  assert np.isnan(model(np.zeros((1, 5)))).any()
  drawn = paoding.inputs.draw_samples(model, (0.0, 1.0), 200)[0]
  assert len(drawn) > 150
  assert np.all(np.isfinite(model(drawn)))
  small = paoding.prune(model, 0.3, method='reconstruction', seed=1, verbose=0)
  assert np.all(np.isfinite(small(_IDS)))
  data = np.concatenate([_IDS, np.zeros((2, 5), int)])
  with pytest.warns(UserWarning, match='2 of 5 samples'):
    small = paoding.prune(
      model, 0.3, method='reconstruction', data=data, verbose=0
    )
  assert np.all(np.isfinite(small(_IDS)))
  with pytest.raises(ValueError, match='no number'):
    paoding.inputs.draw_samples(model, (0.0, 1.0), 9, data=np.zeros((4, 5)))


@pytest.mark.parametrize('quantization', (None, 'dynamic', 'int8'))
def test_masked_models_are_converted(quantization):
  data = paoding.convert_to_tflite(
    classifier(), quantization, input_range=(0.0, 4.0)
  )
  assert data[4:8] == b'TFL3'
