"""Copies of models: layers replaced one by one, weights carried over."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import (
  Graph,
  build_graph,
  layer_paths,
  layers_of,
  unwrapped,
)
from tfmot_paoding.network.told_shapes import untraced
from tfmot_paoding.network.told_tasks import hand_on
from tfmot_paoding.ops import Shape

_HALVES = ('float16', 'bfloat16')
_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)


def clone_with(
  model: keras.Model,
  make_layer: Callable[[Any, Path], Any],
  input_shapes: Callable[[Path], list[Shape] | None] = lambda path: None,
  input_dtype: Callable[[Path, Any], tf.DType] | None = None,
) -> keras.Model:
  """A model of the same structure with its layers made anew.

  Each layer and nested model is made once, however it is reached: what is
  shared in the model is shared in its clone.

  Args:
    model: A functional or Sequential model; it is not changed.
    make_layer: Gives the new layer for a layer and its path.
    input_shapes: Gives the new input shapes of the nested model at a path,
      without the batch axis; None to leave them as they are.
    input_dtype: Gives the new type of an input, a Keras tensor, of the model
      at a path; None to leave all as they are.

  Returns:
    The new model. Its weights are to be set: none is drawn.
  """
  paths = layer_paths(model)
  made: dict[int, Any] = {}

  def clone(layer: Any) -> Any:
    path = paths[id(unwrapped(layer))]
    if id(layer) not in made:
      made[id(layer)] = (
        clone_model(layer, path)
        if compat.is_graph_model(layer)
        else make_layer(layer, path)
      )
      spare(made[id(layer)], layer)
    return made[id(layer)]

  def clone_model(inside: keras.Model, path: Path) -> keras.Model:
    shapes = input_shapes(path)
    dtypes = None
    if input_dtype is not None:
      dtypes = [input_dtype(path, tensor) for tensor in inside.inputs]
    return keras.models.clone_model(
      _answering(inside),
      input_tensors=_inputs_of(inside, shapes, dtypes)
      if shapes or dtypes
      else None,
      clone_function=clone,
    )

  with (
    compat.without_forms_for_gpus(),
    compat.without_drawn_weights(),
    compat.with_whole_constants(),
    untraced() as spare,
  ):
    made = clone_model(model, ())
  hand_on(model, made)
  return made


def _answering(model: keras.Model) -> keras.Model:
  """The model without losses and metrics that were added to it.

  TFMOT's strip_pruning cannot copy what has them.
  """
  if not compat.added_to_training(model):
    return model
  return keras.Model(
    compat.input_structure(model),
    compat.output_structure(model),
    name=model.name,
  )


def _inputs_of(
  model: keras.Model,
  shapes: list[Shape] | None,
  dtypes: list[tf.DType] | None,
) -> list[Any]:
  """Inputs like a model's, of other shapes or types."""
  shapes = shapes or [old.shape[1:] for old in model.inputs]
  dtypes = dtypes or [old.dtype for old in model.inputs]
  return [
    keras.Input(
      batch_size=old.shape[0],
      shape=shape,
      dtype=dtype,
      name=compat.tensor_position(old)[0].name,
    )
    for old, shape, dtype in zip(model.inputs, shapes, dtypes, strict=True)
  ]


def fresh_layer(layer: Any, config: dict[str, Any] | None = None) -> Any:
  """A layer of the same class, unbuilt.

  Args:
    layer: The layer.
    config: What to make it of; None for its own config.

  Raises:
    ValueError: `layer` was revived from a SavedModel, so that nothing but its
      traced functions is known; or its class does not make a layer of its own
      config.
  """
  if type(layer) is keras.layers.Lambda:
    return compat.fresh_lambda(layer)
  if compat.is_revived(layer):
    raise ValueError(
      f'The layer {layer.name!r} of the class {type(layer).__name__!r} comes '
      'from a SavedModel, which holds only functions traced from it: no such '
      'layer can be made anew. Register the class with '
      'register_keras_serializable, and load the model again.'
    )
  try:
    config = config or layer.get_config()
    with keras.utils.custom_object_scope(_held_classes(layer)):
      made = type(layer).from_config(compat.with_own_functions(layer, config))
  except (TypeError, NotImplementedError) as error:
    raise ValueError(
      f'Layer {layer.name!r} of class {type(layer).__name__} cannot be made '
      f'again from its config, as a copy of the model needs it ({error}). Let '
      '`get_config` hold every argument of `__init__`, and `__init__` take '
      '**kwargs for `name` and `dtype`.'
    ) from error
  # A `get_config` may hold nothing but what its own class takes.
  if 'name' not in config:
    made._name = layer.name
  if 'trainable' not in config and not layer.trainable:
    made.trainable = False
  return made


