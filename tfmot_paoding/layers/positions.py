"""Layers that work on positions: pooling, padding, cropping, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.conv import is_channels_first
from tfmot_paoding.ops import Op, Positions, Shape

_layers = keras.layers
# Each result lies between the values it is made from.
_BETWEEN = ('nearest', 'bilinear', 'area', 'gaussian')


class _PositionsHandler(base.LayerHandler):
  """The same channels at other positions."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation, unless the channels come first."""
    if is_channels_first(layer):
      return base.opaque(layer, 'has its channels first')
    return self.positions(layer)

  def positions(self, layer: Any) -> list[Op]:
    """The operation."""
    return [Positions(kind=type(layer).__name__)]


@base.register_handler(
  _layers.MaxPooling1D,
  _layers.MaxPooling2D,
  _layers.MaxPooling3D,
  _layers.AveragePooling1D,
  _layers.AveragePooling2D,
  _layers.AveragePooling3D,
  _layers.Cropping2D,
  _layers.Cropping3D,
)
class PoolingHandler(_PositionsHandler):
  """Takes or averages positions; averages leave padding out."""


@base.register_handler(_layers.Cropping1D, _layers.UpSampling1D)
class SequenceHandler(_PositionsHandler):
  """Takes or repeats positions of a sequence, whose channels are last."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation."""
    return self.positions(layer)


@base.register_handler(_layers.ZeroPadding1D)
class SequencePaddingHandler(SequenceHandler):
  """Puts zeros around a sequence."""

  def positions(self, layer: Any) -> list[Op]:
    """With zeros."""
    return [_padding(layer)]


@base.register_handler(_layers.ZeroPadding2D, _layers.ZeroPadding3D)
class PaddingHandler(_PositionsHandler):
  """Puts zeros around."""

  def positions(self, layer: Any) -> list[Op]:
    """With zeros."""
    return [_padding(layer)]


def _padding(layer: Any) -> Op:
  return Positions(zeros=bool(np.any(layer.padding)), kind='ZeroPadding')


@base.register_handler(
  _layers.GlobalMaxPooling1D,
  _layers.GlobalMaxPooling2D,
  _layers.GlobalMaxPooling3D,
  _layers.GlobalAveragePooling1D,
  _layers.GlobalAveragePooling2D,
  _layers.GlobalAveragePooling3D,
)
class GlobalPoolingHandler(_PositionsHandler):
  """All positions in one."""

  def positions(self, layer: Any) -> list[Op]:
    """With or without the axes of positions."""
    return [Positions(squeeze=not layer.keepdims, kind=type(layer).__name__)]


@base.register_handler(_layers.UpSampling2D, _layers.UpSampling3D)
class UpSamplingHandler(_PositionsHandler):
  """Repeats or interpolates positions."""

  def positions(self, layer: Any) -> list[Op]:
    """Unless values may overshoot."""
    return _interpolation(layer, getattr(layer, 'interpolation', 'nearest'))


@base.register_handler(_layers.Resizing)
class ResizingHandler(base.LayerHandler):
  """Interpolates positions."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Unless values may overshoot."""
    return _interpolation(layer, layer.interpolation)


def _interpolation(layer: Any, kind: str) -> list[Op]:
  if kind not in _BETWEEN:
    return base.opaque(layer, f'interpolates beyond its values ({kind})')
  return [Positions(kind=kind)]
