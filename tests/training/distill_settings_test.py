"""How long a lesson is, and on how many inputs."""

from __future__ import annotations

import warnings

import pytest

from tfmot_paoding.training import DistillSettings

AUTO = DistillSettings()
VGG = 12_500_000  # multiply-accumulates
PICTURE = 32 * 32 * 3


def test_small_networks_see_many_inputs():
  assert AUTO.count(100_000, 784) == 8192
  assert AUTO.count(VGG, PICTURE) == 4000
  assert AUTO.count(3 * 10**8, PICTURE) == 166
  assert AUTO.count(10**10, PICTURE) == 128


def test_large_inputs_are_few():
  assert AUTO.count(10**5, 96 * 96 * 3) == 904
  assert AUTO.count(10**5, 1) == 8192
  assert DistillSettings(samples=6000).count(10**9, 224 * 224 * 3) == 6000


def test_lessons_are_as_long_as_the_inputs_have_to_tell():
  assert AUTO.length(VGG, 4000, 128) == 1200  # as long as time allows
  assert AUTO.length(VGG, 1000, 128) == 500  # as often as that teaches
  assert AUTO.length(VGG, 100, 128) == 240  # at least some
  assert AUTO.length(10**5, 8192, 128) == 4000
  assert AUTO.length(10**10, 8192, 128) == 100
  assert AUTO.length(VGG, 1000, 64) == 1000
  assert DistillSettings(steps=7).length(VGG, 1000, 128) == 7


def test_who_answers_nearly_as_the_teacher_has_little_to_learn():
  whole = AUTO.length(VGG, 4000, 128)
  assert AUTO.length(VGG, 4000, 128, gap=0.5) == whole
  assert AUTO.length(VGG, 4000, 128, gap=float('nan')) == whole
  assert AUTO.length(VGG, 4000, 128, gap=0.015) == int(whole / 2**1.5)
  assert AUTO.length(VGG, 4000, 128, gap=1e-5) == whole / 8
  assert DistillSettings(steps=7).length(VGG, 4000, 128, gap=1e-5) == 7


def test_batches_of_large_networks_are_small_and_more():
  assert AUTO.batch(10**5) == 128
  assert AUTO.batch(2 * 10**7) == 13
  assert AUTO.batch(10**10) == 8
  assert DistillSettings(batch_size=500).batch(10**10) == 500
  assert AUTO.length(3 * 10**8, 145, 13) == 492


def test_effort_scales_what_is_not_given():
  twice, quarter = DistillSettings(effort=2.0), DistillSettings(effort=0.25)
  assert twice.count(VGG, 3) == 8000
  assert quarter.count(VGG, 3) == 1000
  assert quarter.count(10**8, 3) == 128  # no fewer, of 500
  assert twice.count(10**5, 96 * 96 * 3) == 904  # what memory bears
  assert twice.length(VGG, 1000, 128) == 1000
  assert quarter.length(VGG, 1000, 128) == 125
  assert DistillSettings(effort=1e-6).length(VGG, 1000, 128) == 1
  assert DistillSettings(samples=600, effort=2.0).count(VGG, 3) == 600
  assert DistillSettings(steps=70, effort=2.0).length(VGG, 1000, 128) == 70


@pytest.mark.parametrize(
  ('effort', 'came', 'usual'),
  [
    (1.0, 4000, 4000),
    (1.0, 300, 300),
    (2.0, 8000, 4000),
    (2.0, 5000, 4000),  # of 8000: there are no more than 5000
    (2.0, 300, 300),
    (0.25, 1000, 4000),
    (0.25, 300, 300),
  ],
)
def test_steps_go_by_the_inputs_of_an_effort_of_one(effort, came, usual):
  settings = DistillSettings(effort=effort)
  assert settings.usual_count(came, VGG, 3) == usual


@pytest.mark.parametrize('effort', [0, -1.0, float('nan'), '2', True, None])
def test_effort_is_a_positive_number(effort):
  with pytest.raises(ValueError, match='`effort` must be a positive number'):
    DistillSettings(effort=effort)


def test_effort_without_effect_is_told_of():
  with pytest.warns(UserWarning, match='`effort` has no effect, since `steps`'):
    DistillSettings(effort=2.0, steps=5, samples=64)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    DistillSettings(effort=2.0, steps=5)
    DistillSettings(steps=5, samples=64)


@pytest.mark.parametrize(
  ('macs', 'normalized', 'rates'),
  [
    (10**5, False, (1e-3, 3e-3)),
    (VGG, False, (1e-3,)),
    (10**5, True, (3e-4,)),
  ],
)
def test_rates(macs, normalized, rates):
  assert AUTO.rates(macs, normalized) == rates
  assert DistillSettings(learning_rate=0.5).rates(macs, normalized) == (0.5,)


def test_a_student_nearby_tries_no_rates():
  small = 10**5
  assert AUTO.rates(small, False, gap=0.01) == (1e-3,)
  assert len(AUTO.rates(small, False, gap=0.02)) == 2
  assert len(AUTO.rates(small, False, gap=float('nan'))) == 2


def test_inputs_of_small_networks_move_where_there_are_few_or_none():
  assert AUTO.reach(10**5, None) == 0.15
  assert AUTO.reach(10**5, 500) == 0.15
  assert AUTO.reach(10**5, 5000) == 0
  assert AUTO.reach(VGG, None) == 0
  assert AUTO.reach(10**5, None, gap=0.02) == 0.15
  assert AUTO.reach(10**5, None, gap=float('nan')) == 0.15
  assert AUTO.reach(10**5, None, gap=0.01) == 0
  assert DistillSettings(adversarial=0.3).reach(10**5, None, gap=0.01) == 0.3
  assert DistillSettings(adversarial=0.3).reach(VGG, 5000) == 0.3
  assert DistillSettings(adversarial=0.0).reach(10**5, None) == 0


def test_hints_are_for_larger_networks_that_tell_pictures_apart():
  assert AUTO.hint_weight(10**5, True) == 0
  assert AUTO.hint_weight(VGG, False) == 0
  assert AUTO.hint_weight(VGG, True) == 3
  assert DistillSettings(hints=0.5).hint_weight(10**5, False) == 0.5
  assert DistillSettings(hints=0.0).hint_weight(VGG, True) == 0


@pytest.mark.parametrize('bad', [-1.0, float('inf'), float('nan'), 'few', True])
def test_hints_count_a_number(bad):
  with pytest.raises(ValueError, match='`hints`'):
    DistillSettings(hints=bad)


@pytest.mark.parametrize('bad', [-0.1, float('inf'), float('nan'), 'far', True])
def test_a_reach_is_a_number(bad):
  with pytest.raises(ValueError, match='`adversarial`'):
    DistillSettings(adversarial=bad)
