"""Recurrence: states that gates and the states before them make, step by step.

A recurrent layer is three operations. `GateProduct` makes the gates of what
comes in, `Recurrence` turns them into states, `Feedback` is the product that
the states go back through. The last one's result is read by nobody: the
recurrence multiplies by its kernel itself. It stands in the graph for what it
is to units, a reader and a maker of them.

A unit is one column in each block of gates, and one row that is fed back. All
of its columns and biases zero, its candidate is f(0) = 0 at every step, and so
is its state, whatever its other gates are.
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
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
from tfmot_paoding.ops.cells import Cell
from tfmot_paoding.ops.channelwise import Channelwise
from tfmot_paoding.ops.joins import tie_all
from tfmot_paoding.ops.numbering import channel_row
from tfmot_paoding.ops.products import MatMul


@dataclasses.dataclass(frozen=True)
class GateProduct(MatMul):
  """x W + b whose columns are blocks of gates.

  Attributes:
    row: Of a bias (rows, columns), the one that is added; None for a bias
      (columns,).
  """

  row: int | None = None

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The kernel and the bias."""
    axes = {self.kernel: self.kernel_axes()}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(None, -1)
    return axes

  def offset(self, params: Params) -> Array | float:
    """The bias, or 0."""
    bias = super().offset(params)
    return bias if self.row is None or self.bias is None else bias[self.row]

  def shifted(self, bias: Array, shift: Array) -> Array:
    """The bias with more in its row."""
    if self.row is None:
      return super().shifted(bias, shift)
    found = np.array(bias)
    found[self.row] += shift
    return found


