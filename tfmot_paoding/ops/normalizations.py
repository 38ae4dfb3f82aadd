"""Normalization by what the very input measures, over several units at once.

Unlike batch normalization, whose statistics are stored. What the others become
when a channel leaves is what matters:

* A root mean square over n channels, one of them zero, is sqrt((n - 1) / n) of
  that over the others: a factor on gamma and on epsilon, and nothing else.
* A length does not see zeros.
* Groups of channels are measured each for itself, and leave as wholes.
* A mean over all channels moves with each of them, and the kept ones may have
  any mean, so that no factor makes up for a channel: layer normalization goes
  on to measure the zeros that are gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.standardization import Measure
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Opaque,
  Params,
  Rescaled,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
  point,
)
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row

# What tf.linalg.l2_normalize takes for the least square of a length.
LEAST_SQUARE = 1e-12


@dataclasses.dataclass(frozen=True)
class Normalization(Op):
  """gamma z + beta, z the input as its own entries measure it.

  Attributes:
    gamma: Factors, of the shape of the last axes that they have; None for 1.
    beta: Offsets likewise; None for 0.
    epsilon: What is added to the mean square.
    axes: How many last axes are measured together.
    positions: How many entries these hold for each channel; None where the
      model leaves that open.
  """

  gamma: WeightRef | None = None
  beta: WeightRef | None = None
  epsilon: float = 1e-3
  axes: int = 1
  positions: int | None = 1

  carries = True

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """Gamma and beta, by unit along their last axes."""
    refs = (self.gamma, self.beta)
    return {ref: WeightAxes(None, -1) for ref in refs if ref is not None}

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As it was."""
    del size
    return in_shapes[0]

  def measure(self, channels: int) -> Measure:
    """What the entries are divided by.

    Args:
      channels: How many the input has.
    """
    raise NotImplementedError

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Of the measured entries, scaled and shifted."""
    z = self._over(self._measure(x).values, x)
    scaled = intervals.scale(z, self._factor(params))
    beta = self._shift(params)
    return intervals.outward(scaled.low + beta, scaled.high + beta)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Slopes between x and y, times the change."""
    hull = intervals.hull(x, y)
    moved = self._over(self._measure(hull).change, d, hull)
    moved = intervals.scale(moved, self._factor(params))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(moved, apart)

  def changed(self, before: Params, after: Params, x: Interval) -> Interval:
    """What is measured stays; its factors and offsets change."""
    z = self._over(self._measure(x).values, x)
    moved = intervals.scale(z, self._factor(after) - self._factor(before))
    shift = self._shift(after) - self._shift(before)
    return intervals.outward(moved.low + shift, moved.high + shift)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """All entries of a measure move one another."""
    factor = self._factor(params)
    shape = np.broadcast_shapes(np.shape(factor), x.low.shape)
    factor = np.broadcast_to(factor, shape)
    gain = gain.fitted(shape)
    gain = gain.scaled(np.maximum(factor, 0), np.maximum(-factor, 0))
    gain = gain.fitted(x.low.shape)
    up, down = (self._apart(np.moveaxis(part, -1, 0)) for part in gain)
    apart = Interval(*(self._apart(end) for end in x))
    back = self._measure(x).back(up, down, apart)
    back = [self._together(part, x.low.shape[-1]) for part in back]
    return Gain(*(np.moveaxis(part, 0, -1) for part in back))

  def constant(self, params: Params, x: Array) -> Array:
    """Where all that is measured is, or gamma is 0."""
    apart = self._apart(x)
    axes = tuple(range(-self.axes, 0))
    fixed = ~np.isnan(apart).any(axes, keepdims=True)
    fixed = np.broadcast_to(fixed, apart.shape)
    fixed = self._together(fixed, x.shape[-1])
    value = self.bounds(params, point(np.where(fixed, x, 0.0))).centre
    beta = np.broadcast_to(self._shift(params), value.shape)
    found = np.where(np.broadcast_to(fixed, value.shape), value, np.nan)
    nothing = self._factor(params) == 0
    if not self.measure(1).centred:
      nothing = nothing | (x == 0)
    return np.where(nothing, beta, found)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Its value on samples."""
    (x,) = x
    measure, axes = self.measure(x.shape[-1]), list(range(-self.axes, 0))
    z = self._apart_tensor(x)
    if measure.centred:
      z -= tf.reduce_mean(z, axes, keepdims=True)
    squares = tf.square(z)
    if measure.length:
      total = tf.reduce_sum(squares, axes, keepdims=True)
      z *= tf.math.rsqrt(tf.maximum(total, tf.cast(measure.epsilon, x.dtype)))
    else:
      mean = tf.reduce_mean(squares, axes, keepdims=True)
      z *= tf.math.rsqrt(mean + tf.cast(measure.epsilon, x.dtype))
    z = self._together_tensor(z, x.shape[-1])
    factor, shift = self._factor(params), self._shift(params)
    return z * tf.cast(factor, x.dtype) + tf.cast(shift, x.dtype)

  def traits(self, params: Params) -> Array:
    """Gamma and beta by channel."""
    parts = [params[ref] for ref in self.weights()]
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    return np.concatenate(rows) if rows else np.zeros((0, 1))

  def _measure(self, x: Interval) -> Measure:
    return self.measure(x.low.shape[-1])

  def _factor(self, params: Params) -> Array | float:
    return 1.0 if self.gamma is None else params[self.gamma]

  def _shift(self, params: Params) -> Array | float:
    return 0.0 if self.beta is None else params[self.beta]

  def _over(self, function: Callable, *x: Interval) -> Interval:
    """A function of what is measured together along the last axes."""
    apart = [Interval(*(self._apart(end) for end in part)) for part in x]
    channels = x[0].low.shape[-1]
    found = function(*apart)
    return Interval(*(self._together(end, channels) for end in found))

  def _apart(self, x: Array) -> Array:
    """With what is measured together along the last axes alone."""
    return x

  def _together(self, x: Array, channels: int) -> Array:
    """The way back, to so many channels."""
    del channels
    return x

  def _apart_tensor(self, x: tf.Tensor) -> tf.Tensor:
    """`_apart` for samples."""
    return x

  def _together_tensor(self, x: tf.Tensor, channels: int) -> tf.Tensor:
    """The way back."""
    del channels
    return x


class BySize(Normalization):
  """Divided by a size that zeros leave alone, but for a factor."""

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The units as they are; they must lie on the channel axis."""
    (numbers,) = sources
    channel_row(book, numbers)
    self.hold(book, numbers)
    book.freeze_nonzero(
      numbers,
      f'{book.label!r} measures them, and without weights they are not zero '
      'there',
    )
    return numbers

  def needs(self, x: Sequence[Array]) -> tuple[Array]:
    """All but zeros."""
    return (~zero_channels(x[0]),)

  def hold(self, book: UnitBook, numbers: Array) -> None:
    """Marks units that stay whatever they are."""


