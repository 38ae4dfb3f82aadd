"""The face that a TFMOT workflow sees: wrap, run the schedule, prune."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.arguments import check_seed
from tfmot_paoding.compaction.dead_units import compact_quietly
from tfmot_paoding.compat import keras
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.inputs.ranges import (
  input_boxes,
  resolve_range,
  resolve_with_data,
  warn_outside,
)
from tfmot_paoding.inputs.samples import (
  check_source,
  draw_samples,
  recalled_samples,
  recalls,
)
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.consumer_fits import FitSettings
from tfmot_paoding.methods.named import DEFAULT_METHOD, Method, get_method
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.cloning import (
  clone_with,
  copy_weights,
  fresh_layer,
  plain_copy,
)
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import (
  Graph,
  build_graph,
  check_model,
  read_params,
)
from tfmot_paoding.network.groups import Group, find_groups
from tfmot_paoding.network.input_shapes import (
  check_sizes,
  open_inputs,
)
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.pruning.budget import Budget, Fitted, fit_budget
from tfmot_paoding.pruning.driver import Driver, History
from tfmot_paoding.pruning.few_answers import (
  compare_answers,
  inputs_in_words,
  judged,
  warn_of_few_answers,
)
from tfmot_paoding.pruning.masked_weights import masked_names
from tfmot_paoding.pruning.origin import checked_original
from tfmot_paoding.pruning.schedule import (
  ProgressiveSparsity,
  check_schedule,
  check_sparsity,
  pruning_steps,
)
from tfmot_paoding.pruning.shares import RoundingWarning, warn_of_rounding
from tfmot_paoding.pruning.wrapper import PruneLowSaliency, check_blocks
from tfmot_paoding.training.distillation import (
  DistillSettings,
  RowsError,
  distill,
)

# Recalled inputs that answers are compared on.
_JUDGED = 256


def prune_low_saliency(
  to_prune: keras.Model,
  pruning_schedule: compat.PruningSchedule | Mapping[str, Any] | None = None,
  method: str | Mapping[str, Any] | Method = DEFAULT_METHOD,
  input_range: Any = None,
  seed: int = 0,
  pruning_policy: compat.PruningPolicy | None = None,
  scope: str = 'local',
  cost: str = 'parameters',
  floor: float = 0.1,
  input_shape: Any = None,
  **blocks: Any,
) -> keras.Model:
  """Wraps a model for structured pruning without data.

  The counterpart of TFMOT's `prune_low_magnitude`. Nothing is pruned yet:
  `run_schedule` does it without data, or `fit` with the `UpdatePruningStep`
  callback (TFMOT's own does it too, but only at the end of each epoch). Layers
  without a part in a prunable group stay unwrapped.

  Args:
    to_prune: A model, of tf_keras or Keras 3: a built Sequential, a
      functional, or a subclassed one whose `call` is made of layers and
      functions, which is traced (`from_subclassed`). It is not changed; the
      result has copies of its weights.
    pruning_schedule: Any TFMOT `PruningSchedule`, whose sparsity is read as
      the fraction of units removed from every group; or a dict of layer name
      to schedule, which leaves the other layers' units alone. None:
      `ProgressiveSparsity(0.5)`.
    method: 'reconstruction', which fits what is left to what was; the paper's,
      'impact' or 'stochastic', 'saliency' or 'l1', another of `method_names`,
      or a `Method`.
    input_range: The range of the inputs that the model was trained on: a pair
      (low, high) of numbers or of arrays that broadcast to the input's shape,
      or a dict of input name to such a pair. None: what the layers say that
      read the inputs (an Embedding's rows; the range that a Rescaling, or
      `x / 255.`, brings to [0, 1] or [-1, 1]; the mean +- three deviations
      that Normalization or BatchNormalization stored; an 8 or 16-bit type),
      with a warning that names it, and (0, 1) where none says anything.
    seed: Of the method's random choices.
    pruning_policy: A TFMOT policy; the units of a layer that it excludes, and
      units that such a layer reads, are left alone.
    scope: 'local': every group loses the same fraction of its units.
      'global': the schedule's sparsity is a fraction of all units, and those
      go first whose removal moves the outputs least for what it saves.
    cost: What 'global' weighs that against: the 'parameters' or the 'macs'
      (multiply-accumulates) that a unit takes.
    floor: The fraction of each group's units that 'global' leaves at least.
    input_shape: Of one sample, where a subclassed model was not built or
      called yet, as `from_subclassed` takes it; the sizes that another one
      leaves open, such as (96, 96, 3), which the result then has.
    **blocks: `block_size`, `block_pooling_type` and `sparsity_m_by_n` of
      TFMOT's function are refused: they speak of single weights, and here whole
      units go. Both go together one after the other: see `PruneLowSaliency`.

  Returns:
    The wrapped model, not compiled.

  Raises:
    TypeError: `to_prune` is not a Keras model.
    ValueError: another argument is not as described, the model is unbuilt,
      cannot be traced or is wrapped already, holds NaN or infinite weights,
      or has no group that can be pruned.

  Reference: Meng et al., arXiv 2204.00783.
  """
  check_blocks(blocks, 'prune_low_saliency')
  to_prune = as_tf_keras(to_prune, input_shape)
  check_model(to_prune)
  warn_of_own_training(to_prune)
  graph = build_graph(to_prune)
  if graph.wrappers:
    raise ValueError(
      f'Layer {"/".join(next(iter(graph.wrappers)))!r} is wrapped for pruning '
      'already. Pass the plain model, or call strip_pruning first.'
    )
  method = get_method(method)
  check_seed(seed)
  allocation = _checked_allocation(scope, cost, floor, pruning_schedule)
  shapes = [graph.shapes[value] for value in graph.inputs]
  input_range = resolve_range(to_prune, input_range)
  input_boxes(to_prune, input_range, shapes)
  read_params(graph)
  if pruning_policy is not None:
    if not isinstance(pruning_policy, compat.PruningPolicy):
      raise ValueError(
        '`pruning_policy` must be a TFMOT PruningPolicy, but got '
        f'{pruning_policy!r}.'
      )
    pruning_policy.ensure_model_supports_pruning(to_prune)
  groups = _allowed_groups(graph, pruning_policy)
  schedules = _schedule_by_group(graph, groups, pruning_schedule)
  wraps = {
    path: schedules[group.layer]
    for group in reversed(groups)
    for path in reversed(group.paths)
  }
  # A layer's own group decides its schedule, not the group it consumes.
  wraps.update(schedules)
  masked = {
    path: masked_names(node.op for node in graph.nodes if node.path == path)
    for path in wraps
  }

  def make_layer(layer: Any, path: Path) -> Any:
    fresh = fresh_layer(layer)
    if path not in wraps:
      return fresh
    return PruneLowSaliency(
      fresh,
      wraps[path],
      method=method,
      input_range=input_range,
      seed=seed,
      allocation=allocation,
      masked_weights=masked[path],
    )

  wrapped = clone_with(to_prune, make_layer)
  copy_weights(graph, build_graph(wrapped))
  return wrapped


def run_schedule(
  wrapped: keras.Model,
  end_step: int | None = None,
  verbose: int | str = 'auto',
  calibration_data: Any = None,
  prior: Any = None,
  original: Any = None,
) -> History:
  """Drives a wrapped model's schedule to its end without data.

  An interrupted run leaves a whole model at the sparsity reached; calling
  again goes on from there, as the same run. Methods that fit look back at the
  model before pruning, which a wrapped model keeps as long as it lives; one
  that was saved and loaded needs `original` for that.

  Args:
    wrapped: What `prune_low_saliency` returned, changed in place.
    end_step: The last training step to act out, for schedules that do not say
      when they end.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    calibration_data: Unlabelled inputs, if you have some: an array, a list or
      dict of arrays for several inputs, or a batched `tf.data.Dataset`. Methods
      that fit (`'reconstruction'`) use them in place of their prior; the
      others do not look at them.
    prior: Where inputs to fit on come from otherwise: 'smooth' (Gaussian,
      smooth along positions), 'varied' (many such), 'recalled' (by
      `recall_inputs`), a `Prior` or `GaussianPrior` of your own, or a dict of
      input name to one. None: 'recalled' for models of up to 6e7
      multiply-accumulates that have batch normalization, 'smooth' for others.
    original: The model that was given to `prune_low_saliency`, where a run on
      a loaded model goes on.

  Returns:
    Sparsity, units removed, output bound and seconds of each step.

  Raises:
    TypeError: `original` is no Keras model.
    ValueError: the model is not wrapped, the schedule has no end, or
      `original` is not what was wrapped.
  """
  check_model(wrapped)
  if original is not None:
    original = checked_original(original, wrapped)
  check_source(wrapped, calibration_data, prior)
  driver = _driver(wrapped, verbose, calibration_data, prior, original)
  warn_outside(driver.input_range, wrapped, calibration_data, stacklevel=3)
  before = driver.original if original is None else original
  if before is None and not driver.removed:
    before = plain_copy(wrapped)
  history = _run(driver, wrapped, end_step, verbose)
  if before is not None:
    history.verdict = _verdict(
      driver, before, wrapped, calibration_data, prior, verbose
    )
    if history.verdict is not None:
      warn_of_few_answers(history.verdict, stacklevel=2, fits=driver.fits)
  return history


def _driver(
  wrapped: keras.Model,
  verbose: int | str,
  calibration_data: Any,
  prior: Any,
  original: Any = None,
) -> Driver:
  return Driver(
    wrapped,
    calibration_data=calibration_data,
    prior=prior,
    verbose=verbose,
    resumes=True,
    original=original,
  )


def _run(
  driver: Driver, wrapped: keras.Model, end_step: int | None, verbose: int | str
) -> History:
  """Carries all steps of the schedules out."""
  steps = sorted(
    {
      step
      for schedule in driver.schedules
      for step in pruning_steps(schedule, end_step)
    }
  )
  bar = progress_bar(len(steps), verbose, 'step', ['sparsity', 'bound'])
  for step in steps:
    driver.step(step)
    bar.add(1, _progress(driver.history))
  for wrapper in compat.collect_prunable_layers(wrapped):
    keras.backend.set_value(wrapper.pruning_step, steps[-1])
  warn_of_rounding(driver.history.layers, stacklevel=4)
  return driver.history


def _verdict(
  driver: Driver,
  original: keras.Model,
  pruned: keras.Model,
  data: Any,
  prior: Any,
  verbose: int | str,
) -> Verdict | None:
  """How the pruned model answers; recalled inputs are not recalled twice.

  None where the model leaves sizes open and there are no data.
  """
  if data is None and open_inputs(original):
    warnings.warn(
      f'{original.name!r} leaves sizes of its inputs open, so that nothing '
      'could be drawn to compare answers on. Pass unlabelled inputs of your '
      'own (`calibration_data`), or fix the sizes by `input_shape`.',
      stacklevel=4,
    )
    return None
  if driver.samples is not None and data is None and recalls(original, prior):
    samples = [x[:_JUDGED] for x in driver.samples]
    return judged(original, pruned, samples, None, prior)
  return compare_answers(
    original, pruned, driver.input_range, driver.seed + 1, data, prior, verbose
  )


def prune(
  model: keras.Model,
  sparsity: float | Mapping[str, float] | None = None,
  method: str | Mapping[str, Any] | Method = DEFAULT_METHOD,
  input_range: Any = None,
  seed: int = 0,
  step_sparsity: float = 0.025,
  verbose: int | str = 'auto',
  scope: str = 'local',
  cost: str = 'parameters',
  floor: float = 0.1,
  calibration_data: Any = None,
  prior: Any = None,
  distillation: bool | DistillSettings | None = None,
  budget: Budget | None = None,
  input_shape: Any = None,
) -> keras.Model:
  """Prunes a trained model without data and makes it physically smaller.

  `prune_low_saliency`, `run_schedule`, `strip_pruning`, `compact` and, for
  methods that fit on inputs, `distill` in one.

  Args:
    model: As in `prune_low_saliency`; not changed.
    sparsity: The fraction of units to remove from every group, in [0, 1); or
      a dict of layer name to fraction, which leaves other layers' units alone.
      None with a `budget`.
    method: As in `prune_low_saliency`.
    input_range: As in `prune_low_saliency`.
    seed: Of the method's random choices.
    step_sparsity: The fraction removed between two refreshes of bounds and
      saliencies.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    scope: As in `prune_low_saliency`.
    cost: As in `prune_low_saliency`.
    floor: As in `prune_low_saliency`.
    calibration_data: As in `run_schedule`.
    prior: As in `run_schedule`.
    distillation: Whether, or how, the pruned model is trained at the end to
      answer as `model` does, by `distill`. None: where the method fits on
      inputs, and the outputs are classes.
    budget: What the model may take on a device, in place of a sparsity; see
      `prune_to_budget`.
    input_shape: As in `prune_low_saliency`.

  Returns:
    A smaller tf_keras model of the same structure and layer names; of a
    Keras 3 model too, for which `to_keras3` is the way back.

  Raises:
    TypeError: `model` is not a Keras model.
    ValueError: as `prune_low_saliency`, or the budget cannot be met.
  """
  if (sparsity is None) == (budget is None):
    raise ValueError(
      'Pass either `sparsity` or `budget`, but got '
      + ('neither.' if budget is None else 'both.')
    )
  if budget is not None and scope != 'local':
    raise ValueError(
      f'`scope` is {scope!r}, but a `budget` finds by itself how to spread the '
      'cut over layers: leave `scope` out.'
    )
  model = as_tf_keras(model, input_shape)
  if budget is not None:
    return prune_to_budget(
      model,
      budget,
      method,
      input_range,
      seed,
      step_sparsity,
      verbose,
      cost,
      floor,
      calibration_data,
      prior,
      distillation,
    ).model
  small, verdict, distilled = _prune(
    model,
    sparsity,
    method,
    input_range,
    seed,
    step_sparsity,
    verbose,
    scope,
    cost,
    floor,
    calibration_data,
    prior,
    distillation,
  )
  said = verdict()
  if said is not None:
    warn_of_few_answers(said, 2, distilled, get_method(method).needs_samples)
  return small


def _prune(
  model: keras.Model,
  sparsity: float | Mapping[str, float],
  method: str | Mapping[str, Any] | Method,
  input_range: Any,
  seed: int,
  step_sparsity: float,
  verbose: int | str,
  scope: str,
  cost: str,
  floor: float,
  calibration_data: Any,
  prior: Any,
  distillation: bool | DistillSettings | None,
) -> tuple[keras.Model, Callable[[], Verdict | None], bool]:
  """The compact model, what gives its verdict, and whether it was distilled."""
  if isinstance(sparsity, Mapping):
    schedule = {
      name: ProgressiveSparsity(
        check_sparsity(value, f'sparsity[{name!r}]'), step_sparsity
      )
      for name, value in sparsity.items()
    }
  else:
    schedule = ProgressiveSparsity(
      check_sparsity(sparsity, 'sparsity'), step_sparsity
    )
  model = as_tf_keras(model)
  check_model(model)
  wanted = _wanted(distillation, model, method)
  check_source(model, calibration_data, prior, stacklevel=3)
  input_range = resolve_with_data(model, input_range, calibration_data)
  wrapped = prune_low_saliency(
    model,
    schedule,
    method,
    input_range,
    seed,
    scope=scope,
    cost=cost,
    floor=floor,
  )
  samples = calibration_data
  if wanted and samples is None:
    # Recalled once, for the fits, for distillation and for the verdict.
    samples = recalled_samples(wrapped, input_range, seed, prior, verbose)
  driver = _driver(wrapped, verbose, samples, prior)
  _run(driver, wrapped, None, verbose)
  small = compact_quietly(compat.strip_pruning(wrapped))
  small, distilled = _polished(
    small,
    model,
    input_range,
    seed,
    samples,
    prior,
    wanted,
    verbose,
    by_default=distillation is None,
  )

  def verdict() -> Verdict | None:
    return _verdict(driver, model, small, calibration_data, prior, verbose)

  return small, verdict, distilled


def _wanted(
  distillation: Any, model: keras.Model, method: Any
) -> bool | DistillSettings:
  """Whether, or how, to distill at the end.

  Raises:
    ValueError: it is none of what it may be.
  """
  if distillation is None:
    return _distills(model, method)
  if not isinstance(distillation, (bool, DistillSettings)):
    raise ValueError(
      '`distillation` must be None, True, False or a DistillSettings, but got '
      f'{distillation!r}.'
    )
  return distillation


def _polished(
  small: keras.Model,
  model: keras.Model,
  input_range: Any,
  seed: int,
  data: Any,
  prior: Any,
  wanted: bool | DistillSettings,
  verbose: int | str,
  by_default: bool,
) -> tuple[keras.Model, bool]:
  """The pruned model, distilled if that is wanted, and whether it was.

  Raises:
    RowsError: it was asked for, and cannot be done.
  """
  if not wanted:
    return small, False
  settings = wanted if isinstance(wanted, DistillSettings) else None
  try:
    made = distill(
      small, model, input_range, seed, data, prior, settings, verbose
    )
  except RowsError as error:
    if not by_default:
      raise
    warnings.warn(f'Pruned without distillation. {error}', stacklevel=4)
    return small, False
  return made, True


def prune_to_budget(
  model: keras.Model,
  budget: Budget,
  method: str | Mapping[str, Any] | Method = DEFAULT_METHOD,
  input_range: Any = None,
  seed: int = 0,
  step_sparsity: float = 0.1,
  verbose: int | str = 'auto',
  cost: str = 'parameters',
  floor: float = 0.1,
  calibration_data: Any = None,
  prior: Any = None,
  distillation: bool | DistillSettings | None = None,
  input_shape: Any = None,
) -> Fitted:
  """Prunes a model to what a device has.

  Each limit is measured on converted files. The cut is spread over the layers
  in up to three ways (the same fraction of each; the fraction of all units that
  `method` would choose; for an arena, only where memory peaks), the model is
  pruned in each of these ways to the least that meets every limit, and the one
  whose answers are nearest to the original's is returned.

  Args:
    model: As in `prune`.
    budget: The limits, and how the file is converted.
    method: As in `prune`; so are the following.
    input_range: The range of the inputs; None as in `prune_low_saliency`.
    seed: The only source of chance.
    step_sparsity: The fraction removed between two refreshes.
    verbose: 'auto' shows progress bars on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    cost: What a fraction of all units is weighed against.
    floor: What it leaves of each layer.
    calibration_data: Unlabelled inputs, if you have some.
    prior: Where inputs come from otherwise.
    distillation: Whether, or how, the model is trained at the end.
    input_shape: The sizes that the model leaves open, as in `count_macs`; the
      pruned model has them too.

  Returns:
    The compact model, its .tflite, and what that takes.

  Raises:
    BudgetError: the budget cannot be met; the message says how near it came.
    ImportError: an arena is limited, and tflite-micro is not installed.
    TypeError: `model` is not a Keras model.
    ValueError: as `prune_low_saliency`; or the model leaves sizes open.
  """
  model = as_tf_keras(model, input_shape)
  check_sizes(model)
  if not isinstance(budget, Budget):
    raise ValueError(f'`budget` must be a Budget, but got {budget!r}.')
  budget.check_extras()
  wanted = _wanted(distillation, model, method)
  check_source(model, calibration_data, prior)
  ProgressiveSparsity(0.0, step_sparsity)  # raises for a bad step
  input_range = resolve_with_data(model, input_range, calibration_data)
  # Before inputs are recalled, which takes a while: bad settings show here.
  wrapped = prune_low_saliency(
    model,
    ProgressiveSparsity(0.0),
    method,
    input_range,
    seed,
    scope='global',
    cost=cost,
    floor=floor,
  )
  given = calibration_data
  fit = FitSettings()
  samples = draw_samples(
    model,
    input_range,
    fit.count(graph_macs(build_graph(model))),
    seed,
    calibration_data,
    prior,
    verbose,
  )
  if calibration_data is None and get_method(method).needs_samples:
    # Recalled once, for all attempts; priors are drawn by each as it needs.
    calibration_data = samples if recalls(model, prior) else None

  def pruned(sparsity: Mapping[str, float], **settings: Any) -> keras.Model:
    options = {
      'method': method,
      'step_sparsity': step_sparsity,
      'verbose': verbose,
      **settings,
    }
    with warnings.catch_warnings():
      # What is measured is the file, whatever rounding left of a trial.
      warnings.simplefilter('ignore', RoundingWarning)
      return _prune(
        model,
        sparsity,
        input_range=input_range,
        seed=seed,
        scope='local',
        cost='parameters',
        floor=0.1,
        calibration_data=calibration_data,
        prior=prior,
        distillation=False,
        **options,
      )[0]

  def cut(sparsity: Mapping[str, float]) -> keras.Model:
    return pruned(sparsity, method='l1', step_sparsity=1.0, verbose=0)

  def polish(small: keras.Model) -> keras.Model:
    return _polished(
      small,
      model,
      input_range,
      seed,
      calibration_data,
      prior,
      wanted,
      verbose,
      by_default=distillation is None,
    )[0]

  driver = Driver(
    wrapped, bounded=False, calibration_data=calibration_data, prior=prior
  )
  fitted = fit_budget(
    model,
    budget,
    pruned,
    polish,
    cut,
    driver.allocated,
    samples,
    input_range,
    seed,
    verbose,
    samples if calibration_data is not None else None,
  )
  whose = inputs_in_words(model, len(samples[0]), given, prior)
  verdict = dataclasses.replace(fitted.verdict, inputs=whose)
  warn_of_few_answers(
    verdict, 2, bool(wanted), get_method(method).needs_samples
  )
  return dataclasses.replace(fitted, verdict=verdict)


def _distills(
  model: keras.Model, method: str | Mapping[str, Any] | Method
) -> bool:
  """Whether to distill where nobody says.

  Autoencoders and regressors come out better without.
  """
  heads = heads_of(build_graph(as_tf_keras(model)))
  return get_method(method).needs_samples and any(
    head.is_classes for head in heads
  )


def _progress(history: History) -> list[tuple[str, float]]:
  if not history.step:
    return []
  return [('sparsity', history.sparsity[-1]), ('bound', history.bound[-1])]


def _checked_allocation(
  scope: str, cost: str, floor: float, schedule: Any
) -> Allocation:
  """The allocation, if it goes with the schedule.

  Raises:
    ValueError: it does not, or a setting is not as described.
  """
  allocation = Allocation(scope, cost, floor)
  if scope != 'global':
    if allocation != Allocation(scope):
      raise ValueError(
        f"`cost` ({cost!r}) and `floor` ({floor!r}) say how scope='global' "
        f'spreads a sparsity, but `scope` is {scope!r}: leave them out, or '
        "pass scope='global'."
      )
    return allocation
  if isinstance(schedule, Mapping):
    raise ValueError(
      "scope='global' spreads one sparsity over all layers by itself: pass one "
      'schedule or fraction, or scope="local" with a dict.'
    )
  final = getattr(schedule, 'final_sparsity', 0.0)
  if final > 1 - floor:
    raise ValueError(
      f'A sparsity of {final} cannot be reached while a floor of {floor} of '
      f'every group stays. Pass a `floor` of at most {1 - final:.3g}.'
    )
  return allocation


def _allowed_groups(
  graph: Graph, policy: compat.PruningPolicy | None
) -> list[Group]:
  """The groups that may be pruned.

  Raises:
    ValueError: there is none.
  """
  grouping = find_groups(graph)
  left_alone = dict(grouping.left_alone)
  allowed = []
  for group in grouping.groups:
    excluded = [
      path
      for path in group.paths
      if policy is not None and not policy.allow_pruning(graph.layers[path])
    ]
    if excluded:
      left_alone[group.name] = (
        f'pruning_policy excludes layer {"/".join(excluded[0])!r}'
      )
    else:
      allowed.append(group)
  if not allowed:
    reasons = '; '.join(
      f'{"/".join(path)}: {why}' for path, why in left_alone.items()
    )
    raise ValueError(
      'The model has no units that can be pruned. '
      + (
        f'Left alone: {reasons}.' if reasons else 'It has no layer with units.'
      )
    )
  return allowed


def _schedule_by_group(
  graph: Graph,
  groups: Sequence[Group],
  schedule: compat.PruningSchedule | Mapping[str, Any] | None,
) -> dict[Path, compat.PruningSchedule]:
  """Each group's schedule, by the path of its first producer.

  Raises:
    ValueError: a dict names a layer that is unknown or cannot be pruned.
  """
  if schedule is None:
    schedule = ProgressiveSparsity(0.5)
  if not isinstance(schedule, Mapping):
    check_schedule(schedule)
    return {group.layer: schedule for group in groups}
  producers = {
    '/'.join(member.node.path): group.layer
    for group in groups
    for member in group.producers
  }
  if not schedule:
    raise ValueError(
      'A dict of layer name to sparsity or schedule must name a layer, but it '
      f'is empty. Layers whose units can be pruned: '
      f'{", ".join(sorted(producers))}.'
    )
  for name in schedule:
    if name not in producers:
      known = {'/'.join(path) for path in graph.layers}
      what = 'cannot be pruned' if name in known else 'does not exist'
      raise ValueError(
        f'Layer {name!r} {what}. Layers whose units can be pruned: '
        f'{", ".join(sorted(producers))}.'
      )
  chosen: dict[Path, tuple[str, Any]] = {}
  for name, one in schedule.items():
    check_schedule(one)
    earlier, other = chosen.setdefault(producers[name], (name, one))
    if other.get_config() != one.get_config():
      raise ValueError(
        f'The units of layers {earlier!r} and {name!r} are tied, since they '
        'meet in the network. Give both the same sparsity, or name one.'
      )
  never = ProgressiveSparsity(0.0)
  return {
    group.layer: chosen.get(group.layer, ('', never))[1] for group in groups
  }
