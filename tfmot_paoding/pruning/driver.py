"""Carries a pruning schedule out on a wrapped model, step by step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_paoding.bounds.deviation import ChangeBound
from tfmot_paoding.compaction.standing import Standing, note, noted
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange, input_boxes, resolve_range
from tfmot_paoding.inputs.samples import draw_samples
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.allocation import allocate
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.methods.memory import Memory
from tfmot_paoding.methods.named import get_method
from tfmot_paoding.methods.plan import (
  Plan,
  alive_units,
  make_plan,
  unit_masks,
  units_to_remove,
)
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import Graph, build_graph, read_params
from tfmot_paoding.network.groups import (
  ARE_OUTPUTS,
  Group,
  Grouping,
  find_groups,
)
from tfmot_paoding.ops import Params, WeightRef
from tfmot_paoding.pruning.origin import find_origin
from tfmot_paoding.pruning.schedule import (
  final_sparsity,
  passed_steps,
  sparsity_at,
)
from tfmot_paoding.pruning.shares import LayerShare
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper, mask_variables

Array = np.ndarray


@dataclasses.dataclass
class History:
  """What a schedule did, one entry a pruning step.

  Attributes:
    step: The training step.
    sparsity: Units removed so far, as a fraction of all units in groups.
    units_removed: Units removed so far.
    bound: The largest sound bound on the change of any output, over the whole
      input box, since the run began; NaN where an operation without known
      bounds stands in the way, or in `fit`, where weights train as well.
    seconds: Wall time of the step.
    units: All units in groups.
    left_alone: The reason for each layer whose units cannot be pruned.
    input_range: The range of each input and who says so, by name.
    layers: What was asked of each group of units and what was removed, by the
      name of its first layer; rounding down makes the difference.
    verdict: How the pruned model answers beside the original, and on whose
      inputs; None in `fit`, where weights train as well, and for a run that
      was resumed where the original is not known, or whose inputs are of open
      sizes.
  """

  step: list[int] = dataclasses.field(default_factory=list)
  sparsity: list[float] = dataclasses.field(default_factory=list)
  units_removed: list[int] = dataclasses.field(default_factory=list)
  bound: list[float] = dataclasses.field(default_factory=list)
  seconds: list[float] = dataclasses.field(default_factory=list)
  units: int = 0
  left_alone: dict[str, str] = dataclasses.field(default_factory=dict)
  input_range: dict[str, str] = dataclasses.field(default_factory=dict)
  layers: dict[str, LayerShare] = dataclasses.field(default_factory=dict)
  verdict: Verdict | None = None


def prunable(graph: Graph, grouping: Grouping) -> tuple[list[Group], dict]:
  """The groups whose every layer is wrapped, and why others are left alone.

  Args:
    graph: A wrapped model's graph.
    grouping: Its groups.

  Returns:
    The groups, and the reason for each producer that is left alone.
  """
  groups, left_alone = [], dict(grouping.left_alone)
  masked = mask_variables(graph)
  for group in grouping.groups:
    bare = [
      path
      for path in group.paths
      if not isinstance(graph.wrappers.get(path), UnitWrapper)
    ]
    unmasked = [
      ref
      for ref, _, zeroed, _ in group.weights()
      if zeroed and ref not in masked
    ]
    if bare:
      left_alone[group.name] = (
        f'layer {"/".join(bare[0])!r}, which its units pass, is not wrapped'
      )
    elif unmasked:
      left_alone[group.name] = (
        f'the wrapper of layer {"/".join(unmasked[0].layer)!r} has no mask '
        f'for its {unmasked[0].name!r}; leave `masked_weights` out'
      )
    else:
      groups.append(group)
  return groups, {'/'.join(path): why for path, why in left_alone.items()}


def settled_range(wrapped: keras.Model, settings: UnitWrapper) -> InputRange:
  """The range that a wrapper keeps, or what the model says of it."""
  if settings.range_notes is None:  # wrapped by hand, or by an older version
    return resolve_range(wrapped, settings.input_range, stacklevel=5)
  return InputRange(settings.input_range, **settings.range_notes)


class Driver:
  """Plans and carries out pruning steps on one wrapped model.

  Args:
    wrapped: A model from `prune_low_saliency`, or one loaded from a file.
    bounded: Whether the history shall hold output bounds.
    calibration_data: Inputs to fit on, in place of the prior; see
      `run_schedule`.
    refresh: Whether batch norm's statistics follow the fits; training moves
      them itself.
    prior: Where inputs to fit on come from otherwise, as in `draw_samples`.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.
    resumes: Whether it goes on where an earlier run on the same model, or on
      one loaded from a file, was interrupted.
    original: The model before pruning, for that; see `find_origin`.

  Attributes:
    samples: What the method fits on, one array an input; None if it does not.

  Raises:
    ValueError: no group of the model can be pruned, or the data do not fit it.
  """

  def __init__(
    self,
    wrapped: keras.Model,
    bounded: bool = True,
    calibration_data: Any = None,
    refresh: bool = True,
    prior: Any = None,
    verbose: int | str = 0,
    resumes: bool = False,
    original: Any = None,
  ):
    self.graph = build_graph(wrapped)
    self._grouping = find_groups(self.graph)
    self.groups, left_alone = prunable(self.graph, self._grouping)
    self._masks = mask_variables(self.graph)
    if not self.groups:
      raise ValueError(
        'The model has no group that is wrapped for pruning. Pass what '
        'prune_low_saliency returned, or wrap all layers that a group of units '
        f'passes. Left alone: {left_alone}.'
      )
    settings = self._wrapper(self.groups[0])
    self._check_settings()
    self._method = get_method(settings.method)
    self._allocation = settings.allocation
    self._seed = settings.seed
    shapes = [self.graph.shapes[value] for value in self.graph.inputs]
    self.input_range = settled_range(wrapped, settings)
    self._boxes = input_boxes(wrapped, self.input_range, shapes)
    self.history = History(
      units=sum(group.size for group in self.groups),
      left_alone=left_alone,
      input_range=self.input_range.described(),
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
      fit, source = FitSettings(refresh=refresh), wrapped
      if resumes:
        wrapper = self._wrapper(self.groups[0])
        wrapper.origin = self._origin = find_origin(
          wrapped, wrapper.origin, self.removed, original
        )
        source = self._origin.model
      samples = self.samples = draw_samples(
        source,
        self.input_range,
        fit.count(graph_macs(self.graph)),
        self._seed,
        calibration_data,
        prior,
        verbose,
      )
      before = read_params(build_graph(source))
      self._fitting = Fitting(source, before, samples, fit)
    self._merged = {
      group.name: np.full(group.size, -1) for group in self.groups
    }

  def _check_settings(self) -> None:
    """Raises where layers were wrapped for different ways of pruning."""
    first, *others = [self._wrapper(group) for group in self.groups]
    wanted = first.get_config()
    for other in others:
      config = other.get_config()
      for name in ('method', 'input_range', 'seed', 'allocation'):
        if config[name] != wanted[name]:
          raise ValueError(
            f'Layers {first.layer.name!r} and {other.layer.name!r} are wrapped '
            f'with different `{name}`: {wanted[name]!r} and {config[name]!r}. '
            'One model is pruned in one way: pass the same to all wrappers.'
          )

  @property
  def original(self) -> keras.Model | None:
    """The model before pruning, where it is known."""
    if self._origin is None or not self._origin.is_whole:
      return None
    return self._origin.model

  @property
  def fits(self) -> bool:
    """Whether the method fits what is left on samples."""
    return self._method.needs_samples

  @property
  def seed(self) -> int:
    """Of the random choices."""
    return self._seed

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
    params = read_params(self.graph)
    gone = sum(int((~units).sum()) for units in alive.values())
    plan = make_plan(
      self.graph,
      self.groups,
      params,
      alive,
      targets,
      self._method,
      self._boxes,
      # Seeded by what is gone, so that a resumed run repeats the same plan.
      np.random.default_rng([self._seed, gone]),
      self._memory,
      self._fitting,
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
      )
      for group in self.groups
    }

  @property
  def unexpected(self) -> dict[str, str]:
    """The reason for each layer that somebody might expect to be pruned.

    Not those that make the outputs, nor those that nobody wrapped.
    """
    unasked = {
      '/'.join(group.name)
      for group in self._grouping.groups
      if not any(
        isinstance(self.graph.wrappers.get(member.node.path), UnitWrapper)
        for member in group.producers
      )
    }
    return {
      name: why
      for name, why in self.history.left_alone.items()
      if why != ARE_OUTPUTS and name not in unasked
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
    return self.graph.wrappers[group.layer]

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
        targets[group.name] = units_to_remove(group.size, asked[id(schedule)])
    return targets

  def _global_targets(
    self, step: int, alive: Mapping[Path, Array]
  ) -> dict[Path, int]:
    sparsity = sparsity_at(self.schedules[0], step)
    if sparsity is None:
      return {}
    targets = self._allocated(sparsity, alive)
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
    targets = self._allocated(sparsity, self._alive())
    return {
      '/'.join(group.layer): targets[group.name] / group.size
      for group in self.groups
    }

  def _allocated(
    self, sparsity: float, alive: Mapping[Path, Array]
  ) -> dict[Path, int]:
    return allocate(
      self._allocation,
      sparsity,
      self.graph,
      self.groups,
      read_params(self.graph),
      alive,
      self._boxes,
      self._memory,
      self._fitting,
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
