"""What a group's units feed: the kernels of all consumers as one matrix.

A row a unit; consumers stand side by side, and of one consumer the rows that
read a unit (taps, positions) one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmot_paoding.network.groups import Group
from tfmot_paoding.ops import Gain, Params, WeightRef

Array = np.ndarray


class Outgoing:
  """How one group's consumers lie side by side.

  Args:
    group: The group of n units.

  Attributes:
    rows: The rows of each consumer's matrix that read each unit, each of shape
      (n, rows of a unit).
  """

  def __init__(self, group: Group):
    self._size = group.size
    self._ops = [member.node.op for member in group.consumers]
    self.rows = [member.rows for member in group.consumers]

  def gather(self, params: Params) -> Array:
    """The consumers' weights, shape (n, m)."""
    matrices = self.matrices(params)
    found, start = np.empty((self._size, sum(self.widths(params)))), 0
    for matrix, rows in zip(matrices, self.rows, strict=True):
      for k in range(rows.shape[1]):
        found[:, start : start + matrix.shape[1]] = matrix[rows[:, k]]
        start += matrix.shape[1]
    return found

  def matrices(self, params: Params) -> list[Array]:
    """Each consumer's whole matrix, (rows, columns)."""
    return [op.matrix(params) for op in self._ops]

  def widths(self, params: Params) -> list[int]:
    """How many of the m columns are each consumer's."""
    return [
      matrix.shape[1] * rows.shape[1]
      for matrix, rows in zip(self.matrices(params), self.rows, strict=True)
    ]

  def kernels(self, params: Params, outgoing: Array) -> dict[WeightRef, Array]:
    """The consumers' kernels with other outgoing weights (n, m) in place."""
    matrices, start = {}, 0
    for op, rows in zip(self._ops, self.rows, strict=True):
      if op.kernel not in matrices:
        matrices[op.kernel] = op, np.array(op.matrix(params))
      matrix = matrices[op.kernel][1]
      for k in range(rows.shape[1]):
        width = matrix.shape[1]
        matrix[rows[:, k]] = outgoing[:, start : start + width]
        start += width
    return {
      ref: op.kernel_of(matrix, params[ref])
      for ref, (op, matrix) in matrices.items()
    }

  def laid_out(self, gains: Sequence[Gain]) -> Gain:
    """The consumers' gains as the columns are, two arrays (m, outputs)."""
    parts = []
    for rows, gain in zip(self.rows, gains, strict=True):
      # One row a column of the kernel: positions of a longer tensor add up.
      gain = gain.fitted(gain.up.shape[-2:-1])
      parts += [gain] * rows.shape[1]
    return Gain(
      np.concatenate([part.up for part in parts]),
      np.concatenate([part.down for part in parts]),
    )
