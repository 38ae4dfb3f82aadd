"""Batch normalization: carries units, a factor and an offset each."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Op, Scale, Shape


@base.register_handler(keras.layers.BatchNormalization)
class BatchNormalizationHandler(base.LayerHandler):
  """The inference form, over the last axis."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A factor and an offset a channel."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if [axis % (len(out_shape) + 1) for axis in axes] != [len(out_shape)]:
      return base.opaque(layer, 'normalizes another axis than the last')
    return [
      Scale(
        mean=base.weight_ref(path, layer, 'moving_mean'),
        variance=base.weight_ref(path, layer, 'moving_variance'),
        gamma=base.weight_ref(path, layer, 'gamma'),
        beta=base.weight_ref(path, layer, 'beta'),
        epsilon=float(layer.epsilon),
      )
    ]
