"""Attention of one head without projections: Keras's Attention layers.

Each channel of the values is a unit that goes along. Queries and keys are
contracted: their channels meet one by one in a sum, and live or die together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.attention import (
  HIDDEN,
  Attend,
  Intervals,
  most_moved,
  times,
)
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import constant_over_positions


@dataclasses.dataclass(frozen=True)
class SingleAttention(Attend):
  """Means of values by q . k, or by a sum of tanh(q + k).

  Attributes:
    inside: A factor of q . k, or of q + k inside the tanh; a number.
    outside: A factor of each tanh, one a channel or one for all.
    additive: Whether it is that sum.
    zeros: Whether it gives zeros where a Keras mask hides the query.
  """

  inside: WeightRef | None = None
  outside: WeightRef | None = None
  by_channel: bool = False
  additive: bool = False
  zeros: bool = False

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """One a channel of the queries, or numbers."""
    found = {}
    if self.inside is not None:
      found[self.inside] = WeightAxes(None, None)
    if self.outside is not None:
      found[self.outside] = WeightAxes(0 if self.by_channel else None, None)
    return found

  def function(self) -> Any:
    """Sizes may differ."""
    return dataclasses.replace(self, size=0)

  def under_mask(self) -> Op:
    """It gives zeros, too."""
    return dataclasses.replace(self, zeros=True)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The channels of the values; those of queries and keys meet."""
    queries, keys, values = (channel_row(book, source) for source in sources)
    tie_all(book, queries, keys)
    return np.broadcast_to(values, shape)

  def needs(self, x: Sequence[Array]) -> tuple[Array | None, ...]:
    """Where keys differ, unless a product is zero: all else cancels."""
    queries, keys, _ = x
    same = ~np.isnan(constant_over_positions(keys))
    if not self.additive:
      same |= constant_over_positions(queries) == 0
    return ~same, ~same, None

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Keras masks of queries and values are heeded as the layer does."""
    queries, keys, values = x
    if self.additive:
      met = queries[:, :, None] + keys[:, None]
      met = tf.tanh(self._of(params, self.inside) * met)
      scores = tf.reduce_sum(self._of(params, self.outside) * met, -1)
    else:
      scores = tf.matmul(queries, keys, transpose_b=True)
      scores *= self._of(params, self.inside)
    mask = self._mask((queries, keys, values), scores.shape)
    if mask is not None:
      scores += (1 - tf.cast(mask, scores.dtype)) * HIDDEN
    found = tf.matmul(tf.nn.softmax(scores), values)
    seen = getattr(queries, '_keras_mask', None)
    if seen is not None:
      found *= tf.cast(seen, found.dtype)[..., None]
    return found

  def _mask(self, x: Sequence[tf.Tensor], shape: Shape) -> tf.Tensor | None:
    """By the mask of the values alone."""
    mask = getattr(x[2], '_keras_mask', None)
    found = None if mask is None else tf.cast(mask, tf.bool)[:, None]
    if self.causal:
      ones = tf.ones((1, *shape[1:]), tf.bool)
      before = tf.linalg.band_part(ones, -1, 0)
      found = before if found is None else found & before
    return found

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """The hull of the values, and zero."""
    return intervals.with_zero(super().bounds(params, x), self.zeros)

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """That of means, or none where they are hidden."""
    change = self.change_of_means(self._moved(params, d, x, y), d, x)
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    change = intervals.with_zero(change, self.zeros)
    return intervals.intersect(change, apart)

  def _moved(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Array:
    """How far shares move at most, (1,)."""
    inside = abs(self._of(params, self.inside))
    if not self.additive:
      return self.moved_shares(d, x, y, inside)
    query, key = (intervals.over_positions(part).magnitude for part in d[:2])
    met = np.minimum(times(query + key, inside), 2.0)
    gap = 2 * times(met, np.abs(self._of(params, self.outside))).sum()
    return most_moved(gap).reshape(1)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> tuple:
    """Values by shares of at most 1; scores by what the values differ by."""
    own, spread = self.values_pulled(gain, x)
    inside = abs(self._of(params, self.inside))
    if not self.additive:
      return (*self.scores_pulled(x, spread, inside), own)
    factor = np.abs(self._of(params, self.outside)) * inside
    shape = (x[0].low.shape[-1], 1)
    factor = np.broadcast_to(np.reshape(factor, (-1, 1)), shape)
    by_channel = times(spread, factor)
    found = []
    for part in x[:2]:
      one = Gain(by_channel, by_channel)
      one = one.fitted((*(1,) * (part.low.ndim - 1), part.low.shape[-1]))
      found.append(one.fitted(part.low.shape))
    return (*found, own)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """A mean of values that are alike everywhere; zeros where hidden."""
    found = super().constant(params, x)
    return np.where(found == 0, 0.0, np.nan) if self.zeros else found

  @staticmethod
  def _of(params: Params, ref: WeightRef | None) -> Array | float:
    return 1.0 if ref is None else params[ref]
