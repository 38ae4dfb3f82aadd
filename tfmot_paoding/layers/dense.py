"""Dense layers: producers and consumers of units."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.activation import lower_function
from tfmot_paoding.ops import MatMul, Op, Shape


@base.register_handler(keras.layers.Dense)
class DenseHandler(base.LayerHandler):
  """x W + b, then the fused activation."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A matrix product and an activation."""
    product = MatMul(
      base.weight_ref(path, layer, 'kernel'),
      base.weight_ref(path, layer, 'bias'),
    )
    return [product, *lower_function(layer, layer.activation)]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer units."""
    config['units'] = out_shape[-1]
    return config
