"""What a device has, and a model that was pruned to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.accelerators import AUTO, check_npu
from tfmot_paoding.compat import keras
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.quantization import (
  Quantization,
  on_micro,
  on_npu,
  quantization_of,
)
from tfmot_paoding.registry import Configurable
from tfmot_paoding.tflite.profile import TFLiteProfile
from tfmot_paoding.tflite.recipes import require_recipes

Sparsities = dict[str, float]
# Ranks by layer name, as `factorize` takes them.
ChainRanks = dict[str, int | tuple[int | None, int | None]]

_LIMITS = ('flash_bytes', 'arena_bytes', 'macs', 'latency_ratio', 'npu_cycles')


def used(profile: TFLiteProfile) -> dict[str, float | None]:
  """What a file takes of all that can be limited; None if not measured."""
  return {
    'flash_bytes': profile.bytes,
    'arena_bytes': profile.arena_bytes,
    'macs': profile.macs,
    'latency_ratio': profile.latency_ratio,
    'npu_cycles': None if profile.npu is None else profile.npu.cycles,
  }


@dataclasses.dataclass(frozen=True)
class Budget(Configurable):
  """What a model may take on a device; None for no limit.

  Attributes:
    flash_bytes: Of the .tflite.
    arena_bytes: Of tflite-micro's tensor arena (the extra `[micro]`).
    macs: Multiply-accumulates of an inference.
    latency_ratio: Of an inference on one thread to one of the unpruned model,
      converted likewise.
    quantization: What numbers the file holds: None for float32, or another
      name of `tflite.QUANTIZATIONS`.
    npu_cycles: Of an inference on `npu`, as Vela counts them (the extra
      `[npu]`); those of operators that the CPU has to run are none of them.
    npu: The NPU of the device, such as 'ethos-u55-128'. Widths then end at the
      multiples that it works in, unless `multiple_of` says otherwise.
  """

  flash_bytes: int | None = None
  arena_bytes: int | None = None
  macs: int | None = None
  latency_ratio: float | None = None
  quantization: str | None = 'int8'
  npu_cycles: int | None = None
  npu: str | None = None

  def __post_init__(self):
    limits = self.limits
    if not limits:
      raise ValueError(
        f'A budget needs a limit: {", ".join(_LIMITS[:-1])} or {_LIMITS[-1]}.'
      )
    for name, value in limits.items():
      number = isinstance(value, (int, float)) and not isinstance(value, bool)
      if not (number and np.isfinite(value) and value > 0):
        raise ValueError(f'`{name}` must be positive, but got {value!r}.')
    mode = quantization_of(self.quantization)
    if self.arena_bytes is not None and not mode.on_micro:
      raise ValueError(
        f'`arena_bytes` is of tflite-micro, which does not run files of '
        f'{mode.text}: `quantization` must be {on_micro()}, but got '
        f'{mode.name!r}.'
      )
    self._check_npu(mode)

  def _check_npu(self, mode: Quantization) -> None:
    """Raises where an NPU is not named, or would run nothing.

    Raises:
      ValueError: so it is.
    """
    if self.npu is None and self.npu_cycles is None:
      return
    check_npu(self.npu)
    if not mode.on_npu:
      raise ValueError(
        f'`npu` is {self.npu!r}, which takes integers throughout: '
        f'`quantization` must be {on_npu()}, but got {mode.name!r}.'
      )

  @property
  def is_for_micro(self) -> bool:
    """Whether the file has to run in tflite-micro."""
    return self.arena_bytes is not None

  @property
  def limits(self) -> dict[str, float]:
    """The limits that are set, by name."""
    found = {name: getattr(self, name) for name in _LIMITS}
    return {name: value for name, value in found.items() if value is not None}

  def taken(self, profile: TFLiteProfile) -> dict[str, float]:
    """What a file takes of each limit, as fractions of it."""
    found = used(profile)
    return {
      name: float('inf') if found[name] is None else found[name] / limit
      for name, limit in self.limits.items()
    }

  def check_extras(self) -> None:
    """Raises where a limit cannot be measured here.

    Raises:
      ImportError: an arena is limited, and tflite-micro is not installed; or
        there is an NPU, and Vela is not; or the file takes ai-edge-quantizer.
    """
    if self.arena_bytes is not None:
      extras.MICRO.require()
    if self.npu is not None:
      extras.NPU.require()
    require_recipes(quantization_of(self.quantization))

  def settled_multiple(self, multiple_of: Any) -> Any:
    """What a `multiple_of` stands for on this device.

    'auto' is what the device works in, and so is None where an NPU is named;
    1, for any width, is then None. Anything else comes back as it is.
    """
    if isinstance(multiple_of, Mapping):
      return {
        layer: self.settled_multiple(one) for layer, one in multiple_of.items()
      }
    if self.npu is not None and multiple_of in (None, AUTO, 1):
      return None if multiple_of == 1 else self.npu
    if multiple_of != AUTO:
      return multiple_of
    return 'xnnpack' if self.arena_bytes is None else 'cmsis-nn'

  @property
  def cost(self) -> str:
    """What a cut of units is weighed against, to be the least that does.

    A CNN for digits that keeps .3 of its multiply-accumulates gives .994 of its
    answers where units are weighed by these, and .975 where by parameters.
    """
    is_computing = self.limits.keys() <= {'macs', 'npu_cycles'}
    return 'macs' if is_computing else 'parameters'

  def is_met(self, profile: TFLiteProfile) -> bool:
    """Whether a file keeps every limit."""
    return all(share <= 1 for share in self.taken(profile).values())


@dataclasses.dataclass(frozen=True)
class Cut:
  """What leaves a model: units, and then a part of what is left.

  Attributes:
    sparsity: The fraction of units, by layer name.
    saved: The fraction of the parameters left, or of the multiply-accumulates,
      that chains of thinner layers save.
  """

  sparsity: Sparsities = dataclasses.field(default_factory=dict)
  saved: float = 0.0


class BudgetError(ValueError):
  """A budget cannot be met by pruning.

  Attributes:
    nearest: What the model takes when as much as possible is pruned.
  """

  def __init__(self, message: str, nearest: TFLiteProfile):
    super().__init__(message)
    self.nearest = nearest


@dataclasses.dataclass(frozen=True)
class Fitted:
  """A model that meets a budget.

  Attributes:
    model: The compact model.
    data: Its .tflite.
    profile: What that takes, measured on `data` itself.
    sparsity: The fraction of units removed, by layer name.
    spread: How the cut was spread over layers: 'uniform', 'peaks', 'global';
      or 'low_rank', where no units left but layers became thinner, and 'both'.
    verdict: How its answers compare with the original's on inputs that no
      label or sample of the training data went into.
    ranks: Of the layers that became chains of thinner ones, by name, as
      `factorize` takes them.
  """

  model: keras.Model
  data: bytes
  profile: TFLiteProfile
  sparsity: Sparsities
  spread: str
  verdict: Verdict
  ranks: ChainRanks = dataclasses.field(default_factory=dict)