@dataclasses.dataclass(frozen=True)
class Feedback(GateProduct):
  """h U + b: what states are to the gates of the next step.

  Where the bias has no row of its own for it, b is what the gates of what
  comes in have: it can take more in, but does not count here.
  """

  feeds_back = True

  @property
  def borrows(self) -> tuple[WeightRef, ...]:
    """The bias: it is that of the gates, or stands beside theirs."""
    return () if self.bias is None else (self.bias,)

  def offset(self, params: Params) -> Array | float:
    """Its row of the bias, or 0."""
    return 0.0 if self.row is None else super().offset(params)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """Blocks of the units that come in."""
    row = channel_row(book, sources[0])
    made = book.new(shape)
    for block in np.split(_row(made), shape[-1] // len(row)):
      tie_all(book, row, block)
    return made


@dataclasses.dataclass(frozen=True)
class Recurrence(Op):
  """States at every step, from the gates of what comes in; or from states too.

  Attributes:
    cell: What a step does.
    kernel: U, of shape (units, gates).
    bias: That is added to h U, in its row 1; None for none.
    backwards: Whether it goes from the last step to the first.
    turned: Whether its sequence is turned round, the last step first.
    state: Which of the cell's states it gives.
    zeros: Whether it gives zeros at steps that a Keras mask hides, in place of
      the state that is kept there.
  """

  cell: Cell
  kernel: WeightRef
  bias: WeightRef | None = None
  backwards: bool = False
  turned: bool = False
  state: int = 0
  zeros: bool = False

  joins = True
  moves_positions = True

  @property
  def obstacle(self) -> str | None:
    """What a step makes has no lines in what came before it."""
    return (
      'carries states from step to step, which linear bounds do not follow; '
      'bounds of the whole range of inputs do'
    )

  @property
  def borrows(self) -> tuple[WeightRef, ...]:
    """All: they are the feedback's."""
    return tuple(self.weights())

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The feedback's: its rows are the states, its columns the gates."""
    axes = {self.kernel: WeightAxes(-1, 0)}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(-1, None)
    return axes

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As many channels as the kernel has rows."""
    return (*in_shapes[0][:-1], size(self.kernel)[0])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """A column of each block is one unit, and so is what it starts from."""
    gates, *starts = sources
    units, *others = np.split(channel_row(book, gates), self.cell.blocks)
    for other in (*others, *starts):
      tie_all(book, units, other)
    if not self.cell.keeps_zero:
      book.freeze(
        units,
        f'the activation of {book.label!r} makes something of zeros, so that '
        'units of it without weights are not without effect',
      )
    return np.broadcast_to(units, shape)

  def bounds(self, params: Params, x: Sequence[Interval]) -> Interval:
    """Of all steps at once: what holds of every state before a step, and after.

    Any number of steps, and any state that these lead to.
    """
    gates, *starts = x
    size = gates.low.shape
    gates = Interval(
      gates.low.min(-2, keepdims=True), gates.high.max(-2, keepdims=True)
    )
    shape = (*gates.low.shape[:-1], len(params[self.kernel]))
    # What a mask hides is the start, or zero where nothing was given yet.
    nothing = intervals.zeros(shape)
    starts = [
      intervals.hull(nothing, Interval(low[..., None, :], high[..., None, :]))
      for low, high in starts
    ] or [nothing] * self.cell.states
    states = self.cell.bounds(gates, self._fed_back(params), starts)
    low, high = (
      np.array(np.broadcast_to(part, (*size[:-1], shape[-1])))
      for part in states[self.state]
    )
    return Interval(low, high)

  def difference(
    self,
    params: Params,
    d: Sequence[Interval],
    x: Sequence[Interval],
    y: Sequence[Interval],
  ) -> Interval:
    """None where the same comes in; else that of separate bounds."""
    one, other = self.bounds(params, x), self.bounds(params, y)
    if not any(part.magnitude.any() for part in d):
      return intervals.zeros(one.low.shape)
    return intervals.subtract(other, one)

  def pullback(
    self, params: Params, gain: Gain, x: Sequence[Interval]
  ) -> tuple[Gain, ...]:
    """Infinite: what a step adds to a change may grow with every step."""
    del params
    outputs = gain.up.shape[-1]
    return tuple(
      Gain(*np.full((2, *part.low.shape, outputs), np.inf)) for part in x
    )

  def constant(self, params: Params, x: Sequence[Array]) -> Array:
    """Zero where neither inputs nor states lead to a candidate."""
    gates, *starts = x
    fed = params[self.kernel]
    if self.bias is not None:
      fed = np.vstack([fed, params[self.bias][1]])
    candidate, columns = map(self.cell.candidates, (gates, fed))
    dead = np.all(candidate == 0, axis=-2, keepdims=True) & ~columns.any(0)
    for start in starts:
      dead = dead & (start == 0)
    dead = dead & self.cell.keeps_zero
    return np.where(dead, 0.0, np.nan)

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Step after step; steps that a Keras mask hides leave states as they are.

    Args:
      params: The weights.
      *x: The gates (batch, steps, gates), and each state to begin with.
    """
    gates, *states = x
    mask = getattr(gates, '_keras_mask', None)
    units = len(params[self.kernel])
    if not states:
      nothing = tf.zeros((gates.shape[0], units), gates.dtype)
      states = [nothing] * self.cell.states
    kernel = tf.constant(params[self.kernel])
    shift = 0.0 if self.bias is None else tf.constant(params[self.bias][1])
    found = []
    for step in self._order(gates.shape[1]):
      moved = self.cell.step(
        gates[:, step], lambda h: h @ kernel + shift, tuple(states)
      )
      given = moved[self.state]
      if mask is not None:
        seen = tf.cast(mask, tf.bool)[:, step, None]
        moved = [
          tf.where(seen, new, old)
          for new, old in zip(moved, states, strict=True)
        ]
        hidden = tf.zeros_like(given) if self.zeros else moved[self.state]
        given = tf.where(seen, given, hidden)
      states = moved
      found.append(given)
    if self.turned:
      found.reverse()
    return tf.stack(found, 1)

  def _order(self, steps: int) -> range:
    return range(steps)[:: -1 if self.backwards else 1]

  def _fed_back(self, params: Params) -> Callable[[Interval], Interval]:
    shift = 0.0 if self.bias is None else params[self.bias][1]
    return lambda h: intervals.affine(h, params[self.kernel], shift)


@dataclasses.dataclass(frozen=True)
class AtStep(Channelwise):
  """What there is at one step of a sequence.

  Attributes:
    step: 0 for the first, -1 for the last.
  """

  step: int = -1

  linear = True
  moves_positions = True
  rearranges = True

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """Without the axis of steps."""
    del size
    return (*in_shapes[0][:-2], in_shapes[0][-1])

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The same channels."""
    return np.broadcast_to(channel_row(book, sources[0]), shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Those of the step."""
    del params
    return Interval(*(part[..., self.step, :] for part in x))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """That of the step."""
    del x, y
    return self.bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Nothing moves through the other steps."""
    del params
    found = [np.zeros((*x.low.shape, part.shape[-1])) for part in gain]
    for whole, part in zip(found, gain, strict=True):
      whole[..., self.step, :, :] = part
    return Gain(*found)

  def constant(self, params: Params, x: Array) -> Array:
    """That of the step."""
    del params
    return x[..., self.step, :]

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """The same entries."""
    del params, a, b, left, right
    return gap

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The step."""
    del params
    return x[0][..., self.step, :]

  spread = transform


def _row(numbers: Array) -> Array:
  """The numbers along the last axis, of an array alike at every position."""
  return numbers.reshape(-1, numbers.shape[-1])[0]
