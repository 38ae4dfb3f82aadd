"""Unit numbers by hand: ties, frozen units, and what reshapes scatter."""

from __future__ import annotations

import numpy as np

from tfmot_paoding.network.unit_numbers import Numbering


def test_tied_units_have_one_root_and_one_fate():
  book = Numbering()
  one, other = book.new((3,)), book.new((3,))
  book.tie(one, other[::-1])
  assert book.roots().tolist() == [0, 1, 2, 2, 1, 0, -1]
  book.freeze(other[:1], 'first')
  book.freeze(one[2:], 'second')
  assert book.frozen() == {2: 'first'}


def test_aligning_ties_what_has_one_place():
  book = Numbering()
  numbers = book.new((6,)).reshape(2, 3)
  assert book.align(numbers, -1) == 3
  assert book.roots()[:-1].tolist() == [0, 1, 2, 0, 1, 2]


def test_aligning_changes_nothing_where_one_unit_would_be_left():
  book = Numbering()
  numbers = book.new((3,)).reshape(3, 1)
  assert book.align(numbers, -1) == 1
  assert book.roots()[:-1].tolist() == [0, 1, 2]
  assert book.frozen() == {}


def test_units_that_meet_none_must_stay():
  book = Numbering()
  numbers = np.array(book.new((6,)).reshape(2, 3))
  numbers[1, 0] = -1
  assert book.align(numbers, -1) == 2
  assert list(book.frozen()) == [0]


def test_straightening_takes_the_axis_that_leaves_most():
  book = Numbering()
  numbers = book.new((8,)).reshape(4, 2)
  assert book.straighten(numbers)
  assert book.roots()[:-1].tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
  assert not book.straighten(numbers)


def test_straightening_prefers_the_channels():
  book = Numbering()
  numbers = book.new((4,)).reshape(2, 2)
  assert book.straighten(numbers)
  assert book.roots()[:-1].tolist() == [0, 1, 0, 1]


def test_what_no_axis_tells_apart_is_frozen():
  book = Numbering()
  book.label = 'grid'
  numbers = book.new((4,)).reshape(2, 2)
  book.tie(numbers, numbers.T)
  assert book.straighten(numbers)
  (reason,) = set(book.frozen().values())
  assert reason == "'grid' spreads them over several axes"
  assert not book.straighten(numbers)
