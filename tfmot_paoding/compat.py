"""The only imports of tf_keras and of private TFMOT modules.

TFMOT runs on Keras 2 (tf_keras). Importing it before `tf.keras` is touched
makes `tf.keras` itself resolve to tf_keras; when Keras 3 came first, TFMOT
falls back to tf_keras on its own. Everything else takes `keras` from here.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow.python.eager import record
from tensorflow.python.util import dispatch
from tensorflow_model_optimization.python.core.clustering.keras import (
  cluster_wrapper,
)
from tensorflow_model_optimization.python.core.keras import utils
from tensorflow_model_optimization.python.core.keras.compat import keras
from tensorflow_model_optimization.python.core.quantization.keras import (
  quantize_annotate,
  quantize_layer,
  quantize_wrapper,
)
from tensorflow_model_optimization.python.core.sparsity.keras import (
  prune_registry,
  pruning_impl,
  pruning_wrapper,
)
from tf_keras.protobuf import saved_metadata_pb2
from tf_keras.src.applications import convnext, inception_resnet_v2
from tf_keras.src.engine import base_layer, base_layer_utils, keras_tensor
from tf_keras.src.layers.core import tf_op_layer
from tf_keras.src.layers.rnn import gru_lstm_utils
from tf_keras.src.mixed_precision import autocast_variable
from tf_keras.src.saving import serialization_lib
from tf_keras.src.saving.legacy.saved_model import load as saved_model_load

smart_cond = utils.smart_cond
# Whose layers do what their class says.
_LIBRARIES = ('tf_keras.', 'tensorflow_model_optimization.', 'tfmot_paoding.')
# What a symbolic call of a layer leaves on it.
TRACED_ATTRIBUTES = frozenset(
  {
    '_callable_losses',
    '_eager_losses',
    '_inbound_nodes_value',
    '_losses',
    '_metrics',
    '_name',
    '_outbound_nodes_value',
  }
)
enable_auto_cast_variables = autocast_variable.enable_auto_cast_variables

ClusterWeights = cluster_wrapper.ClusterWeights
QuantizeAnnotate = quantize_annotate.QuantizeAnnotate
QuantizeLayer = quantize_layer.QuantizeLayer
QuantizeWrapper = quantize_wrapper.QuantizeWrapper
QuantizeWrapperV2 = quantize_wrapper.QuantizeWrapperV2
GlobalOpDispatcher = dispatch.GlobalOpDispatcher
SafeModeScope = serialization_lib.SafeModeScope
SavedMetadata = saved_metadata_pb2.SavedMetadata
TFOpLambda = tf_op_layer.TFOpLambda
SlicingOpLambda = tf_op_layer.SlicingOpLambda
# The layers that calls of TensorFlow's functions, and tensors' methods, become.
FUNCTION_LAYERS = (
  tf_op_layer.TFOpLambda,
  tf_op_layer.ClassMethod,
  tf_op_layer.InstanceMethod,
  tf_op_layer.InstanceProperty,
  tf_op_layer.SlicingOpLambda,
)
CustomScaleLayer = inception_resnet_v2.CustomScaleLayer
LayerScale = convnext.LayerScale
StochasticDepth = convnext.StochasticDepth
BaseRandomLayer = base_layer.BaseRandomLayer
Pruning = pruning_impl.Pruning
PruneLowMagnitude = pruning_wrapper.PruneLowMagnitude
collect_prunable_layers = pruning_wrapper.collect_prunable_layers
PruningSchedule = tfmot.sparsity.keras.PruningSchedule
PruningPolicy = tfmot.sparsity.keras.PruningPolicy
UpdatePruningStep = tfmot.sparsity.keras.UpdatePruningStep
ConstantSparsity = tfmot.sparsity.keras.ConstantSparsity
# The end of a schedule under which masks never change.
NEVER = 2**31 - 1
strip_pruning = tfmot.sparsity.keras.strip_pruning


def asking_callback() -> Any:
  """TFMOT's callback, where the caller was called by a method of it; or None.

  TFMOT gives a wrapper no way to the model that it is part of. Its callback
  knows it; what it asks of a wrapper at the beginning of training and at every
  epoch's end is the only word that a wrapper has from it.
  """
  asker = sys._getframe(2).f_locals.get('self')
  return asker if isinstance(asker, UpdatePruningStep) else None


def restores_after(callback: Any | None) -> bool:
  """Whether another callback of `fit` sets weights back when training ends.

  `fit` shows a callback nothing of the others but by calling it.

  Args:
    callback: Only callbacks behind this one count; None: all of them.
  """
  frame = sys._getframe(1)
  while frame is not None:
    fellows = frame.f_locals.get('self')
    if isinstance(fellows, keras.callbacks.CallbackList):
      behind = itertools.dropwhile(
        lambda fellow: callback not in (None, fellow), fellows.callbacks
      )
      return any(
        isinstance(fellow, keras.callbacks.EarlyStopping)
        and fellow.restore_best_weights
        for fellow in behind
      )
    frame = frame.f_back
  return False


def moving_averages(optimizer: Any, model: Any) -> Iterator[tuple[Any, Any]]:
  """Each weight that an optimizer averages over steps, and its average."""
  inner = getattr(optimizer, 'inner_optimizer', optimizer)
  built = getattr(inner, '_built', False)
  if not built or not getattr(inner, 'use_ema', False):
    return
  for variable in model.trainable_variables:
    number = inner._index_dict.get(inner._var_key(variable))
    if number is not None:
      yield variable, inner._model_variables_moving_average[number]


class MaskConstraint:
  """A variable's own constraint, then its mask.

  Args:
    mask: A variable of ones and zeros.
    own: The constraint that the variable has otherwise, or None.
  """

  def __init__(self, mask: Any, own: Any):
    self.mask = mask
    self.own = own

  def __call__(self, variable: Any) -> tf.Tensor:
    value = variable if self.own is None else self.own(variable)
    value = tf.convert_to_tensor(value)
    return value * tf.cast(self.mask, value.dtype)


def mask_after_updates(variable: Any, mask: Any) -> None:
  """Has every optimizer apply a mask to a weight after each update of it.

  A wrapper masks its weights in every call alone. What momentum, decay or an
  average has written to them since would be seen by whoever reads them between.
  """
  while hasattr(variable, '_variable'):  # of a layer that computes in float16
    variable = variable._variable
  for one in getattr(variable, '_values', None) or [variable]:
    own = one._constraint
    if isinstance(own, MaskConstraint):  # from an earlier wrapper
      own = own.own
    one._constraint = MaskConstraint(mask, own)


register_serializable = keras.utils.register_keras_serializable


def is_keras3(thing: Any) -> bool:
  """Whether `thing` is a Keras 3 object, which TFMOT cannot take."""
  return any(
    base.__module__.split('.')[0] == 'keras' for base in type(thing).__mro__
  ) and not isinstance(thing, (keras.layers.Layer, keras.callbacks.Callback))


def is_revived(layer: Any) -> bool:
  """Whether a layer is made of traced functions that a SavedModel held."""
  return isinstance(layer, saved_model_load.RevivedLayer)


def is_graph_model(model: Any) -> bool:
  """Whether `model` is a built Sequential or functional tf_keras model."""
  return (
    isinstance(model, keras.Model)
    and bool(getattr(model, '_is_graph_network', False))
    and not has_own_call(model)
  )


def fresh_lambda(layer: keras.layers.Lambda) -> keras.layers.Lambda:
  """A Lambda layer of the same function, which stays what it is.

  Through its config it would come back as bytecode, without what else the
  function is or needs.
  """
  return keras.layers.Lambda(
    layer.function,
    output_shape=layer._output_shape,
    mask=layer.mask,
    arguments=layer.arguments,
    **keras.layers.Layer.get_config(layer),
  )


def with_own_functions(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
  """A config with the activations that somebody wrote in place of their names.

  Keras finds those by name only where they are registered, and comes back with
  the bytecode of a lambda alone.

  Args:
    layer: The layer whose config it is, or was before it was resized.
    config: That; not changed.
  """
  own = {
    key: function
    for key in config
    if 'activation' in key
    and isinstance(function := getattr(layer, key, None), types.FunctionType)
    and not f'{function.__module__}.'.startswith((*_LIBRARIES, 'tensorflow.'))
  }
  if not own:
    return config
  unchanged = layer.get_config()
  return config | {
    key: function
    for key, function in own.items()
    if config[key] == unchanged[key]
  }


def has_own_call(layer: Any) -> bool:
  """Whether someone's own class says what a tf_keras layer does."""
  cls = type(layer)
  for method in ('call', '__call__'):
    where = next((x for x in cls.__mro__ if method in vars(x)), cls)
    if not where.__module__.startswith(_LIBRARIES):
      return True
  return False