def _held_classes(layer: Any) -> dict[str, type]:
  """The classes of a layer and of those that it holds, by their names.

  Wrappers of Keras's name what they hold by its class alone. Where two classes
  share a name, Keras's own way of finding them is left.
  """
  found: dict[str, set[type]] = {}
  for held in layer._flatten_layers():
    found.setdefault(type(held).__name__, set()).add(type(held))
  return {name: kinds.pop() for name, kinds in found.items() if len(kinds) == 1}


def copied(
  model: keras.Model,
  input_dtype: Callable[[Path, Any], tf.DType] | None = None,
) -> keras.Model:
  """A copy as the model is, wrappers, states and weights.

  Args:
    model: A functional or Sequential model; it is not changed.
    input_dtype: As in `clone_with`.
  """
  found = clone_with(
    model, lambda layer, _: fresh_layer(layer), input_dtype=input_dtype
  )
  copy_weights(model, found)
  return found


def plain_copy(model: keras.Model) -> keras.Model:
  """A copy without wrappers that begins anew with every sample.

  It takes any number of samples, also where the model has a fixed batch.
  """

  def make_layer(layer: Any, _: Path) -> Any:
    fresh = fresh_layer(unwrapped(layer))
    for inner in fresh._flatten_layers():
      if isinstance(inner, _RECURRENT):
        inner.stateful = False
    return fresh

  plain = clone_with(model, make_layer)
  copy_weights(model, plain)
  return plain


def has_state(model: keras.Model) -> bool:
  """Whether what a model answers depends on what it was asked before."""
  return any(
    isinstance(layer, _RECURRENT) and layer.stateful
    for layer in model._flatten_layers()
  )


def leaf_paths(graph: Graph) -> list[Path]:
  """The paths of the layers that are no nested models."""
  return [
    path
    for path, layer in graph.layers.items()
    if not compat.is_graph_model(layer)
  ]


def copy_weights(source: keras.Model, target: keras.Model) -> None:
  """Sets every layer's weights to those of the same path in `source`.

  Kernels that were replaced by hand, such as tied ones, become the layer's own.

  Args:
    source: A model, wrapped or not.
    target: A copy of its structure, wrapped or not; changed in place.

  Raises:
    ValueError: a layer's weights are none that its config leads to.
  """
  # A copy lacks what only losses of the source's own read.
  others = layers_of(source)
  for path, new in layers_of(target).items():
    new = unwrapped(new)
    if compat.is_graph_model(new) or isinstance(new, keras.layers.InputLayer):
      continue
    old = unwrapped(others[path])
    values = old.get_weights()
    if [x.shape for x in values] != [tuple(x.shape) for x in new.weights]:
      values = _by_attribute(build_graph(source), new, path)
    set_weights(new, values)


def _by_attribute(source: Graph, new: Any, path: Path) -> list:
  """A layer's weights where its variables are not those that it built."""
  refs = [ref for ref in source.weight_refs() if ref.layer == path]
  known = {id(ref.of(new)): source.weight(ref) for ref in refs}
  found = [known.get(id(weight)) for weight in new.weights]
  shapes = [tuple(weight.shape) for weight in new.weights]
  if [None if x is None else tuple(x.shape) for x in found] != shapes:
    raise ValueError(
      f'Layer {"/".join(path)!r} holds weights of shapes '
      f'{[tuple(x.shape) for x in source.layers[path].weights]}, but one made '
      f'anew from its config has {shapes}: they were replaced by hand. Build '
      'the model so that its layers make their own weights.'
    )
  return [compat.keras.backend.get_value(x) for x in found]


