"""Widths in multiples, from the calls that prune to the compact model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_layers = keras.layers
_sparsity = tfmot.sparsity.keras


def hidden(model):
  """The widths of all layers with units but the last."""
  widths = [getattr(x, 'units', getattr(x, 'filters', 0)) for x in model.layers]
  return [width for width in widths if width][:-1]


def pruned(model, sparsity, multiple_of, **more):
  more = {'method': 'saliency', 'verbose': 0, **more}
  return paoding.prune(model, sparsity, multiple_of=multiple_of, **more)


@pytest.mark.parametrize('method', ['saliency', 'reconstruction', 'stochastic'])
def test_every_layer_ends_at_the_nearest_stair(method):
  model = testing.mlp((5, 32, 20, 3))
  small = pruned(model, 0.3, 8, method=method, distillation=False)
  # 23 of 32 are nearest to 24; 14 of 20, to 16.
  assert hidden(small) == [24, 16]


def test_the_sparsity_may_be_passed_by_less_than_half_a_stair():
  small = pruned(testing.mlp((5, 64, 64, 3)), 0.23, 8)
  assert hidden(small) == [48, 48]  # 50 were asked for


def test_a_dict_of_numbers():
  small = pruned(testing.mlp((5, 32, 20, 3)), 0.3, {'hidden_0': 16})
  assert hidden(small) == [16, 14]


def test_an_accelerator_leaves_narrow_layers_as_they_are():
  small = pruned(testing.mlp((5, 32, 6, 3)), 0.5, 'ethos-u55')
  assert hidden(small) == [16, 6]


@pytest.mark.parametrize('method', ['saliency', 'reconstruction'])
def test_a_global_scope_goes_from_stair_to_stair(method):
  model = testing.mlp((5, 32, 24, 16, 3))
  small = pruned(
    model, 0.4, 8, method=method, scope='global', distillation=False
  )
  widths = hidden(small)
  assert all(width % 8 == 0 for width in widths)
  # 28 of 72 units are as near to 24 as to 32: the most stay.
  assert sum(widths) == 48


def test_a_floor_forbids_a_stair():
  model = testing.mlp((5, 32, 24, 16, 3))
  small = pruned(model, 0.4, 8, scope='global', floor=0.6)
  assert all(
    w >= 0.6 * n for w, n in zip(hidden(small), (32, 24, 16), strict=True)
  )
  assert all(w % 8 == 0 for w in hidden(small))


def test_masks_are_nested_and_end_at_a_stair():
  model = testing.mlp((5, 32, 20, 3))
  wrapped = paoding.prune_low_saliency(
    model,
    paoding.ProgressiveSparsity(0.3, 0.05),
    'saliency',
    (-1.0, 1.0),
    multiple_of=8,
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  removed = history.units_removed
  assert removed == sorted(removed)
  assert len(set(removed)) > 2  # no step waits for a stair
  assert {n: x.units - x.removed for n, x in history.layers.items()} == {
    'hidden_0': 24,
    'hidden_1': 16,
  }
  assert hidden(paoding.compact(strip_pruning(wrapped))) == [24, 16]


@pytest.mark.parametrize(
  'schedule',
  [
    _sparsity.ConstantSparsity(0.3, 0),
    _sparsity.PolynomialDecay(0.1, 0.3, 0, 4, frequency=1),
    paoding.ProgressiveSparsity(0.3, 0.05, multiple_of=4),
  ],
)
def test_schedules_of_any_class(schedule):
  wrapped = paoding.prune_low_saliency(
    testing.mlp((5, 32, 20, 3)),
    schedule,
    'saliency',
    (-1.0, 1.0),
    multiple_of=8,
  )
  paoding.run_schedule(wrapped, verbose=0)
  assert hidden(paoding.compact(strip_pruning(wrapped))) == [24, 16]


def test_a_schedule_says_so_by_itself():
  schedule = paoding.ProgressiveSparsity(0.3, 0.1, multiple_of=8)
  again = type(schedule).from_config(schedule.get_config()['config'])
  assert again.multiple_of == 8
  wrapped = paoding.prune_low_saliency(
    testing.mlp((5, 32, 20, 3)),
    {'hidden_0': again},
    'saliency',
    (-1.0, 1.0),
  )
  paoding.run_schedule(wrapped, verbose=0)
  assert hidden(paoding.compact(strip_pruning(wrapped))) == [24, 20]


def test_both_hold_where_schedule_and_call_say_something():
  schedule = paoding.ProgressiveSparsity(0.3, 0.3, multiple_of=6)
  wrapped = paoding.prune_low_saliency(
    testing.mlp((5, 32, 3)), schedule, 'saliency', (-1.0, 1.0), multiple_of=4
  )
  paoding.run_schedule(wrapped, verbose=0)
  assert hidden(paoding.compact(strip_pruning(wrapped))) == [24]


def test_a_saved_model_goes_on_to_the_same_stair(tmp_path):
  wrapped = paoding.prune_low_saliency(
    testing.mlp((5, 32, 20, 3)),
    paoding.ProgressiveSparsity(0.3, 0.05),
    'saliency',
    (-1.0, 1.0),
    multiple_of={'hidden_0': 8},
  )
  path = str(tmp_path / 'wrapped.keras')
  wrapped.save(path)
  again = keras.models.load_model(path)
  paoding.run_schedule(again, verbose=0)
  assert hidden(paoding.compact(strip_pruning(again))) == [24, 14]


def test_tied_depthwise_and_first_convolutions():
  inputs = keras.Input((6, 6, 3))
  x = _layers.Conv2D(20, 3, padding='same', name='first')(inputs)
  y = _layers.DepthwiseConv2D(3, padding='same', name='deep')(x)
  y = _layers.Conv2D(20, 1, name='point')(y)
  x = _layers.Add()([x, y])
  x = _layers.Conv2D(24, 3, groups=2, name='grouped')(x)
  x = _layers.Flatten()(x)
  x = _layers.Dense(20, name='hidden')(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(3)(x)))
  small = pruned(model, 0.4, 4)
  # Two blocks read them: ten units of two channels, of which six are as near
  # to four as to eight.
  assert small.get_layer('first').filters == 16
  assert small.get_layer('point').filters == 16
  assert small.get_layer('grouped').filters == 16
  assert small.get_layer('hidden').units == 12


@pytest.mark.parametrize('sparsity', [0.5, {'hidden_0': 0.5}])
@pytest.mark.parametrize(
  ('multiple_of', 'message'),
  [
    (64, "'hidden_0', which has 32"),
    ('ethos-n78', 'Known'),
    (0, 'at least 1'),
    ({'nowhere': 8}, 'does not exist'),
    ('auto', 'budget'),
  ],
)
def test_what_does_not_fit_is_said_before_any_work(
  monkeypatch, sparsity, multiple_of, message
):
  def never(*_, **__):
    raise AssertionError('work was done')

  monkeypatch.setattr('tfmot_paoding.pruning.driver.Driver.step', never)
  monkeypatch.setattr('tfmot_paoding.inputs.source.InputSource.settled', never)
  with pytest.raises(ValueError, match=message):
    pruned(testing.mlp((5, 32, 20, 3)), sparsity, multiple_of)


@pytest.mark.parametrize('multiple_of', [64, 'ethos-n78', {'nowhere': 8}])
def test_budgets_refuse_the_same_before_any_file(monkeypatch, multiple_of):
  def never(*_, **__):
    raise AssertionError('work was done')

  monkeypatch.setattr('tfmot_paoding.pruning.to_budget.fit_budget', never)
  with pytest.raises(ValueError, match='multiple_of|Known'):
    paoding.prune_to_budget(
      testing.mlp((5, 32, 20, 3)),
      paoding.Budget(macs=100),
      multiple_of=multiple_of,
    )


def test_layers_that_a_dict_leaves_alone_may_be_narrower():
  small = pruned(testing.mlp((5, 32, 6, 3)), {'hidden_0': 0.5}, 16)
  assert hidden(small) == [16, 6]


def test_a_schedule_takes_no_dict():
  with pytest.raises(ValueError, match='one number or name'):
    paoding.ProgressiveSparsity(0.5, multiple_of={'hidden_0': 8})
  with pytest.raises(ValueError, match='at least 1'):
    paoding.ProgressiveSparsity(0.5, multiple_of=0)


def test_a_multiple_of_one_says_nothing():
  with pytest.warns(UserWarning, match='`multiple_of` has no effect'):
    pruned(testing.mlp((5, 32, 20, 3)), 0.5, 1)


def test_a_layer_that_no_stair_is_near_is_told_of():
  with pytest.warns(
    paoding.pruning.RoundingWarning, match='in multiples of 16.*multiple_of'
  ):
    pruned(testing.mlp((5, 64, 16, 3)), 0.5, 16)


def test_no_word_where_all_went_well():
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    pruned(
      testing.mlp((5, 32, 16, 3)),
      0.5,
      8,
      input_range=(-1.0, 1.0),
      data=testing.samples((5,), 400).astype(np.float32),
      method='reconstruction',
      distillation=False,
    )
