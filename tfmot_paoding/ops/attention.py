"""Attention: values that are averaged by how well queries and keys agree.

Queries, keys and values are tensors whose channels are heads, one behind the
other, each a run of channels. What a head gives is a mean of its values over
positions, by weights in [0, 1] that sum to 1: it lies in their hull, whatever
queries and keys are. A unit is a head; without values it gives 0. Where there
is one head alone it stays, and each channel of its values is a unit.

Or units are channels, of all heads at once: one of the values, or one of the
queries with the keys' that it is multiplied by. Without it in the queries, the
pair adds nothing to scores.

Weights depend on differences of scores alone. Where those change by at most R
from each other, the weights move by at most tanh(R / 4) in total variation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import constant_over_positions

Intervals = Sequence[Interval]

# What Keras adds to the score of a position that a mask hides.
HIDDEN = -1e9
# What a computed share may be off by.
_ROUNDING = 8 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Scored(Op):
  """What is made of scores: q . k of each head, at pairs of positions.

  Its inputs are queries (*positions, heads * d), keys (*positions, heads * d),
  values (*positions, heads * v) and, if there is one, a mask (queries, keys).
  Of `by_pairs`, two more: what `Pairs` makes of the queries, and what the keys
  are made of. They stand for how far scores move with the keys' weights.

  Attributes:
    size: d, how many channels of queries and keys a head has.
    scale: What scores are multiplied by.
    causal: Whether positions see none that come after them.
    robust: Whether scores that a mask hides are replaced, not added to.
    by_pairs: Whether units are channels, those of queries and keys in pairs.
  """

  size: int
  scale: float
  causal: bool = False
  robust: bool = False
  by_pairs: bool = False

  joins = True
  moves_positions = True

  @property
  def obstacle(self) -> str | None:
    """Products of what depends on one input have no lines in it."""
    return (
      'averages values by shares that depend on the inputs, which linear '
      'bounds do not follow; bounds of the whole range of inputs do'
    )

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """A head is one unit in queries, keys and values, if there are several."""
    rows = [channel_row(book, source) for source in sources[:3]]
    heads = len(rows[0]) // self.size
    queries, keys, values = (row.reshape(heads, -1) for row in rows)
    if self.by_pairs:
      tie_all(book, queries, keys)
    elif heads == 1:
      for row in (queries, keys):
        book.freeze(row, f'{book.label!r} has one head alone')
    else:
      for row in (queries, keys, values):
        tie_all(book, values[:, :1], row)
    for mask in self._masks(sources):
      book.freeze(mask, f'{book.label!r} takes them for a mask')
    return self.laid_out(values, shape)

  def function(self) -> Any:
    """Sizes may differ, and the scale with them."""
    return dataclasses.replace(self, size=0, scale=0.0)

  def _masks(self, x: Sequence[Any]) -> Sequence[Any]:
    """What of the inputs is a mask, one or none."""
    return x[3:-2] if self.by_pairs else x[3:]

  def laid_out(self, values: Array, shape: Shape) -> Array:
    """The unit of every entry of the output.

    Args:
      values: The units of the values' channels, (heads, v).
      shape: The output's shape.
    """
    raise NotImplementedError

  def shares(self, *x: tf.Tensor) -> tf.Tensor:
    """What each position takes of each other, (batch, heads, queries, keys)."""
    queries, keys = (_by_head(part, self.size) for part in x[:2])
    scores = tf.einsum('bqhd,bkhd->bhqk', queries * self.scale, keys)
    mask = self._mask(x, scores.shape)
    if mask is not None:
      seen = tf.cast(mask, scores.dtype)[:, None]
      if self.robust:
        scores = tf.where(seen > 0.5, scores, HIDDEN)
      else:
        scores += (1 - seen) * HIDDEN
    return tf.nn.softmax(scores)

  def _mask(self, x: Sequence[tf.Tensor], shape: Shape) -> tf.Tensor | None:
    """Who sees whom, (batch, queries, keys) or what broadcasts to it.

    Of bool; a mask that is given and no other is taken as it is.
    """
    queries, *others = (getattr(part, '_keras_mask', None) for part in x[:3])
    found = [] if queries is None else [tf.cast(queries, tf.bool)[:, :, None]]
    for mask in others:
      if mask is not None:
        found.append(tf.cast(mask, tf.bool)[:, None])
    if self.causal:
      ones = tf.ones((1, *shape[2:]), tf.bool)
      found.append(tf.linalg.band_part(ones, -1, 0))
    given = self._masks(x)
    if not found:
      return given[0] if given else None
    total, *rest = (*found, *(tf.cast(mask, tf.bool) for mask in given))
    for mask in rest:
      total &= mask
    return total

  def moved_shares(
    self, d: Intervals, x: Intervals, y: Intervals, factor: float = 1.0
  ) -> Array:
    """How far shares move at most, in total variation, (heads,).

    Args:
      d: Bounds of the inputs' changes.
      x: Of the inputs before.
      y: Of the inputs behind.
      factor: What scores are multiplied by as well.
    """
    if any(part.magnitude.any() for part in self._masks(d)):
      return np.ones(x[0].low.shape[-1] // self.size)
    move, query = (intervals.over_positions(part[0]) for part in (d, x))
    change, key = intervals.over_positions(d[1]), intervals.over_positions(y[1])
    # q'k' - qk = (q' - q) k' + q (k' - k); only what differs between keys.
    gap = times(move.magnitude, key.width)
    gap += times(query.magnitude, change.width)
    gap = times(gap.reshape(-1, self.size).sum(-1), abs(self.scale * factor))
    return most_moved(gap)

  def scores_pulled(
    self, x: Intervals, gain: Array, factor: float = 1.0
  ) -> tuple[Gain, Gain]:
    """The gains of queries and keys.

    Args:
      x: Bounds of the inputs.
      gain: Of the range of a head's scores, (*positions, heads, outputs).
      factor: What scores are multiplied by as well.
    """
    query, key = (intervals.over_positions(part) for part in x[:2])
    by_channel = np.repeat(gain, self.size, -2) * abs(self.scale * factor)
    found = []
    for part, size in zip(x, (key.width, query.magnitude), strict=False):
      moved = times(by_channel, size[:, None])
      one = Gain(moved, moved).fitted((1,) * (part.low.ndim - 1) + size.shape)
      found.append(one.fitted(part.low.shape))
    return tuple(found)

  def masks_pulled(self, x: Intervals, outputs: int) -> list[Gain]:
    """Infinite: there is no slope from one mask to another."""
    shapes = [part.low.shape for part in self._masks(x)]
    return [Gain(*np.full((2, *shape, outputs), np.inf)) for shape in shapes]

  def pairs_pulled(self, x: Intervals, gain: Array) -> list[Gain]:
    """Of what stands for the keys' weights: how far these move scores.

    Args:
      x: Bounds of the inputs.
      gain: Of the range of a head's scores, (*positions, heads, outputs).
    """
    if not self.by_pairs:
      return []
    *_, pairs, source = x
    width = intervals.over_positions(source).width * abs(self.scale)
    moved = times(gain[..., None, :], width[:, None])
    moved = moved.reshape(*moved.shape[:-3], -1, gain.shape[-1])
    none = np.zeros((2, *source.low.shape, gain.shape[-1]))
    own = Gain(moved, moved)
    own = own.fitted((1,) * (pairs.low.ndim - 1) + pairs.low.shape[-1:])
    return [own.fitted(pairs.low.shape), Gain(*none)]


@dataclasses.dataclass(frozen=True)
class Attend(Scored):
  """Means of values, head by head, (*positions of queries, heads * v)."""

  def infer_shape(self, in_shapes, size):
    """The positions of the queries, the channels of the values."""
    del size
    queries, _, values, *_ = in_shapes
    return (*queries[:-1], values[-1])

  def contractions(self, in_shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Each query meets each key, and each share a value."""
    queries, keys, *_ = in_shapes
    pairs = math.prod(queries[:-1]) * math.prod(keys[:-1])
    return (pairs, 0, pairs, *(0,) * (len(in_shapes) - 3))

  def laid_out(self, values: Array, shape: Shape) -> Array:
    """Those of the values."""
    return np.broadcast_to(values.ravel(), shape)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Keras masks of what comes in are heeded as the layer does."""
    del params
    shares, values = self.shares(*x), x[2]
    width = values.shape[-1] // shares.shape[1]
    found = tf.einsum('bhqk,bkhd->bqhd', shares, _by_head(values, width))
    return tf.reshape(found, (-1, *x[0].shape[1:-1], values.shape[-1]))

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """The hull of the values along all positions."""
    del params
    return _along(x[0], intervals.over_positions(x[2]))

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """P' v' - P v = P' (v' - v) + (P' - P) v: the rows of P' - P sum to 0."""
    change = self.change_of_means(self.moved_shares(d, x, y), d, x)
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(change, apart)

  def change_of_means(
    self, share: Array, d: Intervals, x: Intervals
  ) -> Interval:
    """Bounds of how means move.

    Args:
      share: How far shares do, in total variation, (heads,).
      d: Bounds of the inputs' changes.
      x: Of the inputs before.
    """
    values = intervals.over_positions(x[2])
    width = len(values.low) // len(share)
    reach = times(np.repeat(share, width), values.width)
    moved = Interval(-reach, reach)
    return _along(x[0], intervals.add(intervals.over_positions(d[2]), moved))

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> tuple:
    """Values by shares of at most 1; scores by what the values differ by."""
    del params
    own, spread = self.values_pulled(gain, x)
    return (
      *self.scores_pulled(x, spread),
      own,
      *self.masks_pulled(x, gain.up.shape[-1]),
      *self.pairs_pulled(x, spread),
    )

  def values_pulled(self, gain: Gain, x: Intervals) -> tuple[Gain, Array]:
    """The gain of the values, and that of the range of each head's scores.

    The latter has the shape (*positions, heads, outputs).
    """
    values = intervals.over_positions(x[2])
    heads = x[0].low.shape[-1] // self.size
    own = gain.fitted((1,) * (x[2].low.ndim - 1) + values.low.shape)
    both = times(gain.up + gain.down, values.width[:, None] / 4)
    width = len(values.low) // heads
    shape = (*both.shape[:-2], heads, width, both.shape[-1])
    return own.fitted(x[2].low.shape), both.reshape(shape).sum(-2)

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """A mean of values that are alike everywhere is what they are."""
    del params
    fixed = constant_over_positions(x[2])
    return fixed.reshape((1,) * (x[0].ndim - 1) + fixed.shape)


@dataclasses.dataclass(frozen=True)
class Shares(Scored):
  """The weights of those means, heads last: (queries, keys, heads).

  With several axes of positions, those of the queries come before the keys'.
  """

  def infer_shape(self, in_shapes, size):
    """Both positions, and the heads."""
    del size
    queries, keys, *_ = in_shapes
    return (*queries[:-1], *keys[:-1], queries[-1] // self.size)

  def laid_out(self, values: Array, shape: Shape) -> Array:
    """One channel a head; none where that stays."""
    several = len(values) > 1 and not self.by_pairs
    row = values[:, 0] if several else -1
    return np.broadcast_to(row, shape)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Keras masks of what comes in are heeded as the layer does."""
    del params
    found = tf.transpose(self.shares(*x), (0, 2, 3, 1))
    positions = (*x[0].shape[1:-1], *x[1].shape[1:-1])
    return tf.reshape(found, (-1, *positions, found.shape[-1]))

  def bounds(self, params: Params, x: Intervals) -> Interval:
    """Shares of a whole."""
    del params
    shape = self._bounds_shape(x)
    return Interval(np.zeros(shape), np.ones(shape))

  def difference(
    self, params: Params, d: Intervals, x: Intervals, y: Intervals
  ) -> Interval:
    """No share moves more than all together."""
    del params
    share = np.broadcast_to(self.moved_shares(d, x, y), self._bounds_shape(x))
    return Interval(-share, share)

  def pullback(self, params: Params, gain: Gain, x: Intervals) -> tuple:
    """By a quarter of the range of the scores; the values do nothing."""
    del params
    outputs, heads = gain.up.shape[-1], gain.up.shape[-2]
    both = (gain.up + gain.down) / 4
    queries = x[0].low.ndim - 1
    keys = tuple(range(queries, both.ndim - 2))
    shape = (*both.shape[:queries], heads, outputs)
    spread = both.sum(keys).reshape(shape)
    return (
      *self.scores_pulled(x, spread),
      Gain(*np.zeros((2, *x[2].low.shape, outputs))),
      *self.masks_pulled(x, outputs),
      *self.pairs_pulled(x, spread),
    )

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """They depend on everything."""
    del params
    axes = x[0].ndim + x[1].ndim - 2
    return np.full((1,) * axes + (x[0].shape[-1] // self.size,), np.nan)

  def _bounds_shape(self, x: Intervals) -> Shape:
    axes = x[0].low.ndim + x[1].low.ndim - 2
    return (1,) * axes + (x[0].low.shape[-1] // self.size,)


def most_moved(gap: Array) -> Array:
  """How far shares move, in total variation, as scores do from each other.

  Args:
    gap: How far the change of one score is from that of another, at most.
  """
  return np.minimum(np.tanh(gap / 4) * (1 + _ROUNDING), 1.0)


def _by_head(x: tf.Tensor, size: int) -> tf.Tensor:
  """(batch, *positions, heads * size) as (batch, positions, heads, size)."""
  positions = math.prod(x.shape[1:-1])
  return tf.reshape(x, (-1, positions, x.shape[-1] // size, size))


def _along(queries: Interval, channels: Interval) -> Interval:
  """The same at all positions of the queries."""
  shape = (*queries.low.shape[:-1], len(channels.low))
  return Interval(*(np.array(np.broadcast_to(x, shape)) for x in channels))


def times(a: Array, b: Array) -> Array:
  """Products of sizes, >= 0; nothing times no bound is nothing."""
  none = (a == 0) | (b == 0)
  return np.where(none, 0.0, np.where(none, 0.0, a) * np.where(none, 0.0, b))
