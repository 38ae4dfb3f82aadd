"""VNN-LIB: what is written is read again, and what goes beyond is named."""

from __future__ import annotations

import gzip
from fractions import Fraction

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import robustness
from tfmot_paoding.robustness import vnnlib_text
from tfmot_paoding.robustness.vnnlib import PropertyFileError, parse_property

HEAD = """; a comment (with brackets)
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-const Y_2 Real)
(assert (<= X_0 0.5)) (assert (>= X_0 -0.25))
(assert (and (>= 1e-1 X_1) (<= -1 (* 2 X_1))))
"""


def test_boxes_and_disjunctions():
  found = parse_property(
    f'{HEAD}(assert (or (and (>= Y_0 Y_2)) (and (>= Y_1 Y_2) (<= Y_0 3.5))))'
  )
  np.testing.assert_array_equal(found.low, [-0.25, -0.5])
  np.testing.assert_array_equal(found.high, [0.5, 0.1])
  # The first goal has one row, which stands twice.
  np.testing.assert_array_equal(
    found.rows, [[[-1, 0, 1], [-1, 0, 1]], [[0, -1, 1], [1, 0, 0]]]
  )
  np.testing.assert_array_equal(found.offsets, [[0, 0], [0, 3.5]])


def test_assertions_hold_together():
  found = parse_property(
    f'{HEAD}(assert (<= Y_0 1)) (assert (or (<= Y_1 2) (>= Y_2 3)))'
  )
  np.testing.assert_array_equal(
    found.rows, [[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, -1]]]
  )
  np.testing.assert_array_equal(found.offsets, [[1, 2], [1, -3]])


def test_bounds_that_are_divided_are_rounded_outwards():
  third = HEAD.replace('(<= -1 (* 2 X_1))', '(<= -1 (* 3 X_1))')
  found = parse_property(f'{third}(assert (<= Y_0 1))')
  assert Fraction(found.low[1]) * 3 <= -1
  assert found.low[1] > -1 / 3 - 1e-15


def test_linear_forms():
  found = parse_property(
    f'{HEAD}(assert (<= (+ (* 2 Y_0) (- Y_1) 1) (- (* Y_2 -3) Y_0 4)))'
  )
  np.testing.assert_array_equal(found.rows, [[[3, -1, 3]]])
  np.testing.assert_array_equal(found.offsets, [[-5]])


@pytest.mark.parametrize(
  ('text', 'named'),
  [
    ('(assert (<= (* Y_0 Y_1) 1))', r'\(\* Y_0 Y_1\)'),
    ('(assert (= Y_0 1))', r'\(= Y_0 1\)'),
    ('(assert (<= (sin Y_0) 1))', r'\(sin Y_0\)'),
    ('(assert (or (<= X_0 0) (>= X_1 0)))', 'disjunction'),
    ('(assert (<= X_0 Y_0))', 'inputs and outputs at once'),
    ('(assert (<= (+ X_0 X_1) 1))', 'X_0, X_1 at once'),
    ('(assert (<= Y_7 1))', 'Y_7 is not declared'),
    ('(assert (<= Y_0 nan))', "'nan'"),
    ('(assert (<= Y_0 1)', 'never closed'),
    ('(assert (<= Y_0 1)))', 'never opened'),
    ('(declare-const Z_0 Real)', "'Z_0'"),
    ('(declare-const Y_5 Real)', 'Y_3 is expected'),
    ('(declare-fun f (Real) Real)', 'declare-fun'),
    ('(assert (<= X_0 -1)) (assert (<= Y_0 1))', 'empty'),
    ('', 'assertion about outputs'),
    ('(assert (<= Y_0 1_0))', "'1_0'"),
    ('(assert (<= Y_\u0661 1))', 'no number'),
    ('(assert (<= (* 1e-300 X_0) 1e300))', 'too large'),
    ('(assert (<= (+ Y_0 1e308 1e308) 1))', 'too large'),
    ('(assert (<= (* 1e200 (* 1e200 Y_0)) 1))', 'too large'),
    (1000 * '(' + 1000 * ')', 'deeper'),
    (f'(assert {1000 * "(or "}(<= Y_0 1){1000 * ")"})', 'deeper'),
  ],
)
def test_what_goes_beyond_is_named(text, named):
  with pytest.raises(PropertyFileError, match=named):
    parse_property(HEAD + text)


