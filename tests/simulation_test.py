"""The simulation of a network beside Keras."""

from __future__ import annotations

import numpy as np

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import read_params
from tfmot_paoding.simulation import Simulation

_layers = keras.layers


def test_a_layer_called_twice_in_a_row_runs_twice():
  shared = _layers.Dense(4, 'tanh', name='shared')
  inputs = keras.Input((4,))
  x = _layers.Dense(3, name='end')(shared(shared(inputs)))
  model = testing.fill(keras.Model(inputs, x))
  x = testing.samples((4,), 20).astype(np.float32)
  run = Simulation(model, [x])
  out = run.graph.outputs[0]
  found = run.run(read_params(run.graph), [out])[out]
  np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)
