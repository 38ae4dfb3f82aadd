"""One call: a model wrapped, pruned, compacted and taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmot_paoding.arguments import check_seed
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.layers.base import VIEWS
from tfmot_paoding.methods.named import DEFAULT_METHOD, MethodLike, get_method
from tfmot_paoding.methods.stairs import MultipleOf
from tfmot_paoding.pruning.budget import Budget
from tfmot_paoding.pruning.few_answers import warn_of_few_answers
from tfmot_paoding.pruning.pruned import check_distillation, pruned
from tfmot_paoding.pruning.schedule import FIT_STEP_SPARSITY, STEP_SPARSITY
from tfmot_paoding.pruning.to_budget import prune_to_budget
from tfmot_paoding.pruning.wrap import (
  Manner,
  check_unwrapped,
  checked_allocation,
  network_of,
)
from tfmot_paoding.training.distill_settings import DistillSettings


@takes_old_calls(renamed={'calibration_data': 'data'})
def prune(
  model: keras.Model,
  sparsity: float | Mapping[str, float] | None = None,
  *,
  method: MethodLike = DEFAULT_METHOD,
  input_range: RangeLike = None,
  seed: int = 0,
  step_sparsity: float | None = None,
  verbose: int | str = 'auto',
  scope: str = 'local',
  cost: str | None = None,
  floor: float = 0.1,
  multiple_of: MultipleOf = None,
  data: Inputs = None,
  prior: PriorLike = None,
  distillation: bool | DistillSettings | None = None,
  budget: Budget | None = None,
  attention: str = VIEWS[0],
  input_shape: Any = None,
) -> keras.Model:
  """Prunes a trained model without data and makes it physically smaller.

  `prune_low_saliency`, `run_schedule`, `strip_pruning`, `compact` and, for
  methods that fit on inputs, `distill` in one. In the scope of a
  `tf.distribute` strategy its replicas share fits, recall and distillation.

  Args:
    model: A model, of tf_keras or Keras 3: a built Sequential, a functional, or
      a subclassed one, which is traced. It is not changed.
    sparsity: The fraction of units to remove from every group, in [0, 1); or
      a dict of layer name to fraction, which leaves other layers' units alone;
      '*' stands for all that it does not name. Units that LayerNormalization
      measures, such as the stream of a transformer, leave only where a dict
      names their layer. None with a `budget`.
    method: 'reconstruction', which fits what is left to what was; the paper's,
      'impact' or 'stochastic', 'saliency' or 'l1', another of `method_names`,
      or a `Method`.
    input_range: The range of the inputs that the model was trained on: a pair
      (low, high) of numbers or arrays, or a dict of input name to such a pair.
      None: what the first layers say, with a warning that names it, and (0, 1)
      where they say nothing.
    seed: Of the method's random choices.
    step_sparsity: The fraction removed between two refreshes of bounds and
      saliencies. None: 0.025; 0.1 where what is left is fitted
      (`'reconstruction'`), and with a `budget`, which prunes several times.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    scope: 'local': every group loses the same fraction of its units. 'global':
      the sparsity is a fraction of all units, and those go first whose removal
      moves the outputs least for what it saves. With 'reconstruction' that
      keeps 1 to 6 points of accuracy more at as many parameters on networks of
      convolutions (three measured, not distilled), and as much on MLPs.
    cost: What 'global' weighs that against: the 'parameters' or the 'macs' that
      a unit takes. None: 'parameters', and for a budget what that limits.
    floor: The fraction of each group's units that 'global' leaves at least.
    multiple_of: What the width of every layer ends at a multiple of, since
      hardware works in steps: a number, the name of an accelerator ('xnnpack',
      'cmsis-nn', 'ethos-u55', ...), which stands for its number, or a dict of
      layer name to either; with a `budget`, 'auto' too. Every group is cut to
      the multiple nearest to what `sparsity` asks for, to the larger of two as
      near; a width of the original's own that is no multiple may stay. Layers
      narrower than an accelerator's number stay as they are.
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
      answer as `model` does, by `distill`. None: where the method fits on
      inputs; where all outputs are numbers, if it comes clearly nearer by it.
    budget: What the model may take on a device, in place of a sparsity; see
      `prune_to_budget`.
    attention: What of a `MultiHeadAttention` leaves: whole 'heads', or
      'channels' of all heads at once, those of values, and those of queries
      with the keys' that they meet. For both, prune one after the other.
    input_shape: Of one sample, without the batch axis, where a subclassed model
      was not built or called yet.

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
  if budget is not None:
    _check_scope(scope)
    return prune_to_budget(
      model,
      budget,
      method=method,
      input_range=input_range,
      seed=seed,
      step_sparsity=step_sparsity,
      verbose=verbose,
      cost=cost,
      floor=floor,
      multiple_of=multiple_of,
      data=data,
      prior=prior,
      distillation=distillation,
      attention=attention,
      input_shape=input_shape,
    ).model
  network = network_of(model, input_shape, attention)
  check_unwrapped(network)
  warn_of_own_training(network.model)
  check_seed(seed)
  check_distillation(distillation)
  cost = 'parameters' if cost is None else cost
  allocation = checked_allocation(scope, cost, floor, sparsity, multiple_of)
  manner = Manner(get_method(method), allocation)
  if step_sparsity is None:
    fits = manner.method.needs_samples
    step_sparsity = FIT_STEP_SPARSITY if fits else STEP_SPARSITY
  source = InputSource.of(
    network,
    input_range,
    seed=seed,
    data=data,
    prior=prior,
    verbose=verbose,
  )
  found = pruned(network, sparsity, manner, step_sparsity, distillation, source)
  verdict = found.verdict()
  if verdict is not None:
    warn_of_few_answers(
      verdict, found.is_distilled, manner.method.needs_samples
    )
  return found.model


def _check_scope(scope: str) -> None:
  """Raises where a budget, which tries several, shall spread a cut in one way.

  Raises:
    ValueError: it shall.
  """
  if scope != 'local':
    raise ValueError(
      f'`scope` is {scope!r}, but a `budget` finds by itself how to spread the '
      'cut over layers: leave `scope` out.'
    )
