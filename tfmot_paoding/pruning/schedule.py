"""When to prune and how far: TFMOT pruning schedules over units."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.arguments import check_sparsity, check_whole, is_number
from tfmot_paoding.compat import (
  PruningSchedule,
  keras,
  register_serializable,
)
from tfmot_paoding.methods.stairs import checked_multiple

# What is removed between two refreshes where nobody says.
STEP_SPARSITY = 0.025
# The same in one call where what is left is fitted: each step fits it anew, so
# that a few do as well. A tenth of an MLP's units keep .53 to .55 of answers on
# MNIST after one step, nine or 36, half of a convolutional network .60, .59
# and .61 on CIFAR-10; 36 steps take four times as long as nine.
FIT_STEP_SPARSITY = 0.1
# The same of each model that a search for a budget tries. Four networks of
# digits at half and at a third of their bytes keep .957, .945 (convolutions),
# .983, .980 (with batch normalization), .952, .940 and .959, .956 (MLPs); by
# steps of .025 .958, .948, .983, .976, .948, .944, .959 and .948, which takes
# 1.3 to 2.6 times as long.
BUDGET_STEP_SPARSITY = 0.1


@register_serializable(package='tfmot_paoding')
class ProgressiveSparsity(PruningSchedule):
  """A little more at every step: PAODING's progressive pruning.

  The k-th pruning step (k = 1, 2, ...) takes the sparsity to
  min(k * step_sparsity, final_sparsity). Between two steps the network's
  bounds and saliencies are refreshed, so small steps choose better.

  Reference: Meng et al., arXiv 2204.00783.

  Args:
    final_sparsity: The fraction of units removed from every group at the end,
      in [0, 1).
    step_sparsity: The fraction added by one step, in (0, 1].
    begin_step: The training step of the first pruning step, at least 0.
    frequency: Training steps from one pruning step to the next, at least 1.
    multiple_of: What the widths that it comes to are multiples of, as
      `prune_low_saliency` takes it: a number or an accelerator's name. Where
      both say something, both hold.

  Raises:
    ValueError: an argument is outside its range.
  """

  def __init__(
    self,
    final_sparsity: float,
    step_sparsity: float = STEP_SPARSITY,
    begin_step: int = 0,
    frequency: int = 1,
    multiple_of: int | str | None = None,
  ):
    if isinstance(multiple_of, Mapping):
      raise ValueError(
        'The `multiple_of` of a schedule is one number or name, but got '
        f'{multiple_of!r}. Pass a dict of layer name to number to '
        'prune_low_saliency, or a dict of layer name to schedule.'
      )
    self.multiple_of = checked_multiple(multiple_of)
    self.final_sparsity = check_sparsity(final_sparsity, 'final_sparsity')
    if not is_number(step_sparsity) or not 0 < step_sparsity <= 1:
      raise ValueError(
        f'`step_sparsity` must be a number in (0, 1], but got '
        f'{step_sparsity!r}.'
      )
    self.step_sparsity = step_sparsity
    self.begin_step = check_whole('begin_step', begin_step, 0)
    self.frequency = check_whole('frequency', frequency, 1)
    self._validate_step(begin_step, -1, frequency, True)

  @property
  def end_step(self) -> int:
    """The training step of the last pruning step."""
    # The allowance is for .15 / .05 = 2.9999999999999996 and the like.
    steps = math.ceil(self.final_sparsity / self.step_sparsity - 1e-9)
    return self.begin_step + (max(steps, 1) - 1) * self.frequency

  def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether to prune at a training step, and to which sparsity."""
    step = tf.cast(step, tf.int64)
    done = tf.math.floordiv(step - self.begin_step, self.frequency) + 1
    sparsity = tf.cast(done, tf.float32) * self.step_sparsity
    return (
      self._should_prune_in_step(
        step, self.begin_step, self.end_step, self.frequency
      ),
      tf.clip_by_value(sparsity, 0.0, self.final_sparsity),
    )

  def at(self, step: int) -> float | None:
    """The sparsity that it asks for at a step, or None for no pruning.

    As by a call, in its float32, without TensorFlow: drivers ask at each step,
    for each group.
    """
    done, rest = divmod(step - self.begin_step, self.frequency)
    if rest or not self.begin_step <= step <= self.end_step:
      return None
    sparsity = np.float32(done + 1) * np.float32(self.step_sparsity)
    return float(min(sparsity, np.float32(self.final_sparsity)))

  def get_config(self) -> dict[str, Any]:
    """Class name and settings, so that a model loads without a scope."""
    return {
      'class_name': keras.utils.get_registered_name(type(self)),
      'config': {
        'final_sparsity': self.final_sparsity,
        'step_sparsity': self.step_sparsity,
        'begin_step': self.begin_step,
        'frequency': self.frequency,
        'multiple_of': self.multiple_of,
      },
    }


