"""Compensation: what the kept units take over."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compensation import (
  Compensation,
  Merge,
  NoCompensation,
  compensations,
)


def test_merge_adds_the_outgoing_weights():
  view = testing.group_view(testing.mlp())
  old = view.outgoing.copy()
  assert Merge().absorb(view, 3, 6) == 6
  np.testing.assert_allclose(view.outgoing[6], old[6] + old[3])
  np.testing.assert_array_equal(view.outgoing[:6], old[:6])


def test_merge_finds_the_nearest_where_none_is_named():
  view = testing.group_view(testing.mlp())
  distances = view.pair_distances[3].copy()
  distances[3] = np.inf
  nearest = int(distances.argmin())
  assert Merge().absorb(view, 3, -1) == nearest
  view.remove(nearest)
  assert Merge().absorb(view, 3, -1) not in (3, nearest)


def test_none_changes_nothing():
  view = testing.group_view(testing.mlp())
  old = view.outgoing.copy()
  assert NoCompensation().absorb(view, 3, 6) == -1
  np.testing.assert_array_equal(view.outgoing, old)
  assert not view.changed.size


@pytest.mark.parametrize('name', compensations.names())
def test_every_compensation(name):
  member = compensations.get(name)
  assert isinstance(member, Compensation)
  assert compensations.get(compensations.serialize(member)) == member
  view = testing.group_view(testing.mlp())
  kept = member.absorb(view, 3, 6)
  assert kept == -1 or view.alive[kept]
  assert np.all(np.isfinite(view.outgoing))
