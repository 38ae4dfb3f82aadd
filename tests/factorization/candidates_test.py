"""Which layers can become chains, and what is said of others."""

from __future__ import annotations

import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.candidates import find_candidates
from tfmot_paoding.factorization.forms import Size
from tfmot_paoding.network.network import Network

_layers = keras.layers


class Scaled(_layers.Dense):
  """A Dense that computes something else."""

  def call(self, inputs):
    return 2 * super().call(inputs)


def found_in(*layers, shape=(6, 6, 4)):
  model = keras.Sequential([keras.Input(shape), *layers])
  return find_candidates(Network.of(testing.fill(model)))


def test_sizes_are_those_of_the_layers():
  found = found_in(
    _layers.Conv2D(5, 3, strides=2, padding='same', name='a'),
    _layers.Conv2D(7, 1, name='b'),
    _layers.Flatten(),
    _layers.Dense(8, name='c'),
    _layers.Dense(3, name='d'),
    _layers.Softmax(),
  )
  assert {one.name: one.size for one in found.layers} == {
    'a': Size(9, 4, 5, entries=36, positions=9),
    'b': Size(1, 5, 7, entries=9, positions=9),
    'c': Size(1, 63, 8),
    'd': Size(1, 8, 3),
  }
  assert found.outputs == {'d'}
  assert not found.left_alone
  assert [one.name for one in found.hidden()] == ['a', 'b', 'c']


@pytest.mark.parametrize(
  ('layer', 'reason'),
  [
    (lambda: _layers.DepthwiseConv2D(3, name='a'), 'DepthwiseConv2D; only'),
    (lambda: _layers.SeparableConv2D(4, 3, name='a'), 'SeparableConv2D; only'),
    (lambda: _layers.Conv2D(4, 3, groups=2, name='a'), 'groups of channels'),
    (lambda: _layers.Conv2D(4, 3, groups=4, name='a'), 'groups of channels'),
    (lambda: Scaled(4, name='a'), 'Scaled; only'),
    (
      lambda: _layers.Dense(4, kernel_constraint='non_neg', name='a'),
      'has a constraint',
    ),
    (
      lambda: _layers.TimeDistributed(_layers.Dense(4), name='a'),
      'TimeDistributed; only',
    ),
  ],
)
def test_others_are_left_alone_with_the_reason(layer, reason):
  found = found_in(layer(), _layers.Flatten(), _layers.Dense(2, name='last'))
  assert [one.name for one in found.layers] == ['last']
  assert reason in found.left_alone['a']


def test_shared_layers_and_kernels_are_left_alone():
  inputs = keras.Input((5,))
  shared = _layers.Dense(5, name='shared')
  own, tied = _layers.Dense(5, name='own'), _layers.Dense(5, name='tied')
  x = shared(shared(inputs))
  outputs = _layers.Dense(2, name='last')(tied(own(x)))
  tied.kernel = own.kernel
  found = find_candidates(Network.of(keras.Model(inputs, outputs)))
  assert 'called 2 times' in found.left_alone['shared']
  assert [one.name for one in found.layers] in (['last'], ['own', 'last'])


def test_layers_inside_nested_models_are_found():
  inner = keras.Sequential(
    [keras.Input((5,)), _layers.Dense(6, name='a')], name='inner'
  )
  found = found_in(inner, _layers.Dense(2, name='last'), shape=(5,))
  assert [one.name for one in found.layers] == ['inner/a', 'last']


def test_outputs_are_found_behind_sums():
  inputs = keras.Input((5,))
  x = _layers.Dense(6, name='hidden')(inputs)
  sums = _layers.Add()(
    [_layers.Dense(3, name='one')(x), _layers.Dense(3, name='other')(x)]
  )
  outputs = _layers.Activation('softmax')(sums)
  found = find_candidates(Network.of(keras.Model(inputs, outputs)))
  assert found.outputs == {'one', 'other'}