def is_made_of_layers(layer: Any) -> bool:
  """Whether a layer is someone's own and has no weights but its layers'."""
  if is_graph_model(layer) or not has_own_call(layer):
    return False
  inner = list(layer._flatten_layers(include_self=False, recursive=True))
  held = {id(weight) for part in inner for weight in part.weights}
  return all(id(weight) in held for weight in layer.weights)


def may_branch(model: Any) -> bool:
  """Whether layers of a user's are in it, which may branch on a tensor.

  Only these need autograph in a function that is traced: to rewrite all else
  takes longer than many a lesson of a small network.

  Args:
    model: A tf_keras model or layer.
  """
  return any(map(has_own_call, model._flatten_layers()))


_FORMS_FOR_GPUS = contextvars.ContextVar('forms_for_gpus', default=True)


def _kept_if_asked(register: Callable) -> Callable:
  @functools.wraps(register)
  def registered(*args: Any, **kwargs: Any) -> Any:
    return register(*args, **kwargs) if _FORMS_FOR_GPUS.get() else None

  return registered


gru_lstm_utils.function_register = _kept_if_asked(
  gru_lstm_utils.function_register
)


@contextmanager
def without_forms_for_gpus() -> Iterator[None]:
  """Traces LSTM and GRU as they are, here and in this thread.

  Keras puts their form for a GPU and its gradient into every graph, for one to
  be swapped in when it runs. Where a graph only tells shapes that is most of
  its time: all of a model's, each time that it is copied.
  """
  token = _FORMS_FOR_GPUS.set(False)
  try:
    yield
  finally:
    _FORMS_FOR_GPUS.reset(token)


