"""Layers around another layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.inside import Emit, Tensor
from tfmot_paoding.ops import (
  Concatenate,
  Op,
  Opaque,
  Positions,
  Reshape,
  Shape,
  WeightRef,
)


@base.register_handler(keras.layers.TimeDistributed)
class TimeDistributedHandler(base.LayerHandler):
  """The same layer at each step."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """The inner layer's operations, where one more axis does not matter."""
    inner = layer.layer
    if isinstance(inner, keras.Model):
      return base.opaque(
        layer,
        'holds a model with layers not known there, is called in several ways, '
        'or takes a mask',
      )
    ops = base.handler_of(inner).lower(
      inner, path, [shape[1:] for shape in in_shapes], out_shape[1:]
    )
    if any(isinstance(op, Opaque) for op in ops):
      return ops
    if len(in_shapes) > 1 or any(_minds_an_axis(op) for op in ops):
      return base.opaque(
        layer, f'holds a {type(inner).__name__}, which is not known there'
      )
    return [_within(op, 'layer') for op in ops]

  def has_inside(self, layer: Any) -> bool:
    """Where the inner layer has one."""
    return base.has_inside(layer.layer)

  def resizes_inside(self, layer: Any) -> bool:
    """Where the inner layer's handler does."""
    return base.resizes_inside(layer.layer)

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """The inner layer's small graph, with the axis of steps in front."""
    inner, shapes = layer.layer, [x.shape for x in emit.inputs]
    apart = Emit(inner, emit.path, [shape[1:] for shape in shapes])
    given = base.handler_of(inner).lower_into(inner, apart)
    if given is None:
      return None
    tensors = dict(enumerate(emit.inputs))
    names = {number: name for name, number in apart.names.items()}
    for step in apart.steps:
      op = _within(step.op, 'layer')
      if _minds_steps(op):
        op = Opaque(
          f'TimeDistributed {layer.name!r} holds a {type(inner).__name__} with '
          f'an operation inside that minds one more axis, {type(op).__name__}'
        )
      tensors[step.output] = emit(
        op,
        *(tensors[number] for number in step.inputs),
        name=names.get(step.output),
        shape=(*shapes[0][:1], *step.shape),
      )
    if isinstance(given, tuple):
      return tuple(tensors[tensor.index] for tensor in given)
    return tensors[given.index]

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """The inner layer's smaller config."""
    inner = layer.layer
    config['layer']['config'] = base.handler_of(inner).resize_inside(
      inner, inner.get_config(), widths
    )
    return config

  def tells(self, layer: Any, method: str) -> bool:
    """Where the inner layer's handler does."""
    return base.tells(layer.layer, method)

  def readjust(
    self, layer: Any, config: dict[str, Any], epsilons: Mapping[str, float]
  ) -> dict[str, Any]:
    """The inner layer's config."""
    inner = layer.layer
    config['layer']['config'] = base.handler_of(inner).readjust(
      inner, config['layer']['config'], epsilons
    )
    return config

  def pad(
    self, layer: Any, config: dict[str, Any], width: int
  ) -> tuple[type, dict[str, Any]]:
    """The inner layer's class and config."""
    inner = layer.layer
    kind, made = base.handler_of(inner).pad(
      inner, config['layer']['config'], width
    )
    name = keras.utils.get_registered_name(kind)
    config['layer'] = {'class_name': name, 'config': made}
    return type(layer), config

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """The inner layer's smaller config."""
    inner = layer.layer
    config['layer']['config'] = base.handler_of(inner).resize(
      inner, inner.get_config(), out_shape[1:]
    )
    return config


def inner_layer(layer: Any) -> Any:
  """The layer that is applied at each step, or the layer itself."""
  while isinstance(layer, keras.layers.TimeDistributed):
    layer = layer.layer
  return layer


def _minds_an_axis(op: Op) -> bool:
  squeezes = isinstance(op, Positions) and op.squeeze
  return op.joins or squeezes or isinstance(op, Reshape)


def _minds_steps(op: Op) -> bool:
  """Whether, inside a layer, an axis in front of the others matters."""
  return op.needs_sizes or op.moves_positions or isinstance(op, Concatenate)


def _within(op: Op, attribute: str) -> Op:
  """The operation with its weights looked up in a layer's attribute."""
  moved = {
    field.name: WeightRef(value.layer, f'{attribute}.{value.name}')
    for field in dataclasses.fields(op)
    if isinstance(value := getattr(op, field.name), WeightRef)
  }
  return dataclasses.replace(op, **moved)
