"""One consumer of a group, re-fitted by least squares as units leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfmot_paoding.methods.consumer_rows import by_channel, by_row, taps_apart
from tfmot_paoding.methods.elimination import Elimination, RowMoments
from tfmot_paoding.network.groups import Member
from tfmot_paoding.ops import Params, Product

Array = np.ndarray


class ConsumerFit:
  """One consumer of a group as least squares see it.

  Where a covariance of all its rows would be too large, that of its channels
  stands for all taps. Each block of a grouped convolution sees channels of its
  own and is fitted by itself.

  Args:
    params: The network's weights.
    member: The consumer.
    moments: Of its rows, or of its channels; one for each block, or one for
      all of them.
    alive: Which units are still there.
    weights: What an error of each column counts; None for 1.

  Attributes:
    op: The consumer.
    parts: The fit of each block.
  """

  def __init__(
    self,
    params: Params,
    member: Member,
    moments: Sequence[RowMoments],
    alive: Array,
    weights: Array | None = None,
  ):
    self.op = member.node.op
    matrix = self.op.matrix(params)
    self._taps = taps_apart(member, params, len(moments[0].mean))
    rows = member.block.places if self._taps > 1 else member.rows
    self.parts = []
    columns = np.arange(matrix.shape[1])
    for chosen, part in zip(
      np.split(columns, len(moments)), moments, strict=True
    ):
      own = matrix[:, chosen]
      if self._taps > 1:
        own = by_channel(own, self._taps)
      counts = np.ones(own.shape[1])
      if weights is not None:
        counts = np.tile(weights[chosen], self._taps)
      self.parts.append(Elimination(own, rows, part, counts, alive))

  def eliminate(self, unit: int) -> None:
    """Takes a unit out and re-fits the rest."""
    for part in self.parts:
      part.eliminate(unit)

  def merge(self, unit: int, twin: int) -> None:
    """Takes a unit out; one that equals it takes over all it feeds."""
    for part in self.parts:
      part.merge(unit, twin)

  @property
  def matrix(self) -> Array:
    """The consumer's matrix as it is now."""
    return np.concatenate(
      [by_row(part.matrix, self._taps) for part in self.parts], 1
    )

  @property
  def shift(self) -> Array:
    """What the bias takes of the means, (columns,)."""
    return np.concatenate(
      [part.shift.reshape(self._taps, -1).sum(0) for part in self.parts]
    )


class Refitted(NamedTuple):
  """A consumer that was fitted at once.

  Attributes:
    op: The consumer.
    matrix: Its matrix now.
    shift: What its bias takes of the means.
  """

  op: Product
  matrix: Array
  shift: Array
