"""Channels of queries by the keys' weights that they meet in scores.

A score is q . k of a head, and k is W x + c: q . k = (q W) . x + q . c. The
latter is the same for all keys, so that shares do not depend on it. So W is to
the channels of queries what a kernel is to units that it reads, head by head.
"""

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
  Params,
  Rescaled,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.convolutions import Conv
from tfmot_paoding.ops.projections import Projection


@dataclasses.dataclass(frozen=True)
class KeyProjection(Projection):
  """Keys, whose channels follow those of the queries: they are paired."""

  makes_units = False


@dataclasses.dataclass(frozen=True)
class Pairs(Conv):
  """q W, head by head: (*positions, heads * what keys are made of).

  Scores are not computed by it: it stands in the graph for what the keys'
  kernel (inputs, heads, channels) is to the queries' channels, a reader.
  """

  makes_units = False
  multiplies = None
  rescales = True
  linear = True
  needs_sizes = False
  obstacle = None

  @property
  def borrows(self) -> tuple[WeightRef, ...]:
    """The kernel is the keys'."""
    return (self.kernel,)

  @property
  def unit_weights(self) -> tuple[WeightRef, ...]:
    """The kernel nevertheless."""
    return (self.kernel,)

  def function(self) -> Any:
    """Sizes may differ."""
    return Pairs, self.kernel

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """What keys are made of, for each head."""
    return (*in_shapes[0][:-1], self.blocks * size(self.kernel)[0])

  def kernel_axes(self) -> WeightAxes:
    """The channels, of which every head has its own."""
    return WeightAxes(-1, None, blocks=self.blocks)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """No units: nobody reads them as such."""
    del book, sources
    return np.broadcast_to(-1, shape)

  def matrix(self, params: Params) -> Array:
    """(channels of a head, heads * what keys are made of)."""
    kernel = np.transpose(params[self.kernel], (2, 1, 0))
    return kernel.reshape(len(kernel), -1)

  def kernel_of(self, matrix: Array, like: Array) -> Array:
    """The keys' kernel, shaped as `like`."""
    return np.transpose(matrix.reshape(like.shape[::-1]), (2, 1, 0))

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """Head by head."""
    made, heads, channels = kernel.shape
    flat = tf.reshape(x, (-1, heads, channels))
    found = tf.einsum('nhc,dhc->nhd', flat, kernel)
    return tf.reshape(found, (-1, *x.shape[1:-1], heads * made))

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing: attention moves with the queries themselves."""
    del params
    return Gain(*np.zeros((2, *x.low.shape, gain.up.shape[-1])))

  def rescaled(self, params: Params, before: int, after: int) -> Rescaled:
    """1 / sqrt(n) = sqrt(m / n) / sqrt(m), of so many channels left."""
    factor = np.sqrt(after / before)
    return Rescaled({self.kernel: params[self.kernel] * factor})