def set_weights(layer: Any, values: list) -> None:
  """Sets a layer's weights, and what it derives from them."""
  layer.set_weights(values)
  if hasattr(layer, 'finalize_state'):  # statistics that `adapt` has taken
    layer.finalize_state()


def in_float32(model: keras.Model) -> keras.Model:
  """The model with every layer, input and weight in float32.

  Args:
    model: A model without wrappers, not changed; mixed precision, float16,
      bfloat16 or float64.

  Returns:
    A copy; the model itself where it is in float32 already.

  Raises:
    ValueError: a weight is larger than float32 can hold.
  """
  if _is_float32(model):
    return model

  def make_layer(layer: Any, _: Path) -> Any:
    return type(layer).from_config(_as_float32(layer.get_config()))

  def dtype(_: Path, old: Any) -> tf.DType:
    return tf.float32 if old.dtype.is_floating else old.dtype

  made = clone_with(model, make_layer, input_dtype=dtype)
  with np.errstate(over='ignore'):  # answered below
    copy_weights(model, made)
  for old, new in zip(model.weights, made.weights, strict=True):
    if old.dtype == tf.float64 and np.any(
      np.isfinite(old.numpy()) & ~np.isfinite(new.numpy())
    ):
      raise ValueError(
        f'The weight {old.name!r} is larger than float32 can hold, which files '
        'and devices compute in. Scale the model down.'
      )
  return made


def without_halves(model: keras.Model) -> keras.Model:
  """A model of mixed or half precision in float32, to follow gradients.

  CPUs have no arithmetic of halves and take several times as long, and small
  gradients, which nothing scales here, are 0 among them.

  Args:
    model: A model without wrappers, not changed.

  Returns:
    A copy; the model itself where it computes no halves, or where a layer of
    somebody's own computes in nothing else.
  """
  if not computes_halves(model):
    return model
  try:
    return in_float32(model)
  except (TypeError, ValueError):
    return model


def computes_halves(model: keras.Model) -> bool:
  """Whether a layer of a model computes in mixed or half precision."""
  return any(
    layer.compute_dtype in _HALVES
    for layer in model._flatten_layers()
    if not isinstance(layer, keras.Model)
  )


def with_whole_inputs(
  model: keras.Model, names: Collection[str]
) -> keras.Model:
  """The model with some of its inputs int32."""

  def dtype(path: Path, old: Any) -> tf.DType:
    named = not path and compat.tensor_position(old)[0].name in names
    return tf.int32 if named else old.dtype

  return copied(model, dtype)


def _is_float32(model: keras.Model) -> bool:
  """Whether all that a model holds and works with is float32 or whole."""
  tensors = [*model.inputs, *model.outputs, *model.weights]
  dtypes = [tensor.dtype for tensor in tensors]
  for layer in model._flatten_layers():
    policy = getattr(layer, 'dtype_policy', None)
    if isinstance(layer, keras.Model):
      continue  # the session's policy, by which it computes nothing
    if isinstance(policy, keras.mixed_precision.Policy):
      dtypes += [tf.as_dtype(policy.compute_dtype or 'float32')]
  return all(not d.is_floating or d == tf.float32 for d in dtypes)


def _as_float32(config: Any) -> Any:
  """A layer's config, and those in it, with every policy float32."""
  if isinstance(config, tuple):
    return tuple(_as_float32(part) for part in config)
  if isinstance(config, list):
    return [_as_float32(part) for part in config]
  if not isinstance(config, dict):
    return config
  return {
    key: 'float32'
    if key == 'dtype' and _is_policy(value)
    else _as_float32(value)
    for key, value in config.items()
  }


def _is_policy(value: Any) -> bool:
  """Whether a config's `dtype` is one of real numbers, or of a policy."""
  return isinstance(value, dict) or 'float' in str(value)
