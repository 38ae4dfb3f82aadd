"""A criterion, a selection and so on that nobody knew of when tests were made.

`pytest -p tests.newcomers` runs any test with them in the registries. Each
claims nothing of itself: the defaults of the traits are for them.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import LayerHandler, register_handler
from tfmot_paoding.methods import (
  Compensation,
  Criterion,
  Method,
  Selection,
  register_compensation,
  register_criterion,
  register_method,
  register_selection,
)
from tfmot_paoding.numerics import activations
from tfmot_paoding.ops import Elementwise

NAME = 'newcomer'
_CASES = 24
_HALF = activations.Activation(
  'half', lambda z: z / 2, lambda z: np.full_like(z, 0.5)
)


@register_criterion(NAME)
@dataclasses.dataclass(frozen=True)
class Outgoing(Criterion):
  """What a unit feeds, by itself; never free."""

  power: float = 2.0

  def scores(self, view, units):
    return (np.abs(view.outgoing[units]) ** self.power).sum(1) + 1e-3


@register_criterion(f'{NAME} in pairs')
@dataclasses.dataclass(frozen=True)
class Apart(Criterion):
  """How far two units are apart; never free."""

  def scores(self, view, units):
    return 1.0 + view.pair_distances[units]


@register_selection(NAME)
@dataclasses.dataclass(frozen=True)
class Drawn(Selection):
  """Any units, by chance alone."""

  def propose(self, view, criterion, budget, rng) -> Iterator[tuple[int, int]]:
    for _ in range(budget):
      yield int(rng.choice(np.flatnonzero(view.alive))), -1


@register_compensation(NAME)
@dataclasses.dataclass(frozen=True)
class Halved(Compensation):
  """The partner takes over half."""

  def absorb(self, view, removed, kept):
    if kept >= 0:
      view.absorb(removed, kept, 0.5)
    return kept


class Half(keras.layers.Layer):
  """x / 2, a layer of nobody's."""

  def call(self, inputs):
    return inputs / 2.0


@register_handler(Half)
class HalfHandler(LayerHandler):
  """One operation."""

  def lower(self, layer, path, in_shapes, out_shape):
    return [Elementwise(_HALF)]


register_method(NAME, Method(NAME, NAME, NAME))
register_method(f'{NAME} in pairs', Method(f'{NAME} in pairs'))
activations._NAMED[NAME] = _HALF


def pytest_collection_modifyitems(config, items):
  """Leaves what meets a newcomer, a few cases of each test.

  Tests of methods that are not run case by case may name what is registered:
  they stay as well.
  """
  kept, counts = [], collections.Counter()
  for item in items:
    test = item.nodeid.split('[')[0]
    if NAME in item.nodeid:
      counts[test] += 1
    named = not hasattr(item, 'callspec') and 'tests/methods/named' in test
    if named or (NAME in item.nodeid and counts[test] <= _CASES):
      kept.append(item)
  config.hook.pytest_deselected(items=[i for i in items if i not in kept])
  items[:] = kept