@dataclasses.dataclass(frozen=True)
class RootMeanSquare(BySize):
  """x / sqrt(mean square + epsilon) over all channels."""

  rescales = True
  told_by = 'readjust'

  def measure(self, channels: int) -> Measure:
    """The root mean square."""
    count = None if self.positions is None else self.positions * channels
    return Measure(self.axes, count, self.epsilon)

  def hold(self, book: UnitBook, numbers: Array) -> None:
    """All of them, without gamma."""
    if self.gamma is None:
      book.freeze(
        numbers,
        f'{book.label!r} has no factors that could make up for fewer of them',
      )

  def rescaled(self, params: Params, before: int, after: int) -> Rescaled:
    """sqrt(S / n + e) = sqrt(m / n) sqrt(S / m + e n / m), S the square sum."""
    share = after / before
    gamma = params[self.gamma] / np.sqrt(share)
    return Rescaled({self.gamma: gamma}, self.epsilon / share)

  def function(self) -> tuple:
    """Sizes may differ, and epsilon with them."""
    return RootMeanSquare, self.gamma, self.beta, self.axes


@dataclasses.dataclass(frozen=True)
class LayerNorm(BySize):
  """(x - mean) / sqrt(variance + epsilon) over all channels.

  No factor makes up for channels that leave: the kept ones may have any mean.
  So the layer goes on to measure as many as there were, zeros for the others.

  Attributes:
    width: How many channels are measured, zeros where the input has fewer;
      None for those of the input.
  """

  width: int | None = None

  rescales = True
  told_by = 'pad'

  def measure(self, channels: int) -> Measure:
    """The deviation."""
    width = self.width or channels
    count = None if self.positions is None else self.positions * width
    return Measure(self.axes, count, self.epsilon, centred=True)

  def hold(self, book: UnitBook, numbers: Array) -> None:
    """All of them, without gamma: zeros are not zero behind it."""
    if self.gamma is None:
      book.freeze(
        numbers,
        f'{book.label!r} takes the mean over its units, and has no factors '
        'that keep what is left of a removed one at zero',
      )

  def rescaled(self, params: Params, before: int, after: int) -> Rescaled:
    """As many channels as ever are measured."""
    del params
    width = self.width or before
    return Rescaled({}, width=None if width == after else width)

  def function(self) -> tuple:
    """Sizes may differ."""
    return LayerNorm, self.gamma, self.beta, self.epsilon, self.axes

  def _apart(self, x: Array) -> Array:
    """With the zeros."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, self._zeros(x.shape[-1]))])

  def _together(self, x: Array, channels: int) -> Array:
    return x[..., :channels]

  def _apart_tensor(self, x: tf.Tensor) -> tf.Tensor:
    zeros = self._zeros(x.shape[-1])
    return tf.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, zeros)])

  def _together_tensor(self, x: tf.Tensor, channels: int) -> tf.Tensor:
    return x[..., :channels]

  def _zeros(self, channels: int) -> int:
    """How many channels are measured that the input does not have."""
    return (self.width or channels) - channels


@dataclasses.dataclass(frozen=True)
class UnitLength(BySize):
  """x / length over all channels."""

  epsilon: float = LEAST_SQUARE

  def measure(self, channels: int) -> Measure:
    """The length."""
    count = self.positions * channels
    return Measure(self.axes, count, self.epsilon, length=True)


@dataclasses.dataclass(frozen=True)
class GroupNorm(Normalization):
  """Layer normalization of each block of channels, over all positions.

  Attributes:
    groups: How many blocks there are.
  """

  groups: int = 1

  def function(self) -> tuple:
    """Sizes may differ."""
    return GroupNorm, self.gamma, self.beta, self.epsilon

  def measure(self, channels: int) -> Measure:
    """The deviation of a block."""
    each = channels // self.groups
    count = None if self.positions is None else self.positions * each
    return Measure(self.axes, count, self.epsilon, centred=True)

  def under_mask(self) -> Op:
    """Not known: statistics leave out what a mask takes away."""
    return Opaque('its statistics leave out what a mask takes away')

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The channels of a block are one unit; a block must be left."""
    (numbers,) = sources
    blocks = channel_row(book, numbers).reshape(self.groups, -1).T
    if self.groups == 1:
      book.freeze(
        numbers,
        f'{book.label!r} takes the mean over its units, in a single group: '
        'removing one would change the others',
      )
    for other in blocks[1:]:
      tie_all(book, blocks[0], other)
    return numbers

  def _apart(self, x: Array) -> Array:
    """(..., *positions, channels) to (..., groups, *positions, each)."""
    x = x.reshape(*x.shape[:-1], self.groups, -1)
    return np.moveaxis(x, -2, -self.axes - 1)

  def _together(self, x: Array, channels: int) -> Array:
    del channels
    x = np.moveaxis(x, -self.axes - 1, -2)
    return x.reshape(*x.shape[:-2], -1)

  def _apart_tensor(self, x: tf.Tensor) -> tf.Tensor:
    *front, channels = x.shape[1:]
    each = channels // self.groups
    x = tf.reshape(x, (-1, *front, self.groups, each))
    place = len(x.shape) - 1 - self.axes
    return _moved(x, len(x.shape) - 2, place)

  def _together_tensor(self, x: tf.Tensor, channels: int) -> tf.Tensor:
    del channels
    x = _moved(x, len(x.shape) - 1 - self.axes, len(x.shape) - 2)
    return tf.reshape(x, (-1, *x.shape[1:-2], x.shape[-2] * x.shape[-1]))


def zero_channels(x: Array) -> Array:
  """Which channels are zero at every position, (channels,)."""
  return np.all(x.reshape(-1, x.shape[-1]) == 0, axis=0)


def _moved(x: tf.Tensor, source: int, target: int) -> tf.Tensor:
  """One axis in another place."""
  order = [axis for axis in range(len(x.shape)) if axis != source]
  order.insert(target, source)
  return tf.transpose(x, order)
