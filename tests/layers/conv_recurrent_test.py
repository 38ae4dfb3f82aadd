"""Recurrent layers of maps: their channels leave, and those in front."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tests.layers.recurrent_test import check_forms, groups, samples
from tfmot_paoding.bounds.whole_range import propagate, propagate_constants
from tfmot_paoding.compat import keras
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers
pytestmark = pytest.mark.filterwarnings(
  'ignore:Pruning has left few',
  'ignore:`input_range`',
  'ignore:.*leaves sizes of its inputs open',
)
MAPS = {
  'sequence': lambda: L.ConvLSTM2D(4, 3, return_sequences=True, name='unit'),
  'last step': lambda: L.ConvLSTM2D(4, 3, padding='same', name='unit'),
  'strides': lambda: L.ConvLSTM2D(
    4, (3, 2), 2, return_state=True, use_bias=False, name='unit'
  ),
  'backwards': lambda: L.ConvLSTM2D(
    4,
    2,
    dilation_rate=2,
    go_backwards=True,
    return_state=True,
    return_sequences=True,
    recurrent_activation='sigmoid',
    name='unit',
  ),
}


def behind(tensors) -> tf.Tensor:
  found = [L.Dense(3)(L.Flatten()(x)) for x in tf.nest.flatten(tensors)]
  return found[0] if len(found) == 1 else L.Add()(found)


def model(layer, shape=(3, 6, 5, 2), seed=3) -> keras.Model:
  inputs = keras.Input(shape)
  conv = {2: L.Conv1D, 3: L.Conv2D, 4: L.Conv3D}[len(shape) - 1]
  x = L.TimeDistributed(conv(6, 1, activation='relu'), name='front')(inputs)
  return testing.fill(keras.Model(inputs, behind(layer(x))), seed)


@pytest.mark.parametrize('name', MAPS)
def test_channels_leave_and_nothing_else_changes(name):
  net = model(MAPS[name]())
  assert groups(net)[0] == {'front': 6, 'unit': 4}
  small = check_forms(net)
  assert small.get_layer('unit').filters == 2
  assert small.get_layer('front').layer.filters == 3
  again = keras.models.clone_model(small)
  assert again.get_layer('unit').filters == 2


@pytest.mark.parametrize('method', ['reconstruction', 'impact'])
def test_other_methods_prune_them(method):
  assert check_forms(model(MAPS['sequence']()), method).count_params()


@pytest.mark.parametrize(
  ('layer', 'shape'),
  [(L.ConvLSTM1D, (3, 6, 2)), (L.ConvLSTM3D, (2, 4, 3, 3, 2))],
)
def test_of_one_and_three_axes(layer, shape):
  inner = layer(4, 2, padding='same', name='unit')
  if layer is L.ConvLSTM1D:
    net = model(inner, shape)
  else:
    inputs = keras.Input(shape)
    net = testing.fill(keras.Model(inputs, behind(inner(inputs))))
  assert check_forms(net).get_layer('unit').filters == 2


def test_one_behind_the_other_with_states_to_begin_with():
  inputs = keras.Input((3, 5, 5, 2))
  settings = {'padding': 'same', 'return_sequences': True}
  x, *states = L.ConvLSTM2D(4, 3, return_state=True, name='one', **settings)(
    inputs
  )
  x = L.BatchNormalization()(x)
  x = L.ConvLSTM2D(4, 3, name='two', **settings)(x, initial_state=states)
  net = testing.fill(keras.Model(inputs, behind(x)))
  assert groups(net)[0] == {'one': 4}  # tied with what they begin
  small = check_forms(net)
  assert small.get_layer('one').filters == small.get_layer('two').filters == 2


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('width', [0.0, 0.2, 1.0])
def test_bounds_contain_samples(name, width):
  net = model(MAPS[name](), seed=5)
  graph = build_graph(net)
  centre = np.random.default_rng(1).uniform(-1, 1, (3, 6, 5, 2))
  box = Interval(centre - width, centre + width)
  found = propagate(graph, read_params(graph), [box])
  x = np.random.default_rng(2).uniform(box.low, box.high, (60, 3, 6, 5, 2))
  values = np.asarray(net(x.astype(np.float32)))
  low, high = found[graph.outputs[0]]
  assert np.all((low <= values + 1e-5) & (values <= high + 1e-5))


@pytest.mark.parametrize('name', ['sequence', 'backwards'])
def test_changes_near_samples_are_bounded(name):
  net = model(MAPS[name]())
  small = paoding.prune(net, 0.25, method='impact', input_range=(-1, 1))
  x = samples(net, 3)
  bound = paoding.deviation_bound(
    net, small, (-1, 1), x=x, epsilon=0.02, method='ibp'
  )
  rng = np.random.default_rng(0)
  for _ in range(10):
    moved = np.clip(x + rng.choice([-0.02, 0.02], x.shape), -1, 1)
    moved = moved.astype(np.float32)
    gap = np.abs(np.asarray(net(moved)) - np.asarray(small(moved)))
    assert np.all(gap <= bound + 1e-5)


def test_a_channel_without_a_candidate_is_zero():
  net = model(MAPS['sequence']())
  layer = net.get_layer('unit')
  kernel, back, bias = layer.get_weights()
  for part in (kernel, back, bias):
    part[..., 2 * 4 + 1] = 0.0  # the candidate of unit 1
  layer.set_weights([kernel, back, bias])
  graph = build_graph(net)
  (given,) = graph.layer_outputs['unit',]
  fixed = propagate_constants(graph, read_params(graph))[given]
  assert np.broadcast_to(fixed, (3, 4, 3, 4))[..., 1].max() == 0
  assert np.isnan(fixed[..., 0]).all()
  assert paoding.compact(net).get_layer('unit').filters == 3


def test_multiplications_are_counted():
  net = model(MAPS['last step']())
  # What comes in, and what is fed back, at 3 steps of 6 x 5 positions.
  unit = 3 * 30 * 9 * 16 * (6 + 4)
  front, last = 3 * 30 * 2 * 6, 30 * 4 * 3
  assert graph_macs(build_graph(net)) == unit + front + last


def test_files_run():
  small = paoding.prune(
    model(MAPS['last step']()), 0.5, method='l1', input_range=(-1, 1)
  )
  data = paoding.convert_to_tflite(small)
  x = samples(small, 4)
  (found,) = paoding.tflite.run_tflite(
    data, {small.input_names[0]: x}, outputs=small.output_names
  )
  np.testing.assert_allclose(found, small(x), atol=1e-5)


@pytest.mark.parametrize(
  ('settings', 'why'),
  [
    ({'data_format': 'channels_first'}, 'channels in front of its positions'),
    ({'activation': 'softmax'}, 'activation that is not known'),
  ],
)
def test_what_is_left_alone_is_said(settings, why):
  net = model(L.ConvLSTM2D(4, 2, name='unit', **settings))
  assert why in groups(net)[1]['unit',]
