"""Models that are no smaller than before say so, at every door."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import (
  collect_prunable_layers,
  keras,
  strip_pruning,
)

_sparsity = tfmot.sparsity.keras


def never_run():
  return paoding.prune_low_saliency(testing.mlp())


def by_magnitude():
  wrapped = _sparsity.prune_low_magnitude(
    testing.mlp((20, 16, 12, 10)),
    _sparsity.ConstantSparsity(0.5, 0, frequency=1),
  )
  wrapped.compile('sgd', 'mse')
  wrapped.fit(
    np.zeros((8, 20)), np.zeros((8, 10)), verbose=0,
    callbacks=[_sparsity.UpdatePruningStep()],
  )  # fmt: skip
  return wrapped


@pytest.mark.parametrize(
  'make, says',
  (
    (never_run, 'have removed no unit yet. Call run_schedule'),
    (lambda: strip_pruning(never_run()), 'no unit without effect'),
    (by_magnitude, '% of its weights are zero, but they are no whole units'),
    (lambda: strip_pruning(by_magnitude()), 'no whole units'),
    (testing.mlp, 'no unit without effect'),
  ),
)
def test_compact_says_where_there_is_nothing_to_remove(make, says):
  with pytest.warns(UserWarning, match=says) as caught:
    paoding.compact(make())
  (said,) = (w for w in caught if 'compact removes nothing' in str(w.message))
  assert said.filename == __file__


def test_where_units_go_nothing_is_said():
  wrapped = never_run()
  paoding.run_schedule(wrapped, verbose=0)
  with warnings.catch_warnings():
    warnings.simplefilter('error', UserWarning)
    paoding.compact(wrapped)
    small = paoding.compact(strip_pruning(wrapped))
    paoding.convert_to_tflite(small, input_range=(0.0, 1.0))


def test_a_sparsity_of_zero_is_what_was_asked_for():
  with warnings.catch_warnings():
    warnings.filterwarnings('error', 'compact removes nothing')
    paoding.prune(testing.mlp(), 0.0, verbose=0)


def test_files_of_full_size_are_told():
  wrapped = never_run()
  with pytest.warns(UserWarning, match='still wrapped.*run the schedule first'):
    paoding.convert_to_tflite(wrapped)
  paoding.run_schedule(wrapped, verbose=0)
  with pytest.warns(UserWarning, match='still wrapped.*7 units.*compact'):
    paoding.convert_to_tflite(wrapped)
  stripped = strip_pruning(wrapped)
  with pytest.warns(UserWarning, match=r'has 7 units without effect.*compact'):
    data = paoding.convert_to_tflite(stripped)
  assert len(data) > len(paoding.convert_to_tflite(paoding.compact(stripped)))
  with pytest.warns(UserWarning, match='still wrapped'):
    paoding.convert_to_tflite(by_magnitude())


def test_reports_of_what_is_wrapped_are_refused():
  model, wrapped = testing.mlp(), never_run()
  files = (paoding.convert_to_tflite(model),) * 2
  for pair, name in (
    ((model, wrapped), 'pruned'),
    ((wrapped, model), 'origin'),
  ):
    with pytest.raises(ValueError, match=f'`{name}.*wrapped for pruning'):
      paoding.report.make_report(*pair, files, micro=False)


def test_reports_of_what_is_as_wide_say_so():
  model = testing.mlp()
  data = paoding.convert_to_tflite(model)
  with pytest.warns(UserWarning, match='all 17 units of the original'):
    paoding.report.make_report(model, model, (data, data), micro=False)


def test_wrappers_that_were_loaded_without_their_class_are_refused(tmp_path):
  """As TFMOT's are from a SavedModel, outside of its scope."""
  wrapped = _sparsity.prune_low_magnitude(testing.mlp())
  wrapped.save(tmp_path / 'saved')
  revived = keras.models.load_model(tmp_path / 'saved')
  assert not collect_prunable_layers(revived)
  for call in (
    paoding.compact,
    paoding.convert_to_tflite,
    paoding.prune_low_saliency,
    lambda model: paoding.prune(model, 0.5),
  ):
    with pytest.raises(ValueError, match='without its class.*prune_scope'):
      call(revived)
  with paoding.prune_scope():
    loaded = keras.models.load_model(tmp_path / 'saved')
  assert collect_prunable_layers(loaded)
