"""Products whose kernels have several axes for rows, or for columns.

Those of attention, where a head is a run of channels, and of `EinsumDense`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.ops.base import (
  Array,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import Product


@dataclasses.dataclass(frozen=True)
class Projection(Product):
  """x W + b over the last axis, W a kernel of several axes laid out flat.

  Of several axes for rows, or for columns, the first one is that of units, and
  a unit is a run of as many channels as the others have places; or another one
  is, and a unit's channels lie as far apart as that one is long.

  Attributes:
    row_axes: How many of the kernel's axes, the first ones, are rows.
    read: How many channels of the input are one unit.
    made: How many channels of the output are one unit.
    read_axis: Which of the rows' axes is that of units.
    made_axis: Which of the columns' axes is.
    read_tiles: How many channels so far apart are one unit of the input.
    made_tiles: The same of the output.
  """

  row_axes: int = 1
  read: int = 1
  made: int = 1
  read_axis: int = 0
  made_axis: int = 0
  read_tiles: int = 1
  made_tiles: int = 1

  def function(self) -> Any:
    """Which axis is that of units says nothing of what is computed."""
    return Projection, self.kernel, self.bias, self.row_axes

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The kernel, and the bias that lies as the columns do."""
    axes = {self.kernel: self.kernel_axes()}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(
        None,
        self.made_axis,
        outgoing_run=self.made,
        outgoing_tiles=self.made_tiles,
      )
    return axes

  def kernel_axes(self) -> WeightAxes:
    """One axis of the rows, and one of the columns."""
    return WeightAxes(
      self.read_axis,
      self.row_axes + self.made_axis,
      incoming_run=self.read,
      outgoing_run=self.made,
      incoming_tiles=self.read_tiles,
      outgoing_tiles=self.made_tiles,
    )

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As many channels as the kernel has columns."""
    shape = size(self.kernel)
    rows = math.prod(shape[: self.row_axes])
    if in_shapes[0][-1:] != (rows,):
      raise ValueError(f'the kernel {self.kernel.name!r} has {rows} rows.')
    return (*in_shapes[0][:-1], math.prod(shape[self.row_axes :]))

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """New units, a run of channels each; those that enter leave in runs."""
    row = channel_row(book, sources[0])
    row = row.reshape(self.read_tiles, -1, self.read)
    tie_all(book, row[:1, :, :1], row)
    units = book.new((shape[-1] // (self.made * self.made_tiles),))
    tiled = np.tile(np.repeat(units, self.made), self.made_tiles)
    return np.broadcast_to(tiled, shape)

  def offset(self, params: Params) -> Array | float:
    """The bias laid out flat, or 0."""
    return 0.0 if self.bias is None else np.ravel(params[self.bias])

  def shifted(self, bias: Array, shift: Array) -> Array:
    """In the bias's own shape."""
    return bias + shift.reshape(bias.shape)

  def matrix(self, params: Params) -> Array:
    """The kernel laid out flat."""
    kernel = params[self.kernel]
    rows = math.prod(kernel.shape[: self.row_axes])
    return kernel.reshape(rows, kernel.size // max(rows, 1))

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """Over the last axis."""
    rows = math.prod(kernel.shape[: self.row_axes])
    kernel = tf.reshape(kernel, (rows, -1))
    flat = tf.reshape(x, (-1, rows)) @ kernel
    return tf.reshape(flat, (-1, *x.shape[1:-1], kernel.shape[1]))
