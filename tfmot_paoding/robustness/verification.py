"""Complete verification: every sample robust, or broken, or out of time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tfmot_paoding.arguments import is_number
from tfmot_paoding.bounds import build_program
from tfmot_paoding.bounds.balls import as_inputs, balls, check_labels
from tfmot_paoding.bounds.domains import Goals
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, resolve_range
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.graph import read_params
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.robustness import marabou
from tfmot_paoding.robustness.answer import Answer
from tfmot_paoding.robustness.attacks import inward, pgd
from tfmot_paoding.robustness.branch_and_bound import BranchAndBound
from tfmot_paoding.robustness.branching import BranchSettings, settled
from tfmot_paoding.robustness.judging import Case, Judge
from tfmot_paoding.robustness.one_by_one import one_by_one
from tfmot_paoding.robustness.scores import Scores, scores_model, scores_of
from tfmot_paoding.robustness.subdomain_search import Watcher

Array = np.ndarray
METHODS = ('bab', 'marabou')


def verify(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  method: str = 'bab',
  *,
  seconds: float = 60.0,
  settings: BranchSettings | None = None,
  helped: bool | None = None,
  verbose: int | str = 'auto',
) -> list[Answer]:
  """Decides whether each sample is answered right in its ball.

  That is: no point of the ball has another class that scores at least as high
  as the label. 'bab' proves it of the network as a function of real numbers,
  as `certified` does; what breaks it is a point where the network really
  answers so, in its own arithmetic. Complete for ReLU networks given time:
  hundreds of neurons and small balls are a matter of seconds.

  Args:
    model: A classifier with one input and one output.
    x: Samples, (batch, *input shape).
    y: Labels, integers of shape (batch,).
    epsilon: The balls' radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    method: 'bab', branch and bound over beta-CROWN (Wang et al. 2021, arXiv
      2103.06624), for any network that is affine between ReLU (leaky or
      clipped too), PReLU, hard sigmoid, maxima, minima and max pooling;
      'marabou', the solver of that name (extra `verify`), which knows these
      but PReLU, and sigmoid.
    seconds: How long to work on one sample.
    settings: Of 'bab'.
    helped: Of 'marabou': whether classes that CROWN rules out are left out and
      its bounds of neurons are given (True where nothing is said); without, the
      answer owes nothing to this package's bounds.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    One answer a sample. An interrupt leaves the samples that are not decided
    unknown, and is warned of.

  Raises:
    ImportError: maraboupy is asked for and missing; the extra is named.
    TypeError: `model` is no tf_keras model, or `settings` are of another
      kind.
    NoRelaxationError: an operation has no sound relaxation.
    ValueError: an argument is bad, or the method does not know an activation;
      it is named, and what to do.
  """
  _check(method, seconds, settings, helped)
  model = as_opened(model)
  scores = scores_of(model)
  graph = scores.graph
  parts = as_inputs(x, [scores.only_input])
  input_range = resolve_range(model, input_range, parts)
  boxes = balls(model, x, epsilon, input_range, [scores.only_input])
  labels = check_labels(y, len(boxes[0].low), scores.classes)
  program = build_program(graph, read_params(graph), (scores.value,))
  if method == 'marabou':
    helped = helped is None or helped
    return marabou.solve_all(
      scores, program, boxes[0], labels, seconds, helped, verbose
    )
  settings = settled(settings)
  solver = BranchAndBound(graph, program, scores.value, settings)
  attacked = pgd(
    model,
    x,
    labels,
    epsilon,
    input_range,
    settings.attack_steps,
    settings.attack_restarts,
    settings.seed,
  )
  return _Run(model, scores, solver, seconds).answers(
    boxes[0], labels, attacked, verbose
  )


def check_seconds(seconds: float) -> None:
  """Raises unless a time limit is one.

  Raises:
    ValueError: it is no positive, finite number.
  """
  if not (is_number(seconds) and 0 < seconds < np.inf):
    raise ValueError(
      f'`seconds` must be a positive, finite number, but got {seconds!r}.'
    )


def _check(
  method: str,
  seconds: float,
  settings: BranchSettings | None,
  helped: bool | None,
) -> None:
  if method not in METHODS:
    raise ValueError(
      f'`method` must be one of {", ".join(map(repr, METHODS))}, but got '
      f'{method!r}.'
    )
  check_seconds(seconds)
  if helped is not None and method != 'marabou':
    raise ValueError(
      "`helped` is of method='marabou' alone: branch and bound stands on this "
      "package's bounds. Leave it out."
    )
  if settings is not None and method != 'bab':
    raise ValueError(
      f"`settings` are of method='bab', but got method={method!r}. Leave them "
      'out.'
    )


class _Run:
  """One classifier and its samples."""

  def __init__(
    self,
    model: keras.Model,
    scores: Scores,
    solver: BranchAndBound,
    seconds: float,
  ):
    self._model = model
    self._scores = scores
    self._solver = solver
    self._seconds = seconds
    self._judge = Judge(scores_model(model))

  def answers(
    self, box: Interval, labels: Array, attacked: Array, verbose: int | str
  ) -> list[Answer]:
    """One sample after another, and a bar that tells of the one at work."""
    bar = progress_bar(len(labels), verbose, 'sample', ('subdomains', 'open'))

    def decide(k: int) -> Answer:
      ball = Interval(box.low[k : k + 1], box.high[k : k + 1])

      def watch(visited: int, left: int) -> None:
        bar.update(k, [('subdomains', visited), ('open', left)])

      return self._answer(ball, int(labels[k]), attacked[k : k + 1], watch)

    return one_by_one(len(labels), decide, bar)

  def _answer(
    self, ball: Interval, label: int, attacked: Array, watch: Watcher
  ) -> Answer:
    began = time.monotonic()
    rows = self._scores.margins(np.array([label]))[0][:, None]
    goals = Goals(rows, np.zeros(rows.shape[:2]))
    case = Case(
      self._judge,
      goals,
      inward(ball),
      lambda point: self._falls(point, label),
    )
    count = len(rows)
    if case.look(np.repeat(attacked, count, 0), np.arange(count), 0):
      seconds = time.monotonic() - began
      return Answer('broken', case.example, seconds, 0, high=case.least)
    return self._solver.decide(ball, goals, case, self._seconds, watch)

  def _falls(self, point: Array, label: int) -> bool:
    """Whether the model itself has another class at least as high."""
    found = self._model(point[None], training=False).numpy()[0]
    found = found.astype(np.float64)
    if self._scores.is_binary:
      return bool(found[0] <= 0.5 if label else found[0] >= 0.5)
    return bool(np.delete(found, label).max() >= found[label])
