"""Branch and bound: subdomains are split until all are proved, or one breaks.

The worst bound first (Bunel et al. 2020; Wang et al. 2021). A neuron is split
into on and off; both halves inherit slopes and multipliers, and go on from
there. Where no neuron is left to split the network is affine, and the bound's
multipliers alone decide.
"""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections.abc import Callable

import numpy as np

from tfmot_paoding.bounds.domains import (
  Bounded,
  Domains,
  Goals,
  Root,
)
from tfmot_paoding.bounds.subdomains import SubdomainBounds
from tfmot_paoding.robustness.branching import BranchSettings, candidates
from tfmot_paoding.robustness.judging import Case

Array = np.ndarray
# Called with how many subdomains were visited, and how many are open.
Watcher = Callable[[int, int], None]

_POLISHED = 8  # points that are followed downhill, of those looked at
_POLISHING = 8  # steps downhill
_LEAF_TRIES = 5  # times that the ascent of a leaf is begun anew
_GAIN = 1e-3  # relative; with less it is not


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a search found.

  Attributes:
    proved: Whether every goal is impossible in the whole box.
    low: The lower bound of every goal's lead that is proved.
    subdomains: How many were bounded, the whole box once for each goal; quick
      looks of 'fsb' are not counted.
  """

  proved: bool
  low: float
  subdomains: int


class Search:
  """Splits one box until its goals are shown impossible.

  Args:
    bounds: Of the network.
    goals: What to show impossible.
    case: Where counterexamples are looked for.
    settings: How to work.
    deadline: Of `time.monotonic`.
    watch: Told of progress.
  """

  def __init__(
    self,
    bounds: SubdomainBounds,
    goals: Goals,
    case: Case,
    settings: BranchSettings,
    deadline: float,
    watch: Watcher,
  ):
    self._bounds = bounds
    self._biases = bounds.biases
    self._goals = goals
    self._case = case
    self._settings = settings
    self._deadline = deadline
    self._watch = watch
    self._open: list[tuple[float, int, Domains, Array]] = []
    self._number = 0  # breaks ties: the first come is the first split
    self.subdomains = len(goals.offsets)
    self._closed = np.inf
    self._stuck = np.inf

  @property
  def low(self) -> float:
    """What is proved of the leads by now."""
    waiting = self._open[0][0] if self._open else np.inf
    return float(min(self._closed, self._stuck, waiting))

  @property
  def seconds_left(self) -> float:
    """Until the deadline."""
    return self._deadline - time.monotonic()

  def run(self, root: Root, domains: Domains, low: Array) -> Outcome:
    """The search from some subdomains and what is known of them.

    Args:
      root: What is known of the box.
      domains: Subdomains that cover it, for every goal.
      low: Lower bounds that are known, (domains,).
    """
    found = self._bounds.bound(root, self._goals, domains)
    self._keep(root, found, np.maximum(found.low, low))
    while self._open and self._case.example is None:
      if self.seconds_left <= 0 or self._over():
        break
      self._round(root)
      self._watch(self.subdomains, len(self._open))
    proved = not self._open and np.isinf(self._stuck)
    proved = proved and self._case.example is None
    return Outcome(proved, self.low, self.subdomains)

  def _over(self) -> bool:
    settings = self._settings
    return (
      self.subdomains >= settings.most_subdomains
      or len(self._open) > settings.most_open
    )

  def _round(self, root: Root) -> None:
    """Splits the worst."""
    count = min(len(self._open), self._settings.batch_size // 2)
    nodes = [heapq.heappop(self._open) for _ in range(count)]
    parents = Domains.joined([node[2] for node in nodes])
    lows = np.array([node[0] for node in nodes])
    choices = np.stack([node[3] for node in nodes])
    split = self._chosen(root, parents, choices)
    children = halves(parents, split)
    found = self._bounds.bound(
      root, self._goals, children, self._settings.branch
    )
    self.subdomains += len(children)
    self._keep(root, found, np.maximum(found.low, np.repeat(lows, 2)))

  def _chosen(self, root: Root, parents: Domains, choices: Array) -> Array:
    """The neuron to split of each: the one whose halves lack least."""
    if choices.shape[1] == 1:
      return choices[:, 0]
    rows, columns = np.nonzero(is_first(choices) & (choices >= 0))
    split = choices[rows, columns]
    lacking = np.full(choices.shape, -np.inf)
    some = self._settings.batch_size // 2
    for start in range(0, len(rows), some):
      part = slice(start, start + some)
      low = self._bounds.estimate(
        root, self._goals, halves(parents[rows[part]], split[part])
      )
      # A half that is proved is no better for a bound that is higher.
      gap = np.minimum(low, 0.0).reshape(-1, 2).sum(1)
      lacking[rows[part], columns[part]] = gap
    return choices[np.arange(len(choices)), lacking.argmax(1)]

  def _keep(self, root: Root, found: Bounded, low: Array) -> None:
    """Closes what is proved, and puts the rest where it waits."""
    choices = candidates(
      found.coefficients,
      found.domains.signs,
      root.neurons,
      self._biases,
      self._settings,
    )
    leaves = np.flatnonzero((low <= 0) & (choices[:, 0] < 0))
    if leaves.size:
      low[leaves] = np.maximum(low[leaves], self._leaves(root, found, leaves))
    done = (low > 0) | (choices[:, 0] < 0)
    self._closed = min(self._closed, low[low > 0].min(initial=np.inf))
    self._stuck = min(self._stuck, low[done & (low <= 0)].min(initial=np.inf))
    waiting = np.flatnonzero(~done)
    for k in waiting:
      # A copy, for one that waits not to hold on to a whole batch.
      one = Domains(*(np.array(a[k : k + 1]) for a in found.domains.arrays))
      node = float(low[k]), self._number, one, choices[k].copy()
      self._number += 1
      heapq.heappush(self._open, node)
    self._look(found, waiting if waiting.size else leaves)

  def _leaves(self, root: Root, found: Bounded, leaves: Array) -> Array:
    """Bounds of subdomains where the network is affine, worked out longer."""
    domains, low = found.domains[leaves], found.low[leaves]
    for _ in range(_LEAF_TRIES):
      longer = self._bounds.bound(
        root, self._goals, domains, self._settings.leaf
      )
      gained = longer.low - low
      domains, low = longer.domains, np.maximum(low, longer.low)
      if np.all((low > 0) | (gained < _GAIN * np.abs(low))):
        break
    self._case.look(longer.points[0], domains.goals, _POLISHING)
    return low

  def _look(self, found: Bounded, some: Array) -> None:
    """Runs the model where linear bounds are least."""
    if not some.size or self._case.example is not None:
      return
    points, goals = found.points[0][some], found.domains.goals[some]
    if not self._case.look(points, goals, 0):
      worst = np.argsort(found.low[some])[:_POLISHED]
      self._case.look(points[worst], goals[worst], _POLISHING)


def halves(parents: Domains, neurons: Array) -> Domains:
  """Each subdomain with a neuron on, and with it off; one after the other.

  Args:
    parents: The subdomains.
    neurons: One of each, (domains,).
  """
  children = parents.repeated(2)
  rows = np.arange(len(children))
  children.signs[rows, np.repeat(neurons, 2)] = np.tile([1, -1], len(parents))
  return children


def is_first(choices: Array) -> Array:
  """Which entries of each row do not stand further left as well."""
  found = np.ones(choices.shape, bool)
  for k in range(1, choices.shape[1]):
    found[:, k] = np.all(choices[:, :k] != choices[:, k : k + 1], 1)
  return found
