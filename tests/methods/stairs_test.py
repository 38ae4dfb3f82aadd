"""Stairs: the nearest multiple, the widest of equals, never none at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import testing
from tfmot_paoding.accelerators import ACCELERATORS, NPUS
from tfmot_paoding.compat import keras
from tfmot_paoding.methods import stairs as lib
from tfmot_paoding.methods.stairs import Multiple
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


@given(size=st.integers(1, 300), number=st.integers(1, 40), data=st.data())
def test_the_nearest_of_all_stairs(size, number, data):
  kept = data.draw(st.integers(1, size))
  least = data.draw(
    st.sampled_from(
      [part for part in range(1, number + 1) if not number % part]
    )
  )
  multiple = Multiple(number, least)
  all_of_them = {size, *range(number, size, number), min(least, size)}
  # Of two as near, the wider.
  wanted = min(all_of_them, key=lambda one: (abs(one - kept), -one))
  assert lib.nearest_stair(size, multiple, kept) == wanted
  below = [one for one in all_of_them - {size} if one < kept]
  assert lib.next_stair(multiple, kept) == max(below, default=0)


@pytest.mark.parametrize(
  ('kept', 'wanted'), [(49, 48), (51, 48), (52, 56), (55, 56), (64, 64), (2, 8)]
)
def test_sixty_four_units_in_eights(kept, wanted):
  assert lib.nearest_stair(64, Multiple(8), kept) == wanted


def test_an_own_width_is_a_stair():
  assert lib.nearest_stair(50, Multiple(8), 49) == 50
  assert lib.nearest_stair(5, Multiple(8), 1) == 5


def test_from_stair_to_stair():
  assert [lib.next_stair(Multiple(8), kept) for kept in (50, 48, 9, 8, 3)] == [
    48,
    40,
    8,
    0,
    0,
  ]


def test_one_more_stair_below_the_first():
  """Eight channels of an Ethos-U85 take less than 16, but 24 not than 32."""
  eighty_five = Multiple(16, 8)
  found = [lib.nearest_stair(64, eighty_five, kept) for kept in (1, 11, 12, 24)]
  assert found == [8, 8, 16, 32]
  assert lib.units_to_stair(16, eighty_five, 0.5) == 8
  assert lib.units_to_stair(16, Multiple(16), 0.5) == 0


def test_what_suits_several_layers_has_a_stair_for_all():
  both = Multiple.common([Multiple(16, 8), Multiple(12)])
  assert (both, both.least) == (48, 24)
  halved = Multiple(16, 8).over(2)
  assert (halved, halved.least) == (8, 4)
  assert Multiple.common([]) == Multiple(1)


def multiples(model, multiple_of):
  groups = find_groups(build_graph(model)).groups
  found = lib.group_multiples(groups, lib.checked_multiple(multiple_of))
  return {'/'.join(name): number for name, number in found.items()}


def test_one_number_is_everybodys():
  assert multiples(testing.mlp(), 4) == {'hidden_0': 4, 'hidden_1': 4}
  assert multiples(testing.mlp(), None) == {'hidden_0': 1, 'hidden_1': 1}


def test_a_dict_speaks_of_what_it_names():
  model = testing.mlp()
  said = {'hidden_0': 4, 'hidden_1': 'ethos-u85'}
  assert multiples(model, said) == {'hidden_0': 4, 'hidden_1': 16}
  layer = model.get_layer('hidden_1')
  assert multiples(model, {layer: 3}) == {'hidden_0': 1, 'hidden_1': 3}


def residual():
  """Two convolutions whose units are tied."""
  inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(12, 3, padding='same', name='one')(inputs)
  y = _layers.Conv2D(12, 3, padding='same', name='two')(x)
  x = _layers.Add()([x, y])
  x = _layers.GlobalAveragePooling2D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(3)(x)))


def test_tied_layers_take_the_least_common_multiple():
  assert multiples(residual(), {'one': 4, 'two': 6}) == {'one': 12}


def test_channels_side_by_side_count_together():
  """A depthwise convolution makes two channels of each, next to each other."""
  inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(16, 3, name='conv')(inputs)
  x = _layers.DepthwiseConv2D(3, depth_multiplier=2, name='deep')(x)
  x = _layers.Flatten()(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(3)(x)))
  assert multiples(model, {'deep': 8}) == {'conv': 4}
  assert multiples(model, 8) == {'conv': 8}


def test_blocks_of_a_grouped_convolution_count_apart():
  inputs = keras.Input((6, 6, 4))
  x = _layers.Conv2D(16, 3, name='wide')(inputs)
  x = _layers.Conv2D(32, 3, groups=2, name='grouped')(x)
  x = _layers.GlobalAveragePooling2D()(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(3)(x)))
  assert set(multiples(model, 4).values()) == {4}


def test_heads_are_units_of_several_channels():
  inputs = keras.Input((5, 16))
  x = _layers.MultiHeadAttention(4, 4, name='attention')(inputs, inputs)
  model = keras.Model(inputs, _layers.Dense(3)(x))
  groups = find_groups(build_graph(model)).groups
  heads = [group for group in groups if group.size == 4]
  assert heads
  for group in heads:
    assert lib.group_multiples([group], 8)[group.name] == 2


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (0, 'at least 1'),
    (-8, 'at least 1'),
    (2.5, 'at least 1'),
    (True, 'at least 1'),
    ({'hidden_0': 0}, r"multiple_of\['hidden_0'\]"),
    ({}, 'empty'),
    ('ethos-n78', "Known: 'xnnpack'.*'ethos-u85-2048'"),
    ({'hidden_0': 'npu'}, 'Unknown accelerator'),
    ('auto', 'budget'),
  ],
)
def test_what_is_no_multiple(given, message):
  with pytest.raises(ValueError, match=message):
    lib.checked_multiple(given)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (7, "7 units.*'hidden_1', which has 6"),
    ({'hidden_1': 8}, 'which has 6'),
    ({'nobody': 2}, "'nobody', which does not exist.*hidden_0, hidden_1"),
    ({'logits': 2}, 'no units to prune'),
  ],
)
def test_what_does_not_fit_the_layers(given, message):
  groups = find_groups(build_graph(testing.mlp())).groups
  with pytest.raises(ValueError, match=message):
    lib.check_multiples(groups, given)


def test_an_accelerator_fits_every_layer():
  groups = find_groups(build_graph(testing.mlp())).groups
  lib.check_multiples(groups, 'ethos-u85')
  assert lib.nearest_stair(6, Multiple(16), 3) == 6


def test_each_accelerator_has_its_number_and_says_why():
  for name, one in ACCELERATORS.items():
    assert one.name == name
    assert np.log2(one.multiple) % 1 == 0
    assert one.least is None or one.multiple % one.least == 0
    assert len(one.source) > 20
  assert {one.name for one in NPUS.values()} == {
    'ethos-u55',
    'ethos-u65',
    'ethos-u85',
  }
  assert lib.checked_multiple('ethos-u55-128') == 'ethos-u55-128'
