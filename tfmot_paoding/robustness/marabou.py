"""Definite answers from Marabou, a complete verifier (extra `verify`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

from tfmot_paoding import callers, extras
from tfmot_paoding.bounds import Program, Walk
from tfmot_paoding.bounds.rectified import in_rectifiers
from tfmot_paoding.bounds.steps import AffineStep, CurvedStep
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Elementwise, Largest
from tfmot_paoding.ops.base import Op
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.robustness.answer import Answer
from tfmot_paoding.robustness.one_by_one import one_by_one
from tfmot_paoding.robustness.scores import Scores

Array = np.ndarray

_WORKER = os.path.join(os.path.dirname(__file__), 'marabou_worker.py')
_NONE = np.zeros((0, 2), np.int64)


def solve_all(
  scores: Scores,
  program: Program,
  box: Interval,
  labels: Array,
  seconds: float,
  helped: bool,
  verbose: int | str,
) -> list[Answer]:
  """Decides by Marabou whether each sample is answered right in its ball.

  Every other class is one query: is there a point of the ball where it scores
  at least as high as the label?

  Args:
    scores: The classifier's.
    program: Steps that lead to them.
    box: The balls, (batch, *input shape).
    labels: Shape (batch,).
    seconds: How long to work on one sample.
    helped: Whether classes that CROWN rules out are left out and its bounds of
      neurons are given.
    verbose: 'auto', 1 or 0: whether a bar is shown.

  Raises:
    ImportError: maraboupy is missing; the extra to install is named.
    ValueError: it does not know an activation.
  """
  extras.MARABOU.require()
  encoding = _Encoding(program, scores)
  bar = progress_bar(len(labels), verbose, 'sample')

  def decide(k: int) -> Answer:
    ball = Interval(box.low[k : k + 1], box.high[k : k + 1])
    return encoding.decide(ball, int(labels[k]), seconds, helped)

  return one_by_one(len(labels), decide, bar)


class _Encoding:
  """A program as equations and constraints over numbered variables."""

  def __init__(self, program: Program, scores: Scores):
    self._program = program = in_rectifiers(program, windows=False)
    self._scores = scores
    (source,) = program.inputs
    self._first: dict[int, int] = {source: 0}
    self._count = self._inputs = int(np.prod(program.shapes[source]))
    self._columns: list[Array] = []
    self._factors: list[Array] = []
    self._constants: list[float] = []
    self._pairs: dict[str, list[Array]] = {
      'relus': [],
      'leaky': [],
      'sigmoids': [],
    }
    self._slopes: list[float] = []
    self._maxima: list[Array] = []
    self._tops: list[int] = []
    for step in program.steps:
      self._first[step.output] = self._count
      self._count += int(np.prod(step.out_shape))
      if isinstance(step, AffineStep):
        self._affine(step)
      else:
        self._curved(step)

  def _numbers(self, value: int) -> Array:
    """The variables of a value's entries, in order."""
    size = int(np.prod(self._program.shapes[value]))
    return self._first[value] + np.arange(size)

  def _affine(self, step: AffineStep) -> None:
    """sum a x - z = -b, a row for each entry of the output."""
    outputs = self._numbers(step.output)
    shift = step.shift.ravel()
    some = max(1, (1 << 22) // max(1, len(outputs)))
    for start in range(0, len(outputs), some):
      rows = np.eye(len(outputs))[start : start + some]
      back = step.transpose(rows.reshape(-1, *step.out_shape))
      for k in range(len(rows)):
        columns, factors = [outputs[start + k : start + k + 1]], [[-1.0]]
        for source, part in zip(step.inputs, back, strict=True):
          row = part[k].numpy().ravel()
          used = np.flatnonzero(row)
          columns.append(self._numbers(source)[used])
          factors.append(row[used])
        self._columns.append(np.concatenate(columns))
        self._factors.append(np.concatenate(factors))
        self._constants.append(-float(shift[start + k]))

  def _curved(self, step: CurvedStep) -> None:
    op, outputs = step.op, self._numbers(step.output)
    if isinstance(op, Largest):
      number = self._numbers(step.inputs[0]).reshape(step.in_shapes[0])
      windows = np.moveaxis(number, -2, -1).reshape(len(outputs), -1)
      self._maxima += list(windows)
      self._tops += outputs.tolist()
      return
    kind, slope = _kind(op)
    pairs = np.stack([self._numbers(step.inputs[0]), outputs], 1)
    self._pairs[kind].append(pairs)
    if kind == 'leaky':
      self._slopes += [slope] * len(outputs)

  def decide(
    self,
    box: Interval,
    label: int,
    seconds: float,
    helped: bool,
  ) -> Answer:
    """One query for each other class, until one is answered with sat."""
    began = time.monotonic()
    walk = Walk(self._program, [box], 'crown' if helped else 'ibp')
    rows = self._scores.margins(np.array([label]))
    lead = walk.lower(self._scores.value, rows)[0]
    open_ = np.arange(len(lead)) if not helped else np.flatnonzero(lead <= 0)
    verdict = 'robust'
    for k in open_[np.argsort(lead[open_])]:
      left = seconds - (time.monotonic() - began)
      query = self._query(box, walk if helped else None, -rows[0, k])
      code, example = _solve(query, left)
      if code == 'sat':
        example = self._checked(box, label, example)
        if example is not None:
          return Answer('broken', example, time.monotonic() - began)
        verdict = 'unknown'
      elif code != 'unsat':
        verdict = 'unknown'
    return Answer(verdict, None, time.monotonic() - began)

  def _query(
    self, box: Interval, walk: Walk | None, goal: Array
  ) -> dict[str, Array]:
    low, high = np.full((2, self._count), np.inf) * [[-1], [1]]
    low[: self._inputs] = box.low.ravel()
    high[: self._inputs] = box.high.ravel()
    if walk is not None:
      for step in self._program.steps:
        at, bounds = self._numbers(step.output), walk.bounds(step.output)
        low[at], high[at] = bounds.low.ravel(), bounds.high.ravel()
    sizes = [len(part) for part in self._columns]
    tops = [len(part) for part in self._maxima]
    used = np.flatnonzero(goal)
    return {
      'inputs': np.array(self._inputs),
      'low': low,
      'high': high,
      'columns': np.concatenate(self._columns),
      'factors': np.concatenate(self._factors),
      'starts': np.cumsum([0, *sizes]),
      'constants': np.array(self._constants),
      'goal_columns': self._numbers(self._scores.value)[used],
      'goal_factors': goal[used],
      'goal_bound': np.array(0.0),
      'slopes': np.array(self._slopes),
      'maxima': np.concatenate([np.zeros(0, int), *self._maxima]),
      'max_starts': np.cumsum([0, *tops]),
      'tops': np.array(self._tops, int),
      **{
        name: np.concatenate([_NONE, *pairs])
        for name, pairs in self._pairs.items()
      },
    }

  def _checked(self, box: Interval, label: int, example: Array) -> Array | None:
    """The example, if the network really answers something else there."""
    example = np.clip(example.reshape(box.low.shape), box.low, box.high)
    walk = Walk(self._program, [Interval(example, example)], 'ibp')
    rows = self._scores.margins(np.array([label]))
    lead = (-walk.lower(self._scores.value, -rows)[0]).min()
    # The solver works to a tolerance of its own.
    return example[0].astype(np.float32) if lead <= 1e-6 else None


def _tell(done: subprocess.CompletedProcess[bytes]) -> None:
  """Warns that the solver ended without an answer."""
  said = done.stderr.decode(errors='replace').strip().splitlines()
  why = said[-1] if said else f'exit code {done.returncode}'
  warnings.warn(
    f'Marabou ended without an answer ({why:.200}): what it was asked of stays '
    "'unknown'. Where that is so of every sample, install the extra [verify] "
    "anew, or use verify(..., method='bab').",
    stacklevel=callers.level(),
  )


def _kind(op: Op) -> tuple[str, float]:
  """The constraint of an activation, and its slope below zero.

  Raises:
    ValueError: the solver does not know it.
  """
  if isinstance(op, Elementwise):
    activation = op.activation
    if activation.below is not None:
      below = activation.below
      if below == 0:
        return 'relus', 0.0
      if 0 < below < 1:
        return 'leaky', below
    if activation.name == 'sigmoid':
      return 'sigmoids', 0.0
  name = getattr(getattr(op, 'activation', None), 'name', type(op).__name__)
  raise ValueError(
    'Marabou knows ReLU (leaky or clipped too), sigmoids, maxima, minima and '
    f'max pooling, but the network has {name}. Use robustness.certified, or '
    'export it for another verifier.'
  )


def _solve(query: dict[str, Array], seconds: float) -> tuple[str, Array]:
  """Marabou's answer and the input it names, in a process of its own."""
  if seconds <= 0:
    return 'unknown', np.zeros(0)
  with tempfile.TemporaryDirectory() as folder:
    asked, told = (os.path.join(folder, name) for name in ('q.npz', 'a.npz'))
    np.savez(asked, **query)
    try:
      done = subprocess.run(
        [sys.executable, _WORKER, asked, str(seconds), told],
        capture_output=True,
        timeout=seconds + 10,
        check=False,
      )
    except subprocess.TimeoutExpired:
      return 'unknown', np.zeros(0)
    if done.returncode or not os.path.exists(told):
      _tell(done)
      return 'unknown', np.zeros(0)
    with np.load(told) as file:
      return str(file['code']), file['inputs']
