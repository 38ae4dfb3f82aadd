"""Multiply-accumulates by hand, and what a unit really saves."""

from __future__ import annotations

import numpy as np

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.costs import unit_costs
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


def network():
  inputs = keras.Input((6, 6, 2))
  x = _layers.Conv2D(8, 3, use_bias=False, name='conv')(inputs)  # 4 x 4
  x = _layers.DepthwiseConv2D(3, padding='same', use_bias=False)(x)
  x = _layers.Conv2DTranspose(4, 2, 2, use_bias=False, name='up')(x)  # 8 x 8
  x = _layers.GlobalAveragePooling2D()(x)
  return testing.fill(
    keras.Model(inputs, _layers.Dense(3, use_bias=False, name='end')(x))
  )


def test_macs_by_hand():
  conv, depth = 16 * 9 * 2 * 8, 16 * 9 * 8
  up, end = 16 * 4 * 8 * 4, 4 * 3
  assert paoding.report.count_macs(network()) == conv + depth + up + end


def test_a_unit_costs_what_its_removal_saves():
  model = network()
  graph = build_graph(model)
  groups, params = list(find_groups(graph).groups), read_params(graph)
  alive = {group.name: np.ones(group.size, bool) for group in groups}
  for cost, count in (
    ('parameters', lambda m: m.count_params()),
    ('macs', paoding.report.count_macs),
  ):
    found = unit_costs(graph, groups, params, alive, cost)
    for group in groups:
      one = {group.name[0]: 1.0 / group.size}
      small = paoding.prune(model, one, method='l1', verbose=0)
      saved = count(model) - count(small)
      np.testing.assert_allclose(found[group.name], saved, rtol=1e-9)


def attending():
  inputs = keras.Input((5, 6))
  x = _layers.MultiHeadAttention(4, 3, 2, name='heads')(inputs, inputs[:, :3])
  x = _layers.LayerNormalization()(x)
  x = _layers.Dense(8, name='front')(x)
  x = _layers.Flatten()(_layers.Attention()([x, x]))
  return testing.fill(keras.Model(inputs, _layers.Dense(2, name='end')(x)))


def test_macs_of_attention_by_hand():
  projections = 6 * 4 * (5 * 3 + 3 * 3 + 3 * 2) + 5 * 4 * 2 * 6
  pairs = 5 * 3 * 4 * (3 + 2)
  front = 5 * 6 * 8 + 5 * 5 * (8 + 8)
  wanted = projections + pairs + front + 5 * 8 * 2
  assert paoding.report.count_macs(attending()) == wanted


def test_a_head_costs_what_its_removal_saves():
  model = attending()
  graph = build_graph(model)
  groups, params = list(find_groups(graph).offered), read_params(graph)
  alive = {group.name: np.ones(group.size, bool) for group in groups}
  found = unit_costs(graph, groups, params, alive, 'macs')
  for group in groups:
    one = {group.name[0]: 1.0 / group.size}
    small = paoding.prune(model, one, method='l1', verbose=0)
    saved = paoding.report.count_macs(model) - paoding.report.count_macs(small)
    assert found[group.name] == saved
