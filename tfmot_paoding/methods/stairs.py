"""Widths in multiples: hardware works in steps, and a width ends at one.

Of a group of n units and a multiple m the stairs are m, 2 m, ... below n, and n
itself: what is between two costs as much as the upper one, and n is where
nothing is given away. Some hardware has one more below m, the least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.accelerators import AUTO, accelerator_of
from tfmot_paoding.arguments import check_whole
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.plan import units_to_remove
from tfmot_paoding.network.groups import Group, Member

Array = np.ndarray

# A number, an accelerator's name, or either by layer name; None for any width.
MultipleOf = int | str | Mapping[str, int | str] | None


class Multiple(int):
  """The number that a group's units come in.

  Attributes:
    least: The narrowest stair, a divisor of the number: itself where there is
      none below.
  """

  least: int

  def __new__(cls, number: int, least: int | None = None) -> Multiple:
    """A number, and the least stair where it is another."""
    found = super().__new__(cls, number)
    found.least = int(number if least is None else least)
    return found

  @classmethod
  def common(cls, multiples: Iterable[Multiple]) -> Multiple:
    """The least number, and stair, that suits several layers at once."""
    multiples = list(multiples)
    return cls(
      math.lcm(*multiples), math.lcm(*(one.least for one in multiples))
    )

  def over(self, run: int) -> Multiple:
    """In units that are several channels each, next to each other."""
    return Multiple(
      int(self) // math.gcd(self, run), self.least // math.gcd(self.least, run)
    )


def nearest_stair(size: int, multiple: Multiple, kept: int) -> int:
  """The stair that is nearest to a width; of two as near, the wider.

  Args:
    size: Of the group, n.
    multiple: The number that its units come in, m.
    kept: The width, 1 to n.
  """
  below = next_stair(multiple, kept + 1)
  if below == kept:
    return kept
  above = (kept // multiple + 1) * multiple if below else multiple.least
  above = min(above, size)
  return below if below and kept - below < above - kept else above


def next_stair(multiple: Multiple, kept: int) -> int:
  """The widest stair below a width; 0 where there is none."""
  stair = (kept - 1) // multiple * multiple
  return stair or (multiple.least if multiple.least < kept else 0)


def units_to_stair(size: int, multiple: Multiple, sparsity: float) -> int:
  """How many of `size` units go at a sparsity: to the nearest stair."""
  kept = size - units_to_remove(size, sparsity)
  return size - nearest_stair(size, multiple, kept)


def checked_multiple(value: Any, name: str = 'multiple_of') -> MultipleOf:
  """What a user said of widths, as plain values.

  Args:
    value: A number, an accelerator's name, a dict of layer (or its name) to
      either, or None.
    name: Of the argument.

  Raises:
    ValueError: it is none of these, a number is less than 1, or an accelerator
      is unknown.
  """
  if value is None:
    return None
  if isinstance(value, Mapping):
    if not value:
      raise ValueError(
        f'`{name}` is an empty dict. Name a layer, or pass one number for all.'
      )
    return {
      str(getattr(layer, 'name', layer)): _checked_one(
        one, f'{name}[{layer!r}]'
      )
      for layer, one in value.items()
    }
  return _checked_one(value, name)


def _checked_one(value: Any, name: str) -> int | str:
  """A number, or an accelerator's name."""
  if value == AUTO:
    raise ValueError(
      f'`{name}` is {AUTO!r}, but nothing says which device it is for. Pass '
      "its name, such as 'ethos-u55', or a number; with a `budget`, "
      f'{AUTO!r} is what the budget is for.'
    )
  if isinstance(value, str):
    accelerator_of(value)
    return value
  return check_whole(name, value, 1)


def _number(value: int | str) -> Multiple:
  if not isinstance(value, str):
    return Multiple(value)
  found = accelerator_of(value)
  return Multiple(found.multiple, found.least)


def group_multiples(
  groups: Sequence[Group], multiple_of: MultipleOf
) -> dict[Path, Multiple]:
  """The number that each group's units come in, by its name.

  The least that makes every layer with a number of its own as wide as that: a
  layer that has several channels next to each other for a unit (heads, a
  depthwise convolution that makes several of each) needs fewer units. One
  number for all is meant of what layers read as well as of what they make.

  Args:
    groups: The groups.
    multiple_of: What was said, checked.
  """
  return {group.name: _least(_said(group, multiple_of)) for group in groups}


def check_multiples(groups: Sequence[Group], multiple_of: MultipleOf) -> None:
  """Raises where a number does not fit the groups that shall be pruned.

  An accelerator's fits all: what is narrower stays as it is.

  Args:
    groups: The groups that shall be pruned.
    multiple_of: What was said, checked.

  Raises:
    ValueError: a number is larger than a group, or a dict names a layer that
      has no units to prune.
  """
  if isinstance(multiple_of, Mapping):
    _check_names(groups, multiple_of)
  for group in groups:
    least = _least(
      (member, said)
      for member, said in _said(group, multiple_of)
      if not isinstance(said, str)
    )
    if least > group.size:
      raise ValueError(
        f'`multiple_of` asks for {least} units, or a multiple, of layer '
        f'{"/".join(group.name)!r}, which has {group.size}. Pass a smaller '
        'number, a dict of layer name to number, or the name of an accelerator '
        "('ethos-u55'), which leaves narrower layers as they are."
      )


def _least(said: Iterable[tuple[Member, int | str]]) -> Multiple:
  """The least number of units that gives each layer its number of channels."""
  return Multiple.common(
    _number(number).over(_run(member)) for member, number in said
  )


def _check_names(
  groups: Sequence[Group], multiple_of: Mapping[str, int | str]
) -> None:
  """Raises where a dict names a layer whose units nobody prunes."""
  known = {
    '/'.join(member.node.path): None
    for group in groups
    for member in _wide(group)
  }
  for name in multiple_of:
    if name not in known:
      raise ValueError(
        f'`multiple_of` names layer {name!r}, which does not exist, or has no '
        f'units to prune. Layers that have: {", ".join(sorted(known))}.'
      )


def _said(
  group: Group, multiple_of: MultipleOf
) -> Iterable[tuple[Member, int | str]]:
  """Each layer of a group that a number was given for, with what was given."""
  if multiple_of is None:
    return
  if not isinstance(multiple_of, Mapping):
    for member in group.members:
      yield member, multiple_of
    return
  for member in _wide(group):
    name = '/'.join(member.node.path)
    if name in multiple_of:
      yield member, multiple_of[name]


def _wide(group: Group) -> tuple[Member, ...]:
  """Whose outputs are as wide as the group has units."""
  return group.producers + group.carriers


def _run(member: Member) -> int:
  """How many channels of a unit lie next to each other, always.

  Those of a head do; those of a unit at several positions, or in several
  blocks of a grouped convolution, lie apart, and each lot of them is as wide
  as there are units.
  """
  units = member.units
  ends = np.flatnonzero(np.diff(units)) + 1
  starts = np.concatenate([[0], ends])
  lengths = np.diff(np.concatenate([starts, [len(units)]]))
  return math.gcd(*lengths[units[starts] >= 0].tolist())
