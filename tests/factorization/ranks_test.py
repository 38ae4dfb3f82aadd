"""Choices under a limit, against a search over all of them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_paoding.factorization.forms import WHOLE, Form, Options
from tfmot_paoding.factorization.ranks import choose, least


def made(costs, losses):
  forms = (*(Form(None, k) for k in range(1, len(costs))), WHOLE)
  return Options(forms, np.array(costs, float), np.array(losses, float))


def taken(layers, found):
  return sum(layer.costs[k] for layer, k in zip(layers, found, strict=True))


def lost(layers, found):
  return sum(layer.losses[k] for layer, k in zip(layers, found, strict=True))


def random_layers(rng, count):
  """Options with costs and losses at random, falling."""
  layers = []
  for _ in range(count):
    size = int(rng.integers(1, 5))
    costs = np.cumsum(rng.integers(1, 9, size))
    steps = rng.uniform(0.1, 1, size - 1)
    losses = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    layers.append(made(costs, losses))
  return layers


def test_by_hand():
  layers = [made([1, 2, 4], [9, 1, 0]), made([1, 3], [4, 0])]
  assert choose(layers, 1) is None
  assert choose(layers, 2) == [0, 0]
  assert choose(layers, 3) == [1, 0]  # 8 gained for 1
  assert choose(layers, 5) == [1, 1]  # 4 for 2, rather than 1 for 2
  assert choose(layers, 100) == [2, 1]
  assert least(layers) == 2


def test_room_that_the_best_step_does_not_fit_in_is_used():
  layers = [made([1, 10], [100, 0]), made([1, 2], [1, 0])]
  assert choose(layers, 4) == [0, 1]


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_it_is_within_a_step_of_the_best(seed, count):
  rng = np.random.default_rng(seed)
  layers = random_layers(rng, count)
  limit = float(rng.integers(1, 40))
  found = choose(layers, limit)
  every = itertools.product(*(range(len(layer.costs)) for layer in layers))
  fitting = [one for one in every if taken(layers, one) <= limit]
  if not fitting:
    assert found is None
    return
  assert taken(layers, found) <= limit
  best = min(lost(layers, one) for one in fitting)
  # A greedy choice along hulls misses the best by less than one of its steps.
  most = max(float(layer.losses[0]) for layer in layers)
  assert best - 1e-9 <= lost(layers, found) <= best + most
  # Nothing more fits.
  for k, layer in enumerate(layers):
    for to in range(found[k] + 1, len(layer.costs)):
      more = layer.costs[to] - layer.costs[found[k]]
      assert taken(layers, found) + more > limit


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_more_room_never_loses_more_on_the_hull(seed):
  rng = np.random.default_rng(seed)
  (layer,) = random_layers(rng, 1)
  gaps = [
    lost([layer], found)
    for limit in range(40)
    if (found := choose([layer], limit)) is not None
  ]
  assert np.all(np.diff(gaps) <= 1e-12)
