"""Activations as Keras writes them, lowered to what they compute."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.ops import Elementwise, MatMul, Opaque, Softmax

_layers = keras.layers
_NAMES = [*testing.ACTIVATIONS, 'swish', 'softmax']
_FUNCTIONS = [
  tf.nn.relu,
  tf.nn.relu6,
  tf.nn.leaky_relu,
  tf.nn.elu,
  tf.nn.selu,
  tf.nn.sigmoid,
  tf.nn.tanh,
  tf.nn.softplus,
  tf.nn.softsign,
  tf.nn.gelu,
  tf.nn.silu,
  tf.nn.softmax,
  tf.identity,
]
_LAYERS = [
  _layers.ReLU(),
  _layers.ReLU(max_value=1.5, negative_slope=0.25),
  _layers.LeakyReLU(0.3),
  _layers.ELU(0.7),
  _layers.Softmax(),
  _layers.Softmax(axis=-1),
  _layers.Softmax(axis=[1]),
  *[_layers.Activation(name) for name in _NAMES],
]


def check(*layers):
  """The lowered graph computes what Keras computes."""
  model = keras.Sequential([keras.Input((6,)), *layers])
  testing.fill(model, scale=2.0)
  graph = build_graph(model)
  x = testing.samples((6,), 30, -3, 3).astype(np.float32)
  found = testing.forward(graph, read_params(graph), x)[graph.outputs[0]]
  np.testing.assert_allclose(
    found, testing.answers(model, x), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('activation', [*_NAMES, *_FUNCTIONS])
def test_fused_activations(activation):
  check(_layers.Dense(5, activation=activation))


@pytest.mark.parametrize('layer', _LAYERS)
def test_activation_layers(layer):
  check(type(layer).from_config(layer.get_config()))


@pytest.mark.parametrize(
  'apply',
  [_layers.Softmax(1), _layers.Softmax(-2), lambda x: tf.nn.softmax(x, 1)],
)
def test_softmax_over_steps(apply):
  """Bounds hold as well, though all steps have the same at first."""
  inputs = keras.Input((5, 3))
  shares = apply(_layers.Dense(2, name='scores')(inputs))
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(shares)), scale=2.0)
  graph = build_graph(model)
  x = testing.samples((5, 3), 30, -3, 3).astype(np.float32)
  found = testing.forward(graph, read_params(graph), x)[graph.outputs[0]]
  answers = testing.answers(model, x)
  np.testing.assert_allclose(found, answers, rtol=1e-4, atol=1e-5)
  other = keras.models.clone_model(model)
  other.set_weights([0.9 * w for w in model.get_weights()])
  bound = paoding.deviation_bound(model, other, (-3.0, 3.0))
  assert (np.abs(testing.answers(other, x) - answers) <= bound).all()


@pytest.mark.parametrize(
  'make',
  [
    lambda x: _layers.Softmax([1, 2])(x),
    lambda x: tf.nn.softmax(x, 0),
    lambda x: _layers.Softmax(1)(_layers.Dense(1)(x)),  # who knows how many
  ],
)
def test_softmax_over_what_is_not_known(make):
  inputs = keras.Input((None, 3))
  model = keras.Model(inputs, make(inputs))
  assert isinstance(build_graph(model).nodes[-1].op, Opaque)


@pytest.mark.parametrize(
  'activation', [lambda z: z**2, tf.math.sin, tf.math.atan]
)
def test_other_functions_are_not_guessed(activation):
  layer = _layers.Dense(5, activation=activation)
  model = keras.Sequential([keras.Input((6,)), layer])
  product, node = build_graph(model).nodes
  assert isinstance(product.op, MatMul)  # what it reads may leave
  assert isinstance(node.op, Opaque)
  assert 'activation that is not known' in node.op.reason


def test_kinds():
  model = keras.Sequential(
    [keras.Input((6,)), _layers.ReLU(), _layers.Softmax()]
  )
  kinds = [type(node.op) for node in build_graph(model).nodes]
  assert kinds == [Elementwise, Softmax]


@dataclasses.dataclass
class Unhashable:
  factor: float = 2.0

  def __call__(self, z):
    return self.factor * z


def test_callables_that_cannot_be_hashed_are_not_guessed():
  layer = _layers.Dense(5, activation=Unhashable(), name='odd')
  *_, node = build_graph(keras.Sequential([keras.Input((6,)), layer])).nodes
  assert isinstance(node.op, Opaque)
  assert "Dense 'odd' has an activation that is not known" in node.op.reason
