"""Pruning to what a device has: ways tried, and the best one taught."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.arguments import check_flag, check_seed
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.layers.base import VIEWS
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.consumer_fits import FitSettings
from tfmot_paoding.methods.named import DEFAULT_METHOD, MethodLike, get_method
from tfmot_paoding.methods.stairs import MultipleOf, checked_multiple
from tfmot_paoding.network.input_shapes import check_sizes
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.budget import Budget, Cut, Fitted, Sparsities
from tfmot_paoding.pruning.budget_search import Ways, fit_budget
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.few_answers import (
  beside_another,
  inputs_in_words,
  warn_of_few_answers,
)
from tfmot_paoding.pruning.pruned import (
  Distillation,
  check_distillation,
  is_distilled,
  polished,
  pruned,
)
from tfmot_paoding.pruning.schedule import (
  BUDGET_STEP_SPARSITY,
  ProgressiveSparsity,
)
from tfmot_paoding.pruning.shares import RoundingWarning
from tfmot_paoding.pruning.thinning import Thinner
from tfmot_paoding.pruning.wrap import (
  Manner,
  check_unwrapped,
  network_of,
  wrap,
)
from tfmot_paoding.pruning.wrapped import Wrapped
from tfmot_paoding.tflite.npu import NpuProfile
from tfmot_paoding.training.distill_settings import DistillSettings


@takes_old_calls(renamed={'calibration_data': 'data'})
def prune_to_budget(
  model: keras.Model,
  budget: Budget,
  *,
  method: MethodLike = DEFAULT_METHOD,
  input_range: RangeLike = None,
  seed: int = 0,
  step_sparsity: float | None = None,
  verbose: int | str = 'auto',
  cost: str | None = None,
  floor: float = 0.1,
  multiple_of: MultipleOf = None,
  data: Inputs = None,
  prior: PriorLike = None,
  distillation: bool | DistillSettings | None = None,
  attention: str = VIEWS[0],
  input_shape: Any = None,
  low_rank: bool = False,
) -> Fitted:
  """Prunes a model to what a device has.

  Each limit is measured on converted files. The cut is spread over the layers
  in up to three ways (the same fraction of each; the fraction of all units that
  `method` would choose; for an arena, only where memory peaks), the model is
  pruned in each of these ways to the least that meets every limit, and the one
  whose answers are nearest to the original's, taught where two are near to each
  other, is returned. Widths that come in multiples leave room below a limit:
  there layers climb a stair, alone or while another descends. In the scope of a
  `tf.distribute` strategy its replicas share what they share in `prune`.

  Args:
    model: A model that `prune` takes; it is not changed.
    budget: The limits, and how the file is converted.
    method: 'reconstruction', which fits what is left to what was; the paper's,
      'impact' or 'stochastic', 'saliency' or 'l1', another of `method_names`,
      or a `Method`.
    input_range: The range of the inputs that the model was trained on: a pair
      (low, high) of numbers or arrays, or a dict of input name to such a pair.
      None: what the first layers say, with a warning that names it, and (0, 1)
      where they say nothing.
    seed: The only source of chance.
    step_sparsity: The fraction removed between two refreshes. None: 0.1, four
      times what `prune` takes for a sparsity, since several models are pruned:
      about twice as fast, and on digits no worse by more than .004.
    verbose: 'auto' shows progress bars on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    cost: What a fraction of all units is weighed against: 'parameters' or
      'macs'. None: 'macs' where nothing but these or cycles are limited.
    floor: What it leaves of each layer.
    multiple_of: What the width of every layer ends at a multiple of; see
      `prune`. 'auto': what suits the device that the budget is for, its NPU,
      CMSIS-NN where an arena is limited, and XNNPACK elsewhere. None: what
      suits the budget's NPU, and any width where it has none; 1 for any width.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`. Methods that
      fit (`'reconstruction'`) use them in place of their prior, and answers are
      compared on them.
    prior: Where inputs come from otherwise: 'recalled' (by `recall_inputs`),
      'statistics', a name of `inputs.NAMED_PRIORS` such as 'smooth' or
      'leaves', an object such as `inputs.Prior`, a sequence of these, which
      are drawn in equal shares, or a dict of input name to one. None: what the
      model knows, see `inputs`.
    distillation: Whether, or how, the pruned model is trained at the end to
      answer as `model` does. None: where the method fits on inputs; where all
      outputs are numbers, if it comes clearly nearer by it.
    attention: What of a `MultiHeadAttention` leaves: whole 'heads', or
      'channels' of all heads at once, those of values, and those of queries
      with the keys' that they meet. For both, prune one after the other.
    input_shape: The sizes that the model leaves open, without the batch axis,
      such as (224, 224, 3), or a dict of input name to sizes; the pruned model
      has them too.
    low_rank: Whether layers may become chains of thinner ones, as `factorize`
      makes them: three more ways are tried, of ranks alone, and of half and of
      three quarters of the units with ranks behind, and the one is taken whose
      answers are nearest.

  Returns:
    The compact model, its .tflite, and what that takes.

  Raises:
    BudgetError: the budget cannot be met; the message says how near it came.
    ImportError: an arena is limited, and tflite-micro is not installed; or the
      budget has an NPU, and Vela is not.
    NpuError: the NPU runs no operator of the model.
    TypeError: `model` is not a Keras model.
    ValueError: as `prune_low_saliency`; or the model leaves sizes open.
  """
  if step_sparsity is None:
    step_sparsity = BUDGET_STEP_SPARSITY
  network = network_of(model, input_shape, attention)
  check_sizes(network.model)
  check_unwrapped(network)
  warn_of_own_training(network.model)
  _check_budget(budget)
  check_seed(seed)
  check_distillation(distillation)
  check_flag('low_rank', low_rank)
  multiple_of = checked_multiple(budget.settled_multiple(multiple_of))
  cost = budget.cost if cost is None else cost
  allocation = Allocation('global', cost, floor, multiple_of)
  manner = Manner(get_method(method), allocation)
  source = InputSource.of(
    network,
    input_range,
    seed=seed,
    data=data,
    prior=prior,
    verbose=verbose,
  )
  return _within(
    network, budget, manner, step_sparsity, distillation, source, low_rank
  )


def _within(
  network: Network,
  budget: Budget,
  manner: Manner,
  step_sparsity: float,
  distillation: Distillation,
  source: InputSource,
  low_rank: bool,
) -> Fitted:
  """Prunes a network to a budget; see `prune_to_budget`."""
  ProgressiveSparsity(0.0, step_sparsity)  # raises for a bad step
  # Before inputs are recalled, which takes a while: bad settings show here.
  wrapped = wrap(network, ProgressiveSparsity(0.0), manner, source)
  multiple_of, cost = manner.allocation.multiple_of, manner.allocation.cost
  alone = Allocation(multiple_of=multiple_of)
  manner = dataclasses.replace(manner, allocation=alone)
  fits = manner.method.needs_samples
  nobody_said = source.nobody_said
  if fits:
    # Settled once, for all attempts; priors are drawn by each as it needs.
    source = source.settled(network)
  # Compared on others than are fitted on, unless these are all there are.
  samples = source.like(seed=source.seed + 1).samples(
    network, FitSettings().count_for(network)
  )
  others = source.anew(network, len(samples[0]))
  nearness = Nearness(network, network.params(), others)
  distills = is_distilled(fits, distillation)

  def by_units(sparsity: Sparsities) -> keras.Model:
    return _tried(network, sparsity, manner, step_sparsity, source)

  thinner = None
  if low_rank:
    thinner = _thinner(network, by_units, source, cost, multiple_of)

  def earnest(cut: Cut) -> keras.Model:
    return thinner.earnest(cut) if cut.saved else by_units(cut.sparsity)

  def quick(cut: Cut) -> keras.Model:
    if cut.saved:
      return thinner.quick(cut)
    by_norm = dataclasses.replace(manner, method=get_method('l1'))
    silent = source.like(verbose=0)
    return _tried(network, cut.sparsity, by_norm, 1.0, silent)

  def polish(small: keras.Model) -> keras.Model:
    return polished(network, small, fits, distillation, source)[0]

  driver = Driver(Wrapped.of(wrapped), source.like(verbose=0), bounded=False)
  ways = Ways(
    earnest,
    quick,
    polish,
    distills,
    driver.allocated,
    driver.loss,
    nearness.gap_of,
    multiple_of,
    None if thinner is None else thinner.ranks,
  )
  fitted = fit_budget(network, budget, ways, samples, source)
  whose = inputs_in_words(network, len(samples[0]), source)
  verdict = dataclasses.replace(fitted.verdict, inputs=whose)
  if nobody_said:
    verdict = beside_another(network, fitted.model, source, verdict)
  warn_of_few_answers(verdict, distills, fits)
  _warn_of_fallback(fitted.profile.npu)
  return dataclasses.replace(fitted, verdict=verdict)


def _thinner(
  network: Network,
  prune: Callable[[Sparsities], keras.Model],
  source: InputSource,
  cost: str,
  multiple_of: MultipleOf,
) -> Thinner | None:
  """What makes chains of layers; None, with a warning, where none can be."""
  made = Thinner(network, prune, source.settled(network), cost, multiple_of)
  if made.applies():
    return made
  warnings.warn(
    '`low_rank` has no effect, since no hidden layer of '
    f'{network.model.name!r} can become a chain of thinner ones; '
    '`pruning.factorizable` says why. Leave it out.',
    stacklevel=callers.level(),
  )
  return None


def _warn_of_fallback(profile: NpuProfile | None) -> None:
  """Warns of operators whose time is not among the cycles of an NPU."""
  if profile is None or not profile.on_cpu:
    return
  named = ', '.join(
    f'{name} ({profile.reasons.get(name, "no reason is given")})'
    for name in profile.on_cpu
  )
  warnings.warn(
    f'{sum(profile.on_cpu.values())} of {profile.operators} operators fall '
    f'back from {profile.npu} to the CPU, whose time is not among its cycles: '
    f'{named}. Replace the layers that they come from.',
    stacklevel=callers.level(),
  )


def _check_budget(budget: Any) -> None:
  """Raises where a budget is none, or cannot be measured here.

  Raises:
    ImportError: an arena is limited, and tflite-micro is not installed.
    ValueError: it is no `Budget`.
  """
  if not isinstance(budget, Budget):
    raise ValueError(f'`budget` must be a Budget, but got {budget!r}.')
  budget.check_extras()


def _tried(
  network: Network,
  sparsity: Sparsities,
  manner: Manner,
  step_sparsity: float,
  source: InputSource,
) -> keras.Model:
  """The model pruned once, whatever rounding leaves of a trial."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', RoundingWarning)
    return pruned(network, sparsity, manner, step_sparsity, False, source).model
