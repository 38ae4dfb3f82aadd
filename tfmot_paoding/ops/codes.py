"""Codes of inputs: the number of a bin or of a category, or ones at these."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Array, Gain, Op, Params, Shape, UnitBook


@dataclasses.dataclass(frozen=True)
class Code(Op):
  """Numbers from 0 to a largest one that jump with what comes in.

  Attributes:
    of: Equal where the codes are.
    most: The largest number.
    shape: Of what it makes, 1 for sizes that are not known.
    encode: Its value on samples, both with a batch axis.
  """

  of: Any
  most: float
  shape: Shape
  encode: Callable[[tf.Tensor], tf.Tensor] = dataclasses.field(compare=False)

  def function(self) -> Any:
    """Sizes may differ."""
    return Code, self.of, self.most

  @property
  def obstacle(self) -> str | None:
    """It jumps."""
    return (
      'jumps from one code to the next, and has no ball around any: cut the '
      'model behind it'
    )

  def runs(self, in_shape: Shape) -> bool:
    """It has a value, though it is not followed."""
    del in_shape
    return True

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The codes, in the samples' precision or as floats."""
    del params
    dtype = x[0].dtype if x[0].dtype.is_floating else tf.float32
    return tf.cast(self.encode(x[0]), dtype)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """No units; what is encoded could not lose any."""
    book.freeze(sources[0], f'{book.label!r} makes codes of them')
    return np.broadcast_to(-1, shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """From 0 to the largest, whatever comes in."""
    del params, x
    low = np.zeros((*(1,) * (len(self.shape) - 1), *self.shape[-1:]))
    return Interval(low, low + self.most)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """None where the same comes in."""
    del y
    found = self.bounds(params, x)
    if not d.magnitude.any():
      return intervals.scale(found, np.zeros(()))
    return intervals.subtract(found, found)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Infinite: there is no slope from one code to the next."""
    del params
    endless = np.full((*x.low.shape, gain.up.shape[-1]), np.inf)
    return Gain(endless, endless)

  def constant(self, params: Params, x: Array) -> Array:
    """Nothing is known to be."""
    return np.full(self.bounds(params, Interval(x, x)).low.shape, np.nan)
