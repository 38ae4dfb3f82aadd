"""What a dict by the name of a layer says of groups of units."""

from __future__ import annotations

import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.named_layers import by_group, makers, with_named
from tfmot_paoding.network.network import Network

_layers = keras.layers


def tied() -> Network:
  """Two layers whose sum ties them, and one behind."""
  inputs = keras.Input((5,))
  one = _layers.Dense(6, 'relu', name='one')(inputs)
  two = _layers.Dense(6, 'relu', name='two')(inputs)
  x = _layers.Dense(4, 'relu', name='behind')(_layers.Add()([one, two]))
  return Network.of(testing.fill(keras.Model(inputs, _layers.Dense(2)(x))))


def stream() -> Network:
  """Units that layer normalization measures, and hidden ones."""
  inputs = keras.Input((5,))
  x = _layers.Dense(6, name='stream')(inputs)
  hidden = _layers.LayerNormalization()(x)
  hidden = _layers.Dense(8, 'relu', name='hidden')(hidden)
  x = _layers.Add()([x, _layers.Dense(6)(hidden)])
  x = _layers.LayerNormalization()(x)
  return Network.of(testing.fill(keras.Model(inputs, _layers.Dense(2)(x))))


def said(network: Network, named: dict[str, float]) -> dict[str, float]:
  groups = network.groups.groups
  found = by_group(network.graph, groups, named, 'sparsity')
  return {'/'.join(layer): share for layer, share in found.items()}


def test_any_layer_of_tied_ones_stands_for_all():
  network = tied()
  first = makers(network.groups.groups)
  assert first['one'] == first['two'] != first['behind']
  assert said(network, {'two': 0.5}) == {'one': 0.5}
  assert said(network, {'two': 0.5, 'one': 0.5}) == {'one': 0.5}


def test_a_star_is_for_those_that_are_not_named():
  assert said(tied(), {'*': 0.25, 'two': 0.5}) == {'one': 0.5, 'behind': 0.25}
  assert said(tied(), {'*': 0.25}) == {'one': 0.25, 'behind': 0.25}


def test_a_star_for_nobody_has_no_effect_and_says_so():
  named = {'*': 0.1, 'two': 0.5, 'behind': 0.3}
  with pytest.warns(UserWarning, match='no effect. Leave it out'):
    assert said(tied(), named) == {'one': 0.5, 'behind': 0.3}


@pytest.mark.parametrize(
  ('named', 'message'),
  [
    ({}, 'dict of layer name to sparsity must name a layer.*behind, one, two'),
    ({'dense': 0.5}, "'dense' cannot be pruned"),
    ({'three': 0.5}, "'three' does not exist"),
    ({'one': 0.5, 'two': 0.25}, "'one' and 'two' are tied"),
  ],
)
def test_bad_dicts(named, message):
  keras.backend.clear_session()
  with pytest.raises(ValueError, match=message):
    said(tied(), named)


def test_what_waits_for_a_name_comes_with_it():
  groups = stream().groups.groups

  def names(*given):
    return {'/'.join(group.layer) for group in with_named(groups, given)}

  assert names() == names('*', 'nobody', 'hidden') == {'hidden'}
  assert names('stream') == {'stream', 'hidden'}
