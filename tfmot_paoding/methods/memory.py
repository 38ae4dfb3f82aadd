"""What is dear and asked for again: kept, and checked before it is used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.distances import digest, euclidean_distances
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Distances:
  """Distances of one group's units, and what they are of.

  Attributes:
    digests: A fingerprint of each living unit's weights.
    values: Shape (n, n), not to be written to; 0 for units that are gone.
  """

  digests: Mapping[int, bytes]
  values: Array

  def hold_for(self, digests: Mapping[int, bytes]) -> bool:
    """Whether each of these units was there, with the same weights."""
    return digests.items() <= self.digests.items()


@dataclasses.dataclass
class Memory:
  """What groups keep from one pruning step to the next, by group name.

  Attributes:
    masses: How many original units each unit stands for, (n,).
    distances: Between the units' weights; `pair_distances` checks them.
  """

  masses: dict[Path, Array] = dataclasses.field(default_factory=dict)
  distances: dict[Path, Distances] = dataclasses.field(default_factory=dict)

  def masses_of(self, name: Path, size: int) -> Array:
    """A copy of a group's masses, (n,); ones where none are kept."""
    return np.array(self.masses.get(name, np.ones(size)))

  def pair_distances(self, name: Path, alive: Array, points: Array) -> Array:
    """Distances of a group's living units, used again where none has moved.

    Args:
      name: The group's.
      alive: Which units are there, shape (n,).
      points: Their weights, one contiguous row each.

    Returns:
      Shape (n, n), not to be written to.
    """
    units = np.flatnonzero(alive).tolist()
    digests = dict(zip(units, map(digest, points), strict=True))
    kept = self.distances.get(name)
    if kept is not None and kept.hold_for(digests):
      return kept.values
    found = np.zeros((len(alive), len(alive)))
    found[np.ix_(alive, alive)] = euclidean_distances(points)
    found.flags.writeable = False
    self.distances[name] = Distances(digests, found)
    return found


class LastPartners:
  """Bounds of each unit's difference from the partner it was last held against.

  It is asked for again and again.

  Args:
    size: The number of units.
    compute: Gives the bounds for (kept, removed), both (pairs,).
  """

  def __init__(self, size: int, compute: Callable[[Array, Array], Interval]):
    self._compute = compute
    self._kept = np.full(size, -1)
    self._low, self._high = np.zeros((2, size))

  def bounds(self, kept: Array, removed: Array) -> Interval:
    """The bounds of pairs, computed where the partner is another, (pairs,)."""
    fresh = np.flatnonzero(self._kept[removed] != kept)
    found = Interval(self._low[removed], self._high[removed])
    if fresh.size:
      new = self._compute(kept[fresh], removed[fresh])
      found.low[fresh], found.high[fresh] = new
      self._kept[removed] = kept
      self._low[removed], self._high[removed] = found
    return found
