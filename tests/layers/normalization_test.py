"""Batch normalization: its inference form."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.ops import Opaque, Scale


@pytest.mark.parametrize('center', [True, False])
@pytest.mark.parametrize('scale', [True, False])
@pytest.mark.parametrize('shape', [(4,), (3, 4)])
def test_it_is_a_scale(center, scale, shape):
  layer = keras.layers.BatchNormalization(
    center=center, scale=scale, epsilon=0.01
  )
  model = testing.fill(keras.Sequential([keras.Input(shape), layer]), 2)
  graph = build_graph(model)
  (node,) = graph.nodes
  assert isinstance(node.op, Scale)
  x = testing.samples(shape, 20).astype(np.float32)
  found = testing.forward(graph, read_params(graph), x)[graph.outputs[0]]
  np.testing.assert_allclose(
    found, testing.answers(model, x), rtol=1e-4, atol=1e-5
  )


def test_other_axes_are_not_guessed():
  layer = keras.layers.BatchNormalization(axis=1)
  model = keras.Sequential([keras.Input((3, 4)), layer])
  (node,) = build_graph(model).nodes
  assert isinstance(node.op, Opaque)
  assert 'another axis' in node.op.reason
