"""Zeros beside the channels, where a shortcut meets a wider layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightRef,
)
from tfmot_paoding.ops.numbering import last_axis


@dataclasses.dataclass(frozen=True)
class PadChannels(Op):
  """The channels with zeros before and behind.

  The zeros of the longer side are units that nothing makes: they leave with
  what they are added to. How many those are is then told by the size of the
  whole; of the shorter side, none leaves.

  Attributes:
    before: How many zeros.
    after: How many zeros.
  """

  before: int
  after: int

  linear = True

  def function(self) -> Any:
    """Sizes may differ."""
    return PadChannels

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """Wider."""
    del size
    return self.out_shape(in_shapes[0], ())

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """Likewise."""
    del out_shape
    return (*in_shape[:-1], self.before + in_shape[-1] + self.after)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same numbers, and new ones on the longer side."""
    (numbers,) = sources
    row = last_axis(numbers)
    rest = () if row is not None else shape[:-1]
    before = np.full((*rest, self.before), -1)
    after = np.full((*rest, self.after), -1)
    if self.after >= self.before:
      after = book.new(after.shape)
    else:
      before = book.new(before.shape)
    middle = numbers if row is None else row
    return np.broadcast_to(np.concatenate([before, middle, after], -1), shape)

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Zeros along the last axis."""
    del params
    around = [(0, 0)] * (x[0].shape.rank - 1)
    return tf.pad(x[0], [*around, (self.before, self.after)])

  spread = transform

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Of the zeros, zero."""
    del params
    return Interval(self._padded(x.low), self._padded(x.high))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Zeros do not change."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the zeros."""
    del params
    middle = slice(self.before, self.before + x.low.shape[-1])
    parts = (part[..., middle, :] for part in gain)
    return Gain(*parts).fitted(x.low.shape)

  def constant(self, params: Params, x: Array) -> Array:
    """No input can change the zeros."""
    del params
    return self._padded(x)

  def _padded(self, x: Array) -> Array:
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(self.before, self.after)])
