"""Recurrence of maps, whose states are convolved at each step.

The input's convolution makes the gates, `ConvRecurrence` turns them into states
and `ConvFeedback` is the convolution that the states go back through, as
`recurrent` has it of rows of units.

Bounds are per channel and step, one for all positions: a tap that may see
padding sees zero there, and taps add up. So is how far outputs move, where a
channel moves at all positions at once.

Reference: Shi et al. 2015, arXiv 1506.04214.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Opaque,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.cells import Fed
from tfmot_paoding.ops.convolutions import Conv
from tfmot_paoding.ops.gates import tie_to_blocks
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.recurrent import Recurrence
from tfmot_paoding.ops.windows import Window, convolve


@dataclasses.dataclass(frozen=True)
class ConvFeedback(Conv):
  """h * U: what maps of states are to the gates of the next step.

  The bias is what the gates of what comes in have: it can take more in, but
  does not count here.
  """

  feeds_back = True

  @property
  def borrows(self) -> tuple[WeightRef, ...]:
    """The bias."""
    return () if self.bias is None else (self.bias,)

  def offset(self, params: Params) -> Array | float:
    """Nothing."""
    return 0.0

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Blocks of the units that come in."""
    made = book.new(shape)
    tie_to_blocks(book, channel_row(book, sources[0]), made)
    return made


@dataclasses.dataclass(frozen=True)
class _OfChannels(Recurrence):
  """What a recurrence of maps is to channels, alike at all positions.

  Attributes:
    padded: For each tap, whether some position sees padding under it.
  """

  padded: tuple[bool, ...] = (False,)

  def _fed(self, params: Params, before: Params | None = None) -> Fed:
    """All taps of a channel, each at either end of its bounds."""
    after = params[self.kernel]
    shape = len(self.padded), *after.shape[-2:]
    absolute = np.abs(after).reshape(shape).sum(0)

    def through(h: Interval, kernel: Array) -> Interval:
      return intervals.affine(
        self._rows(h), kernel.reshape(-1, kernel.shape[-1])
      )

    if before is None:
      return Fed(
        shape[1],
        lambda h: through(h, after),
        lambda size, change: change @ absolute,
      )
    old = before[self.kernel]
    gap = np.abs(after - old).reshape(shape).sum(0)
    return Fed(
      shape[1],
      lambda h: intervals.hull(through(h, after), through(h, old)),
      lambda size, change: change @ absolute + size @ gap,
    )

  def _rows(self, h: Interval) -> Interval:
    """What the kernel's rows see, (..., taps * channels)."""
    *front, channels = h.low.shape
    shape = (*front, len(self.padded), channels)
    taps = Interval(*(np.broadcast_to(x[..., None, :], shape) for x in h))
    taps = intervals.with_zero(taps, np.array(self.padded)[:, None])
    return taps.reshape((*front, -1))


@dataclasses.dataclass(frozen=True)
class ConvRecurrence(Recurrence):
  """Maps of states at every step, (steps, *positions, units).

  The kernel is (*window, units, gates).

  Attributes:
    padded: For each tap, whether some position sees padding under it.
    seen: The window that slides over the states.
  """

  padded: tuple[bool, ...] = (False,)
  seen: Window | None = dataclasses.field(default=None, compare=False)

  def under_mask(self) -> Op:
    """Not known."""
    return Opaque('convolves its states, and a mask hides some of its steps')

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The feedback's: its rows are the states, its columns the gates."""
    return {self.kernel: WeightAxes(-1, -2)}

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As many channels as the kernel has rows."""
    return (*in_shapes[0][:-1], size(self.kernel)[-2])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """As of rows, whatever the position."""
    gates, *starts = sources
    starts = [channel_row(book, start) for start in starts]
    return super().carry(book, (gates, *starts), shape)

  def bounds(self, params: Params, x: Sequence[Interval]) -> Interval:
    """Of channels."""
    return self._spread(self._channels.bounds(params, self._flat(x)), x[0])

  def difference(
    self,
    params: Params,
    d: Sequence[Interval],
    x: Sequence[Interval],
    y: Sequence[Interval],
  ) -> Interval:
    """Of channels."""
    parts = (self._flat(part) for part in (d, x, y))
    return self._spread(self._channels.difference(params, *parts), x[0])

  def changed(
    self, before: Params, after: Params, x: Sequence[Interval]
  ) -> Interval:
    """Of channels."""
    found = self._channels.changed(before, after, self._flat(x))
    return self._spread(found, x[0])

  def pullback(
    self, params: Params, gain: Gain, x: Sequence[Interval]
  ) -> tuple[Gain, ...]:
    """Of channels, which move at all positions at once."""
    flat, units = self._flat(x), params[self.kernel].shape[-2]
    steps = len(flat[0].low)
    gain = gain.fitted((steps, *(1,) * self._rank, units))
    gain = gain.reshape((steps, units))
    found = self._channels.pullback(params, gain, flat)
    return tuple(
      self._everywhere(one, part) for one, part in zip(found, x, strict=True)
    )

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Of channels that are constant at all positions."""
    gates, *starts = (part.reshape(-1, part.shape[-1]) for part in x)
    starts = [np.where((one == 0).all(0), 0.0, np.nan) for one in starts]
    kernel = params[self.kernel]
    flat = {**params, self.kernel: kernel.reshape(-1, kernel.shape[-1])}
    found = self._channels.constant(flat, (gates, *starts))
    return found.reshape((1,) * (x[0].ndim - 1) + (-1,))

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Step after step.

    Args:
      params: The weights.
      *x: The gates (batch, steps, *positions, gates), and each state to begin
        with.
    """
    gates, *states = x
    kernel = tf.constant(params[self.kernel])
    if not states:
      positions = gates.shape[2:-1]
      shape = (gates.shape[0], *positions, kernel.shape[-2])
      states = [tf.zeros(shape, gates.dtype)] * self.cell.states
    found = []
    for step in self._order(gates.shape[1]):
      states = self.cell.step(
        gates[:, step],
        lambda h: convolve(h, kernel, self.seen),
        tuple(states),
      )
      found.append(states[self.state])
    if self.turned:
      found.reverse()
    return tf.stack(found, 1)

  @property
  def _rank(self) -> int:
    return len(self.seen.size)

  @property
  def _channels(self) -> _OfChannels:
    """What it is to channels."""
    names = {field.name for field in dataclasses.fields(_OfChannels)}
    return _OfChannels(**{name: getattr(self, name) for name in names})

  def _flat(self, x: Sequence[Interval]) -> tuple[Interval, ...]:
    """Bounds of channels over all positions, (..., channels)."""
    axes = tuple(range(-1 - self._rank, -1))
    return tuple(Interval(a.low.min(axes), a.high.max(axes)) for a in x)

  def _spread(self, x: Interval, gates: Interval) -> Interval:
    """At all positions of the gates, (..., *positions, channels)."""
    *front, channels = x.low.shape
    positions = gates.low.shape[-1 - self._rank : -1]
    found = x.reshape((*front, *(1,) * self._rank, channels))
    shape = (*front, *positions, channels)
    return Interval(*(np.array(np.broadcast_to(end, shape)) for end in found))

  def _everywhere(self, gain: Gain, x: Interval) -> Gain:
    """The gain of channels for each entry of an input's bounds."""
    *front, channels, outputs = gain.up.shape
    shape = (*front, *(1,) * self._rank, channels, outputs)
    whole = (*x.low.shape, outputs)
    return Gain(*(np.broadcast_to(g.reshape(shape), whole) for g in gain))
