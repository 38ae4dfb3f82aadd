"""Decides goals about a network on boxes: bounds, attacks, then splits."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from tfmot_paoding.bounds import Program, Walk
from tfmot_paoding.bounds.domains import Goals
from tfmot_paoding.bounds.rectified import in_rectifiers
from tfmot_paoding.bounds.subdomains import SubdomainBounds
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.robustness.answer import Answer
from tfmot_paoding.robustness.branching import BranchSettings
from tfmot_paoding.robustness.judging import Case
from tfmot_paoding.robustness.subdomain_search import Outcome, Search, Watcher

Array = np.ndarray


class BranchAndBound:
  """A complete verifier of one network.

  Args:
    graph: The network, for the names of its layers.
    program: Steps that lead to a value.
    value: The value that goals are about, of shape (outputs,).
    settings: How to work.

  Raises:
    ValueError: an activation cannot be split, and `relax_the_rest` is not set;
      its layer is named.
  """

  def __init__(
    self, graph: Graph, program: Program, value: int, settings: BranchSettings
  ):
    self._value = value
    self._settings = settings
    self._program = in_rectifiers(program)
    # With windows as they are: coarser, of far fewer neurons.
    coarse = in_rectifiers(program, windows=False)
    has_windows = len(self._program.steps) > len(coarse.steps)
    self._coarse = coarse if has_windows else None
    self._bounds = SubdomainBounds(self._program, value)
    if self._bounds.whole and not settings.relax_the_rest:
      names = ', '.join(
        dict.fromkeys(
          _name(graph, self._program, step.output)
          for step in self._bounds.whole
        )
      )
      raise ValueError(
        'Branch and bound splits ReLU (leaky or clipped too), PReLU, hard '
        'sigmoid, maxima, minima and max pooling, but the network has other '
        f'functions that are no lines: {names}. Use '
        "verify(..., method='marabou') (sigmoid too), "
        'robustness.certified (an incomplete method), or '
        'BranchSettings(relax_the_rest=True): these are then relaxed alone, '
        "and answers may stay 'unknown'."
      )

  def decide(
    self,
    box: Interval,
    goals: Goals,
    case: Case,
    seconds: float,
    watch: Watcher,
    rng: np.random.Generator | None = None,
  ) -> Answer:
    """Whether every goal is impossible in a box.

    Args:
      box: Of the one input, (1, *shape).
      goals: What to show impossible.
      case: Where counterexamples are looked for.
      seconds: How long to work.
      watch: Told of progress.
      rng: For an attack that comes first; None where there was one.
    """
    began = time.monotonic()
    starts, steps = self._settings.attack_restarts, self._settings.attack_steps
    if rng is not None and case.start_anywhere(rng, starts, steps):
      took = time.monotonic() - began
      return Answer('broken', case.example, took, 0, high=case.least)
    search = Search(
      self._bounds, goals, case, self._settings, began + seconds, watch
    )
    unstable, outcome = self._worked_on(box, goals, case, search)
    verdict = 'robust' if outcome.proved else 'unknown'
    return Answer(
      verdict if case.example is None else 'broken',
      case.example,
      time.monotonic() - began,
      outcome.subdomains,
      unstable,
      outcome.low,
      case.least,
    )

  def _worked_on(
    self, box: Interval, goals: Goals, case: Case, search: Search
  ) -> tuple[int, Outcome]:
    """How many neurons were open at first, and what was found."""
    count = len(goals.offsets)
    low = np.full(count, -np.inf)
    if self._coarse is not None:
      unstable, low = self._at_once(box, goals)
      if np.all(low > 0):
        return unstable, Outcome(True, float(low.min()), count)
    began = time.monotonic()
    root = self._bounds.root(Walk(self._program, [box], 'crown'))
    took = time.monotonic() - began
    domains = self._bounds.start(root, goals)[low <= 0]
    for tighter in (False, True):
      if tighter:
        if not self._tightens(took, search):
          break
        walk = Walk(
          self._program, [box], 'alpha-crown', self._settings.intermediate
        )
        root = self._bounds.root(walk)
      found = self._bounds.bound(root, goals, domains, self._settings.root)
      low[domains.goals] = np.maximum(low[domains.goals], found.low)
      left = low[domains.goals] <= 0
      domains = found.domains[left]
      over = case.look(found.points[0], found.domains.goals, 0)
      if over or not left.any() or search.seconds_left <= 0:
        break
    unstable = int(root.unstable.sum())
    if not len(domains) or case.example is not None:
      proved = not len(domains)
      return unstable, Outcome(proved, float(low.min()), count)
    outcome = search.run(root, domains, low[domains.goals])
    # What the search was not asked to show counts as well.
    least = low[low > 0].min(initial=outcome.low)
    return unstable, dataclasses.replace(outcome, low=float(least))

  def _at_once(self, box: Interval, goals: Goals) -> tuple[int, Array]:
    """Open neurons, and lower bounds of goals, with windows as they are."""
    walk = Walk(self._coarse, [box], 'crown')
    root = SubdomainBounds(self._coarse, self._value).root(walk)
    count, rows = goals.offsets.shape
    flat = goals.rows.reshape(1, count * rows, -1)
    found = walk.lower(self._value, flat).reshape(count, rows)
    size = np.abs(found) + np.abs(goals.offsets)
    found = found - goals.offsets - 2 * np.finfo(np.float64).eps * size
    # One row that cannot hold is enough.
    return int(root.unstable.sum()), found.max(1)

  def _tightens(self, took: float, search: Search) -> bool:
    """Whether there is time to optimise slopes for the bounds of neurons.

    Args:
      took: The seconds that these bounds took as they are.
      search: Whose time it is.
    """
    settings = self._settings.intermediate
    if settings is None:
      return False
    # A step there and back costs twice as much; half of the time is to split.
    return 2 * (settings.steps + 1) * took < 0.5 * search.seconds_left


def _name(graph: Graph, program: Program, value: int) -> str:
  """The layer that a value is made in, or on the way to."""
  writer = graph.writer()
  outputs = [step.output for step in program.steps]
  for output in outputs[outputs.index(value) :]:
    if output in writer:
      return repr('/'.join(writer[output].path))
  return 'one without a name'
