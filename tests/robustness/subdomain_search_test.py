"""Branch and bound: what is split, and in which order."""

from __future__ import annotations

import numpy as np

from tfmot_paoding.bounds.domains import Domains
from tfmot_paoding.robustness.subdomain_search import halves, is_first


def test_halves_follow_one_another():
  parents = Domains(
    np.array([0, 1]),
    np.array([[0, 1, 0], [0, 0, 0]], np.int8),
    np.zeros((2, 3), np.float32),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.ones((2, 1)),
  )
  found = halves(parents, np.array([2, 0]))
  np.testing.assert_array_equal(found.goals, [0, 0, 1, 1])
  np.testing.assert_array_equal(
    found.signs, [[0, 1, 1], [0, 1, -1], [1, 0, 0], [-1, 0, 0]]
  )
  np.testing.assert_array_equal(found.multipliers[3], [3, 4, 5])
  assert not parents.signs[1].any()


def test_what_stands_further_left_is_not_tried_again():
  found = is_first(np.array([[3, 1, 3, 1], [2, 2, 2, 0]]))
  np.testing.assert_array_equal(found, [[1, 1, 0, 0], [1, 0, 0, 1]])
