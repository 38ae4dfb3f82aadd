"""Sizes that a model leaves open, such as an image's height and width."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.cloning import clone_with, copy_weights, fresh_layer
from tfmot_paoding.network.graph import check_model
from tfmot_paoding.ops import Shape


def with_input_shape(model: keras.Model, input_shape: Any) -> keras.Model:
  """The model for inputs of fixed sizes.

  Args:
    model: A Sequential or functional tf_keras model.
    input_shape: The sizes without the batch axis, such as (224, 224, 3); a
      dict of input name to sizes for a model of several inputs. None leaves
      the model as it is.

  Returns:
    A copy with the same weights; `model` itself where there is nothing to fix.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built, or the sizes do not fit it.
  """
  check_model(model)
  if input_shape is None:
    return model
  wanted = _shapes(model, input_shape)
  if wanted == [tuple(tensor.shape[1:]) for tensor in model.inputs]:
    return model
  if compat.collect_prunable_layers(model):
    model = compat.strip_pruning(model)
  shapes: dict[Path, list[Shape]] = {(): wanted}
  while True:
    fixed = clone_with(model, lambda layer, _: fresh_layer(layer), shapes.get)
    inner = _inner_shapes(fixed, ())
    if all(shapes.get(path) == found for path, found in inner.items()):
      break
    # Nested models are made for what they are called with; from outside in.
    shapes.update(inner)
  copy_weights(model, fixed)
  return fixed


def open_inputs(model: keras.Model) -> dict[str, Shape]:
  """Shapes of the inputs that leave sizes other than the batch's open."""
  return {
    name: tuple(tensor.shape[1:])
    for name, tensor in zip(model.input_names, model.inputs, strict=True)
    if None in tensor.shape[1:]
  }


def check_sizes(
  model: keras.Model, why: str = 'what a model costs depends on them'
) -> None:
  """Raises where a model leaves sizes open.

  Args:
    model: The model.
    why: What cannot be done without them.

  Raises:
    ValueError: it does; the message says how to fix them.
  """
  for name, shape in open_inputs(model).items():
    raise ValueError(
      f'The input {name!r} of shape {shape} leaves sizes open, and {why}. Fix '
      'those that it will be used with: '
      f'`input_shape={_example(shape)}` where a function takes it, or '
      'tfmot_paoding.inputs.with_input_shape(model, '
      f'{_example(shape)}) before.'
    )


def _example(shape: Shape) -> Shape:
  return tuple(96 if size is None else size for size in shape)


def _shapes(model: keras.Model, input_shape: Any) -> list[Shape]:
  """The wanted shape of each input.

  Raises:
    ValueError: it does not fit the model.
  """
  names = list(model.input_names)
  if not isinstance(input_shape, Mapping):
    if len(names) > 1:
      raise ValueError(
        f'The model has the inputs {names}: pass `input_shape` as a dict of '
        f'input name to sizes, not {input_shape!r}.'
      )
    input_shape = {names[0]: input_shape}
  unknown = set(input_shape) - set(names)
  if unknown:
    raise ValueError(
      f'`input_shape` names {sorted(unknown, key=str)}, but the model has the '
      f'inputs {names}.'
    )
  return [
    _fitting(name, tuple(tensor.shape[1:]), input_shape.get(name))
    for name, tensor in zip(names, model.inputs, strict=True)
  ]


def _fitting(name: str, shape: Shape, wanted: Any) -> Shape:
  if wanted is None:
    return shape
  fits = isinstance(wanted, Sequence) and len(wanted) == len(shape)
  if not fits or not all(
    isinstance(size, numbers.Integral)
    and not isinstance(size, bool)
    and size > 0
    and there in (None, size)
    for size, there in zip(wanted, shape, strict=True)
  ):
    raise ValueError(
      f'`input_shape` must fit the input {name!r} of shape {shape}, such as '
      f'{_example(shape)}, but got {wanted!r}.'
    )
  return tuple(int(size) for size in wanted)


def _inner_shapes(model: keras.Model, path: Path) -> dict[Path, list[Shape]]:
  """What each nested model of open sizes is called with, by its path."""
  calls: dict[Path, set[tuple[Shape, ...]]] = {}
  found: dict[Path, list[Shape]] = {}
  for call in compat.ordered_nodes(model):
    if not compat.is_graph_model(call.layer):
      continue
    own = (*path, call.layer.name)
    tensors = [
      layer.get_output_at(node)
      if position == 0 and not isinstance(layer.get_output_at(node), list)
      else layer.get_output_at(node)[position]
      for layer, node, position in compat.inbound_tensors(call)
    ]
    shapes = tuple(tuple(tensor.shape[1:]) for tensor in tensors)
    calls.setdefault(own, set()).add(shapes)
    found.update(_inner_shapes(call.layer, own))
    if len(calls[own]) == 1 and open_inputs(call.layer):
      found[own] = list(shapes)
    else:
      found.pop(own, None)  # it has to take several sizes, or takes one
  return found