class _Undrawn:
  """Zeros in place of what an initializer of Keras's own would draw."""

  def __init__(self, own: Any):
    self._own = own

  def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> np.ndarray:
    # Seeds that come after it are what they would be.
    self._own._random_generator._maybe_init()
    dtype = tf.as_dtype(dtype or keras.backend.floatx())
    return np.zeros(shape, dtype.as_numpy_dtype)


_DRAWS_WEIGHTS = contextvars.ContextVar('draws_weights', default=True)


def _undrawn_if_asked(make: Callable) -> Callable:
  @functools.wraps(make)
  def made(name: Any, *args: Any, **kwargs: Any) -> Any:
    own = kwargs.get('initializer')
    if not _DRAWS_WEIGHTS.get() and hasattr(own, '_random_generator'):
      kwargs['initializer'] = _Undrawn(own)
    return make(name, *args, **kwargs)

  return made


base_layer_utils.make_variable = _undrawn_if_asked(
  base_layer_utils.make_variable
)


@contextmanager
def without_drawn_weights() -> Iterator[None]:
  """Layers draw no weights, here and in this thread: all are set later.

  That is a third of the time that it takes to make a layer's weights, and more
  where they are large or orthogonal.
  """
  token = _DRAWS_WEIGHTS.set(False)
  try:
    yield
  finally:
    _DRAWS_WEIGHTS.reset(token)


# Of functions whose first argument is one tensor, whatever it is given as: the
# names by which configs hold them.
_OF_ONE_TENSOR = frozenset(
  {
    *('tile', 'cast', 'reshape', 'expand_dims', 'broadcast_to', 'gather'),
    *('math.add', 'math.subtract', 'math.multiply', 'math.divide', 'math.pow'),
    *('math.maximum', 'math.minimum', 'math.truediv', 'linalg.matmul'),
    *('__operators__.add', 'repeat', 'roll'),
  }
)
_WHOLE_CONSTANTS = contextvars.ContextVar('whole_constants', default=False)


def _of_whole_constants(call: Callable) -> Callable:
  @functools.wraps(call)
  def called(self: Any, *args: Any, **kwargs: Any) -> Any:
    if args and _WHOLE_CONSTANTS.get() and self.symbol in _OF_ONE_TENSOR:
      args = _as_one(args[0]), *args[1:]
    return call(self, *args, **kwargs)

  return called


