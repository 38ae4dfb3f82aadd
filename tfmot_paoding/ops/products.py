"""Operations that make units of their own: products, and table lookups."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_paoding import intervals
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
  channel_row,
)


@dataclasses.dataclass(frozen=True)
class Product(Op):
  """rows(x) W + b: each position's rows times one matrix.

  A matrix row belongs to one input channel; a channel may have many.
  """

  kernel: WeightRef
  bias: WeightRef | None = None

  makes_units = True

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


@dataclasses.dataclass(frozen=True)
class Conv(Product):
  """A convolution; bounds are per channel, one for all positions.

  The kernel is (*window, channels in, units); a matrix row is a tap of a
  channel. A tap that is sometimes in the padding sees 0 there.

  Attributes:
    padded: For each tap, whether some position sees padding under it.
    blocks: Groups of channels that are convolved apart.
  """

  padded: tuple[bool, ...] = (False,)
  blocks: int = 1

  def function(self) -> Any:
    """Blocks are sizes: they may shrink to one channel each, or go.

    Whether two agree in them shows in the shapes of their kernels.
    """
    return type(self), self.kernel, self.bias, self.padded

  def kernel_axes(self) -> WeightAxes:
    """(*window, channels in one block, units)."""
    return WeightAxes(-2, -1, blocks=self.blocks)

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """New units; with blocks, those in the same place of each are one."""
    row = channel_row(book, sources[0])
    numbers = book.new(shape)
    if self.blocks > 1:
      _tie_blocks(book, row, self.blocks)
      _tie_blocks(book, numbers.reshape(-1, shape[-1])[0], self.blocks)
    return numbers

  def matrix(self, params: Params) -> Array:
    """(taps * channels in one block, units)."""
    kernel = params[self.kernel]
    return kernel.reshape(-1, kernel.shape[-1])

  def rows_of(self, entries: Array, channels: int) -> Array:
    """A row a tap."""
    channels //= self.blocks
    taps = np.arange(len(self.padded)) * channels
    return (entries % channels)[..., None] + taps

  def rows(self, x: Interval) -> Interval:
    """The channel's range over all positions, 0 in it where padding is."""
    padded = np.array(self.padded)[:, None]
    seen = intervals.with_zero(intervals.over_positions(x), padded)
    return seen.reshape((*(1,) * (x.low.ndim - 1), -1))

  def gather(self, gain: Gain, channels: int) -> Gain:
    """All taps of a channel move at once."""
    shape = gain.up.shape
    shape = (*shape[:-2], len(self.padded), channels, shape[-1])
    return Gain(
      gain.up.reshape(shape).sum(-3), gain.down.reshape(shape).sum(-3)
    )

  def fixed_rows(self, x: Array) -> Array:
    """A constant that meets padding is seen as 0 there: not constant."""
    fixed = constant_over_positions(x)
    padded = np.array(self.padded)[:, None]
    return np.where(padded & (fixed != 0), np.nan, fixed).ravel()

  def foldable_rows(self, x: Array) -> Array:
    """With blocks only zeros: a row has one constant in each."""
    fixed = self.fixed_rows(x)
    if self.blocks == 1:
      return fixed
    zero = (fixed.reshape(len(self.padded), self.blocks, -1) == 0).all(1)
    return np.where(zero.ravel(), 0.0, np.nan)

  # With blocks: each block's units see its own rows.

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Block after block."""
    if self.blocks == 1:
      return super().bounds(params, x)
    parts = [
      intervals.affine(self.rows(part), kernel)
      for part, kernel in zip(
        _split(x, self.blocks), self._kernels(params), strict=True
      )
    ]
    low = np.concatenate([part.low for part in parts], -1)
    high = np.concatenate([part.high for part in parts], -1)
    offset = self.offset(params)
    return intervals.add(
      Interval(low, high), Interval(np.asarray(offset), np.asarray(offset))
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """W alone: the bias cancels."""
    if self.blocks == 1:
      return super().difference(params, d, x, y)
    return dataclasses.replace(self, bias=None).bounds(params, d)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Block after block."""
    if self.blocks == 1:
      return super().pullback(params, gain, x)
    channels = x.low.shape[-1] // self.blocks
    parts = [
      self.gather(weighted(kernel, Gain(up, down)), channels)
      for up, down, kernel in zip(
        np.split(gain.up, self.blocks, -2),
        np.split(gain.down, self.blocks, -2),
        self._kernels(params),
        strict=True,
      )
    ]
    return Gain(
      np.concatenate([part.up for part in parts], -2),
      np.concatenate([part.down for part in parts], -2),
    )

  def constant(self, params: Params, x: Array) -> Array:
    """One for all positions, block after block."""
    shape = (1,) * (x.ndim - 1)
    parts = [
      constant_product(self.fixed_rows(part), kernel, 0.0)
      for part, kernel in zip(
        np.split(x, self.blocks, -1), self._kernels(params), strict=True
      )
    ]
    return (np.concatenate(parts) + self.offset(params)).reshape(*shape, -1)

  def same_rows(self, left: Array, right: Array, units: int) -> bool:
    """Units of one block do."""
    size = units // self.blocks
    return self.blocks == 1 or bool(np.all(left // size == right // size))

  def pair_difference(
    self,
    params: Params,
    x: Interval,
    left: Array,
    right: Array,
    by_unit: dict[WeightRef, Array],
  ) -> Interval | None:
    """As of any product; with blocks, not told."""
    if self.blocks > 1:
      return None
    return super().pair_difference(params, x, left, right, by_unit)

  def _kernels(self, params: Params) -> list[Array]:
    return np.split(self.matrix(params), self.blocks, -1)


def _tie_blocks(book: UnitBook, row: Array, blocks: int) -> None:
  parts = row.reshape(blocks, -1)
  for part in parts[1:]:
    book.tie(parts[0], part)


def _split(x: Interval, blocks: int) -> list[Interval]:
  lows, highs = np.split(x.low, blocks, -1), np.split(x.high, blocks, -1)
  return [Interval(*ends) for ends in zip(lows, highs, strict=True)]


@dataclasses.dataclass(frozen=True)
class ConvTranspose(Conv):
  """A transposed convolution; the kernel is (*window, units, channels in).

  Each position sees some of the taps, so every tap counts as padded and all
  of them are summed: sound, and looser by the stride.
  """

  def kernel_axes(self) -> WeightAxes:
    """(*window, units, channels in)."""
    return WeightAxes(-1, -2)

  def matrix(self, params: Params) -> Array:
    """(taps * channels in, units)."""
    kernel = np.swapaxes(params[self.kernel], -1, -2)
    return kernel.reshape(-1, kernel.shape[-1])

  def kernel_of(self, matrix: Array, like: Array) -> Array:
    """The kernel, shaped as `like`, whose matrix is given."""
    swapped = (*like.shape[:-2], like.shape[-1], like.shape[-2])
    return np.swapaxes(matrix.reshape(swapped), -1, -2)


@dataclasses.dataclass(frozen=True)
class Lookup(Op):
  """A row of a table for each integer: an embedding.

  Attributes:
    table: Of shape (vocabulary, units).
  """

  table: WeightRef

  makes_units = True

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The table."""
    return {self.table: WeightAxes(None, 1)}

  @property
  def kernel(self) -> WeightRef:
    """The table."""
    return self.table

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
