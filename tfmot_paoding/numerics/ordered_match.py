"""Which of several columns some are, in their order, at the least cost."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def ordered_match(cost: Array) -> Array:
  """The order-preserving match of least total cost, by dynamic programming.

  Args:
    cost: What it costs that one of k is one of n, k <= n, shape (k, n).

  Returns:
    Which of the n each of the k is, ascending, shape (k,).
  """
  left, count = cost.shape
  # best[j]: the least cost of matching those so far within the first j.
  best = np.zeros(count + 1)
  taken = np.zeros((left, count + 1), bool)
  for unit in range(left):
    here = np.full(count + 1, np.inf)
    here[1:] = best[:-1] + cost[unit]
    lowest = np.minimum.accumulate(here)
    taken[unit] = here <= lowest
    best = lowest
  kept, j = np.empty(left, int), count
  for unit in reversed(range(left)):
    while not taken[unit, j]:
      j -= 1
    j -= 1
    kept[unit] = j
  return kept
