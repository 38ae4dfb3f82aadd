"""The pruning wrapper: TFMOT's, with masks that are set from outside."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.allocation import Allocation
from tfmot_paoding.compat import keras, register_serializable
from tfmot_paoding.methods import Method, get_method
from tfmot_paoding.ranges import range_config
from tfmot_paoding.schedule import ProgressiveSparsity


class _HeldMasks(compat.Pruning):
  """TFMOT's pruning object, but a training step never recomputes a mask."""

  def conditional_mask_update(self):
    return tf.no_op('masks_are_held')

  def weight_mask_op(self):
    # Under mixed precision some weights are read in float16 and others not;
    # their masks must follow, and products must not be rounded.
    with compat.enable_auto_cast_variables(None):
      return super().weight_mask_op()


@register_serializable(package='tfmot_paoding')
class PruneLowSaliency(compat.PruneLowMagnitude):
  """Wraps a layer whose units are pruned by what they mean to the network.

  It is a `PruneLowMagnitude`, so that all of TFMOT takes it for one, but its
  masks cover every weight of a removed unit (kernel, bias, batch
  normalization's gamma and beta) and are set by `run_schedule` or
  `UpdatePruningStep`, which see the whole network.

  Args:
    layer: The layer to wrap.
    pruning_schedule: Any TFMOT `PruningSchedule`.
    method: A method's name, config or `Method`.
    input_range: The range of the model's inputs, as in `prune_low_saliency`.
    seed: Of the method's random choices.
    allocation: How the sparsity is spread over groups: an `Allocation` or its
      config.
    masked_weights: The attributes of `layer` that carry masks. None: what the
      layer's own `get_prunable_weights` or TFMOT's registry says.
    masses: How many units each stands for that folding has left, by the name
      of the group; the driver keeps it, so that saved models go on rightly.
    **kwargs: As for `PruneLowMagnitude`.
  """

  def __init__(
    self,
    layer: keras.layers.Layer,
    pruning_schedule: compat.PruningSchedule | None = None,
    method: str | Mapping[str, Any] | Method = 'impact',
    input_range: Any = (0.0, 1.0),
    seed: int = 0,
    allocation: Allocation | Mapping[str, Any] | None = None,
    masked_weights: Sequence[str] | None = None,
    masses: Mapping[str, Sequence[float]] | None = None,
    **kwargs: Any,
  ):
    self.method = get_method(method)
    self.input_range = range_config(input_range)
    self.seed = seed
    if not isinstance(allocation, Allocation):
      allocation = Allocation(**(allocation or {}))
    self.allocation = allocation
    self.masses = {name: list(row) for name, row in (masses or {}).items()}
    self.masked_weights = masked_weights and list(masked_weights)
    if masked_weights is not None:
      # PrunableLayer's interface, on the instance as TFMOT's registry does.
      names = tuple(masked_weights)
      layer.get_prunable_weights = lambda: [
        operator.attrgetter(name)(layer) for name in names
      ]
    if pruning_schedule is None:
      pruning_schedule = ProgressiveSparsity(0.5)
    super().__init__(layer, pruning_schedule, **kwargs)

  def build(self, input_shape: Any) -> None:
    """Builds the layer and masks of ones."""
    self._named = {'mask': 0, 'threshold': 0}
    super().build(input_shape)
    self.pruning_obj = _HeldMasks(
      training_step_fn=lambda: self.pruning_step,
      pruning_vars=self.pruning_vars,
      pruning_schedule=self.pruning_schedule,
      block_size=self.block_size,
      block_pooling_type=self.block_pooling_type,
    )

  def add_weight(self, name: str | None = None, *args: Any, **kwargs: Any):
    """Adds a weight; masks get names of their own, since .h5 needs them."""
    if name in self._named:
      number = self._named[name]
      self._named[name] += 1
      owners = self.masked_weights or [str(i) for i in range(number + 1)]
      name = f'{owners[number]}_{name}'
    return super().add_weight(name, *args, **kwargs)

  def get_config(self) -> dict[str, Any]:
    """The wrapper's settings and the layer's."""
    config = super().get_config()
    config.update(
      method=self.method.get_config(),
      input_range=self.input_range,
      seed=self.seed,
      allocation=self.allocation.get_config(),
      masked_weights=self.masked_weights,
      masses=self.masses,
    )
    return config


def prune_scope() -> Any:
  """TFMOT's `prune_scope` with this package's classes in it.

  Loading does not need it, since the classes are registered; it is here for
  code that enters a scope by habit.
  """
  return keras.utils.custom_object_scope(
    {
      'PruneLowMagnitude': compat.PruneLowMagnitude,
      'PruneLowSaliency': PruneLowSaliency,
      'ProgressiveSparsity': ProgressiveSparsity,
    }
  )
