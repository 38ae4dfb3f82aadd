"""Wrapping a model for structured pruning: the counterpart of TFMOT's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.arguments import check_seed, is_number
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.inputs.ranges import RangeLike, resolve_range
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.layers.base import VIEWS, Path
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.named import (
  DEFAULT_METHOD,
  Method,
  MethodLike,
  get_method,
)
from tfmot_paoding.methods.stairs import MultipleOf
from tfmot_paoding.network.cloning import clone_with, copy_weights, fresh_layer
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.named_layers import by_group, with_named
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.masked_weights import masked_names
from tfmot_paoding.pruning.schedule import (
  ProgressiveSparsity,
  check_schedule,
  final_sparsity,
)
from tfmot_paoding.pruning.widths import check_widths
from tfmot_paoding.pruning.wrapper import (
  PruneLowSaliency,
  check_attention,
  check_blocks,
)

# A schedule, or one by layer name; None for the default.
ScheduleLike = compat.PruningSchedule | Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Manner:
  """How units are chosen, and how many of which group.

  Attributes:
    method: The method.
    allocation: How a sparsity is spread over the groups.
    policy: A TFMOT policy that leaves layers alone, or None.
  """

  method: Method
  allocation: Allocation
  policy: compat.PruningPolicy | None = None


@takes_old_calls()
def prune_low_saliency(
  to_prune: keras.Model,
  pruning_schedule: ScheduleLike = None,
  method: MethodLike = DEFAULT_METHOD,
  input_range: RangeLike = None,
  seed: int = 0,
  *,
  pruning_policy: compat.PruningPolicy | None = None,
  scope: str = 'local',
  cost: str = 'parameters',
  floor: float = 0.1,
  attention: str = VIEWS[0],
  multiple_of: MultipleOf = None,
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
      to schedule, which leaves the other layers' units alone, but for those
      of '*', which stands for all others. Units that LayerNormalization
      measures, such as the stream of a transformer, leave only where a dict
      names their layer. None: `ProgressiveSparsity(0.5)`.
    method: 'reconstruction', which fits what is left to what was; the paper's,
      'impact' or 'stochastic', 'saliency' or 'l1', another of `method_names`,
      or a `Method`. The default is what measures best without training, and in
      `fit` too, where it takes longer: digits with 80 % of all units gone over
      six epochs, .948 of .962 in 40 s; 'impact' .869 in 6 s.
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
      go first whose removal moves the outputs least for what it saves. With
      'reconstruction' that keeps 1 to 6 points of accuracy more at as many
      parameters on networks of convolutions (three measured, without training),
      and as much on MLPs.
    cost: What 'global' weighs that against: the 'parameters' or the 'macs'
      (multiply-accumulates) that a unit takes.
    floor: The fraction of each group's units that 'global' leaves at least.
    attention: What of a `MultiHeadAttention` leaves: whole 'heads', or
      'channels' of all heads at once, those of values, and those of queries
      with the keys' that they meet. For both, prune one after the other.
    multiple_of: What the width of every layer ends at a multiple of, since
      hardware works in steps: a number, the name of an accelerator ('xnnpack',
      'cmsis-nn', 'ethos-u55', ...), which stands for its number, or a dict of
      layer name to either. Every group is cut to the multiple nearest to what
      its schedule asks for in the end, to the larger of two as near; a width
      of the original's own that is no multiple may stay. Layers narrower than
      an accelerator's number stay as they are.
    input_shape: Of one sample, without the batch axis, such as (28, 28, 1),
      where a subclassed model was not built or called yet; the sizes that
      another one leaves open, such as (96, 96, 3), which the result then has.
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
  network = network_of(to_prune, input_shape, attention)
  warn_of_own_training(network.model)
  check_unwrapped(network)
  manner = Manner(
    get_method(method),
    checked_allocation(scope, cost, floor, pruning_schedule, multiple_of),
    pruning_policy,
  )
  check_seed(seed)
  source = InputSource(resolve_range(network, input_range), seed)
  return wrap(network, pruning_schedule, manner, source).model


def wrap(
  network: Network, schedule: ScheduleLike, manner: Manner, source: InputSource
) -> Network:
  """The wrapped copy of a network; see `prune_low_saliency`.

  Args:
    network: A network without wrappers.
    schedule: When units go.
    manner: How they are chosen.
    source: The range of the inputs and the seed that the wrappers keep.

  Raises:
    ValueError: the range, the schedule or the weights are not as described, or
      nothing can be pruned.
  """
  graph, policy = network.graph, manner.policy
  source.boxes(network)  # raises for a range that does not fit
  network.params()  # raises for weights that are no numbers
  if policy is not None:
    if not isinstance(policy, compat.PruningPolicy):
      raise ValueError(
        f'`pruning_policy` must be a TFMOT PruningPolicy, but got {policy!r}.'
      )
    policy.ensure_model_supports_pruning(network.model)
  named = schedule if isinstance(schedule, Mapping) else ()
  groups = _allowed_groups(network, policy, named)
  schedules = _schedule_by_group(graph, groups, schedule)
  check_widths(
    _asked_groups(groups, schedules, schedule),
    schedules,
    manner.allocation.multiple_of,
  )
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
      method=manner.method,
      input_range=source.range,
      seed=source.seed,
      allocation=manner.allocation,
      masked_weights=masked[path],
      attention=graph.views.get(path, VIEWS[0]),
    )

  wrapped = clone_with(network.model, make_layer)
  copy_weights(network.model, wrapped)
  return network.like(wrapped)


def network_of(model: keras.Model, input_shape: Any, attention: str) -> Network:
  """A user's model as a network, with the units that were chosen.

  Raises:
    TypeError: it is no Keras model.
    ValueError: it cannot be walked, or leaves no such choice.
  """
  check_attention(attention)
  network = Network.of(as_opened(model, input_shape), attention)
  _check_no_strings(network.model)
  if attention != VIEWS[0] and not network.graph.views:
    raise ValueError(
      f'`attention` is {attention!r}, but {network.model.name!r} has no '
      'MultiHeadAttention that could lose them: leave it out.'
    )
  return network


def _check_no_strings(model: keras.Model) -> None:
  """Raises where an input is text, of which nothing can be drawn.

  Raises:
    ValueError: one is.
  """
  for name, tensor in zip(model.input_names, model.inputs, strict=True):
    if tensor.dtype == tf.string:
      raise ValueError(
        f'The input {name!r} of {model.name!r} takes strings, but pruning asks '
        'the model about numbers that it draws. Prune what stands behind the '
        'layer that looks them up, keras.Model([lookup.output, ...], '
        'model.outputs), and put the lookup in front of what comes out again.'
      )


def check_unwrapped(network: Network) -> None:
  """Raises where a model is wrapped already.

  Raises:
    ValueError: it is.
  """
  for path in network.graph.wrappers:
    raise ValueError(
      f'Layer {"/".join(path)!r} is wrapped for pruning already. Pass the '
      'plain model, or call strip_pruning first.'
    )


def checked_allocation(
  scope: str,
  cost: str,
  floor: float,
  schedule: Any,
  multiple_of: MultipleOf = None,
) -> Allocation:
  """The allocation, if it goes with the schedule.

  Raises:
    ValueError: it does not, or a setting is not as described.
  """
  allocation = Allocation(scope, cost, floor, multiple_of)
  if scope != 'global':
    if allocation != Allocation(scope, multiple_of=multiple_of):
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
  final = (
    schedule
    if is_number(schedule)
    else getattr(schedule, 'final_sparsity', 0.0)
  )
  if final > 1 - floor:
    raise ValueError(
      f'A sparsity of {final} cannot be reached while a floor of {floor} of '
      f'every group stays. Pass a `floor` of at most {1 - final:.3g}.'
    )
  return allocation


def _asked_groups(
  groups: Sequence[Group],
  schedules: Mapping[Path, compat.PruningSchedule],
  schedule: ScheduleLike,
) -> list[Group]:
  """The groups that a dict of schedules does not leave alone."""
  if not isinstance(schedule, Mapping):
    return list(groups)
  return [group for group in groups if final_sparsity(schedules[group.layer])]


def _allowed_groups(
  network: Network,
  policy: compat.PruningPolicy | None,
  named: Collection[str],
) -> list[Group]:
  """The groups that may be pruned.

  Args:
    network: The network.
    policy: Excludes layers; None for no policy.
    named: The layers that somebody has named.

  Raises:
    ValueError: there is none.
  """
  graph, grouping = network.graph, network.groups
  left_alone = dict(grouping.left_alone)
  offered = {group.name for group in with_named(grouping.groups, named)}
  allowed = []
  for group in grouping.groups:
    if group.name not in offered:
      left_alone[group.name] = group.why_named
      continue
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
  schedule: ScheduleLike,
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
  for one in schedule.values():
    check_schedule(one)
  untouched = {group.layer: ProgressiveSparsity(0.0) for group in groups}
  return untouched | by_group(
    graph, groups, schedule, 'sparsity or schedule', _same_schedule
  )


def _same_schedule(
  one: compat.PruningSchedule, other: compat.PruningSchedule
) -> bool:
  return one.get_config() == other.get_config()
