"""What rounding to whole units takes of a layer's share is told."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_sparsity = tfmot.sparsity.keras


def narrow():
  """Groups of 2, 2, 3 and 4 units: .3 of 11 takes one."""
  return testing.mlp((5, 2, 2, 3, 4, 3))


def test_the_history_tells_what_was_asked_and_removed():
  wrapped = paoding.prune_low_saliency(
    narrow(), paoding.ProgressiveSparsity(0.3)
  )
  with pytest.warns(paoding.pruning.RoundingWarning) as caught:
    history = paoding.run_schedule(wrapped, verbose=0)
  assert history.units_removed[-1] == 1
  assert history.layers == {
    'hidden_0': paoding.pruning.LayerShare(2, 0.3, 0),
    'hidden_1': paoding.pruning.LayerShare(2, 0.3, 0),
    'hidden_2': paoding.pruning.LayerShare(3, 0.3, 0),
    'hidden_3': paoding.pruning.LayerShare(4, 0.3, 1),
  }
  (said,) = caught
  assert '3 of 4 groups' in str(said.message)
  assert "'hidden_2' 0 of 3 (asked: 0.3)" in str(said.message)
  assert "'hidden_3'" not in str(said.message)
  assert said.filename == __file__


def test_where_nothing_at_all_goes_it_is_told_too():
  wrapped = paoding.prune_low_saliency(
    testing.mlp((5, 3, 3)), paoding.ProgressiveSparsity(0.3)
  )
  with pytest.warns(paoding.pruning.RoundingWarning, match='1 of 1 groups'):
    history = paoding.run_schedule(wrapped, verbose=0)
  assert history.layers['hidden_0'].removed == 0
  with pytest.warns(paoding.pruning.RoundingWarning):
    paoding.prune(testing.mlp((5, 3, 3)), 0.3, verbose=0)


def test_fit_tells_at_its_end():
  wrapped = paoding.prune_low_saliency(
    narrow(), _sparsity.ConstantSparsity(0.3, 0, frequency=1)
  )
  wrapped.compile('sgd', 'mse')
  callback = paoding.UpdatePruningStep()
  with pytest.warns(paoding.pruning.RoundingWarning, match='3 of 4 groups'):
    wrapped.fit(
      np.zeros((8, 5)), np.zeros((8, 3)), verbose=0, callbacks=[callback]
    )
  assert callback.history.layers['hidden_3'].removed == 1


@pytest.mark.parametrize('sparsity', (0.0, 0.5, {'hidden_0': 0.5}))
@pytest.mark.parametrize('scope', ('local', 'global'))
def test_where_rounding_takes_little_nothing_is_said(sparsity, scope):
  if scope == 'global' and isinstance(sparsity, dict):
    return
  with warnings.catch_warnings():
    warnings.simplefilter('error', paoding.pruning.RoundingWarning)
    paoding.prune(testing.mlp(), sparsity, method='l1', verbose=0, scope=scope)


def test_a_file_that_quantization_makes_larger_is_told():
  model = testing.mlp((2, 2, 2))
  with pytest.warns(UserWarning, match='int8 file takes .* float32 one'):
    paoding.convert_to_tflite(model, 'int8', input_range=(0.0, 1.0))
  with warnings.catch_warnings():
    warnings.filterwarnings('error', '.*float32 one')
    wide = testing.mlp((64, 128, 64))
    paoding.convert_to_tflite(wide, 'int8', input_range=(0.0, 1.0))


@pytest.mark.parametrize(
  'setting',
  (
    {'sparsity_m_by_n': (2, 4)},
    {'block_size': (1, 4)},
    {'block_size': [2, 2]},
    {'block_pooling_type': 'MAX'},
  ),
)
def test_blocks_of_single_weights_are_refused_with_what_to_do(setting):
  (name,) = setting
  with pytest.raises(ValueError, match=f'`{name}` is .*whole units.*compact'):
    paoding.prune_low_saliency(testing.mlp(), **setting)
  with pytest.raises(ValueError, match=f'`{name}` is .*whole units.*compact'):
    paoding.PruneLowSaliency(keras.layers.Dense(3), **setting)


def test_settings_that_nobody_knows_are_named():
  with pytest.raises(TypeError, match="unexpected keyword argument 'blocks'"):
    paoding.prune_low_saliency(testing.mlp(), blocks=2)
  paoding.prune_low_saliency(
    testing.mlp(), block_size=(1, 1), block_pooling_type='AVG',
    sparsity_m_by_n=None,
  )  # fmt: skip


def test_two_of_four_weights_go_after_whole_units():
  wrapped = paoding.prune_low_saliency(testing.mlp((8, 16, 16, 4)))
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(strip_pruning(wrapped))
  assert [layer.units for layer in small.layers] == [8, 8, 4]
  sparse = _sparsity.prune_low_magnitude(
    small,
    _sparsity.ConstantSparsity(0.5, 0, frequency=1),
    sparsity_m_by_n=(2, 4),
  )
  sparse.compile('sgd', 'mse')
  x = testing.draw((8,), 8)
  sparse.fit(
    x, x[:, :4], verbose=0, callbacks=[_sparsity.UpdatePruningStep()]
  )  # fmt: skip
  for layer in strip_pruning(sparse).layers:
    zeros = (layer.kernel.numpy().T.reshape(-1, 4) == 0).sum(1)
    assert np.all(zeros == 2)
