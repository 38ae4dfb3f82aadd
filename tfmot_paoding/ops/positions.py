"""Operations on positions: pooling, cropping, padding, interpolation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals, tangents
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Lines
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.kernels import UNKNOWN_POSITIONS
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import constant_over_positions
from tfmot_paoding.ops.windows import Move


@dataclasses.dataclass(frozen=True)
class Positions(Channelwise):
  """Takes, averages, repeats or compares positions: a channel's range stays.

  Pooling, cropping, upsampling, interpolation, and padding with zeros.

  Attributes:
    zeros: Whether zeros are put in.
    squeeze: Whether the positions go, as in global pooling.
    kind: What is done, for comparison.
    move: The same, position by position; None where it is not known.
    unknown: Why it is not known.
  """

  zeros: bool = False
  squeeze: bool = False
  kind: str = ''
  move: Move | None = dataclasses.field(default=None, compare=False)
  unknown: str = dataclasses.field(default=UNKNOWN_POSITIONS, compare=False)

  moves_positions = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """Its positions are the layer's to tell."""
    del in_shapes, size

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """By the move, where that is known."""
    if self.move is None:
      return out_shape
    *sizes, channels = in_shape
    if self.move.largest:
      return (*self.move.positions(sizes).shape[:-1], channels)
    return tuple(self.move(tf.zeros((1, *in_shape))).shape[1:])

  @property
  def linear(self) -> bool:
    """Where no largest is taken."""
    return self.move is not None and not self.move.largest

  def pieces(self, in_shape: Shape) -> tuple[Op, ...]:
    """The largest is taken from windows that are laid out first."""
    if self.move is None or not self.move.largest:
      return (self,)
    return (Windows(self.move), Largest())

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The move; its weights are positive."""
    del params
    return self.move(x[0])

  spread = transform

  @property
  def obstacle(self) -> str | None:
    """A move that is not known."""
    return self.unknown if self.move is None else None

  def under_mask(self) -> Op:
    """A mean over the positions that are there, whichever those are."""
    kind, why = f'{self.kind} under a mask', 'leaves out what a mask takes away'
    return dataclasses.replace(self, kind=kind, move=None, unknown=why)

  def function(self) -> Any:
    """Which positions are read, too."""
    return self, self.move

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels at other positions."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The range over all positions."""
    del params
    low, high = intervals.with_zero(intervals.over_positions(x), self.zeros)
    shape = self._shape(x.low)
    return Interval(low.reshape(shape), high.reshape(shape))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The range of the change over all positions."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """All positions move at once."""
    del params
    outputs = gain.up.shape[-1]
    gain = gain.fitted((*(1,) * (gain.up.ndim - 2), gain.up.shape[-2]))
    shape = (*(1,) * (x.low.ndim - 1), x.low.shape[-1])
    return Gain(
      gain.up.reshape(*shape, outputs), gain.down.reshape(*shape, outputs)
    )

  def constant(self, params: Params, x: Array) -> Array:
    """The same value, unless zeros come in beside it."""
    del params
    fixed = constant_over_positions(x)
    if self.zeros:
      fixed = np.where(fixed == 0, fixed, np.nan)
    return fixed.reshape(self._shape(x))

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The range of the difference over all positions."""
    del params, a, b, left, right
    return intervals.with_zero(gap, self.zeros)

  def _shape(self, x: Array) -> Shape:
    if self.squeeze:
      return (x.shape[-1],)
    return (*(1,) * (x.ndim - 1), x.shape[-1])


@dataclasses.dataclass(frozen=True)
class Copies(Positions):
  """A position again and again.

  What cannot lose an entry is repeated for the sake of others: shares of
  attention, one a step, are laid out as often as there are channels, and
  permuted to meet these. Then copies leave with what they meet.

  Attributes:
    layer: The path of the layer whose config says how many.
  """

  kind: str = 'nearest'
  layer: tuple[str, ...] = dataclasses.field(default=(), compare=False)

  def function(self) -> Any:
    """There may be fewer."""
    return Copies

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels; where all must stay, units along the copies."""
    row = channel_row(book, sources[0])
    if not (shape[0] > 1 and book.stays(row)):
      return np.broadcast_to(row, shape)
    # A channel that is alone stays as well.
    book.freeze(row, f'{book.label!r} repeats it')
    copies = book.new(shape[::-1]).T
    book.mark_nonzero(copies)
    book.share(self.layer, copies[:, :1])
    return copies


@dataclasses.dataclass(frozen=True)
class Windows(Op):
  """Lays out the positions of each window on an axis before the channels.

  Attributes:
    move: What will be taken of them.
  """

  move: Move

  linear = True
  rearranges = True

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """(*windows, taps, channels)."""
    del out_shape
    return (*self.move.positions(in_shape[:-1]).shape, in_shape[-1])

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Gathers."""
    del params
    index = self.move.positions(x[0].shape[1:-1])
    count = int(np.prod(x[0].shape[1:-1]))
    flat = tf.reshape(x[0], (-1, count, x[0].shape[-1]))
    return tf.gather(flat, index, axis=1)

  spread = transform


@dataclasses.dataclass(frozen=True)
class Largest(Op):
  """The largest along the axis before the channels, which goes."""

  extreme = 'max'

  def competitor(self, x: tf.Tensor, k: int) -> tf.Tensor:
    """The k-th entry along the axis."""
    return x[..., k, :]

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """Without the axis."""
    del out_shape
    return (*in_shape[:-2], in_shape[-1])

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The largest of all."""
    del params
    return tf.reduce_max(x[0], -2)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The largest of both ends."""
    del params
    return Interval(x.low.max(-2), x.high.max(-2))

  def relax(self, params: Params, *x: Interval) -> Lines:
    """The one that leads, and the range where it may be passed."""
    del params
    return tangents.of_largest(x[0], -2)
