"""Properties decided: as `verify` does, by hand, and where rows join."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tests.testing import draw
from tfmot_paoding import loading, robustness
from tfmot_paoding.compat import keras
from tfmot_paoding.robustness.vnnlib import parse_property

L = keras.layers


def tent():
  """|x| - 1/2 of one input."""
  model = keras.Sequential([keras.Input((1,)), L.Dense(2, 'relu'), L.Dense(1)])
  weights = [[1.0, -1.0]], [0.0, 0.0], [[1.0], [1.0]], [-0.5]
  model.set_weights([np.array(part, np.float32) for part in weights])
  return model


def about(conditions, low=-1.0, high=1.0):
  return parse_property(
    '(declare-const X_0 Real) (declare-const Y_0 Real)'
    f'(assert (>= X_0 {low})) (assert (<= X_0 {high})) {conditions}'
  )


@pytest.mark.parametrize(
  ('conditions', 'verdict'),
  [
    ('(assert (<= Y_0 -0.51))', 'robust'),
    ('(assert (<= Y_0 -0.49))', 'broken'),
    ('(assert (>= Y_0 0.51))', 'robust'),
    ('(assert (>= Y_0 0.4)) (assert (<= Y_0 0.3))', 'robust'),
    ('(assert (>= Y_0 0.1)) (assert (<= Y_0 0.11))', 'broken'),
    ('(assert (or (>= Y_0 0.51) (and (<= Y_0 -0.4))))', 'broken'),
  ],
)
def test_by_hand(conditions, verdict):
  found = robustness.verify_property(tent(), about(conditions))
  assert found.verdict == verdict
  if verdict == 'broken':
    assert -1 <= found.example[0] <= 1
    assert found.high <= 1e-6
  else:
    assert found.low > 0


def test_rows_that_only_together_are_impossible():
  """Both outputs at most 0, where y_0 + y_1 is at least 0.1 everywhere."""
  model = keras.Sequential([keras.Input((2,)), L.Dense(3, 'relu'), L.Dense(2)])
  kernel = np.array([[1, -1, 0.5], [0.5, 1, -1]], np.float32)
  last = np.array([[1, -1], [-2, 2], [0.5, -0.5]], np.float32)
  model.set_weights(
    [kernel, np.zeros(3, np.float32), last, np.array([0.05, 0.05], np.float32)]
  )
  text = ' '.join(
    f'(declare-const {v} Real)' for v in ('X_0', 'X_1', 'Y_0', 'Y_1')
  ) + ''.join(f'(assert (>= X_{k} -1)) (assert (<= X_{k} 1))' for k in range(2))
  both = '(assert (<= Y_0 0)) (assert (<= Y_1 0))'
  found = robustness.verify_property(model, parse_property(text + both))
  assert found.verdict == 'robust'
  one = robustness.verify_property(
    model, parse_property(f'{text}(assert (<= Y_0 0))')
  )
  assert one.verdict == 'broken'


def test_files_say_what_verify_says(tmp_path):
  pytest.importorskip('tf2onnx')
  model = testing.mlp((5, 12, 12, 3), seed=3)
  x = draw((5,), 7, seed=1)
  y = model(x.astype(np.float32)).numpy().argmax(-1)
  paths = robustness.export_properties(
    model, x, y, 0.5, str(tmp_path), (-1.0, 1.0)
  )
  wanted = robustness.verify(model, x, y, 0.5, (-1.0, 1.0))
  read = loading.read_onnx(str(tmp_path / 'model.onnx'))
  for path, answer in zip(paths, wanted, strict=True):
    property = robustness.read_property(path)
    found = robustness.verify_property(read, property)
    assert found.verdict == answer.verdict
    if found.example is not None:
      assert np.all(found.example >= property.low)
      assert np.all(found.example <= property.high)
  assert {answer.verdict for answer in wanted} == {'robust', 'broken'}


def test_a_property_of_another_model_and_time():
  with pytest.raises(ValueError, match='1 inputs and 1 outputs.* 5 and 3'):
    robustness.verify_property(
      testing.mlp((5, 8, 3)), about('(assert (<= Y_0 1))')
    )
  with pytest.raises(ValueError, match='`seconds`'):
    robustness.verify_property(tent(), about('(assert (<= Y_0 1))'), seconds=-1)


def test_probabilities_are_not_split():
  inner = tent()
  outputs = L.Activation('sigmoid')(inner.output)
  model = keras.Model(inner.input, outputs)
  goal = about('(assert (>= Y_0 0.7))')  # 0.62 where the score is 1/2
  with pytest.raises(ValueError, match='ends in a sigmoid.*scores_model'):
    robustness.verify_property(model, goal)
  settings = robustness.BranchSettings(relax_the_rest=True)
  found = robustness.verify_property(model, goal, settings=settings)
  assert found.verdict == 'robust'


def test_what_is_proved_of_all_goals_is_the_least_of_any():
  """One goal is ruled out at once, by little; another by splits, by more."""
  inputs = keras.Input((3,))
  x = L.Dense(6, 'relu')(inputs)
  x = L.Dense(1)(L.Dense(6, 'relu')(x))
  outputs = L.Concatenate()([x, inputs])
  model = testing.fill(keras.Model(inputs, outputs), 5)
  low, high = robustness.output_bounds(
    model, np.zeros((1, 3)), 1.0, (-1, 1), 'alpha-crown'
  )
  seen = (
    model(testing.samples((3,), 5000).astype(np.float32)).numpy()[:, 0].min()
  )
  assert low[0, 0] < seen < high[0, 0]
  property = robustness.Property(
    -np.ones(3),
    np.ones(3),
    np.array([[[0, 1.0, 0, 0]], [[1.0, 0, 0, 0]]]),
    np.array([[-1.0 - 1e-9], [0.5 * low[0, 0] + 0.5 * seen]]),
  )
  found = robustness.verify_property(model, property)
  assert found.subdomains > 2
  assert found.verdict == 'robust'
  assert 0 < found.low <= 1e-9
