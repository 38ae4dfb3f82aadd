"""Convolutions: producers and consumers, and depthwise ones that carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.activation import lower_function
from tfmot_paoding.ops import (
  Conv,
  ConvTranspose,
  Depthwise,
  Op,
  Shape,
  Transposed,
  Window,
  window,
)

_layers = keras.layers


def padded_taps(layer: Any, sizes: Sequence[int]) -> tuple[bool, ...]:
  """For each tap of a layer's window, whether some position sees padding.

  Args:
    layer: A convolution.
    sizes: Its input's spatial sizes; 1 for one that is not known, with which
      most taps see padding.
  """
  return window_of(layer, sizes).padded_taps(sizes)


def window_of(layer: Any, sizes: Sequence[int]) -> Window:
  """A convolution's window on an input of some positions."""
  return window(
    layer.padding, layer.kernel_size, layer.strides, layer.dilation_rate, sizes
  )


def is_channels_first(layer: Any) -> bool:
  """Whether the channels are not the last axis."""
  return layer.data_format == 'channels_first'


class _ConvHandler(base.LayerHandler):
  """What all convolutions share."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """The convolution and the fused activation."""
    if is_channels_first(layer):
      return base.opaque(layer, 'has its channels first')
    ops = self.convolution(layer, path, in_shapes[0], out_shape)
    return [*ops, *lower_function(layer, layer.activation)]

  def convolution(
    self, layer: Any, path: base.Path, in_shape: Shape, out_shape: Shape
  ) -> list[Op]:
    """The operations before the activation."""
    raise NotImplementedError

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer filters."""
    config['filters'] = out_shape[-1]
    return config


@base.register_handler(_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
class ConvHandler(_ConvHandler):
  """A convolution, whole or in groups."""

  def convolution(
    self, layer: Any, path: base.Path, in_shape: Shape, out_shape: Shape
  ) -> list[Op]:
    """One operation; depthwise if each channel is a group."""
    kernel = base.weight_ref(path, layer, 'kernel')
    bias = base.weight_ref(path, layer, 'bias')
    padded = padded_taps(layer, in_shape[:-1])
    seen = window_of(layer, in_shape[:-1])
    if layer.groups == in_shape[-1] > 1:
      multiplier = layer.filters // layer.groups
      return [Depthwise(kernel, bias, padded, multiplier, True, seen)]
    return [Conv(kernel, bias, padded, layer.groups, seen)]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer filters; a group for each channel if it was so."""
    if layer.kernel.shape[-2] == 1 < layer.groups:
      multiplier = layer.filters // layer.groups
      config['groups'] = out_shape[-1] // multiplier
    return super().resize(layer, config, out_shape)


@base.register_handler(
  _layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose
)
class ConvTransposeHandler(_ConvHandler):
  """A transposed convolution."""

  def convolution(
    self, layer: Any, path: base.Path, in_shape: Shape, out_shape: Shape
  ) -> list[Op]:
    """One operation; which taps a position sees depends on the stride."""
    taps = 1
    for size in layer.kernel_size:
      taps *= size
    seen = Transposed(layer.strides, layer.padding.upper(), out_shape)
    dilated = any(rate > 1 for rate in layer.dilation_rate)
    return [
      ConvTranspose(
        base.weight_ref(path, layer, 'kernel'),
        base.weight_ref(path, layer, 'bias'),
        (True,) * taps,
        seen=None if dilated else seen,
      )
    ]


@base.register_handler(_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
class DepthwiseConvHandler(_ConvHandler):
  """A convolution of each channel by itself."""

  def convolution(
    self, layer: Any, path: base.Path, in_shape: Shape, out_shape: Shape
  ) -> list[Op]:
    """One operation."""
    return [
      Depthwise(
        base.weight_ref(path, layer, 'depthwise_kernel'),
        base.weight_ref(path, layer, 'bias'),
        padded_taps(layer, in_shape[:-1]),
        layer.depth_multiplier,
        seen=window_of(layer, in_shape[:-1]),
      )
    ]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """As many channels as come in."""
    return config


@base.register_handler(_layers.SeparableConv1D, _layers.SeparableConv2D)
class SeparableConvHandler(_ConvHandler):
  """A depthwise convolution, then one of single positions."""

  def convolution(
    self, layer: Any, path: base.Path, in_shape: Shape, out_shape: Shape
  ) -> list[Op]:
    """Two operations."""
    return [
      Depthwise(
        base.weight_ref(path, layer, 'depthwise_kernel'),
        None,
        padded_taps(layer, in_shape[:-1]),
        layer.depth_multiplier,
        seen=window_of(layer, in_shape[:-1]),
      ),
      Conv(
        base.weight_ref(path, layer, 'pointwise_kernel'),
        base.weight_ref(path, layer, 'bias'),
        seen=window('valid', *[(1,) * len(in_shape[:-1])] * 3, in_shape[:-1]),
      ),
    ]
