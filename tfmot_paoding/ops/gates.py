"""Gates: products of what comes into a recurrence, and of its states.

The columns are blocks of gates, one column a unit in each.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.ops.base import (
  Array,
  Params,
  Shape,
  UnitBook,
  WeightAxes,
  WeightRef,
)
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
    made = book.new(shape)
    tie_to_blocks(book, channel_row(book, sources[0]), made)
    return made


def tie_to_blocks(book: UnitBook, row: Array, gates: Array) -> None:
  """Ties units to their column in each block of gates.

  Args:
    book: Takes note of it.
    row: The numbers of the units.
    gates: Those of the gates, alike at every position.
  """
  columns = gates.reshape(-1, gates.shape[-1])[0]
  for block in np.split(columns, len(columns) // len(row)):
    tie_all(book, row, block)
