"""Calls as they once were still do what they did, and say how to write them."""

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import deprecation as lib

RANGE = (-1.0, 1.0)


@lib.takes_old_calls(
  order=('model', 'method', 'data'), renamed={'calibration': 'data'}
)
def _face(model, *, data=None, method='l1'):
  return model, data, method


def test_positions_are_taken_in_their_old_order():
  with pytest.warns(DeprecationWarning, match='data=') as seen:
    assert _face(1, 'x', 3) == (1, 3, 'x')
  assert seen[0].filename == __file__


def test_old_names_are_taken():
  with pytest.warns(DeprecationWarning, match='now `data`') as seen:
    assert _face(1, calibration=5) == (1, 5, 'l1')
  assert seen[0].filename == __file__


def test_new_calls_are_silent():
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert _face(1, data=2, method='x') == (1, 2, 'x')


@pytest.mark.parametrize(
  ('given', 'named'),
  [
    ((1, 'x', 3), {'data': 4}),
    ((1,), {'data': 4, 'calibration': 5}),
    ((1, 2, 3, 4), {}),
    ((1,), {'unknown': 5}),
  ],
)
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_nonsense_is_refused(given, named):
  with pytest.raises(TypeError):
    _face(*given, **named)


def test_prune_takes_its_old_positions_and_names():
  model, x = testing.mlp(), testing.samples((5,), 40).astype(np.float32)
  with pytest.warns(DeprecationWarning, match="'method', 'input_range'"):
    old = paoding.prune(model, 0.5, 'l1', RANGE, verbose=0)
  new = paoding.prune(model, 0.5, method='l1', input_range=RANGE, verbose=0)
  for one, two in zip(old.get_weights(), new.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)
  with pytest.warns(DeprecationWarning, match='now `data`'):
    paoding.prune(
      model,
      0.5,
      method='l1',
      calibration_data=x,
      input_range=(-9, 9),
      verbose=0,
    )
  with pytest.warns(DeprecationWarning, match='now `data`'):
    paoding.UpdatePruningStep(calibration_data=x)


def test_fixed_positions_are_no_old_calls():
  model = testing.mlp((5, 8, 6, 3))
  x = testing.samples((5,), 4).astype(np.float32)
  y = np.zeros(len(x), int)
  with warnings.catch_warnings():
    warnings.simplefilter('error', DeprecationWarning)
    paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(0.5, 0.5), 'l1', RANGE, 0
    )
    paoding.recall_inputs(model, 2, RANGE, 0)
    paoding.deviation_bound(model, model, RANGE)
    paoding.robustness.fgsm(model, x, y, 0.1, RANGE)
    paoding.robustness.pgd(model, x, y, 0.1, RANGE, 1, 1, 0)
    paoding.robustness.certified(model, x, y, 0.1, RANGE, 'ibp')
    paoding.robustness.output_bounds(model, x, 0.1, RANGE, 'ibp')
