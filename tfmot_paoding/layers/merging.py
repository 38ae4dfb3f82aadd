"""Layers that join tensors."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import (
  Concatenate,
  Extreme,
  Multiply,
  Op,
  Shape,
  WeightedSum,
)
from tfmot_paoding.ops.reductions import Reduce
from tfmot_paoding.ops.tensor_products import TensorProduct

_layers = keras.layers


class _JoinHandler(base.LayerHandler):
  """Joins entry by entry."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation."""
    if any(len(shape) != len(out_shape) for shape in in_shapes):
      return base.opaque(layer, 'joins tensors of unlike rank')
    return [self.join(len(in_shapes))]

  def join(self, count: int) -> Op:
    """The operation on so many inputs."""
    raise NotImplementedError


@base.register_handler(_layers.Add)
class AddHandler(_JoinHandler):
  """The sum."""

  def join(self, count: int) -> Op:
    """Factors of 1."""
    return WeightedSum((1.0,) * count)


@base.register_handler(_layers.Subtract)
class SubtractHandler(_JoinHandler):
  """The difference of two."""

  def join(self, count: int) -> Op:
    """The second counts negative."""
    return WeightedSum((1.0, -1.0))


@base.register_handler(_layers.Average)
class AverageHandler(_JoinHandler):
  """The mean."""

  def join(self, count: int) -> Op:
    """Equal factors."""
    return WeightedSum((1.0 / count,) * count)


@base.register_handler(_layers.Multiply)
class MultiplyHandler(_JoinHandler):
  """The product."""

  def join(self, count: int) -> Op:
    """One operation."""
    return Multiply()


@base.register_handler(_layers.Maximum)
class MaximumHandler(_JoinHandler):
  """The largest."""

  def join(self, count: int) -> Op:
    """One operation."""
    return Extreme(True)


@base.register_handler(_layers.Minimum)
class MinimumHandler(_JoinHandler):
  """The smallest."""

  def join(self, count: int) -> Op:
    """One operation."""
    return Extreme(False)


@base.register_handler(_layers.Dot)
class DotHandler(base.LayerHandler):
  """Products of two tensors, summed over one axis of each."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Of vectors an inner product, of sequences a product of matrices."""
    if layer.normalize:
      return base.opaque(layer, 'normalizes what it multiplies (normalize)')
    ranks = [len(shape) for shape in in_shapes]
    if ranks == [1, 1]:
      return [Multiply(), Reduce('sum', 0, in_shapes[0])]
    if ranks != [2, 2]:
      return base.opaque(layer, 'multiplies tensors of several axes')
    axes = (
      layer.axes
      if isinstance(layer.axes, (list, tuple))
      else (layer.axes, layer.axes)
    )
    one, other = (axis % 3 for axis in axes)
    if 0 in (one, other):
      return base.opaque(layer, 'sums over the batch')
    terms, columns = in_shapes[0][one - 1], out_shape[-1]
    return [TensorProduct(one == 1, other == 2, terms, columns)]


@base.register_handler(_layers.Concatenate)
class ConcatenateHandler(base.LayerHandler):
  """One after another."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Along an axis, the batch's left out."""
    rank = len(out_shape)
    axis = layer.axis % (rank + 1) - 1
    if axis < 0:
      return base.opaque(layer, 'concatenates along the batch')
    return [Concatenate(axis, axis == rank - 1)]