def test_an_input_without_bounds():
  text = HEAD.replace('(assert (<= X_0 0.5))', '') + '(assert (<= Y_0 1))'
  with pytest.raises(PropertyFileError, match='X_0 of 2'):
    parse_property(text)


def test_too_many_cases():
  clause = '(assert (or (<= Y_0 1) (<= Y_1 1)))'
  with pytest.raises(PropertyFileError, match='16384 cases'):
    parse_property(HEAD + 14 * clause)


def test_too_many_numbers():
  one = '(<= Y_0 1)'
  text = f'(assert (or {9000 * one} (and {1000 * one})))'
  with pytest.raises(PropertyFileError, match='9001 cases of up to 1000'):
    parse_property(HEAD + text)


def test_what_holds_together_may_stand_together():
  parts = HEAD.splitlines()
  bounds = ' '.join(parts[-2:]).replace('(assert', '(and')
  declared = '\n'.join(parts[:-2])
  found = parse_property(
    f'{declared}(assert (or (and {bounds} (<= Y_0 1) (<= Y_1 2))))'
  )
  wanted = parse_property(f'{HEAD}(assert (and (<= Y_0 1) (<= Y_1 2)))')
  for name in ('low', 'high', 'rows', 'offsets'):
    np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_sums_round_outwards():
  sums = HEAD.replace('(<= X_0 0.5)', '(<= (- X_0 1e-20) 0.5)')
  found = parse_property(f'{sums}(assert (<= Y_0 1))')
  assert Fraction(found.high[0]) >= Fraction(0.5) + Fraction(1e-20)
  assert found.high[0] < 0.5 + 1e-15


@pytest.mark.parametrize(
  'data',
  [
    gzip.compress(HEAD.encode())[:-12],
    b'no archive',
    gzip.compress(HEAD.encode())[:20] + b'\xff' * 40,
  ],
  ids=['cut off', 'no archive', 'damaged'],
)
def test_a_damaged_file_is_named(data, tmp_path):
  path = tmp_path / 'p.vnnlib.gz'
  path.write_bytes(data)
  with pytest.raises(PropertyFileError, match='p.vnnlib.gz'):
    robustness.read_property(str(path))


def test_a_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
  monkeypatch.setattr(vnnlib_text, '_CHARACTERS', 1000)
  path = tmp_path / 'p.vnnlib.gz'
  path.write_bytes(gzip.compress(HEAD.encode() + b' ' * 1000))
  with pytest.raises(PropertyFileError, match='longer than the 1000'):
    robustness.read_property(str(path))


@pytest.mark.parametrize('name', ['p.vnnlib', 'p.vnnlib.gz'])
def test_a_file_is_named(name, tmp_path):
  path = str(tmp_path / name)
  opened = gzip.open if name.endswith('gz') else open
  with opened(path, 'wt') as file:
    file.write(HEAD + '(assert (= Y_0 1))')
  with pytest.raises(PropertyFileError, match='p.vnnlib'):
    robustness.read_property(path)


def test_written_ones_are_read(tmp_path):
  pytest.importorskip('tf2onnx')
  model = testing.mlp((5, 8, 3))
  x = testing.draw((5,), 1)
  (path,) = robustness.export_properties(
    model, x, [2], 0.1, str(tmp_path), (-1.0, 1.0)
  )
  found = robustness.read_property(path)
  np.testing.assert_array_equal(found.low, np.maximum(x[0] - 0.1, -1))
  np.testing.assert_array_equal(found.high, np.minimum(x[0] + 0.1, 1))
  np.testing.assert_array_equal(found.rows, [[[-1, 0, 1]], [[0, -1, 1]]])
