"""Batches: all samples once, in order, and large ones few at a time."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.network.batches import in_batches


@pytest.mark.parametrize(
  ('count', 'shape', 'sizes'),
  [
    (600, (5,), [256, 256, 88]),
    (30, (224, 224, 3), [13, 13, 4]),
    (2, (3000, 3000, 1), [1, 1]),
    (3, (0,), [3]),
  ],
)
def test_sizes(count, shape, sizes):
  samples = [np.zeros((count, *shape), np.int8), np.arange(count)]
  found = list(in_batches(samples))
  assert [len(x) for x, _ in found] == sizes
  assert [len(y) for _, y in found] == sizes
  np.testing.assert_array_equal(
    np.concatenate([y for _, y in found]), np.arange(count)
  )
