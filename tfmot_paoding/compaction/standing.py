"""How far the pruning of a layer's units has come, noted on the layer.

A schedule that was broken off leaves a whole model, at a lower sparsity than
was asked for; who compacts or exports it should know. The note stays on the
layer when its wrapper is stripped.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.compat import keras

_NOTE = 'pruning_standing'
_NAMED = 5  # layers in a warning
# Schedules give float32.
_ALIKE = 1e-6


@dataclasses.dataclass(frozen=True)
class Standing:
  """What was carried out of one group's schedule.

  Attributes:
    step: The training step up to which it was; -1 for none.
    reached: The sparsity that was asked for by then.
    final: The sparsity that the schedule asks for in the end.
  """

  step: int
  reached: float
  final: float

  @property
  def is_short(self) -> bool:
    """Whether more is asked for."""
    return self.reached < self.final - _ALIKE

  def get_config(self) -> dict[str, Any]:
    """The fields."""
    return dataclasses.asdict(self)


class UnfinishedWarning(UserWarning):
  """A model is less sparse than its schedule asks for."""


def note(layer: Any, standing: Standing | None) -> None:
  """Notes on the layer in a wrapper how far pruning has come."""
  setattr(layer, _NOTE, standing)


def noted(layer: Any) -> Standing | None:
  """What was noted on a layer."""
  return getattr(layer, _NOTE, None)


def standings(model: keras.Model) -> dict[str, Standing]:
  """What is noted on the layers of a wrapped or stripped model, by name."""
  return {
    layer.name: noted(layer)
    for layer in model._flatten_layers()
    if noted(layer) is not None
  }


def warn_if_short(name: str, found: Mapping[str, Standing]) -> None:
  """Warns where pruning ended before its schedule did.

  Args:
    name: Of the model.
    found: How far each layer's units have come, by name.
  """
  short = {layer: one for layer, one in found.items() if one.is_short}
  if not short:
    return
  groups = {}
  for layer, one in short.items():
    groups.setdefault(one, []).append(repr(layer))
  told = '; '.join(
    f'a sparsity of {one.reached:.3g}, of {one.final:.3g} that is asked for, '
    + (f'at training step {one.step}' if one.step >= 0 else 'before any step')
    + f' ({_some(layers)})'
    for one, layers in groups.items()
  )
  warnings.warn(
    f'Pruning of {name!r} ended before its schedule did: it stands at {told}. '
    'Go on before strip_pruning: run_schedule(wrapped) does the rest without '
    'data, and so does fit with the callback UpdatePruningStep and enough '
    'steps (without the callback it removes nothing). Where this sparsity is '
    'wanted, ask for it in the schedule.',
    UnfinishedWarning,
    stacklevel=callers.level(),
  )


def _some(names: list[str]) -> str:
  more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
  return ', '.join(names[:_NAMED]) + more
