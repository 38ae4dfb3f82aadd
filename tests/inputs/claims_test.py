"""What numbers of first layers say of the values that come into them."""

from __future__ import annotations

import numpy as np
import pytest

from tfmot_paoding.inputs import claims as lib

ONE = np.ones(())


def line(scale, shift=0.0):
  return lib.Line(np.asarray(scale, float), np.asarray(shift, float), 'it')


@pytest.mark.parametrize(
  ('scale', 'shift', 'wanted'),
  [
    (1 / 255, 0, (0, 255)),
    (1 / 256, 0, (0, 255)),
    (1 / 127.5, -1, (0, 255)),
    (1 / 128, -1, (0, 255)),
    (1 / 255, -0.5, (0, 255)),
    (1 / 1023, 0, (0, 1023)),
    (2 / 4095, -1, (0, 4095)),
    (1 / 65535, 0, (0, 65535)),
    (1 / 100, 0, (0, 100)),
    (1 / 32768, 0, (-32768, 32768)),
    (1 / 128, 0, (-128, 128)),
    (2, -1, (0, 1)),
    (0.5, 0.5, (-1, 1)),
    (-1 / 255, 1, (0, 255)),
    (-1 / 127.5, 1, (0, 255)),
    ([1 / 255] * 3, 0, (0, 255)),
  ],
)
def test_a_line_that_ends_in_the_unit_range_says_where_it_began(
  scale, shift, wanted
):
  low, high, source = lib.of_lines([line(scale, shift)])
  assert (low, high) == pytest.approx(wanted)
  assert source == 'it'
  ends = np.asarray([low, high]) * np.ravel(scale)[0] + shift
  assert np.all(np.abs(ends) <= 1.01)


@pytest.mark.parametrize(
  ('scale', 'shift'),
  [(1, 0), (255, 0), (0.5, 0), (1, -1), (1, -120), (1 / 58, -2.1), (0.1, 7)],
)
def test_other_lines_say_nothing_of_a_unit_range(scale, shift):
  assert lib.of_lines([line(scale, shift)]) is None
  assert lib.of_lines([line([1 / 255, 1 / 100])]) is None


def test_the_longest_chain_that_makes_sense_is_taken():
  divided = line(1 / 127.5)
  assert lib.of_lines([divided])[1] == pytest.approx(127.5)
  chain = [divided, divided.then(line(1, -1))]
  assert lib.of_lines(chain)[1] == pytest.approx(255)
  centred = line(1, -127.5)
  chain = [centred, centred.then(line(1 / 127.5))]
  assert lib.of_lines(chain)[:2] == pytest.approx((0, 255))
  # What follows x / 255 does not make it another.
  byte = line(1 / 255)
  standard = byte.then(line(1, [-0.485, -0.456, -0.406]))
  chain = [byte, standard, standard.then(line([1 / 0.229, 1 / 0.224, 1 / 0.2]))]
  assert lib.of_lines(chain)[1] == pytest.approx(255)
  doubled = byte.then(line(2))
  chain = [byte, doubled, doubled.then(line(1, -1))]
  assert lib.of_lines(chain)[1] == pytest.approx(255)


def test_a_standardizing_line_says_mean_and_deviations():
  low, high = lib.of_standardization(line([0.5, 0.1], [-5, 2]))
  assert low.tolist() == [10 - 6, -20 - 30]
  assert high.tolist() == [10 + 6, -20 + 30]
  # Only means, of colours in 8 bits.
  means = [-103.939, -116.779, -123.68]
  assert [float(end) for end in lib.of_standardization(line(1, means))] == [
    0,
    255,
  ]
  assert lib.of_standardization(line(1, [-3, -500])) is None
  assert lib.of_standardization(line([2, 3])) is None


def test_statistics_say_three_deviations_unless_they_were_never_set():
  low, high = lib.of_statistics([1.0, 7.0], [4.0, 0.0])
  assert low.tolist() == [-5, 7]
  assert high.tolist() == [7, 7]
  assert lib.of_statistics([0.0, 0.0], [1.0, 1.0]) is None
  assert lib.of_statistics([5.0], [0.0]) is None
  assert lib.of_statistics([np.nan], [1.0]) is None


def claim(low, high, **settings):
  low, high = np.broadcast_arrays(np.asarray(low, float), np.zeros(3))[0], high
  high = np.broadcast_to(np.asarray(high, float), (3,))
  return lib.Claim(low, high, 'it', **settings)


def test_limits_are_kept_and_other_claims_joined():
  found = lib.combined([claim(0, 1), claim(-2, [0.5, 3, 1])], (0, 1))
  assert found[0].tolist() == [-2] * 3
  assert found[1].tolist() == [1, 3, 1]
  limits = [claim(0, 9, is_limit=True), claim(0, 4, is_limit=True)]
  assert lib.combined(limits, (0, 1))[1].tolist() == [4] * 3
  found = lib.combined([*limits, claim(-3, [2, 20, 4])], (0, 1))
  assert found[0].tolist() == [0] * 3
  assert found[1].tolist() == [2, 4, 4]


def test_entries_of_which_nothing_is_said_have_the_default():
  nan = np.nan
  part = claim([nan, 5, 6], [nan, 7, 8], is_centred=True)
  low, high, centred = lib.combined([part], (-1, 1))
  assert low.tolist() == [-1, 5, 6]
  assert high.tolist() == [1, 7, 8]
  assert centred.tolist() == [False, True, True]
  assert lib.combined([], (0, 1)) is None
  assert lib.combined([claim(nan, nan)], (0, 1)) is None


def test_what_leaves_nothing_in_common_is_not_made_up():
  limit = claim(0, 4, is_limit=True)
  assert lib.combined([limit, claim(10, 20)], (0, 1)) is None
