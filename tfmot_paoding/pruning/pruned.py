"""A network pruned in earnest: wrapped, run, compacted and taught."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.arguments import check_sparsity
from tfmot_paoding.compaction.dead_units import without_dead_units
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.running import run, verdict_of
from tfmot_paoding.pruning.schedule import ProgressiveSparsity
from tfmot_paoding.pruning.wrap import Manner, wrap
from tfmot_paoding.pruning.wrapped import Wrapped
from tfmot_paoding.training.distill_settings import DistillSettings
from tfmot_paoding.training.distillation import taught
from tfmot_paoding.training.lesson import RowsError
from tfmot_paoding.training.nearing import comes_nearer

Sparsity = float | Mapping[str, float]
# Whether, or how, to distill; None to tell by the method.
Distillation = bool | DistillSettings | None


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned:
  """A pruned network.

  Attributes:
    model: The compact model.
    is_distilled: Whether it was taught at the end, or that was tried.
  """

  model: keras.Model
  is_distilled: bool
  _original: Network
  _driver: Driver
  _source: InputSource

  @property
  def drawn(self) -> InputSource:
    """Where that came from which it was fitted and taught on."""
    return self._driver.source

  def verdict(self) -> Verdict | None:
    """How it answers beside the original; None where sizes are open."""
    return verdict_of(self._driver, self._original, self.model, self._source)


def pruned(
  network: Network,
  sparsity: Sparsity,
  manner: Manner,
  step_sparsity: float,
  distillation: Distillation,
  source: InputSource,
) -> Pruned:
  """Prunes a network to a sparsity; see `prune`."""
  schedule = schedule_of(sparsity, step_sparsity)
  wrapped = wrap(network, schedule, manner, source)
  fits = manner.method.needs_samples
  distills = is_distilled(fits, distillation)
  # Settled once, for the fits, for distillation and for the verdict.
  drawn = source.settled(wrapped) if distills else source
  driver = Driver(Wrapped.of(wrapped), drawn, resumes=True, original=network)
  run(driver, wrapped.model)
  small, _ = without_dead_units(wrapped)
  small, taught_ = polished(network, small, fits, distillation, drawn)
  return Pruned(small, taught_, network, driver, source)


def polished(
  original: Network,
  small: keras.Model,
  fits: bool,
  distillation: Distillation,
  source: InputSource,
) -> tuple[keras.Model, bool]:
  """The pruned model, distilled if that is wanted, and whether that was tried.

  Args:
    original: What was before.
    small: The pruned model.
    fits: Whether what is left was fitted on inputs.
    distillation: What the user said.
    source: Where inputs come from.

  Raises:
    RowsError: it was asked for, and cannot be done.
  """
  if not is_distilled(fits, distillation):
    return small, False
  settings = distillation if isinstance(distillation, DistillSettings) else None
  try:
    student = taught(original, small, source, settings)
    is_free = distillation is None and not _tells_classes(original)
    if is_free and not comes_nearer(original, small, student, source):
      return small, True
    return student, True
  except RowsError as error:
    if distillation is not None:
      raise
    warnings.warn(
      f'Pruned without distillation. {error}', stacklevel=callers.level()
    )
    return small, False


def schedule_of(sparsity: Sparsity, step_sparsity: float) -> Any:
  """The schedule that goes to a sparsity step by step, or one by layer name.

  Raises:
    ValueError: a number is outside its range.
  """
  if not isinstance(sparsity, Mapping):
    final = check_sparsity(sparsity, 'sparsity')
    return ProgressiveSparsity(final, step_sparsity)
  return {
    name: ProgressiveSparsity(
      check_sparsity(value, f'sparsity[{name!r}]'), step_sparsity
    )
    for name, value in sparsity.items()
  }


def check_distillation(wanted: Any) -> None:
  """Raises where a user's `distillation` is none.

  Raises:
    ValueError: it is neither None, a bool nor settings.
  """
  if wanted is not None and not isinstance(wanted, (bool, DistillSettings)):
    raise ValueError(
      '`distillation` must be None, True, False or a DistillSettings, but got '
      f'{wanted!r}.'
    )


def is_distilled(fits: bool, wanted: Distillation) -> bool:
  """Whether to distill: where nobody says, if what is left is fitted on inputs.

  Args:
    fits: Whether it is.
    wanted: What the user said.
  """
  return fits if wanted is None else bool(wanted)


def _tells_classes(network: Network) -> bool:
  """Whether any output stands for classes."""
  return any(head.is_classes for head in network.heads())
