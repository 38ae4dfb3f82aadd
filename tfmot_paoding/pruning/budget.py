"""Pruning to what a device has: the least that meets every limit.

What a pruned model takes depends on its widths alone, so that these are found
first, on converted files of models that are cut to them without care; only
then is the model pruned in earnest, once for each way of spreading the cut over
the layers, and the way that keeps the answers best is taken (and distilled).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import input_boxes
from tfmot_paoding.network.agreement import Verdict, judge
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.memory_peaks import activation_peaks
from tfmot_paoding.progress import finish, progress_bar
from tfmot_paoding.quantization import on_micro, quantization_of
from tfmot_paoding.registry import Configurable
from tfmot_paoding.tflite.comparison import clipped
from tfmot_paoding.tflite.convert import convert_to_tflite, convert_unchecked
from tfmot_paoding.tflite.micro import require_micro
from tfmot_paoding.tflite.profile import TFLiteProfile, profile_tflite

Array = np.ndarray
Sparsities = dict[str, float]

# No layer loses more than this of its units to a budget.
_MOST = 0.95
# Bisections of a sparsity: to within .95 / 2^7, less than a hundredth.
_HALVINGS = 7
_SECONDS = 0.3  # of timing a file


@dataclasses.dataclass(frozen=True)
class Budget(Configurable):
  """What a model may take on a device; None for no limit.

  Attributes:
    flash_bytes: Of the .tflite.
    arena_bytes: Of tflite-micro's tensor arena (the extra `[micro]`).
    macs: Multiply-accumulates of an inference.
    latency_ratio: Of an inference on one thread to one of the unpruned model,
      converted likewise.
    quantization: How the file is converted, as in `convert_to_tflite`.
  """

  flash_bytes: int | None = None
  arena_bytes: int | None = None
  macs: int | None = None
  latency_ratio: float | None = None
  quantization: str | None = 'int8'

  def __post_init__(self):
    limits = self.limits
    if not limits:
      raise ValueError(
        'A budget needs a limit: flash_bytes, arena_bytes, macs or '
        'latency_ratio.'
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

  @property
  def limits(self) -> dict[str, float]:
    """The limits that are set, by name."""
    names = ('flash_bytes', 'arena_bytes', 'macs', 'latency_ratio')
    found = {name: getattr(self, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}

  def taken(self, profile: TFLiteProfile) -> dict[str, float]:
    """What a file takes of each limit, as fractions of it."""
    found = {
      'flash_bytes': profile.bytes,
      'arena_bytes': profile.arena_bytes,
      'macs': profile.macs,
      'latency_ratio': profile.latency_ratio,
    }
    return {
      name: float('inf') if found[name] is None else found[name] / limit
      for name, limit in self.limits.items()
    }

  def check_extras(self) -> None:
    """Raises where a limit cannot be measured here.

    Raises:
      ImportError: an arena is limited, and tflite-micro is not installed.
    """
    if self.arena_bytes is not None:
      require_micro()

  def is_met(self, profile: TFLiteProfile) -> bool:
    """Whether a file keeps every limit."""
    return all(share <= 1 for share in self.taken(profile).values())


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
    spread: How the cut was spread over layers: 'uniform', 'peaks', 'global'.
    verdict: How its answers compare with the original's on inputs that no
      label or sample of the training data went into.
  """

  model: keras.Model
  data: bytes
  profile: TFLiteProfile
  sparsity: Sparsities
  spread: str
  verdict: Verdict


def fit_budget(
  model: keras.Model,
  budget: Budget,
  prune: Callable[[Sparsities], keras.Model],
  polish: Callable[[keras.Model], keras.Model],
  cut: Callable[[Sparsities], keras.Model],
  allocated: Callable[[float], Sparsities] | None,
  samples: Sequence[Array],
  input_range: Any,
  seed: int = 0,
  verbose: int | str = 'auto',
  representative: Sequence[Array] | None = None,
) -> Fitted:
  """Finds the least pruning that meets a budget.

  Args:
    model: The model.
    budget: What it may take.
    prune: Prunes the model in earnest to a sparsity by layer name.
    polish: What the pruned model that is chosen goes through at the end.
    cut: Gives any model of those widths, quickly.
    allocated: The sparsity by layer name that a fraction of all units comes
      to, or None.
    samples: Inputs to judge answers on, one array an input of the model.
    input_range: The range of its inputs.
    seed: Of the conversion.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    representative: Inputs that integer files take their ranges from; None for
      what `convert_to_tflite` draws.

  Raises:
    BudgetError: no pruning meets it.
    ImportError: an arena shall be measured without tflite-micro.
  """
  fitter = _Fitter(
    model, budget, cut, input_range, seed, verbose, representative
  )
  try:
    found = _cuts(fitter, budget, allocated)
  finally:
    fitter.end_search()
  if not found:
    return fitter.finished(model, {}, 'uniform', samples)
  tried = [
    (name, sparsity, prune(sparsity))
    for name, sparsity in found.items()
    if sparsity is not None
  ]
  tried.sort(key=lambda one: judge(model, one[2], samples).distance)
  for name, sparsity, small in tried:
    one = fitter.finished(polish(small), sparsity, name, samples)
    # Files of one shape may differ by some bytes, and latency is measured.
    if budget.is_met(one.profile):
      return one
  most = fitter.profile_of(dict.fromkeys(fitter.names, _MOST))
  raise BudgetError(_shortfall(budget, most), most)


