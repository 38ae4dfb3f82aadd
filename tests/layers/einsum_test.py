"""EinsumDense: what it makes and reads along its last axes are units."""

from __future__ import annotations

import pytest

from tests import testing
from tests.layers.recurrent_test import check_forms, groups
from tfmot_paoding.compat import keras

L = keras.layers
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')


def unit(equation, shape, **settings):
  return L.EinsumDense(equation, shape, name='unit', **settings)


def back(x):
  return L.EinsumDense('abcd,cde->abe', (None, 7), bias_axes='e', name='back')(
    x
  )


KNOWN = {
  'last axis': (
    unit('abc,cd->abd', (None, 8), bias_axes='d', activation='relu'),
    8,
    (None, 4),
  ),
  'ellipsis': (unit('...c,cd->...d', 8), 8, (4,)),
  'sizes given': (unit('abc,cd->abd', (5, 8)), 8, (5, 4)),
  'heads': (
    unit('abc,cde->abde', (None, 4, 3), bias_axes='de', activation='tanh'),
    4,
    (None, 2, 3),
  ),
}


@pytest.mark.parametrize('name', KNOWN)
def test_units_leave(name):
  layer, size, shape = KNOWN[name]
  layer = type(layer).from_config(layer.get_config())
  inputs = keras.Input((5, 4))
  x = layer(L.Dense(6, 'relu', name='front')(inputs))
  x = back(x) if len(x.shape) == 4 else x
  net = testing.fill(
    keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
  )
  sizes, _ = groups(net)
  assert sizes['front'] == 6
  assert sizes['unit'] == size
  small = check_forms(net, 'saliency')
  config = small.get_layer('unit').get_config()
  assert tuple(config['output_shape']) == shape
  assert config['activation'] == layer.get_config()['activation']


UNKNOWN = {
  'another axis': (unit('abc,bd->adc', (7, 6)), 'no product of its last axes'),
  'kernel turned': (unit('abc,dc->abd', (None, 7)), 'no product of its last'),
  'axis in the middle': (unit('abc,cd->adb', (7, 5)), 'no product of its last'),
  'bias by position': (
    unit('abc,cd->abd', (5, 7), bias_axes='bd'),
    'a bias along some of the axes',
  ),
}


@pytest.mark.parametrize('name', UNKNOWN)
def test_other_equations_are_left_alone(name):
  layer, reason = UNKNOWN[name]
  layer = type(layer).from_config(layer.get_config())
  inputs = keras.Input((5, 4))
  x = L.Flatten()(layer(L.Dense(6, 'relu', name='front')(inputs)))
  _, left_alone = groups(keras.Model(inputs, L.Dense(3)(x)))
  assert reason in left_alone['unit',]
  assert reason in left_alone['front',]