def check_schedule(schedule: Any) -> PruningSchedule:
  """The schedule itself.

  Raises:
    ValueError: it is not a TFMOT pruning schedule.
  """
  if not isinstance(schedule, PruningSchedule):
    raise ValueError(
      '`pruning_schedule` must be a TFMOT PruningSchedule such as '
      f'ProgressiveSparsity(0.5), but got {schedule!r}.'
    )
  return schedule


def sparsity_at(schedule: PruningSchedule, step: int) -> float | None:
  """The sparsity that a schedule asks for at a step, or None for no pruning."""
  if type(schedule) is ProgressiveSparsity:
    return schedule.at(step)
  should_prune, sparsity = schedule(tf.constant(step, tf.int64))
  return float(sparsity) if bool(should_prune) else None


def final_sparsity(schedule: PruningSchedule) -> float | None:
  """What a schedule asks for in the end; None where it has no end.

  Not its own `final_sparsity`, which it may have no step for.
  """
  if getattr(schedule, 'end_step', None) is None:
    return None
  last = max(pruning_steps(schedule), default=None)
  return None if last is None else sparsity_at(schedule, last)


def pruning_steps(
  schedule: PruningSchedule, end_step: int | None = None
) -> Iterator[int]:
  """The training steps at which a schedule may prune, in order.

  Args:
    schedule: Any TFMOT schedule.
    end_step: The last step to look at; needed only for a schedule that does
      not say itself when it ends.

  Raises:
    ValueError: nothing says when the schedule ends, or it begins after
      `end_step`.
  """
  begin = int(getattr(schedule, 'begin_step', 0))
  frequency = int(getattr(schedule, 'frequency', 1))
  own_end = getattr(schedule, 'end_step', None)
  if end_step is None and own_end == -1:
    # Forever the same sparsity: one step does all.
    end_step = begin
  elif end_step is None:
    end_step = own_end
  if end_step is None:
    raise ValueError(
      f'{type(schedule).__name__} does not say when it ends. Pass '
      '`end_step`, or give the schedule an `end_step` attribute.'
    )
  end_step = check_whole('end_step', end_step, 0)
  if end_step < begin:
    raise ValueError(
      f'{type(schedule).__name__} begins at step {begin}, after the `end_step` '
      f'{end_step}: there is no step to act out.'
    )
  yield from range(begin, end_step + 1, frequency)


def passed_steps(
  schedules: Iterable[PruningSchedule], step: int
) -> Iterator[int]:
  """The training steps up to `step` at which a schedule may prune, last first.

  Every step, where a schedule does not say when it begins and how often it
  prunes.
  """
  ranges = []
  for schedule in {id(s): s for s in schedules}.values():
    begin = int(getattr(schedule, 'begin_step', 0))
    frequency = int(getattr(schedule, 'frequency', 1))
    end = getattr(schedule, 'end_step', None)
    last = step if end in (None, -1) else min(step, int(end))
    ranges.append(reversed(range(begin, last + 1, frequency)))
  merged = heapq.merge(*ranges, reverse=True)
  yield from (found for found, _ in itertools.groupby(merged))
