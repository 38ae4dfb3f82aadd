"""Copies of models: layers replaced one by one, weights carried over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph, layer_paths, unwrapped
from tfmot_paoding.layers.base import Path
from tfmot_paoding.ops import Shape


def clone_with(
  model: keras.Model,
  make_layer: Callable[[Any, Path], Any],
  input_shapes: Callable[[Path], list[Shape] | None] = lambda path: None,
) -> keras.Model:
  """A model of the same structure with its layers made anew.

  Each layer and nested model is made once, however it is reached: what is
  shared in the model is shared in its clone.

  Args:
    model: A functional or Sequential model; it is not changed.
    make_layer: Gives the new layer for a layer and its path.
    input_shapes: Gives the new input shapes of the nested model at a path,
      without the batch axis; None to leave them as they are.

  Returns:
    The new model, with fresh weights.
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
    return made[id(layer)]

  def clone_model(inside: keras.Model, path: Path) -> keras.Model:
    shapes = input_shapes(path)
    return keras.models.clone_model(
      inside,
      input_tensors=shapes and _inputs_of(inside, shapes),
      clone_function=clone,
    )

  return clone_model(model, ())


def _inputs_of(model: keras.Model, shapes: list[Shape]) -> list[Any]:
  """Inputs like a model's, of other shapes."""
  return [
    keras.Input(
      batch_size=old.shape[0],
      shape=shape,
      dtype=old.dtype,
      name=compat.tensor_position(old)[0].name,
    )
    for old, shape in zip(model.inputs, shapes, strict=True)
  ]


def fresh_layer(layer: Any) -> Any:
  """A layer of the same class and config, unbuilt."""
  return type(layer).from_config(layer.get_config())


def leaf_paths(graph: Graph) -> list[Path]:
  """The paths of the layers that are no nested models."""
  return [
    path
    for path, layer in graph.layers.items()
    if not compat.is_graph_model(layer)
  ]


def copy_weights(source: Graph, target: Graph) -> None:
  """Sets every layer's weights to those of the same path in `source`."""
  for path in leaf_paths(source):
    set_weights(target.layers[path], source.layers[path].get_weights())


def set_weights(layer: Any, values: list) -> None:
  """Sets a layer's weights, and what it derives from them."""
  layer.set_weights(values)
  if hasattr(layer, 'finalize_state'):  # statistics that `adapt` has taken
    layer.finalize_state()