def _as_one(value: Any) -> Any:
  """What `tf.convert_to_tensor` makes of a list of numbers of one kind."""
  kinds = {type(part) for part in tf.nest.flatten(value)}
  one = isinstance(value, (list, tuple)) and kinds in ({float}, {int})
  return tf.convert_to_tensor(value) if one else value


TFOpLambda.__call__ = _of_whole_constants(TFOpLambda.__call__)


@contextmanager
def with_whole_constants() -> Iterator[None]:
  """Makes one tensor of an array that a model's config holds, here.

  Keras makes one of every number in it, which each call puts together again:
  with the anchors of a detector, in thousands of operations.
  """
  token = _WHOLE_CONSTANTS.set(True)
  try:
    yield
  finally:
    _WHOLE_CONSTANTS.reset(token)


def input_structure(model: keras.Model) -> Any:
  """A functional model's inputs in the structure that it takes."""
  return model._nested_inputs


def output_structure(model: keras.Model) -> Any:
  """A functional model's outputs in the structure that it gives."""
  return model._nested_outputs


def added_to_training(model: Any) -> list[str]:
  """Names of what `add_loss` and `add_metric` made of a functional model.

  Of those inside it as well.
  """
  found = []
  for layer in model.layers if is_graph_model(model) else []:
    if isinstance(layer, (base_layer.AddLoss, base_layer.AddMetric)):
      found.append(layer.name)
    found += added_to_training(layer)
  return found


def is_registered(layer: Any) -> bool:
  """Whether TFMOT's `prune_low_magnitude` takes a layer."""
  registry = prune_registry.PruneRegistry
  return hasattr(layer, 'get_prunable_weights') or registry.supports(layer)


def ordered_nodes(model: keras.Model) -> Iterator[Any]:
  """The nodes that lead to the model's outputs, inputs first."""
  by_depth = model._nodes_by_depth
  for depth in sorted((d for d in by_depth if d >= 0), reverse=True):
    yield from by_depth[depth]


def inbound_tensors(node: Any) -> list[tuple[Any, int, int]]:
  """The (layer, node index, tensor index) of each Keras tensor into `node`."""
  return [(layer, n, t) for layer, n, t, _ in node.iterate_inbound()]


def node_position(node: Any) -> int:
  """Which call of its layer `node` stands for."""
  return node.layer._inbound_nodes.index(node)


def tensor_position(tensor: Any) -> tuple[Any, int, int]:
  """The (layer, node index, tensor index) that made a Keras tensor."""
  history = tensor._keras_history
  return history.layer, history.node_index, history.tensor_index


def is_keras_tensor(value: Any) -> bool:
  """Whether a value stands for a tensor of the graph."""
  return hasattr(value, '_keras_history')


@contextmanager
def dispatching(dispatcher: Any) -> Iterator[None]:
  """Hands calls of TensorFlow's functions that fail to a dispatcher."""
  dispatch._GLOBAL_DISPATCHERS.append(dispatcher)
  try:
    yield
  finally:
    dispatch._GLOBAL_DISPATCHERS.remove(dispatcher)


@contextmanager
def tensors_with_rank() -> Iterator[None]:
  """Gives Keras tensors the attribute `ndim`, as NumPy's arrays have it."""
  if hasattr(keras_tensor.KerasTensor, 'ndim'):
    yield
    return
  keras_tensor.KerasTensor.ndim = property(lambda self: self.shape.rank)
  try:
    yield
  finally:
    del keras_tensor.KerasTensor.ndim


def value_is_known(tensor: Any) -> bool:
  """Whether Keras follows what a Keras tensor of whole numbers, a shape, is."""
  value = getattr(tensor, '_inferred_value', None)
  return value is not None and any(size is not None for size in value)


def is_recorded() -> bool:
  """Whether a graph, or a tape, takes down what is computed here."""
  return not tf.executing_eagerly() or record.could_possibly_record()


