"""Layers that networks of keras.applications bring along."""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Op, Scale, Shape, WeightedSum


@base.register_handler(compat.CustomScaleLayer)
class CustomScaleHandler(base.LayerHandler):
  """InceptionResNetV2: x + scale y."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A weighted sum."""
    return [WeightedSum((1.0, float(layer.scale)))]


@base.register_handler(compat.LayerScale)
class LayerScaleHandler(base.LayerHandler):
  """ConvNeXt: a learned factor a channel."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A scale without statistics."""
    return [Scale(gamma=base.weight_ref(path, layer, 'gamma'))]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer channels."""
    config['projection_dim'] = out_shape[-1]
    return config


@base.register_handler(compat.StochasticDepth)
class StochasticDepthHandler(base.LayerHandler):
  """ConvNeXt: drops whole blocks in training."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Nothing."""
    return []
