"""Masks of units: who is still there, and where the removed ones lay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.groups import Group, along
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray


def alive_units(group: Group, masks: Mapping[WeightRef, Array]) -> Array:
  """Which of a group's units the masks have not removed, shape (n,)."""
  alive = np.zeros(group.size, bool)
  for member in group.producers:
    op = member.node.op
    mask = masks[op.kernel]
    axes = op.weights()[op.kernel]
    axis = axes.outgoing % mask.ndim
    others = tuple(a for a in range(mask.ndim) if a != axis)
    units = axes.along_outgoing(member.units)
    entries = mask.any(axis=others) & (units >= 0)
    alive[units[entries]] = True
  return alive


def unit_masks(
  groups: Sequence[Group], alive: Mapping[Path, Array], params: Params
) -> dict[WeightRef, Array]:
  """Masks of ones and zeros: zero wherever a removed unit has a weight.

  Args:
    groups: The groups.
    alive: Which units each group still has, by its name.
    params: The weights, for their shapes.

  Returns:
    A mask for every weight that a group's units lie in and that is masked.
  """
  masks: dict[WeightRef, Array] = {}
  for group in groups:
    for ref, index in removed_entries(group, alive[group.name]):
      if ref not in masks:
        masks[ref] = np.ones(params[ref].shape, np.float32)
      masks[ref][index] = 0.0
  return masks


def removed_entries(
  group: Group, alive: Array
) -> Iterator[tuple[WeightRef, tuple]]:
  """Each masked weight of a group, and the index of its removed entries."""
  for ref, axis, masked, units in group.weights():
    if masked:
      gone = np.flatnonzero((units >= 0) & ~alive[units])
      yield ref, along(axis, gone)