def call_again(node: Any, tensors: list[Any], training: bool | None) -> Any:
  """What a layer makes of other tensors, called as it was for `node`.

  Args:
    node: The call in the graph, whose constants and settings are used again.
    tensors: What stands for each of its Keras tensors, in their order.
    training: What to pass as `training`; None to leave it as it was.
  """
  args, kwargs = arguments_again(node, tensors)
  layer = node.layer
  if training is not None and layer._expects_training_arg:
    spec = layer._call_spec
    args, kwargs = spec.set_arg_value(
      'training', training, args, kwargs, inputs_in_args=True
    )
  return layer(*args, **kwargs)


def arguments_again(
  node: Any, tensors: list[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
  """What a layer was called with for `node`, with other tensors.

  Args:
    node: The call in the graph, whose constants and settings are used again.
    tensors: What stands for each of its Keras tensors, in their order.
  """
  waiting: dict[str, list[Any]] = {}
  for tensor, value in zip(node.keras_inputs, tensors, strict=True):
    waiting.setdefault(str(id(tensor)), []).insert(0, value)  # popped at ends
  return node.map_arguments(waiting)


def training_of(node: Any) -> Any:
  """The `training` that a layer was called with; None for none."""
  spec = node.layer._call_spec
  args, kwargs = node.call_args, node.call_kwargs
  if not spec.arg_was_passed('training', args, kwargs, inputs_in_args=True):
    return None
  return spec.get_arg_value('training', args, kwargs, inputs_in_args=True)


def is_random(layer: Any) -> bool:
  """Whether a layer, or one inside it, draws at random while it trains."""
  return any(
    isinstance(inner, BaseRandomLayer) for inner in layer._flatten_layers()
  )


def tensor_arguments(node: Any, names: Sequence[str]) -> dict[str, Any]:
  """What a layer was called with, Keras tensors by their numbers.

  Args:
    node: The call.
    names: Of the layer's parameters, in their order.

  Returns:
    By name, the structure of what was passed: in place of each Keras tensor a
    `TensorNumber`, its place among the call's inputs.
  """
  # Not in the order of `tf.nest`, which sorts names.
  numbers = {id(tensor): k for k, tensor in enumerate(node.keras_inputs)}

  def number(value: Any) -> Any:
    if is_keras_tensor(value):
      return TensorNumber(numbers[id(value)])
    return value

  args, kwargs = tf.nest.map_structure(
    number, (node.call_args, node.call_kwargs)
  )
  return {**dict(zip(names, args, strict=False)), **kwargs}


@dataclasses.dataclass(frozen=True)
class TensorNumber:
  """Which of a call's Keras tensors stands somewhere."""

  number: int


def takes_plain_tensors(node: Any) -> bool:
  """Whether a call hands on Keras tensors alone, with no constants."""
  if len(node.call_args) != 1:
    return False
  tensors = node.call_args[0]
  tensors = tensors if isinstance(tensors, (list, tuple)) else [tensors]
  return len(tensors) == len(node.keras_inputs) and not any(
    is_keras_tensor(value) for value in tf.nest.flatten(node.call_kwargs)
  )


def takes_mask(layer: Any) -> bool:
  """Whether a layer's `call` takes a Keras mask by name."""
  return 'mask' in layer._call_spec.arg_names


def call_arguments(node: Any) -> dict[str, Any]:
  """What a layer was called with, by the names of its parameters."""
  names = node.layer._call_spec.arg_names
  return {**dict(zip(names, node.call_args, strict=False)), **node.call_kwargs}


def inferred_value(tensor: Any) -> list[int | None] | None:
  """The sizes that a symbolic tensor of whole numbers stands for, if it does.

  Args:
    tensor: A Keras tensor.

  Returns:
    Its entries, one for a number; None for those that are not known.
  """
  sizes = getattr(tensor, '_inferred_value', None)
  return None if sizes is None else list(sizes)


def set_arguments(node: Any, changes: dict[str, Any]) -> None:
  """Calls with other constants, for models that are cloned from this one."""
  names = node.layer._call_spec.arg_names
  args, kwargs = list(node.call_args), dict(node.call_kwargs)
  for name, value in changes.items():
    position = names.index(name)
    if position < len(args):
      args[position] = value
    else:
      kwargs[name] = value
  node.call_args, node.call_kwargs = tuple(args), kwargs


def calling_layer() -> Any:
  """The layer whose `__call__` is running, or None."""
  return base_layer_utils.call_context().layer
