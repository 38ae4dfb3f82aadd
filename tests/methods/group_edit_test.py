"""What a step does to one group."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.methods.compensation import Compensation, compensations
from tfmot_paoding.methods.named import Method


def test_absorbing_and_removing_change_the_kernels():
  model = testing.mlp((5, 8, 6, 3))
  edit = testing.group_edit(model)
  view = edit.view
  old = view.outgoing.copy()
  edit.absorb(2, 5)
  edit.remove(2)
  (kernel,) = edit.consumer_kernels().values()
  np.testing.assert_allclose(kernel[5], old[5] + old[2])
  assert not kernel[2].any()
  assert view.changed.tolist() == [5]
  assert np.flatnonzero(~view.alive).tolist() == [2]
  untouched = [0, 1, 3, 4, 6, 7]
  np.testing.assert_array_equal(kernel[untouched], old[untouched])


def test_a_fold_after_an_edit_is_seen_by_the_view_alone():
  model = testing.mlp((5, 8, 6, 3))
  edit, fresh = testing.group_edit(model), testing.group_view(model)
  before = [fresh.points.copy(), fresh.point_sizes.copy()]
  edit.view.cosines(3)
  edit.fold(3, 6)
  mean = (before[0][:, 3] + before[0][:, 6]) / 2
  np.testing.assert_allclose(edit.view.points[:, 6], mean, rtol=1e-6)
  np.testing.assert_allclose(
    edit.view.point_sizes[6], np.linalg.norm(mean), rtol=1e-6
  )
  np.testing.assert_array_equal(fresh.points, before[0])
  np.testing.assert_array_equal(fresh.point_sizes, before[1])


@pytest.fixture
def old():
  """A compensation written when one object was read and changed."""

  @compensations.register('test_old')
  @dataclasses.dataclass(frozen=True)
  class Old(Compensation):
    def absorb(self, view, removed, kept):
      distances = np.where(view.alive, view.pair_distances[removed], np.inf)
      distances[removed] = np.inf
      kept = int(distances.argmin())
      view.absorb(removed, kept)
      return kept

  yield Old()
  del compensations._classes['test_old']


def test_compensations_that_read_what_they_change_are_told_and_work(old):
  model = testing.mlp((5, 8, 6, 3))
  with pytest.warns(DeprecationWarning, match=r'edit\.view\.pair_distances'):
    one = paoding.prune(model, 0.5, Method('norm', 'greedy', old), verbose=0)
  other = paoding.prune(
    model, 0.5, Method('norm', 'greedy', 'merge'), verbose=0
  )
  for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  edit = testing.group_edit(model)
  with pytest.raises(AttributeError, match='nonsense'):
    _ = edit.nonsense
