"""What chains take and which are worth a look, against lists of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_paoding.factorization.forms import WHOLE, Form, Size, options


def slow_options(size, front, behind, cost, multiple=1):
  """Every chain that saves, and of these those that no other one beats."""
  whole = float(size.cost(None, None, cost))
  tried = [(whole, 0.0, WHOLE)]
  for one in [None, *range(1, size.most.front + 1)]:
    for other in [None, *range(1, size.most.behind + 1)]:
      ranks = [rank for rank in (one, other) if rank is not None]
      if not ranks or any(rank % multiple for rank in ranks):
        continue
      lost = (0 if one is None else front[one]) + (
        0 if other is None else behind[other]
      )
      tried.append((float(size.cost(one, other, cost)), lost, Form(one, other)))
  saving = [one for one in tried if one[0] < whole or one[2] == WHOLE]
  return sorted(
    (cost, lost)
    for cost, lost, _ in saving
    if not any(
      other <= cost and less <= lost and (other, less) != (cost, lost)
      for other, less, _ in saving
    )
  )


def falling(rng, count):
  """What ranks from 0 lose."""
  return np.append(np.cumsum(rng.uniform(0.1, 1, count))[::-1], 0.0)


def test_costs_by_hand():
  dense = Size(1, 10, 8)
  assert dense.cost(None, None, 'parameters') == 80
  assert dense.cost(None, 3, 'parameters') == 30 + 24
  assert dense.most == (0, 8)
  window = Size(9, 4, 6, entries=100, positions=25)
  assert window.cost(None, None, 'parameters') == 9 * 4 * 6
  assert window.cost(2, 3, 'parameters') == 4 * 2 + 9 * 2 * 3 + 3 * 6
  # The link in front stands before a stride.
  assert window.cost(2, 3, 'macs') == 100 * 8 + 25 * (54 + 18)
  assert window.most == (4, 6)


def test_forms_are_told_as_they_are_given():
  assert str(Form(None, 3)) == '3'
  assert str(Form(2, 3)) == '(2, 3)'
  assert Form().is_whole
  assert not Form(1).is_whole


@pytest.mark.parametrize('cost', ['parameters', 'macs'])
@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_options_are_those_that_no_other_beats(cost, seed, multiple):
  rng = np.random.default_rng(seed)
  taps, channels, columns = rng.integers(1, 6, 3)
  size = Size(int(taps), int(channels), int(columns), 7, 3)
  front, behind = (falling(rng, count) for count in size.most)
  found = options(size, front, behind, cost, multiple)
  pairs = sorted(zip(found.costs, found.losses, strict=True))
  np.testing.assert_allclose(
    pairs, slow_options(size, front, behind, cost, multiple)
  )
  assert found.forms[-1] == WHOLE
  assert found.losses[-1] == 0
  assert np.all(np.diff(found.costs) > 0)
  assert np.all(np.diff(found.losses) < 0)
  for form, taken in zip(found.forms, found.costs, strict=True):
    assert taken == size.cost(*form, cost)


def test_a_rank_that_saves_nothing_is_none():
  found = options(Size(1, 2, 2), np.zeros(1), np.array([2.0, 1, 0]), 'macs')
  assert found.forms == (WHOLE,)
