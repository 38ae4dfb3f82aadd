"""The driver: steps, resuming, and interrupts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.pruning import driver as lib
from tfmot_paoding.pruning import wrapped as wrapped_lib


def wrapped_mlp(method='stochastic'):
  return paoding.prune_low_saliency(
    testing.mlp((5, 16, 12, 3)), paoding.ProgressiveSparsity(0.5, 0.1), method
  )


def finished(wrapped):
  paoding.run_schedule(wrapped, verbose=0)
  return wrapped.get_weights()


def assert_same(one, two):
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_step_that_asks_for_nothing_does_nothing():
  driver = lib.Driver(wrapped_mlp())
  assert driver.step(0)
  assert not driver.step(0)
  assert not driver.step(99)
  assert driver.history.units_removed == [1 + 1]


@pytest.mark.parametrize('method', paoding.methods.method_names())
def test_a_new_driver_goes_on_where_the_old_one_stopped(method):
  wrapped = wrapped_mlp(method)
  # What each of them left is known to the next, and what was before that.
  lib.Driver(wrapped, resumes=True).step(0)
  lib.Driver(wrapped, resumes=True).step(1)
  assert_same(finished(wrapped), finished(wrapped_mlp(method)))


@pytest.mark.parametrize('assignments', [0, 1, 4])
def test_an_interrupt_leaves_a_whole_model_that_goes_on(
  monkeypatch, assignments
):
  wrapped = wrapped_mlp()
  driver = lib.Driver(wrapped)
  driver.step(0)
  real, left = keras.backend.set_value, [assignments]

  def interrupted(variable, value):
    left[0] -= 1
    if left[0] == -1:
      raise KeyboardInterrupt
    real(variable, value)

  monkeypatch.setattr(keras.backend, 'set_value', interrupted)
  with pytest.raises(KeyboardInterrupt):
    driver.step(1)
  monkeypatch.undo()
  for layer in wrapped.layers:
    for weight, mask, _ in layer.pruning_vars:
      assert not np.any(weight.numpy()[mask.numpy() == 0])
  small = paoding.compact(wrapped)
  x = testing.samples((5,), 50).astype(np.float32)
  np.testing.assert_allclose(small(x), wrapped(x), rtol=1e-5, atol=1e-5)
  assert_same(finished(wrapped), finished(wrapped_mlp()))


def test_an_interrupt_while_planning_changes_nothing(monkeypatch):
  wrapped = wrapped_mlp()
  driver = lib.Driver(wrapped)
  before = wrapped.get_weights()

  def interrupted(*args, **more):
    raise KeyboardInterrupt

  monkeypatch.setattr(lib, 'make_plan', interrupted)
  with pytest.raises(KeyboardInterrupt):
    driver.step(0)
  assert_same(before, wrapped.get_weights())


def test_groups_with_a_bare_layer_are_left_alone_by_name():
  graph = build_graph(testing.mlp())
  groups, left_alone = wrapped_lib.prunable(graph, find_groups(graph))
  assert groups == []
  assert "'hidden_0'" in left_alone['hidden_0']
  assert 'not wrapped' in left_alone['hidden_1']


def test_merged_entries_follow_positions():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((2, 3)),
        keras.layers.Dense(4, name='a'),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
      ]
    )
  )
  groups = list(find_groups(build_graph(model)).groups)
  merged = {('a',): np.array([-1, 3, -1, -1])}
  (entries,) = lib.merged_entries(groups, merged).values()
  assert entries.tolist() == [-1, 3, -1, -1, -1, 7, -1, -1]


@pytest.mark.parametrize('scope', ['local', 'global'])
def test_a_driver_reaches_what_was_asked_for_until_now(scope):
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.5, 0.25, 2, 3), scope=scope
  )
  driver = lib.Driver(wrapped)
  driver.reach(1)
  assert driver.history.step == []
  driver.reach(4)
  driver.reach(4)
  assert driver.history.step == [2]
  driver.reach(99)
  assert driver.history.units_removed[-1] == 7
  driver.reach(99)
  assert len(driver.history.step) == 2


def test_a_driver_reaches_a_step_as_if_it_had_taken_all():
  one, other = wrapped_mlp(), wrapped_mlp()
  lib.Driver(one).reach(3)
  driver = lib.Driver(other)
  for step in range(4):
    driver.step(step)
  assert_same(one.get_weights(), other.get_weights())


class TestResumedRuns:
  """'reconstruction' looks back at the model before pruning."""

  @staticmethod
  def wrapped(model):
    schedule = paoding.ProgressiveSparsity(0.75, 0.25)
    return paoding.prune_low_saliency(
      model, schedule, 'reconstruction', (-1.0, 1.0)
    )

  @staticmethod
  def interrupted(model, monkeypatch, **settings):
    wrapped = TestResumedRuns.wrapped(model)
    plain = lib.Driver.step

    def once(self, step):
      done = plain(self, step)
      if done and len(self.history.step) == 1:
        raise KeyboardInterrupt
      return done

    with monkeypatch.context() as patch:
      patch.setattr(lib.Driver, 'step', once)
      with pytest.raises(KeyboardInterrupt):
        paoding.run_schedule(wrapped, verbose=0, **settings)
    return wrapped

  @pytest.mark.parametrize('prior', ['smooth', 'recalled'])
  def test_resumed_equals_uninterrupted(self, monkeypatch, prior, tmp_path):
    model = testing.with_batch_norm()
    whole = self.wrapped(model)
    paoding.run_schedule(whole, verbose=0, prior=prior)
    part = self.interrupted(model, monkeypatch, prior=prior)
    part.save(tmp_path / 'part.keras')
    paoding.run_schedule(part, verbose=0, prior=prior)
    for one, two in zip(whole.get_weights(), part.get_weights(), strict=True):
      np.testing.assert_array_equal(one, two)
    if prior == 'recalled':
      return
    # A file does not hold the original: it is asked for.
    loaded = keras.models.load_model(tmp_path / 'part.keras', compile=False)
    with pytest.warns(UserWarning, match='Pass the model before pruning'):
      paoding.run_schedule(loaded, verbose=0, prior=prior)
    loaded = keras.models.load_model(tmp_path / 'part.keras', compile=False)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      warnings.simplefilter('ignore', paoding.pruning.FewAnswersWarning)
      paoding.run_schedule(loaded, verbose=0, prior=prior, original=model)
    for one, two in zip(whole.get_weights(), loaded.get_weights(), strict=True):
      np.testing.assert_array_equal(one, two)

  def test_what_was_trained_since_is_a_new_original(self, monkeypatch):
    part = self.interrupted(testing.with_batch_norm(), monkeypatch)
    for weight in part.trainable_weights:
      weight.assign(weight * 1.5)
    held = next(x.origin for x in part.layers if getattr(x, 'origin', None))
    paoding.run_schedule(part, verbose=0, prior='smooth')
    found = next(x.origin for x in part.layers if getattr(x, 'origin', None))
    assert found is not held

  def test_another_model_is_no_original(self):
    with pytest.raises(ValueError, match='`original` has other layers'):
      paoding.run_schedule(
        self.wrapped(testing.mlp()), verbose=0, original=testing.mlp((5, 4, 3))
      )