def _cuts(
  fitter: _Fitter,
  budget: Budget,
  allocated: Callable[[float], Sparsities] | None,
) -> dict[str, Sparsities | None]:
  """The least cut that does, by how it is spread; none where none is needed.

  Raises:
    BudgetError: no pruning meets the budget.
  """
  if budget.is_met(fitter.profile_of({})):
    return {}
  most = fitter.profile_of(dict.fromkeys(fitter.names, _MOST))
  if not budget.is_met(most):
    raise BudgetError(_shortfall(budget, most), most)
  spreads = {'uniform': lambda part: dict.fromkeys(fitter.names, _MOST * part)}
  if allocated is not None:
    spreads['global'] = lambda part: allocated(_MOST * part)
  found = {name: fitter.least(spread) for name, spread in spreads.items()}
  if budget.arena_bytes is not None:
    found['peaks'] = fitter.least_with_caps()
  return found


class _Fitter:
  """Measures widths against a budget; remembers what it has measured."""

  def __init__(
    self,
    model: keras.Model,
    budget: Budget,
    cut: Callable[[Sparsities], keras.Model],
    input_range: Any,
    seed: int,
    verbose: int | str,
    representative: Sequence[Array] | None,
  ):
    self._model = model
    self._budget = budget
    self._cut = cut
    self._settings = budget.quantization, input_range, seed
    graph = build_graph(model)
    grouping = find_groups(graph)
    self._peaks = activation_peaks(graph, grouping)
    self.names = list(self._peaks)
    self._sizes = {
      '/'.join(group.layer): group.size for group in grouping.groups
    }
    self._representative = None
    if representative is not None:
      shapes = [graph.shapes[value] for value in graph.inputs]
      boxes = input_boxes(model, input_range, shapes)
      self._representative = clipped(representative, boxes)
    self._reference: bytes | None = None
    self._known: dict[tuple, TFLiteProfile] = {}
    self._bar = progress_bar(None, verbose, 'file', ['limits'])
    self._files = 0
    self._searches = True

  def profile_of(self, sparsity: Sparsities) -> TFLiteProfile:
    """What a model of these widths takes."""
    key = tuple(
      int(sparsity.get(name, 0.0) * size + 1e-6)
      for name, size in self._sizes.items()
    )
    if key not in self._known:
      model = self._cut(sparsity) if any(key) else self._model
      quantization, input_range, seed = self._settings
      data = convert_unchecked(
        model, quantization, input_range=input_range, seed=seed
      )
      if self._reference is None:
        self._reference = data
      self._known[key] = self.measured(data)
    return self._known[key]

  def measured(self, data: bytes) -> TFLiteProfile:
    """What a file takes, as far as the budget asks."""
    timed = self._budget.latency_ratio is not None
    profile = profile_tflite(
      data,
      self._reference if timed else None,
      micro=self._budget.arena_bytes is not None,
      latency=timed,
      seconds=_SECONDS,
    )
    if self._searches:  # later, bars of pruning stand in between
      share = max(self._budget.taken(profile).values())
      self._bar.add(1, [('limits', share)])
      self._files += 1
    return profile

  def end_search(self) -> None:
    """Shows no more of what is measured, and ends the line."""
    self._searches = False
    finish(self._bar, self._files)

  def least(
    self, spread: Callable[[float], Sparsities], halvings: int = _HALVINGS
  ) -> Sparsities | None:
    """The least of a family of cuts, by a number in [0, 1], that does."""
    low, high = 0.0, 1.0
    if not self._budget.is_met(self.profile_of(spread(high))):
      return None
    for _ in range(halvings):
      middle = (low + high) / 2
      if self._budget.is_met(self.profile_of(spread(middle))):
        high = middle
      else:
        low = middle
    return spread(high)

  def least_with_caps(self) -> Sparsities | None:
    """Cuts that only layers at the peaks of memory must bear, and the rest.

    First the arena alone is met by capping what is alive at once; other limits
    are then met by one sparsity for all that lose less so far.
    """
    arena = dataclasses.replace(
      self._budget, flash_bytes=None, macs=None, latency_ratio=None
    )

    def capped(part: float) -> Sparsities:
      cap = 1 - _MOST * part
      return {
        name: min(_MOST, max(0.0, 1 - cap / peak))
        for name, peak in self._peaks.items()
      }

    whole, self._budget = self._budget, arena
    try:
      caps = self.least(capped)
    finally:
      self._budget = whole
    if caps is None:
      return None
    self._known = {}  # what is asked of a file has changed
    return self.least(
      lambda part: (
        {name: max(caps[name], _MOST * part) for name in self.names}
        if part
        else caps
      )
    )

  def finished(
    self,
    model: keras.Model,
    sparsity: Sparsities,
    spread: str,
    samples: Sequence[Array],
  ) -> Fitted:
    """A pruned model with its file and what that takes."""
    quantization, input_range, seed = self._settings
    data = convert_to_tflite(
      model, quantization, input_range, seed, self._representative
    )
    profile = self.measured(data)
    verdict = judge(self._model, model, samples)
    return Fitted(model, data, profile, sparsity, spread, verdict)


def _shortfall(budget: Budget, nearest: TFLiteProfile) -> str:
  """What cannot be met, and how near pruning comes."""
  units = {
    'flash_bytes': nearest.bytes,
    'arena_bytes': nearest.arena_bytes,
    'macs': nearest.macs,
    'latency_ratio': nearest.latency_ratio,
  }
  parts = [
    f'{name} of {budget.limits[name]:g} (nearest: '
    + (f'{units[name]:g})' if units[name] is not None else nearest.micro_error)
    for name, share in budget.taken(nearest).items()
    if share > 1
  ]
  return (
    f'The budget cannot be met with up to {_MOST:.0%} of every layer pruned: '
    f'{"; ".join(parts) or "files of the pruned model exceed it"}. Allow more, '
    'or choose another quantization.'
  )
