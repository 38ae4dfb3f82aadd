"""In what chains a layer can stand, what each takes, and how many loses what.

A chain is told by two ranks: of what stands between a 1 x 1 convolution in
front and the window, and of what stands between the window and a 1 x 1 one
behind; None for a link that is not there. A Dense layer has a window of one
tap, which needs no link in front.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Form(NamedTuple):
  """A chain in a layer's place.

  Attributes:
    front: The channels behind a 1 x 1 convolution in front, or None.
    behind: The channels in front of one behind, or None.
  """

  front: int | None = None
  behind: int | None = None

  @property
  def is_whole(self) -> bool:
    """Whether the layer stays as it is."""
    return self == WHOLE

  @property
  def ranks(self) -> int | tuple[int | None, int | None] | None:
    """As a user gives it: a number, or a pair."""
    return self.behind if self.front is None else tuple(self)

  def __str__(self) -> str:
    return str(self.ranks)


WHOLE = Form()


@dataclasses.dataclass(frozen=True)
class Size:
  """What decides how much a layer, or a chain in its place, takes.

  Attributes:
    taps: Of the window.
    channels: In, for each tap.
    columns: Channels out.
    entries: At how many positions a link in front is applied.
    positions: At how many the window is.
  """

  taps: int
  channels: int
  columns: int
  entries: int = 1
  positions: int = 1

  @property
  def most(self) -> Form:
    """The largest ranks that mean anything."""
    rows = self.taps * self.channels
    front = self.channels if self.taps > 1 else 0
    return Form(front, min(rows, self.columns))

  def cost(
    self, front: Array | int | None, behind: Array | int | None, cost: str
  ) -> Array:
    """What chains take of 'parameters', biases apart, or of 'macs'.

    Args:
      front: Ranks in front, or None.
      behind: Ranks behind, or None; both broadcast.
      cost: Which of the two.
    """
    before, after = 1, 1
    if cost == 'macs':
      before, after = self.entries, self.positions
    width = self.channels if front is None else front
    made = self.columns if behind is None else behind
    total = np.asarray(self.taps * width * made * after, np.float64)
    if front is not None:
      total = total + self.channels * front * before
    if behind is not None:
      total = total + behind * self.columns * after
    return total


@dataclasses.dataclass(frozen=True)
class Options:
  """The chains that a layer may become, none dearer and worse than another.

  Attributes:
    forms: The cheapest first; the last is the whole layer.
    costs: What each takes, ascending.
    losses: How far each moves the outputs, descending to 0.
  """

  forms: tuple[Form, ...]
  costs: Array
  losses: Array


def options(
  size: Size, front: Array, behind: Array, cost: str, multiple: int = 1
) -> Options:
  """The chains that are worth a look.

  Args:
    size: Of the layer.
    front: What each rank from 0 in front loses, shape (ranks + 1,).
    behind: The same behind. Both together lose no more than their sum.
    cost: What is to be saved: 'parameters' or 'macs'.
    multiple: What ranks are multiples of.
  """
  most = size.most
  fronts = np.arange(multiple, most.front + 1, multiple)
  behinds = np.arange(multiple, most.behind + 1, multiple)
  pairs = [part.ravel() for part in np.meshgrid(fronts, behinds, indexing='ij')]
  tried = [
    (None, behinds, behind[behinds]),
    (fronts, None, front[fronts]),
    (*pairs, front[pairs[0]] + behind[pairs[1]]),
  ]
  found, costs, lost = [], [], []
  for one, other, loss in tried:
    found.append(np.stack([_numbers(x, len(loss)) for x in (one, other)], 1))
    costs.append(np.broadcast_to(size.cost(one, other, cost), loss.shape))
    lost.append(loss)
  whole = float(size.cost(None, None, cost))
  ranks, taken, loss = map(np.concatenate, (found, costs, lost))
  saves = taken < whole
  ranks, taken, loss = ranks[saves], taken[saves], loss[saves]
  order = np.lexsort((loss, taken))
  ranks, taken, loss = ranks[order], taken[order], loss[order]
  before = np.minimum.accumulate(np.append(np.inf, loss))[:-1]
  better = loss < before
  return Options(
    (*(_form(*pair) for pair in ranks[better].tolist()), WHOLE),
    np.append(taken[better], whole),
    np.append(loss[better], 0.0),
  )


def _numbers(ranks: Array | None, count: int) -> Array:
  """Ranks as numbers, 0 for none."""
  return np.zeros(count, int) if ranks is None else ranks


def _form(front: int, behind: int) -> Form:
  return Form(front or None, behind or None)
