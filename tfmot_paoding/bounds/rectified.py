"""Maxima and clipped activations as sums and ReLU, to be split as ReLU is.

max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b): of a window, its
halves entry by entry against each other until one entry is left. The range of
an extreme, which the sum's own intervals would lose, is kept.

A clipped activation is ReLU behind ReLU, min(r, c) = c - relu(c - r), and not
the sum relu(z) - relu(z - c): once either is split, that leaves no slack of the
other where z < 0 or z > c, and its intervals are exact as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.bounds.program import Program
from tfmot_paoding.bounds.steps import (
  AffineStep,
  CurvedStep,
  Ends,
  Step,
  step_of,
)
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.activations import rectifier
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Elementwise, Op


def in_rectifiers(program: Program, windows: bool = True) -> Program:
  """The same function, of steps that are affine or can be split, if any can.

  Args:
    program: The steps; left as they are.
    windows: Whether the largest along an axis, as in max pooling, is taken
      apart too; so is the least.
  """
  found = Program(
    list(program.shapes),
    program.inputs,
    program.outputs,
    gaps=dict(program.gaps),
  )
  for step in program.steps:
    _add(found, step, windows)
  return found


def _add(program: Program, step: Step, windows: bool) -> None:
  """Adds a step, or those that it is taken apart into."""
  op = step.op if isinstance(step, CurvedStep) else None
  chain = () if op is None else op.rectifiers()
  if chain:
    _row(program, step, chain)
  elif op is None or op.extreme is None or not (windows or op.joins):
    program.steps.append(step)
  else:
    entries = step.inputs if op.joins else _entries(program, step)
    _contest(program, entries, step.output, op.extreme == 'max')


def _row(program: Program, step: Step, chain: Sequence[Op]) -> None:
  """Adds operations in a row."""
  shape, (value,) = step.out_shape, step.inputs
  for k, op in enumerate(chain):
    last = k == len(chain) - 1
    made = step.output if last else program.add_value(shape)
    ends = Ends((value,), made, (shape,), shape)
    program.steps.append(step_of(op, {}, ends))
    value = made


def _entries(program: Program, step: CurvedStep) -> list[int]:
  """Adds steps that take each entry along the axis that goes."""
  (source,), (whole,), shape = step.inputs, step.in_shapes, step.out_shape
  count = int(np.prod(whole)) // int(np.prod(shape))
  entries = []
  for k in range(count):
    value = step.output if count == 1 else program.add_value(shape)
    entry = functools.partial(step.op.competitor, k=k)
    ends = Ends((source,), value, (whole,), shape)
    program.steps.append(AffineStep(ends, entry, entry, rearranges=True))
    entries.append(value)
  return entries


def _contest(
  program: Program, entries: Sequence[int], output: int, largest: bool
) -> None:
  """Adds the steps of an extreme: two meet until one is left."""
  while len(entries) > 1:
    winners = []
    for k in range(0, len(entries) - 1, 2):
      a, b = entries[k : k + 2]
      shapes = program.shapes[a], program.shapes[b]
      last = len(entries) == 2
      winner = (
        output
        if last
        else program.add_value(tuple(np.broadcast_shapes(*shapes)))
      )
      _meet(program, a, b, winner, largest)
      winners.append(winner)
    # The odd one out meets the winners.
    entries = [*winners, *entries[2 * len(winners) :]]


def _meet(program: Program, a: int, b: int, winner: int, largest: bool) -> None:
  """Adds the steps of b + relu(a - b), or of a - relu(a - b)."""
  shape = program.shapes[winner]
  shapes = program.shapes[a], program.shapes[b]
  lead, excess = program.add_value(shape), program.add_value(shape)
  program.steps.append(
    AffineStep(
      Ends((a, b), lead, shapes, shape),
      lambda x, y: x - y,
      lambda x, y: x + y,
    )
  )
  relu = Elementwise(rectifier())
  program.steps.append(
    step_of(relu, {}, Ends((lead,), excess, (shape,), shape))
  )
  ends = Ends((a, b, excess), winner, (*shapes, shape), shape)
  program.steps.append(_Winner(ends, largest))


class _Winner(AffineStep):
  """b + relu(a - b), known to be the larger of a and b; or the smaller.

  Args:
    ends: The values: a, b, and relu(a - b).
    largest: Whether it is the larger.
  """

  def __init__(self, ends: Ends, largest: bool):
    if largest:
      super().__init__(
        ends,
        lambda x, y, z: 0.0 * x + y + z,
        lambda x, y, z: 0.0 * x + y + z,
      )
    else:
      super().__init__(
        ends,
        lambda x, y, z: x + 0.0 * y - z,
        lambda x, y, z: x + 0.0 * y + z,
      )
    self._pick = np.maximum if largest else np.minimum

  def bounds(self, *x: Interval) -> Interval:
    """The sum's, met with the range of an extreme."""
    a, b, _ = x
    known = Interval(self._pick(a.low, b.low), self._pick(a.high, b.high))
    return intervals.intersect(super().bounds(*x), known)
