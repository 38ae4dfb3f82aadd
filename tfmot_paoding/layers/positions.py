"""Layers that work on positions: pooling, padding, cropping, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Copies, Op, Positions, Reshape, Shape, window
from tfmot_paoding.ops.windows import (
  AveragePool,
  Crop,
  GlobalAverage,
  GlobalMax,
  MaxPool,
  Move,
  Pad,
  Repeat,
)

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
    if getattr(layer, 'data_format', '') == 'channels_first':
      return base.opaque(layer, 'has its channels first')
    return [self.positions(layer, in_shapes[0])]

  def positions(self, layer: Any, in_shape: Shape) -> Op:
    """The operation."""
    return Positions(
      kind=type(layer).__name__, move=self.move(layer, in_shape[:-1])
    )

  def move(self, layer: Any, sizes: Shape) -> Move:
    """What becomes of so many positions."""
    raise NotImplementedError


class _PoolingHandler(_PositionsHandler):
  """A window that slides over positions."""

  pool: type[Move]

  def move(self, layer: Any, sizes: Shape) -> Move:
    """Its window."""
    size, strides = (
      value if isinstance(value, tuple) else (value,) * len(sizes)
      for value in (layer.pool_size, layer.strides)
    )
    once = (1,) * len(sizes)
    return self.pool(window(layer.padding, size, strides, once, sizes))


@base.register_handler(
  _layers.MaxPooling1D, _layers.MaxPooling2D, _layers.MaxPooling3D
)
class MaxPoolingHandler(_PoolingHandler):
  """Takes the largest."""

  pool = MaxPool


@base.register_handler(
  _layers.AveragePooling1D, _layers.AveragePooling2D, _layers.AveragePooling3D
)
class AveragePoolingHandler(_PoolingHandler):
  """Takes the mean, padding left out."""

  pool = AveragePool


@base.register_handler(
  _layers.Cropping1D, _layers.Cropping2D, _layers.Cropping3D
)
class CroppingHandler(_PositionsHandler):
  """Cuts positions off."""

  def move(self, layer: Any, sizes: Shape) -> Move:
    """Its cuts."""
    return Crop(_pairs(layer.cropping))


@base.register_handler(
  _layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.ZeroPadding3D
)
class PaddingHandler(_PositionsHandler):
  """Puts zeros around."""

  def positions(self, layer: Any, in_shape: Shape) -> Op:
    """With zeros."""
    pads = _pairs(layer.padding)
    return Positions(bool(np.any(pads)), kind='ZeroPadding', move=Pad(pads))


def _pairs(value: Any) -> tuple[tuple[int, int], ...]:
  """(before, after) along each axis, also of one axis."""
  return value if isinstance(value[0], tuple) else (tuple(value),)


@base.register_handler(_layers.Masking)
class MaskingHandler(_PositionsHandler):
  """Zeroes steps that hold one value alone."""

  def positions(self, layer: Any, in_shape: Shape) -> Op:
    """With zeros; right where the network's own inputs are compared."""
    return Positions(
      True, kind='Masking', unknown='takes steps away by what they hold'
    )


class _GlobalHandler(_PositionsHandler):
  """All positions in one."""

  pool: type[Move]

  def positions(self, layer: Any, in_shape: Shape) -> Op:
    """With or without the axes of positions."""
    return Positions(
      squeeze=not layer.keepdims,
      kind=type(layer).__name__,
      move=self.pool(layer.keepdims),
    )


@base.register_handler(
  _layers.GlobalMaxPooling1D,
  _layers.GlobalMaxPooling2D,
  _layers.GlobalMaxPooling3D,
)
class GlobalMaxHandler(_GlobalHandler):
  """The largest of all."""

  pool = GlobalMax


@base.register_handler(
  _layers.GlobalAveragePooling1D,
  _layers.GlobalAveragePooling2D,
  _layers.GlobalAveragePooling3D,
)
class GlobalAverageHandler(_GlobalHandler):
  """The mean of all."""

  pool = GlobalAverage


@base.register_handler(
  _layers.UpSampling1D, _layers.UpSampling2D, _layers.UpSampling3D
)
class UpSamplingHandler(_PositionsHandler):
  """Repeats or interpolates positions."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Unless values may overshoot."""
    kind = getattr(layer, 'interpolation', 'nearest')
    if kind != 'nearest':
      return _interpolation(layer, kind)
    return super().lower(layer, path, in_shapes, out_shape)

  def positions(self, layer: Any, in_shape: Shape) -> Op:
    """Each as often as its size says."""
    size = layer.size if isinstance(layer.size, tuple) else (layer.size,)
    return Positions(kind='nearest', move=Repeat(size))


@base.register_handler(_layers.RepeatVector)
class RepeatVectorHandler(base.LayerHandler):
  """A vector as a sequence of it alone."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A position, and that as often as the layer says."""
    (shape,) = in_shapes
    one = Reshape((1, *shape), shape)
    return [one, Copies(move=Repeat((layer.n,)), layer=path)]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer copies, where each is for a unit of another layer."""
    config['n'] = out_shape[0]
    return config


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
