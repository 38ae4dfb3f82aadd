"""Least squares: against direct solutions, Keras, and real networks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.inputs import user_data
from tfmot_paoding.inputs.prior import Prior, prior_samples
from tfmot_paoding.methods import consumer_rows
from tfmot_paoding.methods import elimination as lib
from tfmot_paoding.methods.consumer_fits import FitSettings
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.layer_runner import Simulation

_layers = keras.layers


def setting(units=6, width=1, others=2, columns=4, seed=0):
  """A consumer of units with `width` rows each, and rows of no unit."""
  rng = np.random.default_rng(seed)
  size = units * width + others
  mixed = rng.normal(size=(size, size))
  samples = rng.normal(size=(500, size)) @ mixed + rng.normal(size=size)
  rows = rng.permutation(size)[: units * width].reshape(units, width)
  return samples, rng.normal(size=(size, columns)), rows


@pytest.mark.parametrize('width', [1, 3])
def test_eliminations_are_the_direct_least_squares_solution(width):
  samples, matrix, rows = setting(width=width)
  moments = lib.RowMoments(samples, 1e-2)
  fit = lib.Elimination(matrix, rows, moments, np.ones(4), np.ones(6, bool))
  gone = [4, 1, 2]
  for unit in gone:
    fit.eliminate(unit)
  kept = np.setdiff1d(np.arange(len(matrix)), rows[gone].ravel())
  cov = moments.covariance
  wanted = np.zeros_like(matrix)
  wanted[kept] = np.linalg.solve(cov[np.ix_(kept, kept)], cov[kept] @ matrix)
  np.testing.assert_allclose(fit.matrix, wanted, rtol=1e-6, atol=1e-9)
  # The bias makes up for the means.
  mean = samples.mean(0)
  np.testing.assert_allclose(
    mean @ fit.matrix + fit.shift, mean @ matrix, rtol=1e-9
  )


@pytest.mark.parametrize('width', [1, 3])
def test_costs_are_what_the_error_grows_by(width):
  samples, matrix, rows = setting(width=width)
  moments = lib.RowMoments(samples, 1e-2)
  weights = np.array([1.0, 2.0, 0.5, 0.0])

  def error(fit):
    gap = (fit.matrix - matrix) * weights
    return np.trace(gap.T @ moments.covariance @ gap)

  for first in (None, 3):
    for unit in (0, 5):
      fit = lib.Elimination(matrix, rows, moments, weights, np.ones(6, bool))
      if first is not None:
        fit.eliminate(first)
      before, cost = error(fit), fit.costs(np.array([unit]))[0]
      fit.eliminate(unit)
      np.testing.assert_allclose(error(fit) - before, cost, rtol=1e-6)


@pytest.mark.parametrize('width', [1, 3])
def test_many_rows_are_downdated_at_once(width, monkeypatch):
  samples, matrix, rows = setting(units=9, width=width)
  moments = lib.RowMoments(samples, 1e-2)

  def run():
    alive = np.ones(9, bool)
    alive[7] = False
    fit = lib.Elimination(matrix, rows, moments, np.ones(4), alive)
    costs = []
    for unit in (4, 1, 2, 8, 0):
      alive[unit] = False
      fit.eliminate(unit)
      costs.append(fit.costs(np.flatnonzero(alive)))
    return fit.matrix, np.concatenate(costs)

  wanted = run()
  monkeypatch.setattr(lib, '_SMALL', 0)
  monkeypatch.setattr(lib, '_WAITING', 2 * width + 1)
  for one, other in zip(run(), wanted, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_units_gone_before_stay_gone():
  samples, matrix, rows = setting()
  alive = np.array([True, False, True, True, True, True])
  moments = lib.RowMoments(samples, 1e-2)
  fit = lib.Elimination(matrix, rows, moments, np.ones(4), alive)
  fit.eliminate(2)
  assert not fit.matrix[rows[[1, 2]].ravel()].any()


def test_channels_and_rows_are_each_others_reverse():
  matrix = np.arange(3 * 4 * 2.0).reshape(12, 2)
  by_channel = consumer_rows.by_channel(matrix, 3)
  assert by_channel[1].tolist() == [*matrix[1], *matrix[5], *matrix[9]]
  np.testing.assert_array_equal(consumer_rows.by_row(by_channel, 3), matrix)


CONVOLUTIONS = {
  'same': (lambda: _layers.Conv2D(3, 3, padding='same'), (5, 6, 2)),
  'strided': (lambda: _layers.Conv2D(3, 2, 2), (5, 6, 2)),
  'dilated': (lambda: _layers.Conv2D(3, 2, dilation_rate=2), (5, 6, 2)),
  'same, strided': (
    lambda: _layers.Conv2D(3, (3, 2), 2, padding='same'),
    (5, 6, 2),
  ),
  'volume, dilated': (
    lambda: _layers.Conv3D(3, 2, dilation_rate=2, padding='same'),
    (4, 5, 3, 2),
  ),
  'causal': (
    lambda: _layers.Conv1D(3, 3, padding='causal', dilation_rate=2),
    (7, 2),
  ),
  'single tap': (lambda: _layers.Conv2D(3, 1), (5, 6, 2)),
  'dense': (lambda: _layers.Dense(3), (4, 2)),
}


@pytest.mark.parametrize('name', CONVOLUTIONS)
def test_rows_times_the_matrix_are_what_keras_computes(name):
  make, shape = CONVOLUTIONS[name]
  layer, inputs = make(), keras.Input(shape)
  model = testing.fill(keras.Model(inputs, layer(inputs)))
  graph = build_graph(model)
  (node,) = graph.nodes
  x = testing.samples(shape, 5).astype(np.float32)
  rows = lib.row_samples(node.op, x, 0)
  params = read_params(graph)
  found = rows @ node.op.matrix(params) + node.op.offset(params)
  np.testing.assert_allclose(
    found, np.asarray(model(x)).reshape(-1, 3), rtol=1e-4, atol=1e-5
  )


def test_simulation_runs_what_keras_runs():
  inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(4, 3, padding='same', activation='relu')(inputs)
  x = _layers.Add()([x * 0.5, _layers.DepthwiseConv2D(3, padding='same')(x)])
  x = _layers.Concatenate(axis=1)([x, x])
  x = _layers.LayerNormalization()(_layers.MaxPooling2D()(x))
  x = keras.Sequential([_layers.Flatten(), _layers.Dense(3, 'softmax')])(x)
  model = testing.fill(keras.Model(inputs, x))
  samples = testing.samples((6, 6, 3), 8).astype(np.float32)
  run = Simulation(model, [samples])
  out = run.graph.outputs[0]
  found = run.run(read_params(run.graph), [out])[out]
  np.testing.assert_allclose(found, model(samples), rtol=1e-4, atol=1e-6)


def test_batch_norm_takes_the_samples_statistics():
  model = testing.with_batch_norm()
  samples = 50 + 7 * testing.samples((5,), 500).astype(np.float32)
  run = Simulation(model, [samples])
  norm = model.get_layer('norm_0')
  value = run.graph.layer_outputs['norm_0',][0]
  found = run.run(read_params(run.graph), [value])[value]
  np.testing.assert_allclose(found.mean(0), norm.beta, atol=1e-3)
  np.testing.assert_allclose(found.std(0), np.abs(norm.gamma), rtol=1e-2)


def test_statistics_stay_where_nothing_changed():
  model = testing.with_batch_norm()
  graph = build_graph(model)
  params = read_params(graph)
  fitting = testing.fitting(model, graph, params, testing.box(graph))
  for ref, value in fitting.refreshed(graph, params).items():
    np.testing.assert_allclose(value, params[ref], rtol=1e-6)


def test_a_unit_that_is_a_sum_of_others_goes_without_a_trace():
  rng = np.random.default_rng(0)
  incoming = rng.normal(size=(8, 5))
  incoming[:, 3] = 2 * incoming[:, 0] - incoming[:, 4]
  bias = np.zeros(5)
  model = testing.two_layer(incoming, bias, rng.normal(size=(5, 3)), 'linear')
  # Three of five units carry the sum; any one of them can go.
  small = paoding.prune(
    model, 0.2, method='reconstruction', input_range=(-1.0, 1.0), verbose=0
  )
  assert small.get_layer('hidden').units == 4
  x = testing.samples((8,), 50).astype(np.float32)
  size = np.abs(model(x)).max()
  np.testing.assert_allclose(small(x), model(x), atol=0.1 * size)
  merged = paoding.prune(
    model, 0.2, method='saliency', input_range=(-1.0, 1.0), verbose=0
  )
  assert (
    np.abs(small(x) - model(x)).mean()
    < 0.3 * np.abs(merged(x) - model(x)).mean()
  )


def network():
  """Layers unknown but passable by samples, and one that they cannot pass."""
  inputs = keras.Input((8, 3))
  x = _layers.Conv1D(6, 3, padding='same', activation='relu', name='a')(inputs)
  x = _layers.BatchNormalization()(_layers.SeparableConv1D(6, 3, name='b')(x))
  x = _layers.Dense(6, 'relu', name='c')(x)
  x = _layers.Dense(6, name='d')(x)
  x = _layers.LSTM(5, return_sequences=True)(x)
  x = _layers.Dense(6, 'relu', name='e')(x)
  y = _layers.Dense(6, name='f')(x)
  x = _layers.MultiHeadAttention(2, 3)(y, y)
  x = _layers.Dense(8, 'relu', name='g')(_layers.GlobalMaxPooling1D()(x))
  return testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(x)))


def test_what_samples_cannot_pass_is_pruned_all_the_same():
  model = network()
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.25), 'reconstruction'
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.get_layer('g').units == 4
  assert small.get_layer('a').filters == 3
  x = testing.samples((8, 3), 10).astype(np.float32)
  np.testing.assert_allclose(small(x), stripped(x), rtol=1e-4, atol=1e-5)


def test_annealing_combines_with_least_squares():
  method = paoding.Method('reconstruction', 'annealing', 'least_squares')
  model = testing.mlp()
  one, two = (
    paoding.prune(
      model, 0.5, method=method, seed=3, verbose=0, distillation=False
    )
    for _ in range(2)
  )
  for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_in_fit_training_moves_the_statistics():
  model = testing.with_batch_norm()
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.25), 'reconstruction'
  )
  wrapped.compile('adam', 'mse')
  x = testing.samples((5,), 32).astype(np.float32)
  callback = paoding.UpdatePruningStep(data=x)
  wrapped.fit(x, x[:, :3], batch_size=8, verbose=0, callbacks=[callback])
  assert callback.history.units_removed[-1] == 4 + 3


class TestPrior:
  def test_smooth_along_positions_and_not_in_vectors(self):
    graph_box = testing.Interval(np.zeros((12, 2)), np.full((12, 2), 4.0))
    prior = Prior(mean=0.25, deviation=0.5, scale=2.0, channels=0.5)
    x = prior.sample(graph_box, 20000, np.random.default_rng(0))
    np.testing.assert_allclose(x.mean(0), 1.0, atol=0.1)
    np.testing.assert_allclose(x.std(0), 2.0, rtol=0.05)
    found = np.corrcoef(x[:, 0, 0], x[:, 3, 0])[0, 1]
    assert abs(found - np.exp(-9 / 8)) < 0.03
    found = np.corrcoef(x[:, 5, 0], x[:, 5, 1])[0, 1]
    assert abs(found - 0.5) < 0.03
    flat = testing.Interval(np.zeros(6), np.ones(6))
    x = prior.sample(flat, 20000, np.random.default_rng(0))
    assert abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]) < 0.03

  @pytest.mark.parametrize(
    'bad', [{'deviation': 0}, {'scale': -1}, {'channels': 2}]
  )
  def test_bad_settings_are_named(self, bad):
    with pytest.raises(ValueError, match='`deviation` must be positive'):
      Prior(**bad)

  def test_same_generator_same_samples(self):
    box = [testing.Interval(np.zeros(3), np.ones(3))]
    one, two = (
      prior_samples(Prior(), box, [(3,)], 5, np.random.default_rng(4))
      for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


class TestCalibrationData:
  model = testing.mlp()
  x = testing.samples((5,), 32).astype(np.float32)

  @pytest.mark.parametrize('kind', ['array', 'list', 'dict', 'set', 'labelled'])
  def test_every_form_is_taken(self, kind):
    data = {
      'array': self.x,
      'list': [self.x],
      'dict': {self.model.input_names[0]: self.x},
      'set': tf.data.Dataset.from_tensor_slices(self.x).batch(10),
      'labelled': tf.data.Dataset.from_tensor_slices(
        (self.x, np.zeros(len(self.x)))
      ).batch(10),
    }[kind]
    (found,) = user_data.calibration_samples(self.model, data, 25)
    np.testing.assert_array_equal(found[:20], self.x[:20])
    small = paoding.prune(
      self.model,
      0.5,
      method='reconstruction',
      verbose=0,
      data=data,
      distillation=False,
    )
    assert small.layers[0].units == 4

  @pytest.mark.parametrize(
    ('data', 'message'),
    [
      (np.zeros((9, 4)), r'shape \(None, 5\) must have that shape'),
      (np.zeros((1, 5)), 'at least 2 samples'),
      (np.full((9, 5), np.nan), 'NaN'),
      ([np.zeros((9, 5))] * 2, 'has 1 inputs'),
      ({'other': np.zeros((9, 5))}, 'names the inputs'),
      (tf.data.Dataset.from_tensor_slices(np.zeros((0, 5))), 'empty'),
    ],
  )
  def test_what_does_not_fit_is_named(self, data, message):
    with pytest.raises(ValueError, match=message):
      paoding.prune(
        self.model, 0.5, method='reconstruction', verbose=0, data=data
      )


def test_groups_of_tied_layers_are_fitted_in_every_consumer():
  inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(8, 3, padding='same', name='a')(inputs)
  y = _layers.Conv2D(8, 3, padding='same', name='b')(_layers.ReLU()(x))
  x = _layers.Add()([x, y])
  x = _layers.Dense(3, name='end')(_layers.GlobalAveragePooling2D()(x))
  model = testing.fill(keras.Model(inputs, x))
  edit = testing.group_edit(model)
  group = find_groups(build_graph(model)).groups[0]
  assert len(edit.view.fits) == len(group.consumers) == 2
  before = edit.consumer_kernels()
  edit.eliminate(2)
  edit.remove(2)
  after = edit.consumer_kernels()
  for ref in before:
    assert not np.allclose(before[ref], after[ref])
  assert len(edit.consumer_biases()) == 2


def test_cheap_networks_are_fitted_on_more_samples():
  assert FitSettings().count(1000) == 4096
  assert FitSettings().count(10**7) == 512
  assert FitSettings().count(4 * 10**9) == 32
  assert 512 < FitSettings().count(5 * 10**5) < 4096
  assert FitSettings().count(5 * 10**5, normalized=True) == 4000
  assert FitSettings(samples=7).count(1000) == 7


@pytest.mark.shared
def test_half_of_a_real_network_goes(shared):
  model = paoding.load_model(shared / 'models' / 'mnist_mlp3_relu.h5')
  with np.load(shared / 'data' / 'mnist.npz') as data:
    x, y = data['x_test'][:2000, ..., None] / 255.0, data['y_test'][:2000]
  small = paoding.prune(model, 0.5, method='reconstruction', verbose=0)
  answers = testing.answers(small, x.astype(np.float32)).argmax(-1)
  assert (answers == y).mean() > 0.93


CONSUMERS = {
  'Conv1D causal': lambda: (
    (9, 3),
    _layers.Conv1D(6, 1),
    _layers.Conv1D(4, 3, padding='causal', dilation_rate=2),
  ),
  'Conv2D strided': lambda: (
    (8, 8, 2),
    _layers.Conv2D(6, 1),
    _layers.Conv2D(4, 3, strides=2),
  ),
  'Conv3D': lambda: (
    (5, 6, 5, 2),
    _layers.Conv3D(6, 1),
    _layers.Conv3D(4, (2, 3, 2), strides=(1, 2, 1)),
  ),
  'Conv3D dilated': lambda: (
    (5, 6, 5, 2),
    _layers.Conv3D(6, 1),
    _layers.Conv3D(4, 2, dilation_rate=2),
  ),
  'Conv2DTranspose': lambda: (
    (5, 5, 2),
    _layers.Conv2D(6, 1),
    _layers.Conv2DTranspose(4, 3, strides=2),
  ),
  'SeparableConv2D': lambda: (
    (8, 8, 2),
    _layers.Conv2D(6, 1),
    _layers.SeparableConv2D(4, 3),
  ),
  'SeparableConv1D causal': lambda: (
    (9, 3),
    _layers.Conv1D(6, 1),
    _layers.SeparableConv1D(4, 3, padding='causal'),
  ),
}


@pytest.mark.parametrize('name', CONSUMERS)
def test_every_kind_of_consumer_is_fitted(name):
  """A unit that is a mixture of others goes without a trace."""
  shape, producer, consumer = CONSUMERS[name]()
  producer.activation = keras.activations.linear
  inputs = keras.Input(shape)
  model = testing.fill(keras.Model(inputs, consumer(producer(inputs))))
  # All units are mixtures of as many as there are inputs; biases aside.
  sparsity = 1 - (shape[-1] + 1) / 6

  def error(compensation):
    pruned = paoding.prune(
      model,
      sparsity,
      method=paoding.Method('reconstruction', 'greedy', compensation),
      input_range=(-1.0, 1.0),
      step_sparsity=1.0,
      verbose=0,
      distillation=False,
    )
    x = testing.samples(shape, 20).astype(np.float32)
    wanted, found = model(x).numpy(), pruned(x).numpy()
    return np.square(wanted - found).mean() / wanted.var()

  found = error('least_squares')
  # Depthwise kernels differ from channel to channel: no mixture is exact, and
  # under padding a constant is none.
  assert found < (0.5 if 'Separable' in name or 'causal' in name else 0.03)
  assert found < 0.7 * error('none')


@pytest.mark.parametrize('name', [n for n in CONSUMERS if n == 'Conv3D'])
def test_patches_of_volumes_are_what_the_kernel_meets(name):
  shape, _, consumer = CONSUMERS[name]()
  inputs = keras.Input(shape)
  model = testing.fill(keras.Model(inputs, consumer(inputs)))
  x = testing.samples(shape, 3).astype(np.float32)
  op = build_graph(model).nodes[0].op
  rows = lib.row_samples(op, x, 0)
  kernel, bias = consumer.get_weights()
  wanted = model(x).numpy().reshape(-1, 4)
  np.testing.assert_allclose(
    rows @ kernel.reshape(-1, 4) + bias, wanted, rtol=1e-3, atol=1e-4
  )
