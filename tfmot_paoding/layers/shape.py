"""Layers that rearrange entries, and those that do nothing at inference."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Op, Permute, Reshape, Shape


@base.register_handler(
  keras.layers.Dropout,
  keras.layers.SpatialDropout1D,
  keras.layers.SpatialDropout2D,
  keras.layers.SpatialDropout3D,
  keras.layers.AlphaDropout,
  keras.layers.GaussianDropout,
  keras.layers.GaussianNoise,
  keras.layers.ActivityRegularization,
  keras.layers.Identity,
)
class IdentityHandler(base.LayerHandler):
  """The identity at inference."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Nothing."""
    return []


@base.register_handler(keras.layers.Flatten)
class FlattenHandler(base.LayerHandler):
  """All axes in one."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A reshape, unless Keras moves the channels first."""
    if layer.data_format == 'channels_first' and len(in_shapes[0]) > 1:
      return base.opaque(layer, 'flattens channels_first')
    return [Reshape(out_shape, in_shapes[0])]


@base.register_handler(keras.layers.Permute)
class PermuteHandler(base.LayerHandler):
  """Axes in another order."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation; Keras counts the batch axis as 0."""
    return [Permute(tuple(axis - 1 for axis in layer.dims), out_shape)]


@base.register_handler(keras.layers.Reshape)
class ReshapeHandler(base.LayerHandler):
  """A new shape."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A reshape."""
    return [Reshape(out_shape, in_shapes[0])]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """The smaller shape."""
    config['target_shape'] = tuple(
      old if old == -1 else new
      for old, new in zip(layer.target_shape, out_shape, strict=True)
    )
    return config
