"""How many units of each group go at a step: to whole units, or to stairs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from tfmot_paoding import callers
from tfmot_paoding.compat import PruningSchedule
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.plan import units_to_remove
from tfmot_paoding.methods.stairs import (
  Multiple,
  MultipleOf,
  check_multiples,
  group_multiples,
  units_to_stair,
)
from tfmot_paoding.network.groups import Group
from tfmot_paoding.pruning.schedule import final_sparsity


class Widths:
  """What sparsities come to, group by group.

  Args:
    groups: The groups.
    schedules: The schedule of each, by its first layer.
    multiple_of: What widths end at a multiple of.

  Attributes:
    multiples: The number that each group's units come in, by its name.
  """

  def __init__(
    self,
    groups: Sequence[Group],
    schedules: Mapping[Path, PruningSchedule],
    multiple_of: MultipleOf,
  ):
    self._schedules = schedules
    self._finals: dict[int, float | None] = {}
    self.multiples = group_multiples(groups, multiple_of)
    for group in groups:
      own = own_multiple(schedules[group.layer])
      (more,) = group_multiples([group], own).values()
      both = self.multiples[group.name], more
      self.multiples[group.name] = Multiple.common(both)

  def target(self, group: Group, asked: float) -> int:
    """How many units shall be gone at what a group's schedule asks for.

    Those of a multiple end at a stair. On the way there they need no stair,
    since small steps choose better, but none goes beyond the last.
    """
    count = units_to_remove(group.size, asked)
    multiple = self.multiples[group.name]
    if multiple == 1:
      return count
    final = self._final(self._schedules[group.layer])
    if final is None or asked >= final:
      return units_to_stair(group.size, multiple, asked)
    return min(count, units_to_stair(group.size, multiple, final))

  def _final(self, schedule: PruningSchedule) -> float | None:
    """What a schedule asks for in the end, looked up once."""
    if id(schedule) not in self._finals:
      self._finals[id(schedule)] = final_sparsity(schedule)
    return self._finals[id(schedule)]


def own_multiple(schedule: PruningSchedule) -> int | str | None:
  """What a schedule itself says of widths; TFMOT's say nothing."""
  return getattr(schedule, 'multiple_of', None)


def check_widths(
  groups: Sequence[Group],
  schedules: Mapping[Path, PruningSchedule],
  multiple_of: MultipleOf,
) -> None:
  """Raises where numbers do not fit groups, warns where they say nothing.

  Args:
    groups: The groups that shall be pruned.
    schedules: The schedule of each, by its first layer.
    multiple_of: What widths shall end at a multiple of.

  Raises:
    ValueError: a number is larger than a layer, or a dict names a layer that
      has no units to prune.
  """
  check_multiples(groups, multiple_of)
  said = multiple_of is not None
  for group in groups:
    own = own_multiple(schedules[group.layer])
    check_multiples([group], own)
    said |= own is not None
  multiples = Widths(groups, schedules, multiple_of).multiples.values()
  if said and all(multiple == 1 for multiple in multiples):
    warnings.warn(
      '`multiple_of` has no effect: every width is a multiple of 1. Leave it '
      'out, or pass the number that the hardware works in, such as 8.',
      stacklevel=callers.level(),
    )
