"""What the rest of the package is told of tf_keras and TFMOT."""

from __future__ import annotations

import pytest
import tensorflow_model_optimization as tfmot

from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras


def test_keras_is_the_one_that_tfmot_runs_on():
  wrapped = tfmot.sparsity.keras.prune_low_magnitude(testing.mlp())
  assert isinstance(wrapped, keras.Model)
  assert keras.__name__.startswith(('tf_keras', 'keras.api._v2'))


def test_keras_3_objects_are_told_apart():
  keras3 = pytest.importorskip('keras')
  if not keras3.__version__.startswith('3'):
    pytest.skip('the installed keras is not Keras 3')
  assert compat.is_keras3(keras3.Sequential())
  assert compat.is_keras3(keras3.layers.Dense(2))
  assert not compat.is_keras3(testing.mlp())
  assert not compat.is_keras3(3)


def test_graph_models():
  assert compat.is_graph_model(testing.mlp())
  assert compat.is_graph_model(testing.with_batch_norm())
  assert not compat.is_graph_model(keras.Sequential([keras.layers.Dense(2)]))
  assert not compat.is_graph_model(keras.layers.Dense(2))


def test_nodes_come_inputs_first():
  model = testing.mlp()
  nodes = list(compat.ordered_nodes(model))
  assert nodes[0].is_input
  assert [n.layer.name for n in nodes[1:]] == ['hidden_0', 'hidden_1', 'logits']
  layer, node, tensor = compat.inbound_tensors(nodes[2])[0]
  assert (layer.name, node, tensor) == ('hidden_0', 0, 0)
  assert compat.node_position(nodes[2]) == 0
  layer, node, tensor = compat.tensor_position(model.outputs[0])
  assert (layer.name, node, tensor) == ('logits', 0, 0)


def test_calls_with_more_than_tensors_are_told_apart():
  inputs = keras.Input((4,))
  plain = keras.layers.Dense(2)
  plain(inputs)
  assert compat.takes_plain_tensors(plain._inbound_nodes[0])
  added = inputs + 1.0
  operator = added._keras_history.layer
  assert not compat.takes_plain_tensors(operator._inbound_nodes[0])
