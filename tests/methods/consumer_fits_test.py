"""What fits run on: behind any layer, and where there is nothing to fit on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.methods import consumer_fits
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.network import Network

_layers = keras.layers
RANGE = (-1.0, 1.0)


@keras.utils.register_keras_serializable('fitting_test')
class Gate(_layers.Layer):
  """Known to nobody, of two inputs."""

  def call(self, inputs):
    one, two = inputs
    return one * tf.sigmoid(two)


def pruned_by_fits(model, sparsity):
  """Pruned by fits alone, without a lesson."""
  return paoding.prune(
    model,
    sparsity,
    method='reconstruction',
    input_range=RANGE,
    verbose=0,
    distillation=False,
  )


def _attention(x):
  return _layers.MultiHeadAttention(2, 3)(x, x)


def _split(x):
  return tf.concat(tf.split(x, 2, axis=2)[::-1], 1)


def _states(x):
  return _layers.LSTM(5, return_state=True)(x)[1][:, None]


BEHIND = {
  'MultiHeadAttention': _attention,
  'Attention': lambda x: _layers.Attention()([x, x]),
  'split': _split,
  'slice': lambda x: x[:, 1:4],
  'roll': lambda x: tf.roll(x, 1, axis=1),
  'depth to space': lambda x: tf.nn.depth_to_space(x[:, None], 2)[:, 0],
  'custom layer of two inputs': lambda x: Gate()([x, x[:, ::-1]]),
  'states': _states,
  'batch norm of another axis': _layers.BatchNormalization(axis=1),
  'training=True': lambda x: _layers.Dropout(0.5)(x, training=True),
}


@pytest.mark.parametrize('name', BEHIND)
def test_twins_behind_what_is_not_understood_go_without_a_trace(name):
  inputs = keras.Input((6, 4))
  x = _layers.Dense(8, 'relu')(BEHIND[name](inputs))
  x = _layers.Dense(2)(_layers.GlobalMaxPooling1D()(x))
  model = testing.with_twins(testing.fill(keras.Model(inputs, x)))
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    if name == 'training=True':  # its answers are drawn anew at each call
      warnings.simplefilter('ignore', paoding.pruning.FewAnswersWarning)
    small = paoding.prune(
      model,
      0.5,
      method='reconstruction',
      input_range=RANGE,
      step_sparsity=0.25,
      verbose=0,
      distillation=False,
    )
  assert small.count_params() < model.count_params()
  x = testing.samples((6, 4), 50).astype(np.float32)
  if name == 'training=True':
    return  # answers are drawn
  assert testing.largest_change(model, small, x) < 1e-4


def _distributed(layer, *settings):
  return _layers.TimeDistributed(layer(*settings, activation='relu'))


CONSUMERS = {
  'TimeDistributed Conv2D': lambda: (
    (2, 6, 6, 3),
    _distributed(_layers.Conv2D, 8, 3),
    _distributed(_layers.Conv2D, 4, 3),
  ),
  'TimeDistributed SeparableConv2D': lambda: (
    (2, 6, 6, 3),
    _distributed(_layers.Conv2D, 8, 3),
    _distributed(_layers.SeparableConv2D, 4, 3),
  ),
  'blocks': lambda: (
    (6, 6, 3),
    _layers.Conv2D(8, 3, activation='relu'),
    _layers.Conv2D(8, 3, groups=2, activation='relu'),
  ),
}


@pytest.mark.parametrize('name', CONSUMERS)
def test_consumers_that_see_their_rows_in_other_ways_are_fitted(name):
  shape, producer, consumer = CONSUMERS[name]()
  inputs = keras.Input(shape)
  x = _layers.Dense(2)(_layers.Flatten()(consumer(producer(inputs))))
  model = testing.fill(keras.Model(inputs, x))
  x = testing.samples(shape, 60).astype(np.float32)

  def error(compensation):
    small = paoding.prune(
      model,
      0.25,
      method=paoding.Method('reconstruction', 'greedy', compensation),
      input_range=RANGE,
      data=x,
      distillation=False,
      verbose=0,
    )
    return float(np.square(small(x) - model(x)).mean())

  assert error('least_squares') < 0.7 * error('none')


def test_a_recurrent_layer_with_a_state_and_a_fixed_batch_is_fitted():
  inputs = keras.Input(batch_shape=(4, 6, 3))
  x = _layers.LSTM(5, stateful=True)(_layers.Dense(8, 'relu')(inputs))
  model = keras.Model(inputs, _layers.Dense(2)(_layers.Dense(8, 'relu')(x)))
  testing.with_twins(testing.fill(model))
  small = paoding.prune(
    model,
    0.5,
    method='reconstruction',
    input_range=RANGE,
    distillation=True,
    verbose=0,
  )
  x = testing.samples((6, 3), 2).astype(np.float32)
  assert testing.largest_change(model, small, x) < 1e-4
  assert small.layers[2].stateful
  model.reset_states()
  first = model(x).numpy()  # a copy is judged, which leaves no state behind
  model.reset_states()
  verdict = paoding.report.judge(model, small, [testing.samples((6, 3), 9)])
  assert verdict.distance < 1e-8
  np.testing.assert_array_equal(model(x), first)


def huge(size, twins=False):
  model = testing.mlp((5, 8, 6, 2), use_bias=False)
  if twins:
    testing.with_twins(model)
  for weight in model.weights:
    weight.assign(weight * size)
  return model


def test_sums_of_huge_squares_are_numbers():
  model = huge(1e11)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    small = paoding.prune(
      model,
      0.25,
      method='reconstruction',
      input_range=RANGE,
      distillation=False,
      verbose=0,
    )
  for weight in small.get_weights():
    assert np.isfinite(weight).all()


def test_what_overflows_on_the_way_is_merged_by_its_weights_and_said():
  model = huge(1e21, twins=True)
  model.layers[-1].kernel.assign(model.layers[-1].kernel * 1e-19 * 1e-19)
  with pytest.warns(UserWarning, match="'logits' reads of them overflows"):
    small = paoding.prune(
      model,
      0.5,
      method='reconstruction',
      input_range=RANGE,
      distillation=False,
      verbose=0,
    )
  assert [layer.units for layer in small.layers] == [4, 3, 2]
  x = 1e-6 * testing.samples((5,), 20).astype(np.float32)
  assert testing.largest_change(model, small, x) < 1e-4


def test_merges_beyond_float32_are_refused():
  model = testing.with_twins(testing.mlp((5, 8, 6, 2)))
  kernel = model.layers[-1].kernel
  kernel.assign(tf.sign(kernel) * 3e38)
  with pytest.raises(ValueError, match='overflows float32'):
    paoding.prune(model, 0.5, method='saliency', input_range=RANGE, verbose=0)


@pytest.mark.parametrize('kind', ['variable', 'tensor', 'new variable'])
def test_kernels_that_were_tied_by_hand_become_the_layers_own(kind):
  one, two = _layers.Dense(6, 'relu'), _layers.Dense(6)
  model = keras.Sequential([keras.Input((6,)), one, two, _layers.Dense(2)])
  testing.fill(model)
  two.kernel = {
    'variable': one.kernel,
    'tensor': tf.transpose(one.kernel),
    'new variable': tf.Variable(tf.transpose(one.kernel)),
  }[kind]
  x = testing.samples((6,), 20).astype(np.float32)
  np.testing.assert_allclose(paoding.compact(model)(x), model(x), atol=1e-5)
  same = pruned_by_fits(model, 0.0)
  np.testing.assert_allclose(same(x), model(x), atol=1e-5)
  small = pruned_by_fits(model, 0.5)
  assert [layer.units for layer in small.layers] == [3, 3, 2]


def test_weights_that_no_config_leads_to_are_named():
  layer = _layers.LocallyConnected1D(2, 3, name='states')
  inputs = keras.Input((5, 2))
  x = _layers.Flatten()(layer(inputs))
  x = _layers.Dense(2)(_layers.Dense(4)(x))
  model = keras.Model(inputs, x)
  layer.more = tf.Variable(1.0)
  with pytest.raises(ValueError, match="'states' holds weights"):
    paoding.prune(model, 0.5, method='saliency', verbose=0)


def answers_in_a_dict(**last):
  inputs = {name: keras.Input((3,), name=name) for name in ('u', 'a')}
  x = _layers.Concatenate()([inputs['u'], inputs['a']])
  x = _layers.ReLU()(_layers.BatchNormalization()(_layers.Dense(8)(x)))
  outputs = {
    'z': _layers.Dense(3, 'softmax', name='b')(x),
    'c': _layers.Dense(2, name='a2')(x),
  }
  return testing.fill(keras.Model(inputs, outputs))


@pytest.mark.usefixtures('roughly')
def test_answers_in_a_dict_behind_batch_norm():
  model = answers_in_a_dict()
  found = paoding.recall_inputs(model, 8, verbose=0)
  assert [x.shape for x in found] == [(8, 3), (8, 3)]
  small = pruned_by_fits(model, 0.5)
  assert small.get_layer('b').kernel.shape == (4, 3)
  x = {name: testing.samples((3,), 9).astype(np.float32) for name in 'ua'}
  assert sorted(small(x)) == ['c', 'z']
  data = paoding.convert_to_tflite(small, 'int8', input_range=RANGE)
  assert isinstance(data, bytes)
  lesson = paoding.training.DistillSettings(steps=10, samples=64)
  better = paoding.training.distill(
    model, small, input_range=RANGE, settings=lesson, verbose=0
  )
  assert sorted(better(x)) == ['c', 'z']
  fitted = paoding.prune_to_budget(
    model,
    paoding.Budget(flash_bytes=len(data) + 200),
    distillation=False,
    verbose=0,
  )
  assert len(fitted.data) <= len(data) + 200


def outputs_of_two_scales(kind):
  """The second output is a thousandth of the first."""
  inputs = keras.Input((8,))
  x = _layers.Dense(24, 'relu')(inputs)
  ends = [_layers.Dense(1), _layers.Dense(1)]
  if kind == 'branches':
    one, two = _layers.Dense(12, 'relu'), _layers.Dense(12, 'relu')
    model = keras.Model(inputs, [ends[0](one(x)), ends[1](two(x))])
    scaled = one
  elif kind == 'columns':
    ends = [_layers.Dense(2)]
    model = keras.Model(inputs, ends[0](x))
    scaled = ends[0]
  else:
    model = keras.Model(inputs, [end(x) for end in ends])
    scaled = ends[0]
  testing.fill(model)
  factor = [1000.0, 1.0] if kind == 'columns' else 1000.0
  scaled.kernel.assign(scaled.kernel * np.array(factor))
  return model


@pytest.mark.parametrize('kind', ['outputs', 'branches', 'columns'])
@pytest.mark.parametrize('method', ['saliency', 'impact', 'reconstruction'])
def test_no_output_is_given_up_for_one_of_another_unit(kind, method):
  """Units of a small output are chosen as if it were as large."""
  x = testing.samples((8,), 100).astype(np.float32)

  def errors(model):
    small = paoding.prune(
      model,
      0.5,
      method=method,
      input_range=RANGE,
      distillation=False,
      verbose=0,
    )
    wanted, found = (
      np.concatenate(tf.nest.flatten(m(x)), 1) for m in (model, small)
    )
    return np.square(wanted - found).mean(0) / wanted.var(0)

  model = outputs_of_two_scales(kind)
  unequal = errors(model)
  layer = model.layers[-2 if kind == 'outputs' else -1]
  if kind == 'branches':
    layer = model.layers[2]
  factor = [1e-3, 1.0] if kind == 'columns' else 1e-3
  layer.kernel.assign(layer.kernel * np.array(factor))
  equal = errors(model)
  assert unequal.max() < 2.5 * max(equal.max(), 0.05)


def test_ways_are_compared_from_their_group_on(monkeypatch):
  model = testing.mlp((5, 8, 6, 4, 3))
  network = Network.of(model)
  *_, group = find_groups(network.graph).groups
  x = testing.samples((5,), 30).astype(np.float32)
  fits = Fitting(network, network.params(), [x], FitSettings())
  fits.change(network.params())  # what the original answers
  fits.stand_before(network.params(), group)
  ran, real = [], Simulation._run_layer

  def noted(self, number, *args):
    ran.append(number)
    return real(self, number, *args)

  monkeypatch.setattr(Simulation, '_run_layer', noted)
  fits.change(network.params())
  assert len(ran) == 2


def test_ways_are_told_apart_on_the_first_of_many_samples(monkeypatch):
  monkeypatch.setattr(consumer_fits, '_TOLD', 20)
  model = testing.mlp((5, 8, 6, 4, 3))
  network = Network.of(model)
  params = network.params()
  group, *_ = find_groups(network.graph).groups
  changed = {ref: value + 0.1 for ref, value in params.items()}
  x = testing.samples((5,), 50).astype(np.float32)
  many, few = (
    Fitting(network, params, [part], FitSettings()) for part in (x, x[:20])
  )
  many.stand_before(params, group)  # of the few as well
  assert many.change(params) == 0
  assert many.change(changed) == pytest.approx(few.change(changed))
  assert many.divergence(changed) != pytest.approx(few.divergence(changed))
