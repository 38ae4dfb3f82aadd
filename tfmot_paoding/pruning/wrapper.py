"""The pruning wrapper: TFMOT's, with masks that are set from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.arguments import check_seed
from tfmot_paoding.compaction.standing import Standing, note, noted
from tfmot_paoding.compat import keras, register_serializable
from tfmot_paoding.inputs.ranges import InputRange, RangeLike, range_config
from tfmot_paoding.layers import handler_of, is_known
from tfmot_paoding.layers.base import VIEWS, views_of
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.named import DEFAULT_METHOD, MethodLike, get_method
from tfmot_paoding.network.layer_wrapper import LayerWrapper
from tfmot_paoding.ops import attribute
from tfmot_paoding.pruning.following import attend
from tfmot_paoding.pruning.masked_weights import names_of
from tfmot_paoding.pruning.schedule import ProgressiveSparsity, check_schedule
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper

# TFMOT's settings of single weights, and what stands for none.
_BLOCKS = {
  'block_size': (1, 1),
  'block_pooling_type': 'AVG',
  'sparsity_m_by_n': None,
}


def check_blocks(settings: Mapping[str, Any], name: str) -> None:
  """Raises where settings ask for blocks of single weights.

  Args:
    settings: Keyword arguments beyond those that `name` takes.
    name: Of the function that they were given to.

  Raises:
    TypeError: one is no setting of TFMOT's `prune_low_magnitude` either.
    ValueError: one asks for blocks.
  """
  for key, value in settings.items():
    if key not in _BLOCKS:
      raise TypeError(f'{name} got an unexpected keyword argument {key!r}.')
    value = tuple(value) if isinstance(value, (list, tuple)) else value
    if value != _BLOCKS[key]:
      raise ValueError(
        f'`{key}` is {value!r}, but {name} removes whole units, which leaves '
        'dense, smaller weights: there are no single weights or blocks to '
        'choose. Leave it out; for both, call compact(strip_pruning(wrapped)) '
        f"first, then TFMOT's prune_low_magnitude(small, {key}={value!r})."
      )


def check_attention(attention: Any, layer: Any = None) -> str:
  """Returns what of attention's heads leaves.

  Args:
    attention: What was passed.
    layer: The layer that it was passed for, if it was one.

  Raises:
    ValueError: it is none of `VIEWS`, or the layer leaves no choice.
  """
  if attention not in VIEWS:
    raise ValueError(
      f'`attention` must be one of {", ".join(map(repr, VIEWS))}, but got '
      f'{attention!r}.'
    )
  if layer is not None and attention not in (VIEWS[0], *views_of(layer)):
    raise ValueError(
      f'`attention` is {attention!r}, but {type(layer).__name__} '
      f'{layer.name!r} has no heads that could lose them: leave it out.'
    )
  return attention


class _HeldMasks(compat.Pruning):
  """TFMOT's pruning object, but a training step never recomputes a mask."""

  def conditional_mask_update(self):
    return tf.no_op('masks_are_held')

  def weight_mask_op(self):
    attend(compat.asking_callback(), epoch_ends=True)
    # Under mixed precision some weights are read in float16 and others not;
    # their masks must follow, and products must not be rounded.
    with compat.enable_auto_cast_variables(None):
      return super().weight_mask_op()


