"""Convolutions inside a layer: units between them leave as elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tests.inner_layers import ConvBlock, Inverted
from tfmot_paoding import ops as paoding_ops
from tfmot_paoding.compat import keras
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

layers = keras.layers
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')
KINDS = {
  'strided': lambda: ConvBlock(8, 6, name='unit'),
  'plain': lambda: ConvBlock(8, 6, strides=1, name='unit'),
  'inverted': lambda: Inverted(8, name='unit'),
}


def model(kind, size=7) -> keras.Model:
  inputs = keras.Input((size, size, 3))
  x = layers.Conv2D(6, 3, activation='relu', name='stem')(inputs)
  x = layers.ReLU()(KINDS[kind]()(x))
  x = layers.GlobalAveragePooling2D()(x)
  net = keras.Model(inputs, layers.Dense(3, name='logits')(x))
  return testing.fill(net, 3, 0.5)


def samples(net, count=60) -> np.ndarray:
  rng = np.random.default_rng(0)
  return rng.uniform(0, 1, (count, *net.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize('kind', KINDS)
def test_units_inside_are_a_group(kind):
  grouping = find_groups(build_graph(model(kind)))
  sizes = {group.name: group.size for group in grouping.groups}
  behind = {} if kind == 'inverted' else {('unit', '2'): 6}
  assert sizes == {('stem',): 6, ('unit',): 8, **behind}
  assert list(grouping.left_alone) == [('logits',)]


def test_costs_count_every_window():
  stem = 5 * 5 * 9 * 3 * 6
  strided = 3 * 3 * 9 * 6 * 8 + 2 * 2 * 4 * 8 * 6
  assert graph_macs(build_graph(model('strided'))) == stem + strided + 18
  inverted = 25 * (6 * 8 + 9 * 8 + 8 * 6)
  assert graph_macs(build_graph(model('inverted'))) == stem + inverted + 18


@pytest.mark.parametrize(
  ('method', 'kind'),
  testing.paired(['reconstruction', 'impact', 'folding', 'l1'], KINDS),
)
def test_methods_prune_and_bounds_hold(kind, method):
  net = model(kind)
  small = paoding.prune(
    net, 0.5, method=method, step_sparsity=0.25, distillation=False, verbose=0
  )
  assert small.get_layer('unit').hidden == 4
  assert small.get_layer('stem').filters == 3
  x = samples(net)
  bound = paoding.deviation_bound(net, small, input_range=(0, 1))
  assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-5)


@pytest.mark.parametrize('method', ['reconstruction', 'l1'])
def test_a_block_is_pruned_as_two_layers(method):
  one = model('strided')
  inputs = keras.Input((7, 7, 3))
  x = layers.Conv2D(6, 3, activation='relu')(inputs)
  x = layers.Conv2D(8, 3, 2, 'same', activation='relu')(x)
  x = layers.Conv2D(6, 2, activation='relu')(x)
  x = layers.GlobalAveragePooling2D()(x)
  two = keras.Model(inputs, layers.Dense(3)(x))
  two.set_weights(one.get_weights())
  pruned = [
    paoding.prune(net, 0.5, method=method, verbose=0, distillation=False)
    for net in (one, two)
  ]
  x = samples(one)
  np.testing.assert_allclose(pruned[0](x), pruned[1](x), atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_wrapped_stripped_and_compact_agree_and_are_converted(kind):
  net = model(kind)
  wrapped = paoding.prune_low_saliency(net, method='saliency')
  paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = samples(net)
  np.testing.assert_allclose(wrapped(x), stripped(x), atol=1e-5)
  np.testing.assert_allclose(stripped(x), small(x), atol=1e-5)
  assert small.count_params() < 0.6 * net.count_params()
  data = paoding.convert_to_tflite(small)
  found = paoding.tflite.compare_tflite(
    small, data, inputs={small.input_names[0]: x}
  )
  assert found.largest < 1e-4


@pytest.mark.parametrize('kind', ['strided', 'inverted'])
def test_certificates_follow_single_samples(kind):
  net = model(kind)
  x = samples(net, 3)
  low, high = paoding.robustness.output_bounds(
    net, x, 0.02, input_range=(0, 1), method='crown', verbose=0
  )
  moved = np.clip(
    x + np.random.default_rng(1).uniform(-0.02, 0.02, x.shape), 0, 1
  )
  answers = net(moved.astype(np.float32)).numpy()
  assert np.all((low <= answers + 1e-5) & (answers <= high + 1e-5))
  assert np.all(high - low < 1)


def test_where_sizes_are_open_it_is_named():
  grouping = find_groups(build_graph(model('strided', None)))
  assert 'sizes that are not known' in grouping.left_alone['unit',]


def test_a_kernel_for_other_channels_is_an_error():
  class Wrong(ConvBlock):
    def call(self, x):
      return tf.nn.relu(super().call(x))

  from tests.inner_layers import ConvBlockHandler
  from tfmot_paoding.layers import base

  class Handler(ConvBlockHandler):
    def lower_into(self, layer, emit):
      (x,) = emit.inputs
      weight = emit.weight('second')
      return emit(paoding_ops.convolution(x.shape, weight, size=(2, 2)), x)

  KINDS['wrong'] = lambda: Wrong(8, 6, name='unit')
  base.register_handler(Wrong)(Handler)
  try:
    with pytest.raises(ValueError, match="'second' is for 8 channels"):
      build_graph(model('wrong'))
  finally:
    del base._HANDLERS[Wrong], KINDS['wrong']
