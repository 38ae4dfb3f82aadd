"""Peaks of memory: counted by hand."""

from __future__ import annotations

import numpy as np

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.memory_peaks import activation_peaks

_layers = keras.layers


def test_peaks_by_hand():
  """Elements alive: 288 + 2304 at the first, 2304 + 128 at the second."""
  x = inputs = keras.Input((12, 12, 2))
  x = _layers.Conv2D(16, 3, padding='same', activation='relu', name='first')(x)
  x = _layers.Conv2D(8, 3, strides=3, activation='relu', name='second')(x)
  x = _layers.Flatten()(x)
  x = _layers.Dense(60, activation='relu', name='third')(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(4)(x)))
  graph = build_graph(model)
  found = activation_peaks(graph, find_groups(graph).groups)
  most = 288 + 2304
  assert found['first'] == 1.0
  np.testing.assert_allclose(found['second'], (2304 + 128) / most)
  np.testing.assert_allclose(found['third'], (128 + 60) / most)


def test_a_branch_counts_as_long_as_it_is_waited_for():
  inputs = keras.Input((10,))
  a = _layers.Dense(100, name='wide')(inputs)
  b = _layers.Dense(20, name='narrow')(inputs)
  c = _layers.Dense(20, name='late')(b)
  x = _layers.Concatenate()([a, c])
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  graph = build_graph(model)
  found = activation_peaks(graph, find_groups(graph).groups)
  # The wide one is alive at the concatenation: 100 + 20 + 120.
  assert found['wide'] == found['late'] == 1.0
  assert found['narrow'] < 1.0
