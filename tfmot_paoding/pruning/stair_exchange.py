"""Stairs that limits leave room for, given back or changed for others.

One fraction of every layer takes several of them a stair lower at once, or one
a stair of half its units, and what is below the limits then is given away: of
16, 32 and 64 channels a quarter less is 16, 24 and 48, a little too slow on an
NPU that works in eights, and the next fraction that moves a width leads to 8,
24 and 48, a fifth too fast. From such widths a layer climbs a stair, alone or
while another descends, as long as the limits are met and less is lost: 16, 24
and 40.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from tfmot_paoding.methods.stairs import Multiple, next_stair

# The fraction of each layer's units that is gone, layer by layer.
Gone = tuple[float, ...]

# What moves take is told from single ones before it is measured. A product of
# two widths is not their sum: a layer of 48 after one of 24 was told 3 % off.
_DOUBT = 0.03


@dataclasses.dataclass(frozen=True)
class Exchange:
  """What layers may have, and what that takes and loses.

  Attributes:
    stairs: The fractions that may be gone of each layer, ascending from 0.
    loss: What it costs that so much is gone; at least as much as of less.
    taken: What that takes of each limit, as a share of it, by name.
  """

  stairs: Sequence[Sequence[float]]
  loss: Callable[[Gone], float]
  taken: Callable[[Gone], Mapping[str, float]]


def unevenness(gone: Gone) -> float:
  """How far widths are from those of the whole, and from one fraction of it.

  The sum of squares: the same units gone evenly count least.
  """
  return sum(fraction * fraction for fraction in gone)


def stairs_of(size: int, multiple: Multiple, most: float) -> tuple[float, ...]:
  """The fractions of a group's units that end at a stair, ascending from 0.

  Args:
    size: Of the group.
    multiple: The number that its units come in.
    most: The largest fraction that may be gone.
  """
  kept, found = size, []
  while kept and (size - kept) / size <= most:
    found.append((size - kept) / size)
    kept = next_stair(multiple, kept)
  return tuple(found)


def exchanged(start: Gone, exchange: Exchange) -> Gone:
  """Widths near to others that meet the limits as well and lose less.

  Args:
    start: What meets the limits, a stair of each layer.
    exchange: What may be had in its place.

  Returns:
    The last of a chain of such widths; `start` where no move is better. From
    one to the next a layer has climbed a stair, and at most one other has
    descended, by one or several.
  """
  search, better = _Search(exchange), start
  while better is not None:
    start, better = better, search.better(better)
  return start


class _Search:
  """Looks for moves; remembers what it has measured."""

  def __init__(self, exchange: Exchange):
    self._exchange = exchange
    self._known: dict[Gone, Mapping[str, float]] = {}
    # By how much each limit is taken more for a layer that is whole.
    self._slopes: dict[int, dict[str, float]] = {}

  def better(self, at: Gone) -> Gone | None:
    """The best move that meets the limits, as far as it is looked for.

    As many that were told to meet them and do not are measured as there are
    layers.
    """
    now = self._exchange.loss(at)
    moves = {move: self._exchange.loss(move) for move in self._moves(at)}
    refused = 0
    for move in sorted(moves, key=moves.__getitem__):
      if moves[move] >= now or refused >= len(at):
        break
      if move not in self._known and self._foreseen(at, move) > 1 + _DOUBT:
        continue
      refused += move not in self._known
      if max(self._taken(move).values()) <= 1:
        return move
    return None

  def _moves(self, at: Gone) -> Iterator[Gone]:
    """One layer a stair up, alone or with another one down."""
    for layer in range(len(at)):
      for up in self._up(at, layer):
        yield up
        for other in range(len(at)):
          if other != layer:
            yield from self._down(up, other)

  def _up(self, at: Gone, layer: int) -> list[Gone]:
    """A stair up, where there is one."""
    wider = [one for one in self._exchange.stairs[layer] if one < at[layer]]
    return [_with(at, layer, one) for one in wider[-1:]]

  def _down(self, at: Gone, layer: int) -> list[Gone]:
    """One or more stairs down, the nearest first."""
    return [
      _with(at, layer, one)
      for one in self._exchange.stairs[layer]
      if one > at[layer]
    ]

  def _taken(self, gone: Gone) -> Mapping[str, float]:
    if gone not in self._known:
      self._known[gone] = self._exchange.taken(gone)
    return self._known[gone]

  def _foreseen(self, at: Gone, move: Gone) -> float:
    """What a move takes of the tightest limit, as single layers tell."""
    taken = dict(self._taken(at))
    for layer, (before, after) in enumerate(zip(at, move, strict=True)):
      if before != after:
        for limit, slope in self._slope(at, layer).items():
          taken[limit] += slope * (before - after)
    return max(taken.values())

  def _slope(self, at: Gone, layer: int) -> dict[str, float]:
    """What a layer takes, from the stair next to where it was first asked."""
    if layer not in self._slopes:
      (beside, *_) = [*self._up(at, layer), *self._down(at, layer)]
      here, there = self._taken(at), self._taken(beside)
      way = at[layer] - beside[layer]
      self._slopes[layer] = {
        limit: (there[limit] - here[limit]) / way for limit in here
      }
    return self._slopes[layer]


def _with(at: Gone, layer: int, fraction: float) -> Gone:
  return (*at[:layer], fraction, *at[layer + 1 :])
