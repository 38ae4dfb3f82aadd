"""Recurrent layers answer by their graph as they do without one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network import looping_calls
from tfmot_paoding.network.looping_calls import LoopingCalls, loops

L = keras.layers
_ASKED = looping_calls._EAGER + 3


def _recurrent() -> list:
  """Calls of recurrent layers: states, masks and several outputs."""
  x, state = keras.Input((5, 3)), keras.Input((4,))
  masked = L.Masking()(x)
  rows, last = L.GRU(4, return_sequences=True, return_state=True)(
    masked, initial_state=state
  )
  both = L.Bidirectional(L.LSTM(3, return_sequences=True))(rows)
  model = keras.Model([x, state], [L.Dense(2)(both), last])
  kinds = (L.GRU, L.Bidirectional, L.Dense)
  return [la.inbound_nodes[0] for la in model.layers if isinstance(la, kinds)]


def test_values_masks_and_weights_are_those_of_the_layer():
  rng = np.random.default_rng(0)
  calls, nodes = LoopingCalls(), _recurrent()
  for asked in range(_ASKED):
    rows = 2 + asked  # a graph takes any number
    for number, node in enumerate(nodes):
      sources = [
        tf.constant(rng.normal(size=(rows, *x.shape[1:])), tf.float32)
        for x in node.keras_inputs
      ]
      sources[0]._keras_mask = tf.constant(rng.random((rows, 5)) < 0.6)
      for weight in node.layer.weights:
        weight.assign(rng.normal(size=weight.shape))
      made = calls(number, node, sources, False)
      wanted = tf.nest.flatten(compat.call_again(node, sources, False))
      assert len(made) == len(wanted)
      for x, y in zip(made, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
        masks = [getattr(a, '_keras_mask', None) for a in (x, y)]
        assert (masks[0] is None) == (masks[1] is None)
        if masks[0] is not None:
          np.testing.assert_array_equal(*masks)
  assert {number for number, *_ in calls._traced} == {0, 1}


def test_layers_of_a_users_run_as_they_are():
  class Own(L.GRU):
    def call(self, inputs, **kwargs):
      return super().call(inputs, **kwargs)

  assert not loops(Own(3))
  assert not loops(L.Dense(3))
  assert loops(L.Bidirectional(L.LSTM(3)))
  assert loops(keras.Sequential([L.Input((3, 2)), L.SimpleRNN(3)]))
