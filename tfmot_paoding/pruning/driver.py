"""Carries a pruning schedule out on a wrapped model, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from tfmot_paoding.bounds.deviation import ChangeBound
from tfmot_paoding.compaction.standing import Standing, note, noted
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource, few_of
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.allocation import allocate, losses
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.methods.memory import Memory
from tfmot_paoding.methods.named import get_method
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.methods.plan import Plan, make_plan
from tfmot_paoding.methods.stairs import units_to_stair
from tfmot_paoding.methods.unit_masks import alive_units, unit_masks
from tfmot_paoding.network.graph import read_params
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import Params, WeightRef
from tfmot_paoding.pruning.history import History
from tfmot_paoding.pruning.origin import find_origin
from tfmot_paoding.pruning.schedule import (
  final_sparsity,
  passed_steps,
  sparsity_at,
)
from tfmot_paoding.pruning.shares import LayerShare
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper
from tfmot_paoding.pruning.widths import Widths
from tfmot_paoding.pruning.wrapped import Wrapped

Array = np.ndarray


class Driver:
  """Plans and carries out pruning steps on one wrapped model.

  Args:
    wrapped: What `prune_low_saliency` returned, or what stands in it.
    source: Where inputs to fit on come from; None for what its wrappers say.
    bounded: Whether the history shall hold output bounds.
    refresh: Whether batch norm's statistics follow the fits; training moves
      them itself.
    resumes: Whether it goes on where an earlier run on the same model, or on
      one loaded from a file, was interrupted.
    original: What was before pruning, for that; see `find_origin`.

  Attributes:
    groups: The groups that are pruned.
    source: As given.
    samples: What the method fits on, one array an input; None if it does not.
    history: What was done so far.

  Raises:
    ValueError: the data do not fit the model.
  """

  def __init__(
    self,
    wrapped: keras.Model | Network | Wrapped,
    source: InputSource | None = None,
    *,
    bounded: bool = True,
    refresh: bool = True,
    resumes: bool = False,
    original: Network | None = None,
  ):
    self._wrapped = wrapped = Wrapped.of(wrapped)
    self.source = source = source or wrapped.source()
    self.graph, self.groups = wrapped.network.graph, wrapped.groups
    self._masks = wrapped.masks
    self._method = get_method(wrapped.settings.method)
    self._allocation = wrapped.settings.allocation
    self._widths = Widths(
      self.groups,
      {g.layer: self._wrapper(g).pruning_schedule for g in self.groups},
      self._allocation.multiple_of,
    )
    self._boxes = source.boxes(wrapped.network)
    self.history = History(
      units=sum(group.size for group in self.groups),
      left_alone=wrapped.left_alone,
      input_range=source.range.described(),
    )
    self._asked: dict[Path, float] = {}
    self._bound_of = None
    if bounded:
      self._bound_of = ChangeBound(
        self.graph, read_params(self.graph), self._boxes
      )
    self._memory = Memory(
      {
        group.name: np.array(found)
        for group in self.groups
        if (found := self._wrapper(group).masses.get('/'.join(group.name)))
      }
    )
    self._fitting, self._origin, self.samples = None, None, None
    if self._method.needs_samples:
      self._prepare_fits(refresh, resumes, original)
    self._resting: NetworkView | None = None
    self._losses: dict[Path, Array] | None = None
    self._merged = {
      group.name: np.full(group.size, -1) for group in self.groups
    }

  def _prepare_fits(
    self, refresh: bool, resumes: bool, original: Network | None
  ) -> None:
    """Draws inputs, and notes what the original makes of them."""
    fit, before = FitSettings(refresh=refresh), self._wrapped.network
    if resumes:
      wrapper = self._wrapped.settings
      wrapper.origin = self._origin = find_origin(
        before, wrapper.origin, self.removed, original
      )
      before = self._origin.network
    self.source = self.source.settled(before)
    count = fit.count_for(before)
    self.samples = self.source.samples(before, count)
    judged_on = None
    if self._allocation.scope == 'global':
      judged_on = self.source.anew(before, few_of(before, count))
    self._fitting = Fitting(
      before, before.params(), self.samples, fit, judged_on
    )

  @property
  def original(self) -> Network | None:
    """What was before pruning, where it is known."""
    if self._origin is None or not self._origin.is_whole:
      return None
    return self._origin.network

  @property
  def fits(self) -> bool:
    """Whether the method fits what is left on samples."""
    return self._method.needs_samples

  @property
  def schedules(self) -> list:
    """The schedule of each group."""
    return [self._wrapper(group).pruning_schedule for group in self.groups]

  def step(self, step: int) -> bool:
    """Prunes as far as the schedules ask for at a training step.

    Returns:
      Whether any unit was removed.
    """
    began = time.perf_counter()
    alive = self._alive()
    targets = self._targets(step, alive)
    self.history.layers = self._shares(alive)
    if all(targets.get(n, 0) <= (~a).sum() for n, a in alive.items()):
      self._note_standing(step)
      return False
    params, self._resting = read_params(self.graph), None
    gone = sum(int((~units).sum()) for units in alive.values())
    plan = make_plan(
      self._view(params),
      self.groups,
      alive,
      targets,
      self._method,
      # Seeded by what is gone, so that a resumed run repeats the same plan.
      np.random.default_rng([self.source.seed, gone]),
    )
    for name, removals in plan.removed.items():
      for unit, absorber in removals:
        alive[name][unit] = False
        self._note_merge(name, unit, absorber)
    self._apply(plan, params, unit_masks(self.groups, alive, params))
    self._keep_masses()
    self._note_standing(step)
    gone = sum(int((~units).sum()) for units in alive.values())
    self.history.layers = self._shares(alive)
    self.history.step.append(step)
    self.history.units_removed.append(gone)
    self.history.sparsity.append(gone / self.history.units)
    self.history.bound.append(self._bound(plan.params))
    self.history.seconds.append(time.perf_counter() - began)
    return True

  def standings(self, step: int) -> dict[str, Standing]:
    """How far each group has come by a training step, by its first layer."""
    found = {}
    for group in self.groups:
      wrapper = self._wrapper(group)
      final = final_sparsity(wrapper.pruning_schedule)
      if final is not None:
        nothing = Standing(step, 0.0, final)
        found['/'.join(group.layer)] = noted(wrapper.layer) or nothing
    return found

  def _note_standing(self, step: int) -> None:
    """Notes what was asked of each group by now, where its layer keeps it."""
    for group in self.groups:
      schedule = self._wrapper(group).pruning_schedule
      asked, final = sparsity_at(schedule, step), final_sparsity(schedule)
      if asked is not None and final is not None:
        note(self._wrapper(group).layer, Standing(step, asked, final))

  def _shares(self, alive: Mapping[Path, Array]) -> dict[str, LayerShare]:
    return {
      '/'.join(group.name): LayerShare(
        group.size,
        # Schedules give float32: .3 is .30000001.
        round(float(self._asked.get(group.name, 0.0)), 6),
        int((~alive[group.name]).sum()),
        self._widths.multiples[group.name],
      )
      for group in self.groups
    }

  @property
  def removed(self) -> int:
    """How many units are gone."""
    return sum(int((~units).sum()) for units in self._alive().values())

  def reach(self, step: int) -> None:
    """Prunes as far as the schedules ask for by a training step.

    The steps before it are carried out one by one where they were not yet.
    """
    if self._allocation.scope == 'global':
      # A look at one target costs as much as a step here.
      last = next(passed_steps(self.schedules[:1], step), None)
      if last is not None:
        self.step(last)
      return
    alive, behind = self._alive(), []
    for passed in passed_steps(self.schedules, step):
      targets = self._targets(passed, alive)
      if not targets or (behind and targets == behind[-1][1]):
        continue
      if all(n <= (~alive[name]).sum() for name, n in targets.items()):
        break
      behind.append((passed, targets))
    for passed, _ in reversed(behind):
      self.step(passed)

  def _wrapper(self, group: Group) -> UnitWrapper:
    return self._wrapped.wrapper(group)

  def _targets(self, step: int, alive: Mapping[Path, Array]) -> dict[Path, int]:
    if self._allocation.scope == 'global':
      return self._global_targets(step, alive)
    targets, asked = {}, {}
    for group in self.groups:
      schedule = self._wrapper(group).pruning_schedule
      if id(schedule) not in asked:
        asked[id(schedule)] = sparsity_at(schedule, step)
      if asked[id(schedule)] is not None:
        self._asked[group.name] = asked[id(schedule)]
        targets[group.name] = self._widths.target(group, asked[id(schedule)])
    return targets

  def _global_targets(
    self, step: int, alive: Mapping[Path, Array]
  ) -> dict[Path, int]:
    sparsity = sparsity_at(self.schedules[0], step)
    if sparsity is None:
      return {}
    view = self._view(read_params(self.graph))
    targets = self._allocated(sparsity, alive, view)
    for group in self.groups:
      self._asked[group.name] = targets.get(group.name, 0) / group.size
    return targets

  def allocated(self, sparsity: float) -> dict[str, float]:
    """The fraction of each group's units that a global scope would take.

    Args:
      sparsity: The fraction of all units.

    Returns:
      Fractions by the name of each group's first producer.
    """
    targets = self._allocated(sparsity, self._alive(), self._rest())
    return {
      '/'.join(group.layer): targets[group.name] / group.size
      for group in self.groups
    }

  def loss(self, sparsity: Mapping[str, float]) -> float:
    """What a cut costs, as the loss of each group alone tells.

    Args:
      sparsity: The fraction of each group's units, by the name of its first
        producer.

    Returns:
      Infinite where a group would lose more than the scope's floor allows.
    """
    network, alive = self._rest(), self._alive()
    if self._losses is None:
      self._losses = losses(self._allocation, network, self.groups, alive)
    found = 0.0
    for group in self.groups:
      asked = sparsity.get('/'.join(group.layer), 0.0)
      multiple, curve = (
        self._widths.multiples[group.name],
        self._losses[group.name],
      )
      count = units_to_stair(group.size, multiple, asked)
      more = max(count - int((~alive[group.name]).sum()), 0)
      found += float(curve[more]) if more < len(curve) else np.inf
    return found

  def _rest(self) -> NetworkView:
    """The network as it is between steps, read once."""
    if self._resting is None:
      # Asked again and again before anything goes: measured once.
      self._resting = self._view(read_params(self.graph))
      self._losses = None
    return self._resting

  def _allocated(
    self, sparsity: float, alive: Mapping[Path, Array], view: NetworkView
  ) -> dict[Path, int]:
    multiples = self._widths.multiples
    return allocate(
      self._allocation, sparsity, view, self.groups, alive, multiples
    )

  def _view(self, params: Params) -> NetworkView:
    """The network at some weights."""
    return NetworkView(
      self.graph, params, self._boxes, self._memory, self._fitting
    )

  def _alive(self) -> dict[Path, Array]:
    masks = {
      ref: keras.backend.get_value(self._masks[ref])
      for group in self.groups
      for member in group.producers
      for ref in [member.node.op.kernel]
    }
    return {group.name: alive_units(group, masks) for group in self.groups}

  def _note_merge(self, name: Path, unit: int, absorber: int) -> None:
    """Keeps, for each removed unit, the living one that stands for it."""
    merged = self._merged[name]
    merged[merged == unit] = absorber
    merged[unit] = absorber

  def _keep_masses(self) -> None:
    """Notes in the wrappers what a resumed run must know."""
    for group in self.groups:
      masses = self._memory.masses.get(group.name)
      if masses is not None and np.any(masses != 1):
        name = '/'.join(group.name)
        self._wrapper(group).masses[name] = masses.tolist()

  def _apply(
    self, plan: Plan, old: Params, masks: Mapping[WeightRef, Array]
  ) -> None:
    """Sets weights and masks; an interrupt leaves them whole."""

    def assign() -> None:
      for ref, value in plan.params.items():
        if value is not old[ref]:
          keras.backend.set_value(self.graph.weight(ref), value)
      for ref, mask in masks.items():
        keras.backend.set_value(self._masks[ref], mask)

    try:
      assign()
    except KeyboardInterrupt:
      assign()
      raise
    finally:
      if self._origin is not None:
        self._origin.note(read_params(self.graph))

  def _bound(self, params: Params) -> float:
    """The largest bound on the outputs' change since the start."""
    if self._bound_of is None:
      return float('nan')
    change = self._bound_of(params, merged_entries(self.groups, self._merged))
    if any(interval is None for interval in change):
      return float('nan')
    return float(max(interval.magnitude.max() for interval in change))


def merged_entries(
  groups: list[Group], merged: Mapping[Path, Array]
) -> dict[int, Array]:
  """For each consumer's input value, the entry each entry was merged into."""
  entries = {}
  for group in groups:
    for member in group.consumers:
      places = member.places
      gone = np.flatnonzero(merged[group.name] >= 0)
      for value in (call.inputs[0] for call in member.calls):
        found = entries.setdefault(value, np.full(len(member.units), -1))
        found[places[gone]] = places[merged[group.name][gone]]
  return entries
