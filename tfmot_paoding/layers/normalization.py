"""Normalization: by stored statistics, or by what the very input measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.padded_normalization import PaddedLayerNormalization
from tfmot_paoding.layers.rms_normalization import RMSNormalization
from tfmot_paoding.ops import (
  Array,
  GroupNorm,
  LayerNorm,
  Line,
  Op,
  RootMeanSquare,
  Scale,
  Shape,
  Table,
  UnitLength,
)

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


class _MeasuringHandler(base.LayerHandler):
  """Statistics of the very input, over the last axes."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation, where the last axis is among those that are measured."""
    axes = self.axes(layer, out_shape)
    if axes is None:
      return base.opaque(layer, 'normalizes another axis than the last')
    return self.operation(
      layer,
      {
        'gamma': base.weight_ref(path, layer, 'gamma'),
        'beta': base.weight_ref(path, layer, 'beta'),
        'axes': axes,
        'positions': _positions(layer, out_shape, axes),
      },
    )

  def axes(self, layer: Any, shape: Shape) -> int | None:
    """How many last axes are measured; None for others."""
    return _last_axes(layer.axis, len(shape))

  def operation(self, layer: Any, settings: dict[str, Any]) -> list[Op]:
    """What is done with them."""
    raise NotImplementedError


@base.register_handler(_layers.LayerNormalization, PaddedLayerNormalization)
class LayerNormalizationHandler(_MeasuringHandler):
  """Mean and deviation over all channels."""

  def operation(self, layer: Any, settings: dict[str, Any]) -> list[Op]:
    """Units leave, and are measured as zeros."""
    width = getattr(layer, 'width', None)
    return [LayerNorm(**settings, epsilon=float(layer.epsilon), width=width)]

  def pad(
    self, layer: Any, config: dict[str, Any], width: int
  ) -> tuple[type, dict[str, Any]]:
    """The layer that measures zeros as well."""
    known = _layers.LayerNormalization().get_config()
    settings = {key: config[key] for key in known if key in config}
    return PaddedLayerNormalization, {**settings, 'width': width}


@base.register_handler(RMSNormalization)
class RMSNormalizationHandler(_MeasuringHandler):
  """The root mean square over all channels."""

  def operation(self, layer: Any, settings: dict[str, Any]) -> list[Op]:
    """Units leave: gamma and epsilon make up for them."""
    return [RootMeanSquare(**settings, epsilon=float(layer.epsilon))]

  def readjust(
    self, layer: Any, config: dict[str, Any], epsilons: Mapping[str, float]
  ) -> dict[str, Any]:
    """The one epsilon."""
    (config['epsilon'],) = epsilons.values()
    return config


@base.register_handler(_layers.UnitNormalization)
class UnitNormalizationHandler(_MeasuringHandler):
  """The length over all channels."""

  def operation(self, layer: Any, settings: dict[str, Any]) -> list[Op]:
    """Units leave, which are zeros."""
    if settings['positions'] is None:
      return base.opaque(layer, 'measures entries of an unknown number')
    return [UnitLength(**settings)]


@base.register_handler(_layers.GroupNormalization)
class GroupNormalizationHandler(_MeasuringHandler):
  """Mean and deviation of each block of channels, over all positions."""

  def axes(self, layer: Any, shape: Shape) -> int | None:
    """All of them."""
    return len(shape) if layer.axis in (-1, len(shape)) else None

  def operation(self, layer: Any, settings: dict[str, Any]) -> list[Op]:
    """Blocks leave as wholes."""
    groups, epsilon = int(layer.groups), float(layer.epsilon)
    return [GroupNorm(**settings, epsilon=epsilon, groups=groups)]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer groups of the same size."""
    (channels,) = layer.input_spec.axes.values()
    config['groups'] = out_shape[-1] * layer.groups // channels
    return config


def _last_axes(axis: int | Sequence[int], rank: int) -> int | None:
  """How many axes these are, if they are the last ones in their order."""
  axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
  # Counted with the batch's.
  places = [one % (rank + 1) for one in axes]
  last = list(range(rank + 1 - len(axes), rank + 1))
  return len(axes) if places == last and last[0] > 0 else None


def _positions(layer: Any, shape: Shape, axes: int) -> int | None:
  """How many positions the last axes have; None where a call leaves it open."""
  if axes == 1:
    return 1
  sizes = [
    size
    for node in getattr(layer, 'inbound_nodes', ())
    for size in tuple(node.input_shapes)[-axes:-1]
  ]
  if not sizes or None in sizes:
    return None
  return math.prod(shape[-axes:-1])


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
    """A line."""
    return line(layer, layer.scale, layer.offset, out_shape)


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
    """A line, by position where the statistics are."""
    mean = np.asarray(layer.mean, np.float64)
    deviation = np.maximum(
      np.sqrt(np.asarray(layer.variance, np.float64)), keras.backend.epsilon()
    )
    if layer.invert:
      return line(layer, deviation, mean, out_shape)
    return line(layer, 1 / deviation, -mean / deviation, out_shape)


def line(layer: Any, scale: Any, shift: Any, shape: Shape) -> list[Op]:
  """A line by numbers: one, or one a channel, or a table of positions.

  Args:
    layer: The layer that they are settings of.
    scale: What the layer's input is multiplied by, broadcasting to it with or
      without the batch axis.
    shift: What is added.
    shape: The input's shape, and the output's, without the batch axis.
  """
  settings = [np.asarray(values, np.float64) for values in (scale, shift)]
  if any(values.size != values.shape[-1] for values in settings if values.ndim):
    tables = [_table(values, shape) for values in settings]
    if any(table is None for table in tables):
      return base.opaque(layer, 'has a setting for each position')
    return [Table(*tables)]
  if any(values.size not in (1, shape[-1]) for values in settings):
    return base.opaque(layer, 'has settings for more than it reads')
  return [Line(*(tuple(values.ravel()) for values in settings))]


def _table(settings: Array, shape: Shape) -> Array | None:
  """Of the rank of an input, where each sample has the same settings."""
  batched = (1,) * (len(shape) + 1 - settings.ndim) + settings.shape
  sizes = batched[-len(shape) :]
  if batched != (1, *sizes) or any(
    size not in (1, whole) for size, whole in zip(sizes, shape, strict=True)
  ):
    return None
  return settings.reshape(sizes)
