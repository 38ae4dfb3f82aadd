"""Dense layers: lowering and resizing."""

from __future__ import annotations

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import handler_of
from tfmot_paoding.ops import MatMul, WeightRef


def lowered(layer):
  layer.build((None, 3))
  return handler_of(layer).lower(layer, ('here',), [(3,)], (4,))


def test_kernel_and_bias_by_path():
  (product,) = lowered(keras.layers.Dense(4))
  assert product == MatMul(
    WeightRef(('here',), 'kernel'), WeightRef(('here',), 'bias')
  )


def test_no_bias():
  (product,) = lowered(keras.layers.Dense(4, use_bias=False))
  assert product.bias is None
  assert list(product.weights()) == [product.kernel]


def test_resize_changes_units_alone():
  layer = keras.layers.Dense(4, 'relu', kernel_regularizer='l2')
  config = handler_of(layer).resize(layer, layer.get_config(), (2,))
  assert config == {**layer.get_config(), 'units': 2}


def test_subclasses_are_not_taken_for_dense():
  class Odd(keras.layers.Dense):
    def call(self, inputs):
      return super().call(inputs) ** 2

  layer = Odd(4)
  (op,) = handler_of(layer).lower(layer, ('odd',), [(3,)], (4,))
  assert 'Odd' in op.reason
