"""What was asked of each layer, and what whole units made of it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping

from tfmot_paoding import callers

_NAMED = 5  # layers in a warning


@dataclasses.dataclass(frozen=True)
class LayerShare:
  """One group of units, by the name of its first layer.

  Attributes:
    units: How many there were.
    asked: The fraction of them to be removed, in [0, 1).
    removed: How many are gone.
    multiple_of: What the units that stay are a multiple of, if not all do.
  """

  units: int
  asked: float
  removed: int
  multiple_of: int = 1

  @property
  def is_rounded_away(self) -> bool:
    """Whether more than half of what was asked fell to rounding."""
    return self.asked > 0 and self.removed / self.units < self.asked / 2


class RoundingWarning(UserWarning):
  """A layer lost less than half of the units that were asked for."""


def warn_of_rounding(layers: Mapping[str, LayerShare]) -> None:
  """Warns of layers that rounding down to whole units has hardly touched.

  Args:
    layers: What was asked and removed, by the name of the first layer.
  """
  lost = {name: one for name, one in layers.items() if one.is_rounded_away}
  if not lost:
    return
  named = ', '.join(
    f'{name!r} {one.removed} of {one.units} (asked: {one.asked:.3g}'
    + (f', in multiples of {one.multiple_of})' if one.multiple_of > 1 else ')')
    for name, one in list(lost.items())[:_NAMED]
  )
  in_stairs = any(one.multiple_of > 1 for one in lost.values())
  why = 'only whole units go and none loses more than its share'
  if in_stairs:
    why = 'widths end at the nearest multiple of what `multiple_of` says'
  more = f' and {len(lost) - _NAMED} more' if len(lost) > _NAMED else ''
  warnings.warn(
    f'{len(lost)} of {len(layers)} groups of units lost less than half of what '
    f'was asked, since {why}: {named}{more}. Ask for more there, '
    + ('take a smaller `multiple_of`, ' if in_stairs else '')
    + "or pass scope='global', which spreads one sparsity over all units.",
    RoundingWarning,
    stacklevel=callers.level(),
  )
