"""Stairs given back and changed: limits hold, and no less is kept."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmot_paoding.methods.stairs import Multiple
from tfmot_paoding.pruning import stair_exchange as lib

# Cycles on an Ethos-U55-128 of three convolutions for characters of 28 x 28.
_CYCLES = {
  (8, 24, 40): 19842,
  (8, 24, 48): 20992,
  (8, 24, 56): 22220,
  (8, 32, 48): 22558,
  (8, 32, 64): 25097,
  (16, 16, 48): 23855,
  (16, 16, 56): 25046,
  (16, 16, 64): 26104,
  (16, 24, 40): 25834,
  (16, 24, 48): 26984,
  (16, 32, 40): 28553,
}


def test_a_layer_of_two_stairs_climbs_and_a_wide_one_descends():
  """Of 16, 32 and 64 a quarter less takes 26404 cycles."""
  sizes, measured = (16, 32, 64), []

  def taken(gone):
    widths = tuple(
      round(size * (1 - part)) for size, part in zip(sizes, gone, strict=True)
    )
    measured.append(widths)
    return {'cycles': _CYCLES[widths] / (1.01 * 26404)}

  exchange = lib.Exchange(
    [lib.stairs_of(size, Multiple(8), 0.95) for size in sizes],
    lib.unevenness,
    taken,
  )
  assert lib.exchanged((0.5, 0.25, 0.25), exchange) == (0, 0.25, 0.375)
  assert len(measured) == len(set(measured)) <= 8


@pytest.mark.parametrize(
  ('size', 'multiple', 'most', 'widths'),
  [
    (16, Multiple(8), 0.95, [16, 8]),
    (20, Multiple(8), 0.95, [20, 16, 8]),
    (64, Multiple(16, 8), 0.95, [64, 48, 32, 16, 8]),
    (64, Multiple(16, 8), 0.5, [64, 48, 32]),
    (6, Multiple(8), 0.95, [6]),
  ],
)
def test_the_stairs_of_a_group(size, multiple, most, widths):
  found = lib.stairs_of(size, multiple, most)
  assert [size * (1 - part) for part in found] == pytest.approx(widths)


_LAYER = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))


@given(
  layers=st.lists(_LAYER, min_size=1, max_size=4),
  room=st.floats(0, 1),
  weights=st.lists(st.integers(1, 5), min_size=4, max_size=4),
)
def test_what_takes_a_sum_has_no_room_for_a_stair_left(layers, room, weights):
  stairs = [tuple(k / count for k in range(count)) for count, _, _ in layers]
  prices = [price for _, price, _ in layers]
  start = tuple(
    one[min(where, len(one) - 1)]
    for one, (_, _, where) in zip(stairs, layers, strict=True)
  )

  def loss(gone):
    return sum(w * part**2 for w, part in zip(weights, gone, strict=False))

  def cost(gone):
    return sum(p * (1 - part) for p, part in zip(prices, gone, strict=True))

  limit = cost(start) + room * (sum(prices) - cost(start)) + 1e-9
  found = lib.exchanged(
    start, lib.Exchange(stairs, loss, lambda gone: {'a': cost(gone) / limit})
  )
  assert cost(found) <= limit
  assert loss(found) <= loss(start)
  assert all(part in one for part, one in zip(found, stairs, strict=True))
  for layer, one in enumerate(stairs):
    for wider in [part for part in one if part < found[layer]]:
      more = (*found[:layer], wider, *found[layer + 1 :])
      assert cost(more) > limit


def test_no_more_is_given_than_the_tightest_of_several_limits_has():
  stairs = [(0.0, 0.25, 0.5, 0.75)] * 2
  limits = {'wide': lambda a, b: a + b, 'first': lambda a, _: 2 * a}
  exchange = lib.Exchange(
    stairs,
    lib.unevenness,
    lambda gone: {
      name: rule(*(1 - part for part in gone)) for name, rule in limits.items()
    },
  )
  found = lib.exchanged((0.75, 0.75), exchange)
  assert found == (0.5, 0.5)
  every = itertools.product(*stairs)
  fits = [gone for gone in every if max(exchange.taken(gone).values()) <= 1]
  assert found == min(fits, key=lib.unevenness)
