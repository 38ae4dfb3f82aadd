"""Operations that make units of their own: products, and table lookups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
from tfmot_paoding.ops.kernels import WithKernel
from tfmot_paoding.ops.numbering import channel_row


@dataclasses.dataclass(frozen=True)
class Product(WithKernel, Op):
  """rows(x) W + b: each position's rows times one matrix.

  A matrix row belongs to one input channel; a channel may have many.
  """

  kernel: WeightRef
  bias: WeightRef | None = None

  makes_units = True
  linear = True
  consumes_units = True
  answers = 'logits'

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The kernel and the bias (units,)."""
    axes = {self.kernel: self.kernel_axes()}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(None, 0)
    return axes

  def kernel_axes(self) -> WeightAxes:
    """Where the kernel keeps input and output units."""
    raise NotImplementedError

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """New units; those that enter must lie on the channel axis."""
    channel_row(book, sources[0])
    return book.new(shape)

  def offset(self, params: Params) -> Array | float:
    """The bias, or 0."""
    return 0.0 if self.bias is None else params[self.bias]

  def shifted(self, bias: Array, shift: Array) -> Array:
    """The bias that adds `shift`, (units,), to what it adds already."""
    return bias + shift

  def matrix(self, params: Params) -> Array:
    """The kernel as a matrix (rows, units)."""
    return params[self.kernel]

  def kernel_of(self, matrix: Array, like: Array) -> Array:
    """The kernel, shaped as `like`, whose matrix is given."""
    return matrix.reshape(like.shape)

  def rows_of(self, entries: Array, channels: int) -> Array:
    """The matrix rows of input channels, shape (*entries.shape, rows).

    Args:
      entries: Input channels.
      channels: How many the input has.
    """
    del channels
    return entries[..., None]

  def rows(self, x: Interval) -> Interval:
    """What each matrix row sees, shape (..., rows)."""
    return x

  def gather(self, gain: Gain, channels: int) -> Gain:
    """The gain of the input from that of the rows, (..., rows, outputs)."""
    del channels
    return gain

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Centre-radius arithmetic."""
    return intervals.affine(
      self.rows(x), self.matrix(params), self.offset(params)
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """W alone: the bias cancels."""
    del x, y
    return intervals.affine(self.rows(d), self.matrix(params))

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Positive weights keep the direction, negative ones turn it."""
    return self.gather(weighted(self.matrix(params), gain), x.low.shape[-1])

  def fixed_rows(self, x: Array) -> Array:
    """What each row always sees at every position, NaN if it varies, (rows,).

    Args:
      x: The input's entries that no input of the network can change, else NaN.
    """
    return constant_over_positions(x)

  def foldable_rows(self, x: Array) -> Array:
    """`fixed_rows` as the bias could take them in, one a matrix row."""
    return self.fixed_rows(x)

  def constant(self, params: Params, x: Array) -> Array:
    """A unit is constant if all its weights for varying inputs are zero."""
    return constant_product(x, self.matrix(params), self.offset(params))

  def same_rows(self, left: Array, right: Array, units: int) -> bool:
    """Whether these pairs of units see the same rows."""
    del left, right, units
    return True

  def pair_difference(
    self,
    params: Params,
    x: Interval,
    left: Array,
    right: Array,
    by_unit: dict[WeightRef, Array],
  ) -> Interval | None:
    """Bounds of z_left - z_right = (w_l - w_r) x + b_l - b_r, (pairs,).

    Args:
      params: The weights.
      x: Bounds of the input.
      left: Units.
      right: Units.
      by_unit: Matrices laid out by unit, filled in here; kept by callers that
        ask for a few pairs at a time.

    Returns:
      The bounds, or None where two units of a pair see different rows.
    """
    if self.kernel not in by_unit:
      by_unit[self.kernel] = np.ascontiguousarray(self.matrix(params).T)
    kernel = by_unit[self.kernel]
    if not self.same_rows(left, right, len(kernel)):
      return None
    seen = intervals.over_positions(self.rows(x))
    low, high = np.empty((2, len(left)))
    bias = np.broadcast_to(self.offset(params), (kernel.shape[0],))
    slack = (kernel.shape[1] + 2) * np.finfo(np.float64).eps
    rows = max(1, (1 << 22) // kernel.shape[1])  # about 32 MiB at a time
    for start in range(0, len(left), rows):
      part = slice(start, start + rows)
      gap = kernel[left[part]] - kernel[right[part]]
      # The biases' difference first: it may be small beside the biases.
      shift = bias[left[part]] - bias[right[part]]
      centre = gap @ seen.centre + shift
      np.abs(gap, out=gap)
      radius = gap @ (seen.radius + slack * seen.magnitude)
      radius += slack * (np.abs(centre) + np.abs(shift))
      low[part], high[part] = centre - radius, centre + radius
    return intervals.outward(low, high)


def weighted(kernel: Array, gain: Gain) -> Gain:
  """The gain (..., d, outputs) before a kernel (d, m) with `gain` behind it."""
  positive, negative = np.maximum(kernel, 0), np.maximum(-kernel, 0)
  return Gain(
    positive @ gain.up + negative @ gain.down,
    positive @ gain.down + negative @ gain.up,
  )


def constant_product(x: Array, kernel: Array, bias: Array | float) -> Array:
  """x W + b where no varying input is met by a weight, else NaN."""
  varies = np.isnan(x)
  reached = varies.astype(float) @ (kernel != 0) > 0
  value = np.where(varies, 0.0, x) @ kernel + bias
  return np.where(reached, np.nan, value)


def constant_over_positions(x: Array) -> Array:
  """The value of a channel that is the same everywhere, else NaN, (channels,).

  Args:
    x: Shape (..., channels), NaN where it varies with the input.
  """
  flat = x.reshape(-1, x.shape[-1])
  return np.where(np.all(flat == flat[0], axis=0), flat[0], np.nan)


@dataclasses.dataclass(frozen=True)
class MatMul(Product):
  """x W + b over the last axis."""

  def kernel_axes(self) -> WeightAxes:
    """(inputs, units)."""
    return WeightAxes(0, 1)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape:
    """As many channels as the kernel has columns."""
    rows, columns = size(self.kernel)
    if in_shapes[0][-1:] != (rows,):
      raise ValueError(f'the kernel {self.kernel.name!r} has {rows} rows.')
    return (*in_shapes[0][:-1], columns)

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """Over the last axis."""
    flat = tf.reshape(x, (-1, kernel.shape[0])) @ kernel
    return tf.reshape(flat, (-1, *x.shape[1:-1], kernel.shape[1]))


@dataclasses.dataclass(frozen=True)
class Lookup(Op):
  """A row of a table for each integer: an embedding.

  Attributes:
    table: Of shape (vocabulary, units).
  """

  table: WeightRef

  makes_units = True
  looks_up = True

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The table."""
    return {self.table: WeightAxes(None, 1)}

  @property
  def kernel(self) -> WeightRef:
    """The table."""
    return self.table

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """A row of the table in place of each integer."""
    return (*in_shapes[0], size(self.table)[-1])

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The rows."""
    return tf.gather(params[self.table], tf.cast(x[0], tf.int32))

  @property
  def obstacle(self) -> str | None:
    """Its inputs are integers."""
    return (
      'looks integers up in a table, and there is no ball around an integer: '
      'cut the model behind it'
    )

  def matrix(self, params: Params) -> Array:
    """The table."""
    return params[self.table]

  def offset(self, params: Params) -> Array | float:
    """No bias."""
    del params
    return 0.0

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """New units; integers made of units could not lose any."""
    book.freeze(sources[0], f'{book.label!r} looks them up in a table')
    return book.new(shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The range of each column, whatever is looked up."""
    return self._ranges(self.matrix(params), x)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """None where the same row is looked up."""
    spread = self._ranges(self.matrix(params), x)
    if not d.magnitude.any():
      return intervals.scale(spread, np.zeros(()))
    return intervals.subtract(spread, spread)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Infinite: there is no slope from one row to the next."""
    del params
    return Gain(
      np.full((*x.low.shape, gain.up.shape[-1]), np.inf),
      np.full((*x.low.shape, gain.up.shape[-1]), np.inf),
    )

  def constant(self, params: Params, x: Array) -> Array:
    """A column of one value."""
    table = self.matrix(params)
    same = np.all(table == table[0], axis=0)
    return np.where(same, table[0], np.nan).reshape(*(1,) * x.ndim, -1)

  def pair_difference(
    self,
    params: Params,
    x: Interval,
    left: Array,
    right: Array,
    by_unit: dict[WeightRef, Array],
  ) -> Interval:
    """The range of the difference of two columns."""
    del x, by_unit
    table = self.matrix(params)
    gap = table[:, left] - table[:, right]
    return Interval(gap.min(0), gap.max(0))

  def changed(self, before: Params, after: Params, x: Interval) -> Interval:
    """The range of each column's change, whatever is looked up."""
    return self._ranges(self.matrix(after) - self.matrix(before), x)

  def _ranges(self, table: Array, x: Interval) -> Interval:
    shape = (*(1,) * x.low.ndim, -1)
    return Interval(table.min(0).reshape(shape), table.max(0).reshape(shape))
