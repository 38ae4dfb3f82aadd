"""Models in which chains of thinner layers stand for some layers."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.worth import Chain
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.cloning import copied, fresh_layer
from tfmot_paoding.network.graph import layers_of
from tfmot_paoding.ops import WeightRef

Array = np.ndarray


def with_chains(
  model: keras.Model,
  chains: Mapping[Path, tuple[Chain, Array | None]],
  weights: Mapping[WeightRef, Array] = types.MappingProxyType({}),
) -> keras.Model:
  """A model with chains in the place of some layers.

  The last link has the layer's name, bias and activation; in front of it stand
  `<name>_low_rank`, the window where a link is behind it, and `<name>_front`.

  Args:
    model: A plain Sequential or functional model, not changed.
    chains: The matrices, and the bias if the layer has one, by the path of a
      layer that is called once.
    weights: What weights of other layers become.

  Returns:
    The new model, in which all else is as it was.
  """
  draft = copied(model)
  known = layers_of(draft)
  for ref, value in weights.items():
    keras.backend.set_value(ref.of(known[ref.layer]), value)
  names = {layer.name for layer in known.values()}
  links = {
    id(known[path]): _links(known[path], *chain, names)
    for path, chain in chains.items()
  }
  rebuilt = _rebuilt(
    draft, {key: [x for x, _ in v] for key, v in links.items()}
  )
  for layer, weights in (pair for found in links.values() for pair in found):
    layer.set_weights(weights)
  # Layers of the draft have been called twice: those of a clone are not.
  return copied(rebuilt)


def _links(
  layer: Any, chain: Chain, bias: Array | None, names: set[str]
) -> list[tuple[Any, list[Array]]]:
  """The layers of a chain, unbuilt, with their weights."""
  parts = [
    ('front', chain.front, False),
    ('low_rank', chain.core, True),
    ('behind', chain.behind, False),
  ]
  parts = [part for part in parts if part[1] is not None]
  found = []
  for number, (kind, matrix, has_window) in enumerate(parts):
    config = layer.get_config()
    is_last = number == len(parts) - 1
    if number:
      config.pop('batch_input_shape', None)
    if not is_last:
      config['name'] = _unused(f'{layer.name}_{kind}', names)
      config.update(
        use_bias=False, activation='linear', activity_regularizer=None
      )
    _resize(config, matrix.shape[1], has_window)
    size = config.get('kernel_size', ())
    weights = [matrix.reshape(*size, -1, matrix.shape[1])]
    if is_last and bias is not None:
      weights.append(bias)
    found.append((fresh_layer(layer, config), weights))
  return found


def _resize(config: dict[str, Any], columns: int, has_window: bool) -> None:
  """Sets a link's size in the config of the layer it is for."""
  if 'units' in config:
    config['units'] = columns
    return
  config['filters'] = columns
  if not has_window:
    ones = (1,) * len(config['kernel_size'])
    config.update(
      kernel_size=ones, strides=ones, dilation_rate=ones, padding='valid'
    )


def _unused(name: str, names: set[str]) -> str:
  """The name, with a number behind it where another layer has it."""
  found, number = name, 0
  while found in names:
    number += 1
    found = f'{name}_{number}'
  names.add(found)
  return found


def _rebuilt(model: keras.Model, links: Mapping[int, list[Any]]) -> keras.Model:
  """The model of the same layers, others called in the place of some.

  Args:
    model: The model.
    links: What to call one after the other, by a layer's id.
  """
  instead: dict[int, list[Any]] = dict(links)

  def called(layer: Any) -> list[Any]:
    if id(layer) not in instead:
      nested = compat.is_graph_model(layer)
      instead[id(layer)] = [rebuild(layer) if nested else layer]
    return instead[id(layer)]

  def rebuild(inside: keras.Model) -> keras.Model:
    if isinstance(inside, keras.Sequential):
      (given,) = inside.inputs
      made = keras.Sequential(name=inside.name)
      made.add(compat.tensor_position(given)[0])
      for layer in inside.layers:
        for link in called(layer):
          made.add(link)
      return made
    return keras.Model(
      compat.input_structure(inside), _outputs_of(inside), name=inside.name
    )

  def _outputs_of(inside: keras.Model) -> Any:
    values = {_place(tensor): tensor for tensor in inside.inputs}
    for node in list(compat.ordered_nodes(inside)):
      if node.is_input:
        continue
      first, *others = called(node.layer)
      tensors = [values[_place(tensor)] for tensor in node.keras_inputs]
      args, kwargs = compat.arguments_again(node, tensors)
      made = first(*args, **kwargs)
      for link in others:
        made = link(made)
      outputs = tf.nest.flatten(node.outputs)
      values |= dict(
        zip(map(_place, outputs), tf.nest.flatten(made), strict=True)
      )
    return tf.nest.map_structure(
      lambda tensor: values[_place(tensor)], compat.output_structure(inside)
    )

  return rebuild(model)


def _place(tensor: Any) -> tuple[int, int, int]:
  """Which tensor of the graph this is."""
  layer, node, position = compat.tensor_position(tensor)
  return id(layer), node, position
