"""Schedules: how far at which step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from hypothesis import given
from hypothesis import strategies as st

from tfmot_paoding.arguments import check_sparsity
from tfmot_paoding.compat import keras
from tfmot_paoding.pruning.schedule import (
  ProgressiveSparsity,
  check_schedule,
  passed_steps,
  pruning_steps,
  sparsity_at,
)

_tfmot = tfmot.sparsity.keras


def test_by_hand():
  schedule = ProgressiveSparsity(0.5, 0.2, begin_step=3, frequency=2)
  found = [sparsity_at(schedule, step) for step in range(10)]
  wanted = [None, None, None, 0.2, None, 0.4, None, 0.5, None, None]
  assert [None if f is None else round(f, 6) for f in found] == wanted
  assert schedule.end_step == 7


@given(
  final=st.integers(0, 99), step=st.integers(1, 100), every=st.integers(1, 5)
)
def test_it_grows_to_the_end_and_stops(final, step, every):
  schedule = ProgressiveSparsity(final / 100, step / 100, 2, every)
  steps = list(pruning_steps(schedule))
  found = [sparsity_at(schedule, s) for s in steps]
  assert None not in found
  assert found == sorted(found)
  assert found[-1] == pytest.approx(final / 100, abs=1e-6)
  assert len(steps) == max(-(-final // step), 1)
  assert sparsity_at(schedule, steps[-1] + every) is None


def test_config_round_trip():
  schedule = ProgressiveSparsity(0.6, 0.1, 4, 7)
  config = schedule.get_config()
  again = keras.utils.deserialize_keras_object(config)
  assert isinstance(again, ProgressiveSparsity)
  assert again.get_config() == config


def test_without_tensorflow_it_asks_for_the_same():
  for final, step, begin, every in (
    *((0.5, 0.1, 0, 1), (0.3, 0.05, 2, 3), (0.0, 0.1, 1, 2)),
    *((0.15, 0.2, 0, 5), (2 / 3, 1 / 7, 3, 2)),
  ):
    schedule = ProgressiveSparsity(final, step, begin, every)
    for at in range(-1, schedule.end_step + 3):
      prunes, sparsity = schedule(at)
      wanted = float(sparsity) if prunes else None
      assert schedule.at(at) == wanted


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'final_sparsity': 1.0}, r'`final_sparsity` must lie in \[0, 1\).*0.5'),
    ({'final_sparsity': -0.1}, '`final_sparsity`'),
    ({'final_sparsity': float('nan')}, '`final_sparsity`'),
    ({'final_sparsity': 'half'}, '`final_sparsity` must be a number'),
    ({'final_sparsity': True}, '`final_sparsity` must be a number'),
    ({'final_sparsity': 0.5, 'step_sparsity': 0}, '`step_sparsity`'),
    ({'final_sparsity': 0.5, 'begin_step': -1}, 'begin_step'),
    ({'final_sparsity': 0.5, 'frequency': 0}, 'frequency'),
  ],
)
def test_bad_settings_are_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    ProgressiveSparsity(**arguments)


def test_tfmot_schedules_serve():
  constant = _tfmot.ConstantSparsity(0.3, 5)
  assert list(pruning_steps(constant)) == [5]
  assert sparsity_at(constant, 5) == pytest.approx(0.3)
  decay = _tfmot.PolynomialDecay(0.0, 0.8, 10, 30, frequency=10)
  assert list(pruning_steps(decay)) == [10, 20, 30]
  assert sparsity_at(decay, 30) == pytest.approx(0.8)


def test_a_schedule_without_end_needs_one():
  class Always(_tfmot.PruningSchedule):
    def __call__(self, step):
      return tf.constant(True), tf.constant(0.5)

    def get_config(self):
      return {}

  with pytest.raises(ValueError, match='Always does not say when it ends'):
    list(pruning_steps(Always()))
  assert list(pruning_steps(Always(), end_step=2)) == [0, 1, 2]


def test_other_objects_are_refused():
  with pytest.raises(ValueError, match='must be a TFMOT PruningSchedule'):
    check_schedule(0.5)
  assert check_sparsity(0, 'sparsity') == 0.0


def test_numpys_numbers_are_numbers():
  assert check_sparsity(np.float32(0.5), 'sparsity') == 0.5
  assert check_sparsity(np.int64(0), 'sparsity') == 0.0
  with pytest.raises(ValueError, match='must be a number'):
    check_sparsity(np.bool_(True), 'sparsity')


def test_passed_steps_come_last_first_from_all_schedules():
  every_third = ProgressiveSparsity(0.5, 0.25, 2, 3)  # 2, 5
  constant = tfmot.sparsity.keras.ConstantSparsity(0.5, 1, frequency=4)
  found = passed_steps([every_third, constant, every_third], 9)
  assert list(found) == [9, 5, 2, 1]
  assert list(passed_steps([every_third], 4)) == [2]
  assert list(passed_steps([every_third], 1)) == []
  assert list(passed_steps([object()], 3)) == [3, 2, 1, 0]
