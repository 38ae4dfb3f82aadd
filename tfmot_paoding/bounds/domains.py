"""Subdomains of a box, what is asked of them, and what is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


class Goals(NamedTuple):
  """What to show impossible: that all rows of a goal hold, row y <= offset.

  Attributes:
    rows: Factors of the outputs, (goals, rows, outputs). Where a goal has fewer
      rows than another, its last is repeated.
    offsets: Shape (goals, rows).
  """

  rows: Array
  offsets: Array


@dataclasses.dataclass(frozen=True)
class Ascent:
  """How slopes and multipliers are optimised, by Adam.

  Attributes:
    steps: Gradient steps.
    slope_rate: The rate of slopes, which lie in a range of width 1 for ReLU.
    multiplier_rate: That of multipliers, in units of the size that coefficients
      have in the neuron's layer.
  """

  steps: int = 20
  slope_rate: float = 0.1
  multiplier_rate: float = 1.0


@dataclasses.dataclass(frozen=True)
class Domains:
  """Subdomains, each with one goal; an entry of axis 1 is a neuron.

  Attributes:
    goals: Which goal, (domains,).
    signs: 1 for z >= 0, -1 for z <= 0, 0 where nothing is fixed.
    slopes: Of the lines below, where they are free.
    multipliers: At least 0; of no effect where nothing is fixed.
    mix: The factors of the goal's rows, (domains, rows), at least 0.
  """

  goals: Array
  signs: Array
  slopes: Array
  multipliers: Array
  mix: Array

  def __len__(self) -> int:
    return len(self.goals)

  def __getitem__(self, index: Any) -> Domains:
    """Some of them."""
    return Domains(*(array[index] for array in self.arrays))

  @property
  def arrays(self) -> tuple[Array, ...]:
    """All, in order."""
    return (
      self.goals,
      self.signs,
      self.slopes,
      self.multipliers,
      self.mix,
    )

  @classmethod
  def joined(cls, parts: Sequence[Domains]) -> Domains:
    """Several as one."""
    arrays = zip(*(part.arrays for part in parts), strict=True)
    return cls(*map(np.concatenate, arrays))

  def repeated(self, times: int) -> Domains:
    """Each so many times, one after another."""
    return Domains(*(np.repeat(array, times, 0) for array in self.arrays))


class Root(NamedTuple):
  """What is known of the whole box, a batch of one.

  Attributes:
    boxes: One an input.
    bounds: Of the values that curved steps read.
    sizes: Absolute terms of what affine steps make.
    neurons: Bounds of all neurons that can be split, (neurons,).
    size: Absolute value of the outputs that goals are about, (outputs,).
  """

  boxes: list[Interval]
  bounds: dict[int, Interval]
  sizes: dict[int, Array]
  neurons: Interval
  size: Array

  @property
  def unstable(self) -> Array:
    """Neurons whose sign is not known, (neurons,)."""
    return (self.neurons.low < 0) & (self.neurons.high > 0)


class Bounded(NamedTuple):
  """What is known of subdomains.

  Attributes:
    low: Lower bounds of the mixed rows less their offsets; a goal of which one
      is positive is impossible there. (domains,)
    domains: With the slopes and multipliers that these are due to.
    coefficients: What the bound takes each neuron's output by.
    points: Where the linear bound is least, one array an input.
  """

  low: Array
  domains: Domains
  coefficients: Array
  points: list[Array]
