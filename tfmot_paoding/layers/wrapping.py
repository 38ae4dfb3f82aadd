"""Layers around another layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Op, Opaque, Positions, Reshape, Shape, WeightRef


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
    if base.has_inside(inner):
      return base.opaque(
        layer,
        f'holds a {type(inner).__name__}, a layer with an inside, which is '
        'not known there',
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


def _within(op: Op, attribute: str) -> Op:
  """The operation with its weights looked up in a layer's attribute."""
  moved = {
    field.name: WeightRef(value.layer, f'{attribute}.{value.name}')
    for field in dataclasses.fields(op)
    if isinstance(value := getattr(op, field.name), WeightRef)
  }
  return dataclasses.replace(op, **moved)
