"""A subclass that keeps its parent's call is its parent."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.layers import is_known
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


class MyDense(_layers.Dense, tfmot.sparsity.keras.PrunableLayer):
  """As in TFMOT's guide."""

  def get_prunable_weights(self):
    return [self.kernel]


class Named(_layers.Conv2D):
  """Its own arguments, round trip and all."""

  def __init__(self, filters, kernel_size, label='', **kwargs):
    super().__init__(filters, kernel_size, **kwargs)
    self.label = label

  def get_config(self):
    return {**super().get_config(), 'label': self.label}


class Shifted(_layers.Dense):
  """Another function."""

  def call(self, inputs):
    return super().call(inputs) + 1.0


class Mixed(_layers.Layer):
  def __call__(self, *args, **kwargs):
    return super().__call__(*args, **kwargs)


class ByMixin(_layers.Dense, Mixed):
  """Another function through a base behind its parent."""


class Forgets(_layers.Dense):
  """A copy of it would have no activation."""

  def get_config(self):
    config = super().get_config()
    del config['activation']
    return config


class Bare(_layers.Dense):
  """No config fits it."""

  def __init__(self):
    super().__init__(6, 'relu', name='bare')


class Fixed(_layers.Dense):
  """Its width is its own."""

  def __init__(self, units=6, **kwargs):
    super().__init__(6, **kwargs)


def model_of(layer):
  inputs = keras.Input((4,))
  x = _layers.Dense(5, 'relu', name='front')(inputs)
  return testing.fill(
    keras.Model(inputs, _layers.Dense(2, name='end')(layer(x)))
  )


@pytest.mark.parametrize('method', ('impact', 'reconstruction'))
def test_a_layer_of_the_users_own_is_pruned_like_its_parent(method):
  model = model_of(MyDense(6, 'relu', name='mine'))
  wrapped = paoding.prune_low_saliency(model, method=method)
  history = paoding.run_schedule(wrapped, verbose=0)
  assert (history.units, history.left_alone.keys()) == (11, {'end'})
  small = paoding.compact(strip_pruning(wrapped))
  assert type(small.get_layer('mine')) is MyDense
  assert small.get_layer('mine').units == 3
  x = testing.draw((4,)).astype('float32')
  np.testing.assert_allclose(small(x), wrapped(x), atol=1e-5)


def test_arguments_of_its_own_are_kept():
  inputs = keras.Input((6, 6, 1))
  x = Named(4, 3, 'first', activation='relu', name='mine')(inputs)
  x = _layers.Dense(2)(_layers.Flatten()(x))
  small = paoding.prune(
    testing.fill(keras.Model(inputs, x)), 0.5, method='l1', verbose=0
  )
  assert small.get_layer('mine').filters == 2
  assert small.get_layer('mine').label == 'first'


@pytest.mark.parametrize(
  'layer, why',
  (
    (Shifted(6, name='other'), 'overrides call of Dense'),
    (ByMixin(6, name='other'), 'overrides __call__ of Dense'),
    (Forgets(6, 'relu', name='other'), "loses 'activation'"),
  ),
)
def test_what_is_not_its_parent_is_left_alone_for_a_true_reason(layer, why):
  grouping = find_groups(build_graph(model_of(layer)))
  assert why in grouping.left_alone['other',]
  assert why in grouping.left_alone['front',]
  assert not is_known(layer)


def test_a_layer_that_no_config_makes_is_refused_by_name():
  inputs = keras.Input((4,))
  x = Bare()(_layers.Dense(5, 'relu')(_layers.Dense(5, 'relu')(inputs)))
  model = keras.Model(inputs, _layers.Dense(2)(x))
  with pytest.raises(ValueError, match=r"'bare' of class Bare cannot be made"):
    paoding.prune_low_saliency(model)


def test_a_layer_that_does_not_go_by_its_config_is_not_made_smaller():
  model = model_of(Fixed(name='fixed', activation='relu'))
  with pytest.raises(ValueError, match=r"'fixed'.*units=3 and made it 6"):
    paoding.prune(model, 0.5, verbose=0)
