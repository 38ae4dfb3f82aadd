"""Unit numbers: which are tied to which, which must stay, and why.

Every entry of every tensor carries a number, or -1. Tied numbers have one
root; what is left alone of a root is left alone of all.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from tfmot_paoding.ops import core
from tfmot_paoding.ops.joins import tie_all

Array = np.ndarray


class Numbering:
  """The book that operations write in as they carry units; see `UnitBook`.

  Attributes:
    label: The layer that writes, for the reasons.
  """

  def __init__(self):
    self.label = ''
    self._parents: list[int] = []
    self._frozen: dict[int, str] = {}
    self._nonzero: set[int] = set()
    self._shared: dict[Hashable, Array] = {}

  def new(self, shape: tuple[int, ...]) -> Array:
    """New units along the last axis, the same at every position."""
    count = len(self._parents)
    self._parents.extend(range(count, count + shape[-1]))
    return np.broadcast_to(np.arange(count, count + shape[-1]), shape)

  def tie(self, one: Array, other: Array) -> None:
    """Entries that live or die together."""
    one, other = np.broadcast_arrays(core(one), core(other))
    both = np.stack([one.ravel(), other.ravel()], 1)
    for a, b in np.unique(both[(both >= 0).all(1)], axis=0):
      a, b = self._root(int(a)), self._root(int(b))
      self._parents[max(a, b)] = min(a, b)

  def freeze(self, units: Array, reason: str) -> None:
    """Marks units as left alone; the first reason stays."""
    for unit in _units(units):
      if unit >= 0:
        self._frozen.setdefault(unit, reason)

  def stays(self, units: Array) -> bool:
    """Whether none of some units can leave, as far as is known by now.

    One that is alone stays, since no group loses all of its units.
    """
    roots = {self._root(unit) for unit in _units(units) if unit >= 0}
    return bool(roots) and (len(roots) == 1 or roots <= self.frozen().keys())

  def share(self, key: Hashable, units: Array) -> None:
    """Ties units to those of the same key, in another call of a layer."""
    tie_all(self, self._shared.setdefault(key, units), units)

  def mark_nonzero(self, units: Array) -> None:
    """Notes that units without weights are not zero from here on."""
    self._nonzero.update(unit for unit in _units(units) if unit >= 0)

  def freeze_nonzero(self, units: Array, reason: str) -> None:
    """Marks those as left alone, and what is tied to one."""
    marked = {self._root(unit) for unit in self._nonzero}
    for unit in _units(units):
      if unit >= 0 and self._root(unit) in marked:
        self._frozen.setdefault(unit, reason)

  def align(self, numbers: Array, axis: int) -> int:
    """Ties what has the same place along an axis, if that leaves several.

    Units that meet something other than a unit there must stay.

    Returns:
      How many units can still be told apart and removed; below 2, nothing has
      been tied.
    """
    before = list(self._parents), dict(self._frozen)
    places = np.moveaxis(core(numbers), axis, 0)
    places = places.reshape(len(places), -1)
    mixed = (places < 0).any(1) & (places >= 0).any(1)
    self.freeze(places[mixed], f'they meet other than units at {self.label!r}')
    # Repeated places, as flattening makes them, are tied once.
    for other in np.unique(places, axis=1).T:
      self.tie(places[:, 0], other)
    frozen = self.frozen()
    left = {self._root(int(unit)) for unit in places.ravel() if unit >= 0}
    count = len(left - frozen.keys())
    if count < 2:
      self._parents, self._frozen = before
    return count

  def straighten(self, numbers: Array) -> bool:
    """Ties units until removing any leaves a rectangular tensor.

    Along the axis that leaves most of them; they are frozen where none does.

    Returns:
      Whether anything had to be done.
    """
    roots, frozen = self.roots(), self.frozen()
    table = np.array([-1 if unit in frozen else unit for unit in roots])
    seen = table[core(numbers)]
    varying = [
      axis
      for axis in range(seen.ndim)
      if np.any(seen != np.take(seen, [0], axis=axis))
    ]
    if len(varying) < 2:
      return False
    before = list(self._parents), dict(self._frozen)
    counts = {}
    for axis in varying:
      counts[axis] = self.align(seen, axis)
      self._parents, self._frozen = list(before[0]), dict(before[1])
    # The channels' own axis where several do as well.
    best = max(varying, key=lambda axis: (counts[axis], axis))
    if self.align(seen, best) < 2:
      self.freeze(seen, f'{self.label!r} spreads them over several axes')
    return True

  def roots(self) -> Array:
    """One number for all units that are tied; for -1 as index, -1."""
    found = [self._root(unit) for unit in range(len(self._parents))]
    return np.array([*found, -1])

  def frozen(self) -> dict[int, str]:
    """The reasons by root."""
    found: dict[int, str] = {}
    for unit, reason in self._frozen.items():
      found.setdefault(self._root(unit), reason)
    return found

  def _root(self, unit: int) -> int:
    path = []
    while self._parents[unit] != unit:
      path.append(unit)
      unit = self._parents[unit]
    for passed in path:
      self._parents[passed] = unit
    return unit


def _units(numbers: Array) -> list[int]:
  """Each number once."""
  return np.unique(core(numbers) if numbers.ndim else numbers).tolist()
