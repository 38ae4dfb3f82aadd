"""Normalization: by stored statistics it carries units, by others it ties."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Line, Op, Scale, Shape

_layers = keras.layers


@base.register_handler(_layers.BatchNormalization)
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


@base.register_handler(
  _layers.LayerNormalization,
  _layers.GroupNormalization,
  _layers.UnitNormalization,
)
class TyingNormalizationHandler(base.LayerHandler):
  """Statistics of the very input, over several units at once."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Left alone."""
    return base.opaque(
      layer,
      'takes statistics over its units: removing one would change the others',
    )


@base.register_handler(_layers.Rescaling)
class RescalingHandler(base.LayerHandler):
  """A fixed scale and offset."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A line, unless its settings are of higher rank."""
    return line(layer, layer.scale, layer.offset)


@base.register_handler(_layers.Normalization)
class NormalizationHandler(base.LayerHandler):
  """(x - mean) / deviation with statistics from `adapt`."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A line, if the statistics are of the last axis or of all."""
    mean = np.asarray(layer.mean, np.float64)
    deviation = np.maximum(
      np.sqrt(np.asarray(layer.variance, np.float64)), keras.backend.epsilon()
    )
    if layer.invert:
      return line(layer, deviation, mean)
    return line(layer, 1 / deviation, -mean / deviation)


def line(layer: Any, scale: Any, shift: Any) -> list[Op]:
  """The line of numbers, or of one number a channel."""
  scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
  for values in (scale, shift):
    if values.size != (values.shape[-1] if values.ndim else 1):
      return base.opaque(layer, 'has a setting for each position')
  return [Line(tuple(scale.ravel()), tuple(shift.ravel()))]