@register_serializable(package='tfmot_paoding')
class PruneLowSaliency(UnitWrapper, LayerWrapper):
  """Wraps a layer whose units are pruned by what they mean to the network.

  It is a `PruneLowMagnitude`, so that all of TFMOT takes it for one, but its
  masks cover every weight of a removed unit (kernel, bias, batch
  normalization's gamma and beta) and are set by `run_schedule` or a callback,
  which see the whole network: this package's `UpdatePruningStep` at each step,
  TFMOT's own at the end of each epoch.

  Layers may be wrapped one by one, as TFMOT's guides do with
  `prune_low_magnitude`, if all layers of a group are: those that make the
  units, those that pass them on with weights of their own (batch
  normalization, depthwise convolutions, PReLU) and those that read them. What
  TFMOT's wrapper prunes and this one does not, each told by name before the
  first step or, where other groups can be pruned, by a warning:

  - a layer whose units are outputs of the model: somebody reads them;
  - a layer by itself, with no layer that reads its units, and one whose reader
    is not wrapped: whether a unit is needed is written in its reader's weights;
  - layers that keep weights for each position (locally connected): not one unit
    of them stands for one row or column;
  - single weights, blocks of them, and m of n: units go whole. The sparsity is
    a fraction of units, rounded down, and one unit always stays.

  The other way round it takes layers that TFMOT's refuses: PReLU,
  `TimeDistributed`, and subclasses of known layers that keep their `call`.

  Args:
    layer: The layer to wrap.
    pruning_schedule: Any TFMOT `PruningSchedule`.
    method: A method's name, config or `Method`.
    input_range: The range of the model's inputs: a pair (low, high), a dict of
      input name to such a pair, or None for what the first layers say.
    range_notes: Who said that it is so, by `prune_low_saliency`.
    seed: Of the method's random choices.
    allocation: How the sparsity is spread over groups: an `Allocation` or its
      config.
    masked_weights: The attributes of `layer` that carry masks. None: what this
      package knows of the layer, and what the layer's own
      `get_prunable_weights` says; of layers that it does not know, what TFMOT's
      registry says.
    masses: How many units each stands for that folding has left, by the name
      of the group; the driver keeps it, so that saved models go on rightly.
    attention: What of a `MultiHeadAttention` leaves: whole 'heads', or
      'channels' of all heads at once.
    standing: How far pruning has come; the driver keeps it, so that whoever
      compacts or exports a model too early is told.
    **kwargs: As for a Keras layer. `block_size`, `block_pooling_type` and
      `sparsity_m_by_n` of `PruneLowMagnitude` are refused: they speak of single
      weights, and here whole units go. For both, remove units first, then
      weights of what is left:

      ```python
      small = paoding.compact(tfmot.sparsity.keras.strip_pruning(wrapped))
      wrapped = tfmot.sparsity.keras.prune_low_magnitude(
        small, schedule, sparsity_m_by_n=(2, 4)
      )
      ```

  Raises:
    ValueError: the layer cannot be wrapped, or another argument is not as
      described.
  """

  def __init__(
    self,
    layer: keras.layers.Layer,
    pruning_schedule: compat.PruningSchedule | None = None,
    method: MethodLike = DEFAULT_METHOD,
    input_range: RangeLike = None,
    seed: int = 0,
    allocation: Allocation | Mapping[str, Any] | None = None,
    masked_weights: Sequence[str] | None = None,
    masses: Mapping[str, Sequence[float]] | None = None,
    range_notes: Mapping[str, Any] | None = None,
    standing: Mapping[str, Any] | None = None,
    attention: str = VIEWS[0],
    **kwargs: Any,
  ):
    check_blocks({n: kwargs[n] for n in _BLOCKS if n in kwargs}, 'the wrapper')
    self.method = get_method(method)
    self.input_range = range_config(input_range)
    if isinstance(input_range, InputRange):
      range_notes = input_range.notes()
    self.range_notes = None if range_notes is None else dict(range_notes)
    self.seed = check_seed(seed)
    if not isinstance(allocation, Allocation):
      allocation = Allocation(**(allocation or {}))
    self.allocation = allocation
    self.masses = {name: list(row) for name, row in (masses or {}).items()}
    if isinstance(masked_weights, str):
      raise ValueError(
        '`masked_weights` must be a list of names of attributes, but got '
        f'{masked_weights!r}.'
      )
    self.attention = check_attention(attention, layer)
    self.masked_weights = masked_weights and list(masked_weights)
    self._mask_owners = tuple(masked_weights or ())
    if masked_weights is not None or is_known(layer):
      _offer_weights(layer, self._mask_owners, masked_weights is None)
    if pruning_schedule is None:
      pruning_schedule = ProgressiveSparsity(0.5)
    if not isinstance(pruning_schedule, Mapping):  # a config comes from a file
      check_schedule(pruning_schedule)
    super().__init__(layer, pruning_schedule, **kwargs)
    note(layer, None if standing is None else Standing(**standing))

  def build(self, input_shape: Any) -> None:
    """Builds the layer and masks of ones."""
    self._named = {'mask': 0, 'threshold': 0}
    handler_of(self.layer).build(self.layer, input_shape)
    if self.masked_weights is None and is_known(self.layer):
      self._mask_owners = tuple(names_of(self.layer, input_shape))
      _offer_weights(self.layer, self._mask_owners, True)
    super().build(input_shape)
    for weight, mask, _ in self.pruning_vars:
      compat.mask_after_updates(weight, mask)
    self.pruning_obj = _HeldMasks(
      training_step_fn=lambda: self.pruning_step,
      pruning_vars=self.pruning_vars,
      pruning_schedule=self.pruning_schedule,
      block_size=self.block_size,
      block_pooling_type=self.block_pooling_type,
    )

  @property
  def pruning_step(self) -> Any:
    """The variable that counts training steps; -1 before the first.

    Raises:
      ValueError: TFMOT's callback reads it, as training begins, of a model that
        cannot be pruned.
    """
    attend(compat.asking_callback())
    if '_pruning_step' not in self.__dict__:
      raise AttributeError(f'The wrapper {self.name!r} is not built.')
    return self.__dict__['_pruning_step']

  @pruning_step.setter
  def pruning_step(self, variable: Any) -> None:
    self.__dict__['_pruning_step'] = variable  # `add_weight` has tracked it

  def add_weight(self, name: str | None = None, *args: Any, **kwargs: Any):
    """Adds a weight; masks get names of their own, since .h5 needs them."""
    if name in self._named:
      number = self._named[name]
      self._named[name] += 1
      owners = [*self._mask_owners, *map(str, range(number + 1))]
      name = f'{owners[number]}_{name}'
    return super().add_weight(name, *args, **kwargs)

  def get_config(self) -> dict[str, Any]:
    """The wrapper's settings and the layer's."""
    config, standing = super().get_config(), noted(self.layer)
    config.update(
      method=self.method.get_config(),
      input_range=self.input_range,
      range_notes=self.range_notes,
      seed=self.seed,
      allocation=self.allocation.get_config(),
      masked_weights=self.masked_weights,
      masses=self.masses,
      attention=self.attention,
      standing=standing and standing.get_config(),
    )
    return config

  @classmethod
  def from_config(cls, config: dict[str, Any]) -> PruneLowSaliency:
    """The wrapper of these settings."""
    layer = config['layer']
    name = layer.get('registered_name')
    if name and keras.utils.get_registered_object(name) is not None:
      # Of an .h5 file, Keras looks the layer up by this key alone.
      config = {**config, 'layer': {**layer, 'class_name': name}}
    return super().from_config(config)


