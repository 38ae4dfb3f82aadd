"""PAODING's protocol by hand."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tests.testing import draw
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras

RANGE = (-1.0, 1.0)


def threshold():
  """Class 1 where x > 0; scores (0, x, -9)."""
  model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3)])
  model.set_weights([np.array([[0.0, 1.0, 0.0]]), np.array([0.0, 0.0, -9.0])])
  return model


def test_by_hand():
  x = np.array([[0.5], [0.05], [-0.5], [-0.05], [0.5]])
  y = [1, 1, 0, 0, 0]
  found = robustness.robust_instances(threshold(), x, y, 0.1, RANGE)
  # Far and right; near and right; ...; wrong from the start.
  np.testing.assert_array_equal(found, [True, False, True, False, False])
  top = robustness.robust_instances(threshold(), x, y, 0.1, RANGE, top_k=2)
  assert top.all()


def test_examples_of_another_model():
  x, y = np.array([[0.05]]), [1]
  turned = threshold()
  turned.set_weights([-threshold().get_weights()[0], np.array([0.0, 0.2, -9])])
  own = robustness.robust_instances(turned, x, y, 0.16, RANGE)
  moved = robustness.robust_instances(
    turned, x, y, 0.16, RANGE, made_on=threshold()
  )
  assert not own[0]
  assert moved[0]


def test_preserved_counts_agree_with_the_instances():
  model = testing.mlp((5, 16, 16, 3), seed=3)
  small = paoding.prune(
    model, 0.75, method='impact', input_range=RANGE, verbose=0
  )
  x = draw((5,), 200)
  y = model(x.astype(np.float32)).numpy().argmax(-1)
  found = robustness.preserved_robustness(model, small, x, y, 0.3, RANGE)
  before, after = (
    robustness.robust_instances(m, x, y, 0.3, RANGE) for m in (model, small)
  )
  moved = robustness.robust_instances(small, x, y, 0.3, RANGE, made_on=model)
  assert found.total == 200
  assert found.before == before.sum()
  assert found.after == after.sum()
  assert found.kept == (before & after).sum()
  assert found.transferred == moved.sum()
  assert found.accuracy_before == 1.0
  assert 0 < found.kept < found.before


@pytest.mark.parametrize('top_k', [0, 4])
def test_top_k_out_of_range(top_k):
  with pytest.raises(ValueError, match='`top_k`'):
    robustness.robust_instances(
      threshold(), np.zeros((1, 1)), [0], 0.1, RANGE, top_k=top_k
    )
