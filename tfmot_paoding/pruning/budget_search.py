"""The least pruning that meets every limit of a budget.

What a pruned model takes depends on its widths alone, so that these are found
first, on converted files of models that are cut to them without care; only
then is the model pruned in earnest, once for each way of spreading the cut over
the layers, and the way that keeps the answers best is taken. Where two are near
to each other, that is told once both are distilled.
Where layers may become chains of thinner ones, that is a way as well, alone and
behind a cut of units.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.methods.stairs import (
  MultipleOf,
  group_multiples,
  units_to_stair,
)
from tfmot_paoding.network.agreement import judge
from tfmot_paoding.network.memory_peaks import activation_peaks
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.roots import least_root
from tfmot_paoding.progress import finish, progress_bar
from tfmot_paoding.pruning.budget import (
  Budget,
  BudgetError,
  ChainRanks,
  Cut,
  Fitted,
  Sparsities,
  used,
)
from tfmot_paoding.pruning.stair_exchange import (
  Exchange,
  Gone,
  exchanged,
  stairs_of,
  unevenness,
)
from tfmot_paoding.quantization import quantization_of
from tfmot_paoding.tflite.checks import AnswersError
from tfmot_paoding.tflite.comparison import clipped
from tfmot_paoding.tflite.convert import convert_to_tflite, convert_unchecked
from tfmot_paoding.tflite.profile import TFLiteProfile, profile_tflite

Array = np.ndarray

# No layer loses more than this of its units to a budget.
_MOST = 0.95
# Bisections of a sparsity, at most: to within a unit of a thousand.
_HALVINGS = 10
_SECONDS = 0.3  # of timing a file
# How often a model is pruned in earnest whose file may still be too large.
_TRIES = 3
_LEAST = 1e-6  # of a limit
# A gap of so many times the least may be made up for by a lesson. A small
# network for rows of digits is at .0121 by the same cut for all layers and at
# .0124 by the spread of `method`, with .858 and .860 of answers right; taught,
# at .0060 and .0054, with .890 and .902.
_NEAR = 2.0
# Of what units alone would lose, before ranks save the rest: an MLP on digits
# that keeps a tenth of its weights has .65 right by ranks alone, .60 by units,
# and .73 and .78 by both; at half of them ranks alone are best.
_FIRST = (0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class Ways:
  """How a model is pruned, and how the cut is spread.

  Attributes:
    earnest: Prunes the model with care to a cut.
    quick: Gives any model of those widths.
    polish: What the pruned model that is chosen goes through at the end.
    teaches: Whether that changes it.
    allocated: The sparsity by layer name that a fraction of all units comes to.
    loss: What a sparsity by layer name costs, as single layers tell.
    gap: How far a pruned model's answers are from the original's, by which one
      of several is taken.
    multiple_of: What widths end at a multiple of.
    ranks: The ranks of a cut, by layer name; None where layers shall not become
      chains of thinner ones.
  """

  earnest: Callable[[Cut], keras.Model]
  quick: Callable[[Cut], keras.Model]
  polish: Callable[[keras.Model], keras.Model]
  teaches: bool
  allocated: Callable[[float], Sparsities]
  loss: Callable[[Sparsities], float]
  gap: Callable[[keras.Model], float]
  multiple_of: MultipleOf = None
  ranks: Callable[[Cut], ChainRanks] | None = None


def fit_budget(
  network: Network,
  budget: Budget,
  ways: Ways,
  samples: Sequence[Array],
  source: InputSource,
) -> Fitted:
  """Finds the least pruning that meets a budget.

  Args:
    network: The model.
    budget: What it may take.
    ways: How it is pruned.
    samples: Inputs to judge answers on, one array an input of the model.
      Integer files take their ranges from them where the source holds data or
      recalled inputs, and
      from what `convert_to_tflite` draws otherwise.
    source: Where the inputs come from.

  Raises:
    AnswersError: what meets it answers otherwise than its Keras model.
    BudgetError: no pruning meets it.
    ImportError: an arena shall be measured without tflite-micro.
  """
  fitter = _Fitter(network, budget, ways, samples, source)
  try:
    found = _cuts(fitter, budget, ways)
  finally:
    fitter.end_search()
  if found is None:
    return fitter.finished(network.model, Cut(), 'uniform')
  missed: list[TFLiteProfile] = []
  refused = None
  for _ in range(_TRIES):
    last = None
    try:
      for last in _in_earnest(fitter, found, ways):
        if budget.is_met(last[1].profile):
          return last[1]
        missed.append(last[1].profile)
    except AnswersError as error:
      if not missed:
        raise
      refused = error  # what is larger was none the less too large
    if last is None:
      break
    try:
      found = _cuts(fitter, fitter.tightened(*last), ways) or []
    except BudgetError:  # there is no room for what was taken above the cut
      break
  missed = missed or [fitter.profile_of(fitter.uniform(_MOST))]
  nearest = min(missed, key=lambda profile: max(budget.taken(profile).values()))
  shortfall = _shortfall(budget, nearest)
  if refused is not None:
    shortfall += f' Files of what is pruned further are refused: {refused}'
  raise BudgetError(shortfall, nearest) from refused


def _in_earnest(
  fitter: _Fitter,
  found: list[tuple[str, Cut]],
  ways: Ways,
) -> Iterator[tuple[Cut, Fitted]]:
  """The model pruned to each cut, that of the nearest answers first.

  One whose file answers otherwise than it does is passed over.

  Raises:
    AnswersError: all are.
  """
  tried = [
    _Tried.of(spread, cut, ways.earnest(cut), ways) for spread, cut in found
  ]
  tried.sort(key=lambda one: one.gap)
  refused, count = None, 0
  for one in _taught(tried, ways):
    try:
      made = fitter.finished(one.model, one.cut, one.spread)
    except AnswersError as error:
      refused = error
      warnings.warn(
        f'A cut that was spread {one.spread!r} is passed over. {error}',
        stacklevel=callers.level(),
      )
      continue
    count += 1
    yield one.cut, made
  if refused is not None and not count:
    raise refused


@dataclasses.dataclass(frozen=True, eq=False)
class _Tried:
  """A model that was pruned to a cut, and how far its answers are."""

  spread: str
  cut: Cut
  model: keras.Model
  gap: float

  @classmethod
  def of(cls, spread: str, cut: Cut, model: keras.Model, ways: Ways) -> _Tried:
    """Measured."""
    return cls(spread, cut, model, ways.gap(model))

  def polished(self, ways: Ways) -> _Tried:
    """After its lesson."""
    return self.of(self.spread, self.cut, ways.polish(self.model), ways)


def _taught(tried: Sequence[_Tried], ways: Ways) -> Iterator[_Tried]:
  """Those at the front taught, the nearest first; others as they are needed.

  Args:
    tried: The nearest first.
    ways: How one is taught.
  """
  pair, others = list(tried[:2]), tried[2:]
  if ways.teaches and len(pair) == 2 and pair[1].gap <= _NEAR * pair[0].gap:
    pair = sorted((one.polished(ways) for one in pair), key=lambda one: one.gap)
    yield from pair
  else:
    others = tried
  for one in others:
    yield dataclasses.replace(one, model=ways.polish(one.model))


def _cuts(
  fitter: _Fitter, budget: Budget, ways: Ways
) -> list[tuple[str, Cut]] | None:
  """The least cuts that do, with how each is spread; None if none is needed.

  Raises:
    BudgetError: no pruning meets the budget.
  """
  if budget.is_met(fitter.profile_of(Cut())):
    return None
  most = fitter.profile_of(fitter.uniform(_MOST))
  if not budget.is_met(most):
    raise BudgetError(_shortfall(budget, most), most)
  uniform = fitter.least(lambda part: fitter.uniform(_MOST * part))
  uniform = fitter.exchanged(
    uniform, lambda sparsity: unevenness(tuple(sparsity.values()))
  )
  alone = fitter.least(lambda part: Cut(ways.allocated(_MOST * part)))
  alone = fitter.exchanged(alone, ways.loss)
  found = [('uniform', uniform), ('global', alone)]
  caps = None
  if budget.arena_bytes is not None:
    caps = fitter.caps()
    found.append(('peaks', fitter.least_with_caps(caps)))
  if ways.ranks is not None:
    found.append(('low_rank', fitter.least_thin({})))
    found += [
      ('both', fitter.least_thin(first)) for first in _firsts(caps, alone)
    ]
  return fitter.distinct(found)


def _firsts(caps: Sparsities | None, alone: Cut | None) -> list[Sparsities]:
  """What units leave before ranks save the rest.

  Args:
    caps: What an arena asks for, if one is limited and can be met.
    alone: What would leave if units alone did, if that can be met.
  """
  firsts = [] if caps is None else [caps]
  if caps is None and alone is not None:
    firsts = [
      {name: part * share for name, share in alone.sparsity.items()}
      for part in _FIRST
    ]
  return [first for first in firsts if any(first.values())]


class _Fitter:
  """Measures widths against a budget; remembers what it has measured."""

  def __init__(
    self,
    network: Network,
    budget: Budget,
    ways: Ways,
    samples: Sequence[Array],
    source: InputSource,
  ):
    self.network, self._budget, self._ways = network, budget, ways
    self._samples, self._source = samples, source
    self._peaks = activation_peaks(network.graph, network.groups.offered)
    self.names = list(self._peaks)
    self._groups = network.groups.offered
    self._multiples = group_multiples(self._groups, ways.multiple_of)
    self._representative = None
    reads = quantization_of(budget.quantization).reads
    is_known = source.data is not None or source.recollection is not None
    if is_known and 'representative_data' in reads:
      self._representative = clipped(samples, source.boxes(network))
    self._reference: bytes | None = None
    self._known: dict[tuple, TFLiteProfile] = {}
    self._bar = progress_bar(None, source.verbose, 'file', ['limits'])
    self._files = 0
    self._searches = True

  def uniform(self, sparsity: float) -> Cut:
    """The same fraction of every layer's units."""
    return Cut(dict.fromkeys(self.names, sparsity))

  def profile_of(self, cut: Cut) -> TFLiteProfile:
    """What a model of these widths takes."""
    key = self._key(cut)
    if key not in self._known:
      model = self._ways.quick(cut) if any(key) else self.network.model
      data = convert_unchecked(
        model,
        self._budget.quantization,
        input_range=self._source.range,
        seed=self._source.seed,
        micro=self._budget.is_for_micro,
      )
      if self._reference is None:
        self._reference = data
      self._known[key] = self.measured(data)
    return self._known[key]

  def _counts(self, sparsity: Sparsities) -> list[int]:
    """How many units of each group a cut takes."""
    return [
      units_to_stair(
        group.size,
        self._multiples[group.name],
        sparsity.get('/'.join(group.layer), 0.0),
      )
      for group in self._groups
    ]

  def _removed(self, sparsity: Sparsities) -> Sparsities:
    """The fraction of each layer's units that a cut takes."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for group, count in zip(self._groups, self._counts(sparsity), strict=True):
      name = '/'.join(group.layer)
      counts[name] = counts.get(name, 0) + count
      sizes[name] = sizes.get(name, 0) + group.size
    return {name: counts[name] / sizes[name] for name in sparsity}

  def measured(self, data: bytes) -> TFLiteProfile:
    """What a file takes, as far as the budget asks."""
    timed = self._budget.latency_ratio is not None
    profile = profile_tflite(
      data,
      self._reference if timed else None,
      micro=self._budget.is_for_micro,
      latency=timed,
      seconds=_SECONDS,
      npu=self._budget.npu,
    )
    if self._searches:  # later, bars of pruning stand in between
      share = max(self._budget.taken(profile).values())
      self._bar.add(1, [('limits', share)])
      self._files += 1
    return profile

  def tightened(self, cut: Cut, one: Fitted) -> Budget:
    """A budget, from here on, with room for what a model took above its cut.

    Files of one shape differ: biases that were zero take bytes once they are
    fitted, and latency is measured.
    """
    before = self._budget.taken(self.profile_of(cut))
    after = self._budget.taken(one.profile)
    room = {
      # Never none at all, which is no budget.
      name: limit * max(_LEAST, 1 - max(0.0, after[name] - before[name]))
      for name, limit in self._budget.limits.items()
    }
    self._budget = dataclasses.replace(self._budget, **room)
    return self._budget

  def end_search(self) -> None:
    """Shows no more of what is measured, and ends the line."""
    self._searches = False
    finish(self._bar, self._files)

  def least(self, spread: Callable[[float], Cut]) -> Cut | None:
    """The least of a family of cuts, by a number in [0, 1], that does."""
    units = sum(group.size for group in self._groups)
    nearness = max(1 / units, 0.5**_HALVINGS)
    found = least_root(lambda part: self._excess(spread(part)), nearness)
    return None if found is None else spread(found)

  def distinct(
    self, found: Sequence[tuple[str, Cut | None]]
  ) -> list[tuple[str, Cut]]:
    """Those that there are, and of several of the same widths the first."""
    by_widths: dict[tuple, tuple[str, Cut]] = {}
    for spread, cut in found:
      if cut is not None:
        by_widths.setdefault(self._key(cut), (spread, cut))
    return list(by_widths.values())

  def _key(self, cut: Cut) -> tuple:
    """What tells the files of two cuts apart."""
    return (*self._counts(cut.sparsity), cut.saved)

  def least_thin(self, sparsity: Sparsities) -> Cut | None:
    """The least saving by chains that does, behind a cut of units."""
    return self.least(lambda part: Cut(sparsity, _MOST * part))

  def exchanged(
    self, cut: Cut | None, loss: Callable[[Sparsities], float]
  ) -> Cut | None:
    """A cut at stairs that loses less; the same where widths know none.

    Args:
      cut: What meets the budget, if anything does.
      loss: What a sparsity costs.
    """
    multiples = [self._multiples[group.name] for group in self._groups]
    names = ['/'.join(group.layer) for group in self._groups]
    # A layer whose groups are of several widths has no stairs of its own.
    several = len(set(names)) < len(names)
    if cut is None or several or all(multiple == 1 for multiple in multiples):
      return cut
    start = self._removed({name: cut.sparsity.get(name, 0.0) for name in names})
    stairs = [
      # Any width was found to the unit already.
      (start[name],)
      if multiple == 1
      else stairs_of(group.size, multiple, _MOST)
      for group, name, multiple in zip(
        self._groups, names, multiples, strict=True
      )
    ]

    def sparsity(gone: Gone) -> Sparsities:
      return dict(zip(names, gone, strict=True))

    found = exchanged(
      tuple(start.values()),
      Exchange(
        stairs,
        lambda gone: loss(sparsity(gone)),
        lambda gone: self._budget.taken(self.profile_of(Cut(sparsity(gone)))),
      ),
    )
    return Cut(sparsity(found))

  def _excess(self, cut: Cut) -> float:
    """By how much a cut misses the budget, as a share; none of it above 0."""
    profile = self.profile_of(cut)
    return max(self._budget.taken(profile).values()) - 1

  def caps(self) -> Sparsities | None:
    """Cuts that meet the arena alone, by capping what is alive at once."""
    arena = dataclasses.replace(
      self._budget,
      flash_bytes=None,
      macs=None,
      latency_ratio=None,
      npu_cycles=None,
    )

    def capped(part: float) -> Cut:
      cap = 1 - _MOST * part
      return Cut(
        {
          name: min(_MOST, max(0.0, 1 - cap / peak))
          for name, peak in self._peaks.items()
        }
      )

    # Files that only the arena is asked of are known by it alone.
    whole, known = self._budget, self._known
    self._budget, self._known = arena, dict(known)
    try:
      found = self.least(capped)
    finally:
      self._budget, self._known = whole, known
    return None if found is None else found.sparsity

  def least_with_caps(self, caps: Sparsities | None) -> Cut | None:
    """Cuts that only layers at the peaks of memory must bear, and the rest.

    Other limits than the arena's are met by one sparsity for all that lose
    less so far.

    Args:
      caps: What the arena asks for; None where it cannot be met.
    """
    if caps is None:
      return None
    return self.least(
      lambda part: Cut(
        {name: max(caps[name], _MOST * part) for name in self.names}
        if part
        else caps
      )
    )

  def finished(self, model: keras.Model, cut: Cut, spread: str) -> Fitted:
    """A pruned model with its file and what that takes."""
    data = convert_to_tflite(
      model,
      self._budget.quantization,
      input_range=self._source.range,
      seed=self._source.seed,
      representative_data=self._representative,
      micro=self._budget.is_for_micro,
    )
    profile = self.measured(data)
    verdict = judge(self.network, model, self._samples)
    removed = self._removed(cut.sparsity)
    ranks = self._ways.ranks(cut) if cut.saved else {}
    return Fitted(model, data, profile, removed, spread, verdict, ranks)


def _shortfall(budget: Budget, nearest: TFLiteProfile) -> str:
  """What cannot be met, and how near pruning comes."""
  units = used(nearest)
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