# A Sequential model inside another model is read from .h5 by the bare name of
# each class, registered or not.
keras.utils.get_custom_objects()['PruneLowSaliency'] = PruneLowSaliency


def _offer_weights(layer: Any, names: Sequence[str], with_own: bool) -> None:
  """Gives a layer PrunableLayer's interface, as TFMOT's registry does.

  Args:
    layer: The layer.
    names: Of its weights.
    with_own: Whether the weights that its class names come behind them.
  """
  names = tuple(names)
  own = getattr(type(layer), 'get_prunable_weights', None)

  def weights() -> list:
    offered = [attribute(layer, name) for name in names]
    if with_own and own is not None:
      offered += [
        weight
        for weight in own(layer)
        if not any(weight is other for other in offered)
      ]
    return offered

  layer.get_prunable_weights = weights


def prune_scope() -> Any:
  """TFMOT's `prune_scope` with this package's classes in it.

  Loading does not need it where this package is imported, since its classes are
  registered; it is here for code that enters a scope by habit, and for TFMOT's
  own wrappers. A process that does not import the package cannot load a wrapped
  model. Keras then says `Unknown layer` and the wrapper's name (.h5), or that
  `PruneLowSaliency` is no `instance of class Layer` (.keras); from a SavedModel
  it makes layers of traced functions that nothing can strip (`compact` and
  `convert_to_tflite` refuse them). Import tfmot_paoding there, or save what
  `strip_pruning` and `compact` return, which is plain Keras.
  """
  return keras.utils.custom_object_scope(
    {
      'PruneLowMagnitude': compat.PruneLowMagnitude,
      'PruneLowSaliency': PruneLowSaliency,
      'ProgressiveSparsity': ProgressiveSparsity,
    }
  )
