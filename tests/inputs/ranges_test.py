"""Input ranges: what is accepted, and what is refused with advice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import input_boxes, range_config


def boxes(input_range, shape=(4,)):
  return input_boxes(testing.mlp((4, 3, 2)), input_range, [shape])


def test_numbers_and_arrays_fill_the_shape():
  (found,) = boxes((-1, 2.5))
  assert found.low.tolist() == [-1] * 4
  assert found.high.tolist() == [2.5] * 4
  (found,) = boxes(([0, 1, 2, 3], 5))
  assert found.low.tolist() == [0, 1, 2, 3]
  (found,) = boxes((0, [1, 0, 1, 1]))  # one feature may be fixed
  assert found.high.tolist() == [1, 0, 1, 1]
  (found,) = boxes((0, np.arange(1, 4)), (2, 3))
  assert found.high.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_a_dict_names_inputs():
  a, b = keras.Input((2,), name='a'), keras.Input((3,), name='b')
  model = keras.Model([a, b], keras.layers.Concatenate()([a, b]))
  found = input_boxes(model, {'b': (0, 3), 'a': (0, 2)}, [(2,), (3,)])
  assert [x.high[0] for x in found] == [2, 3]
  with pytest.raises(ValueError, match=r"names the inputs \['c'\].*'a', 'b'"):
    input_boxes(model, {'c': (0, 1)}, [(2,), (3,)])
  with pytest.raises(ValueError, match=r"the inputs \[0, 'b'\].*'a', 'b'"):
    input_boxes(model, {0: (0, 1), 'b': (0, 1)}, [(2,), (3,)])


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ((1, 0), 'low < high'),
    ((1, 1), 'low < high'),
    ((0, float('nan')), 'finite'),
    ((0, float('inf')), 'finite'),
    ((0, [1, 2, 3]), r'shape \(3,\).*\(4,\)'),
    (([0, 0, 2, 0], 1), 'low < high'),
    ((0,), r'pair \(low, high\)'),
    (5, r'pair \(low, high\)'),
    (('a', 'b'), r'pair \(low, high\)'),
    ('01', r'pair \(low, high\)'),
    ((), r'pair \(low, high\)'),
    ((0, 1j), r'pair \(low, high\)'),
    (None, r'pair \(low, high\)'),
  ],
)
def test_bad_ranges_are_named_with_advice(given, message):
  with pytest.raises(ValueError, match='`input_range`.*' + message):
    boxes(given)


def test_configs_are_plain_and_equivalent():
  for given in ((0, 1), (np.zeros(4), np.ones(4)), {'x': (np.float32(0), 1)}):
    config = json.loads(json.dumps(range_config(given)))
    assert range_config(config) == range_config(given)
