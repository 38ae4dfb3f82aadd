"""Sound bounds of a program's values for a batch of input boxes.

Intervals go forward (IBP, Gowal et al. 2018, arXiv 1810.12715); linear bounds
go backward from the value that is bounded to the inputs (CROWN, Zhang et al.
2018, arXiv 1811.00866), with the lines that the bounds in front of each
activation allow. Everything is float64; what rounding can have lost is added
up on the way and taken off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.arguments import check_whole
from tfmot_paoding.bounds.coefficients import (
  Adam,
  block_of,
  dot,
  reduced,
  transposed,
)
from tfmot_paoding.bounds.program import Program
from tfmot_paoding.bounds.steps import AffineStep, CurvedStep, HeldLines, Step
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.progress import progress_bar

Array = np.ndarray

METHODS = ('ibp', 'crown-ibp', 'crown', 'alpha-crown')
# Overflow is no accident to warn of: it opens the bound.
_overflow_opens = np.errstate(over='ignore', invalid='ignore')
_ENTRIES = 1 << 22  # of one array of coefficients, 32 MiB


@dataclasses.dataclass(frozen=True)
class AlphaSettings:
  """How the slopes of lines below are optimised (Xu et al. 2021).

  Attributes:
    steps: Gradient steps.
    learning_rate: Of Adam; slopes lie in a range of width 1 for ReLU.
    intermediate: Whether they are optimised for what goes into activations
      too, each neuron's own: tighter, and as much work a neuron as an output.
  """

  steps: int = 20
  learning_rate: float = 0.1
  intermediate: bool = False


class Walk:
  """Bounds for one batch of boxes.

  Args:
    program: The steps.
    boxes: One an input, (batch, *shape).
    method: 'ibp'; 'crown-ibp', linear bounds over intervals in front of
      activations; 'crown', linear bounds in front of activations too;
      'alpha-crown', slopes optimised for what is asked for.
    alpha: Settings of the last.
  """

  def __init__(
    self,
    program: Program,
    boxes: Sequence[Interval],
    method: str = 'crown',
    alpha: AlphaSettings = AlphaSettings(),
  ):
    self._program = program
    self._method = method
    self._alpha = alpha
    self._batch = len(boxes[0].low)
    widest = max(int(np.prod(shape)) for shape in program.shapes)
    self._rows_at_once = max(1, _ENTRIES // widest)
    self._bounds: list[Interval | None] = [None] * len(program.shapes)
    self._lines: dict[int, HeldLines] = {}
    self._sizes: dict[int, Array] = {}
    self._places = {step.output: k for k, step in enumerate(program.steps)}
    self._readers = _curved_readers(program)
    for value, box in zip(program.inputs, boxes, strict=True):
      self._bounds[value] = box
    for step in program.steps:
      self._forward(step)

  def bounds(self, value: int) -> Interval:
    """The best bounds of a value that are known, (batch, *shape)."""
    return self._bounds[value]

  def size(self, output: int) -> Array:
    """The absolute terms of a step's entries, (batch, *shape); not of 'ibp'."""
    return self._sizes[output]

  def other(self, gap: int) -> int | None:
    """The pruned model's value of a difference; None where there is none."""
    pair = self._program.gaps.get(gap)
    return None if pair is None else pair[0]

  def sides(self, gap: int) -> tuple[Interval, Interval]:
    """Bounds of the pruned model's value and of the original's.

    Without a difference both are what the original has.
    """
    pair = self._program.gaps.get(gap)
    if pair is None:
      (value,) = self._program.steps[self._places[gap]].inputs
      pair = (value, value)
    return self._bounds[pair[0]], self._bounds[pair[1]]

  @_overflow_opens
  def outputs(self) -> list[Interval]:
    """Bounds of every output, (batch, *shape), linear ones if asked for."""
    return [self._output(value) for value in self._program.outputs]

  def _output(self, value: int) -> Interval:
    pair = self._program.gaps.get(value, ())
    for one in (*pair, value):
      if self._method != 'ibp' and one in self._places:
        self._tighten(one, np.ones(self._bounds[one].low.shape, bool))
    if pair:
      self._meet_sides(value)
    return self._bounds[value]

  def _meet_sides(self, gap: int) -> None:
    """Intersects a difference with that of the bounds of both."""
    apart = intervals.subtract(*self.sides(gap))
    self._bounds[gap] = intervals.intersect(self._bounds[gap], apart)

  def lower(self, value: int, rows: Array) -> Array:
    """Lower bounds of sums of a value's entries.

    Args:
      value: The value, of shape (entries,).
      rows: Factors, shape (batch, rows, entries).

    Returns:
      Shape (batch, rows).
    """
    return self.lower_sum([(value, rows)])

  @_overflow_opens
  def lower_sum(self, terms: Sequence[tuple[int, Array]]) -> Array:
    """Lower bounds of sums of entries of several values.

    Args:
      terms: Values of shape (entries,), each with its factors.

    Returns:
      Shape (batch, rows).
    """
    found = sum(self._apart(value, rows) for value, rows in terms)
    if self._method == 'ibp' or any(v not in self._places for v, _ in terms):
      return found
    linear = [
      self._backward_part(terms, part, True)
      for part in self._parts(terms[0][1].shape[1])
    ]
    return np.maximum(found, np.concatenate(linear))

  def _apart(self, value: int, rows: Array) -> Array:
    """From the bounds of each entry by itself."""
    box = self._bounds[value]
    positive, negative = np.maximum(rows, 0), np.minimum(rows, 0)
    terms = positive * box.low[:, None] + negative * box.high[:, None]
    size = np.abs(rows) * box.magnitude[:, None]
    error = (rows.shape[-1] + 4) * np.finfo(np.float64).eps * size.sum(-1)
    return np.nan_to_num(terms.sum(-1) - error, nan=-np.inf)

  @_overflow_opens
  def _forward(self, step: Step) -> None:
    context = step.context if isinstance(step, CurvedStep) else ()
    x = [self._bounds[value] for value in (*step.inputs, *context)]
    if isinstance(step, CurvedStep):
      if self._method != 'ibp':
        held = step.relax(*x)
        self._lines[step.output] = held
        self._sizes[step.output] = held.size
    elif self._method != 'ibp':
      self._sizes[step.output] = step.magnitudes(*x)
    self._bounds[step.output] = step.bounds(*x)
    if step.output in self._program.gaps:
      self._meet_sides(step.output)
    if self._method in ('crown', 'alpha-crown') and self._gains(step):
      self._tighten(step.output, self._loose(step.output))

  def _gains(self, step: Step) -> bool:
    """Whether linear bounds of a step's output can beat intervals."""
    if isinstance(step, CurvedStep) or step.rearranges:
      return False
    if step.output not in self._readers:
      return False
    return not set(step.inputs) <= set(self._program.inputs)

  def _loose(self, value: int) -> Array:
    """Entries whose bounds matter to some activation, (batch, *shape)."""
    loose = np.zeros(self._bounds[value].low.shape, bool)
    for step in self._readers[value]:
      x = [self._bounds[v] for v in (*step.inputs, *step.context)]
      alike = step.axis is None and step.out_shape == loose.shape[1:]
      if any(part is None for part in x) or not alike:
        return np.ones_like(loose)
      loose |= step.relax(*x).loose
    return loose

  def _tighten(self, value: int, wanted: Array) -> None:
    """Intersects a value's bounds with linear ones where they are wanted."""
    flat = wanted.reshape(self._batch, -1)
    most = int(flat.sum(1).max())
    for part in self._parts(most) if most else ():
      self._tighten_part(value, flat[part], part)

  def _tighten_part(self, value: int, wanted: Array, part: slice) -> None:
    """Of some samples: every entry that any of them wants."""
    entries = np.flatnonzero(wanted.any(0))
    bounds = self._bounds[value]
    low, high = (np.array(end).reshape(self._batch, -1) for end in bounds)
    unit = np.zeros((1, len(entries), wanted.shape[1]))
    unit[0, np.arange(len(entries)), entries] = 1.0
    final = value in self._program.outputs
    below = self._backward_part([(value, unit)], part, final)
    above = -self._backward_part([(value, -unit)], part, final)
    rows = np.ix_(range(part.start, part.stop), entries)
    own = Interval(low[rows], high[rows])
    low[rows], high[rows] = intervals.intersect(own, Interval(below, above))
    self._bounds[value] = Interval(
      low.reshape(bounds.low.shape), high.reshape(bounds.low.shape)
    )

  def _parts(self, rows: int) -> Iterator[slice]:
    """Samples whose coefficients of so many rows fit into memory together."""
    samples = max(1, self._rows_at_once // max(rows, 1))
    for first in range(0, self._batch, samples):
      yield slice(first, min(first + samples, self._batch))

  def _backward_part(
    self, terms: Sequence[tuple[int, Array]], part: slice, final: bool
  ) -> Array:
    """`_backward` of some samples, a few rows at a time."""
    total, samples = terms[0][1].shape[1], part.stop - part.start
    some = max(1, min(total, self._rows_at_once // samples))
    found = np.empty((samples, total))
    for row in range(0, total, some):
      block = [
        (value, block_of(rows, part, slice(row, row + some)))
        for value, rows in terms
      ]
      found[:, row : row + some] = self._solve(block, part, final)
    return found

  def _solve(
    self, terms: list[tuple[int, Array]], part: slice, final: bool
  ) -> Array:
    optimised = final or self._alpha.intermediate
    if self._method != 'alpha-crown' or not optimised:
      return self._backward(terms, part, {}).numpy()
    return self._optimised(terms, part)

  def _optimised(self, terms: list[tuple[int, Array]], part: slice) -> Array:
    """The best of some gradient steps on the slopes of lines below."""
    last, count = max(self._places[v] for v, _ in terms), terms[0][1].shape[1]
    slopes = {
      output: self._starting_slopes(held, part, count)
      for output, held in self._lines.items()
      if held.tilt is not None and self._places[output] < last
    }
    if not slopes:
      return self._backward(terms, part, {}).numpy()
    optimizer = Adam(self._alpha.learning_rate)
    best = np.full(terms[0][1].shape[:2], -np.inf)
    for number in range(self._alpha.steps + 1):
      with tf.GradientTape() as tape:
        found = self._backward(terms, part, slopes)
        total = tf.reduce_sum(tf.where(tf.math.is_finite(found), found, 0.0))
      best = np.maximum(best, found.numpy())
      if number == self._alpha.steps:
        break
      gradients = tape.gradient(total, slopes)
      for output, gradient in gradients.items():
        if gradient is None:
          continue
        least, most = (end[part] for end in self._lines[output].tilt)
        moved = slopes[output] + optimizer(output, gradient)
        slopes[output].assign(tf.clip_by_value(moved, least, most))
    return best

  @staticmethod
  def _starting_slopes(held: HeldLines, part: slice, rows: int) -> tf.Variable:
    start = held.low_slopes[0][part]
    shape = (start.shape[0], rows, *start.shape[2:])
    return tf.Variable(np.broadcast_to(start, shape))

  def _backward(
    self,
    terms: list[tuple[int, Array]],
    part: slice,
    slopes: dict[int, tf.Variable],
  ) -> tf.Tensor:
    """Lower bounds of sums of values' entries, (samples, rows)."""
    samples, count = terms[0][1].shape[:2]
    held = {}
    for value, rows in terms:
      shape = self._program.shapes[value]
      held[value] = tf.constant(rows.reshape(samples, count, *shape))
    last = max(self._places[value] for value in held)
    total = tf.zeros((samples, count), tf.float64)
    lost = tf.zeros((samples, count), tf.float64)
    for step in reversed(self._program.steps[: last + 1]):
      coefficients = held.pop(step.output, None)
      if coefficients is None:
        continue
      size = self._sizes[step.output][part]
      lost += step.slack * dot(tf.abs(coefficients), size[:, None])
      if isinstance(step, AffineStep):
        total += dot(coefficients, step.shift[None, None])
        back = transposed(step, coefficients)
      else:
        back, moved = self._bent(step, coefficients, part, slopes)
        total += moved
      for source, one in zip(step.inputs, back, strict=True):
        if one is not None:
          held[source] = held[source] + one if source in held else one
    for source, coefficients in held.items():
      box = self._bounds[source]
      box = Interval(box.low[part][:, None], box.high[part][:, None])
      entries = int(np.prod(self._program.shapes[source]))
      total += dot(coefficients, box.centre)
      absolute = tf.abs(coefficients)
      total -= dot(absolute, box.radius)
      error = (entries + 4) * np.finfo(np.float64).eps
      lost += error * dot(absolute, box.magnitude)
    found = total - 2.0 * lost
    return tf.where(tf.math.is_nan(found), -np.inf, found)

  def _bent(
    self,
    step: CurvedStep,
    coefficients: tf.Tensor,
    part: slice,
    slopes: dict[int, tf.Variable],
  ) -> tuple[list[tf.Tensor | None], tf.Tensor]:
    """Positive coefficients take the line below, negative ones that above.

    None goes back to what both lines are flat in.
    """
    held = self._lines[step.output]
    positive = tf.maximum(coefficients, 0.0)
    negative = tf.minimum(coefficients, 0.0)
    low_shift, high_shift = held.low_shift[part], held.high_shift[part]
    moved = dot(positive, low_shift) + dot(negative, high_shift)
    positive, negative = step.expand(positive), step.expand(negative)
    back = []
    for low, high, shape in zip(
      held.low_slopes, held.high_slopes, step.in_shapes, strict=True
    ):
      if held.tilt is None and not (np.any(low) or np.any(high)):
        back.append(None)
        continue
      low = slopes.get(step.output, low[part] if len(low) > 1 else low)
      high = high[part] if len(high) > 1 else high
      back.append(reduced(positive * low + negative * high, shape))
    return back, moved


def walks(
  program: Program,
  boxes: Sequence[Interval],
  method: str,
  alpha: AlphaSettings | None,
  batch_size: int,
  verbose: int | str,
) -> Iterator[tuple[slice, Walk]]:
  """A walk for each batch of boxes, and which samples it is of.

  Raises:
    ValueError: `batch_size` is no whole number of at least 1.
  """
  check_whole('batch_size', batch_size, 1)
  count = len(boxes[0].low)
  bar = progress_bar(count, verbose, 'sample')
  for start in range(0, count, batch_size):
    part = slice(start, min(start + batch_size, count))
    some = [Interval(box.low[part], box.high[part]) for box in boxes]
    yield part, Walk(program, some, method, alpha or AlphaSettings())
    bar.update(part.stop)


def check_method(method: str) -> str:
  """A method's name.

  Raises:
    ValueError: it is unknown.
  """
  if method not in METHODS:
    raise ValueError(
      f'`method` must be one of {", ".join(map(repr, METHODS))}, but got '
      f'{method!r}.'
    )
  return method


def _curved_readers(program: Program) -> dict[int, list[CurvedStep]]:
  """The steps that need to know each value's bounds."""
  found: dict[int, list[CurvedStep]] = {}
  for step in program.steps:
    if isinstance(step, CurvedStep):
      for value in step.inputs:
        found.setdefault(value, []).append(step)
  return found
