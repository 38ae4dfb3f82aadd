"""Maxima as sums and ReLU, so that they can be split as ReLU is.

max(a, b) = b + relu(a - b): entry by entry, the halves of each window against
each other until one entry is left. The range of a maximum, which the sum's own
intervals would lose, is kept.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

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
from tfmot_paoding.ops import Elementwise


def without_maxima(program: Program) -> Program:
  """The same function, of steps that are affine or can be split, if any can.

  Args:
    program: The steps; left as they are.
  """
  found = Program(
    list(program.shapes),
    program.inputs,
    program.outputs,
    gaps=dict(program.gaps),
  )
  for step in program.steps:
    if _is_maximum(step):
      _lower(found, step)
    else:
      found.steps.append(step)
  return found


def _is_maximum(step: Step) -> bool:
  return (
    isinstance(step, CurvedStep)
    and step.op is not None
    and step.op.takes_largest
  )


def _lower(program: Program, step: CurvedStep) -> None:
  """Adds the steps of a maximum along the axis before the channels."""
  shape = step.out_shape
  (source,), (whole,) = step.inputs, step.in_shapes
  entries = []
  for k in range(whole[-2]):
    value = program.add_value(shape) if whole[-2] > 1 else step.output
    ends = Ends((source,), value, (whole,), shape)
    program.steps.append(_entry(ends, k))
    entries.append(value)
  while len(entries) > 1:
    winners = []
    for k in range(0, len(entries) - 1, 2):
      last = len(entries) == 2
      winner = step.output if last else program.add_value(shape)
      _meet(program, entries[k], entries[k + 1], winner)
      winners.append(winner)
    # The odd one out meets the winners.
    entries = winners + entries[2 * len(winners) :]


def _entry(ends: Ends, k: int) -> AffineStep:
  """One entry of every window."""

  def take(x: tf.Tensor) -> tf.Tensor:
    return x[..., k, :]

  return AffineStep(ends, take, take, rearranges=True)


def _meet(program: Program, a: int, b: int, winner: int) -> None:
  """Adds the steps of b + relu(a - b)."""
  shape = program.shapes[winner]
  lead, excess = program.add_value(shape), program.add_value(shape)
  program.steps.append(
    AffineStep(
      Ends((a, b), lead, (shape, shape), shape),
      lambda x, y: x - y,
      lambda x, y: x + y,
    )
  )
  relu = Elementwise(rectifier())
  program.steps.append(
    step_of(relu, {}, Ends((lead,), excess, (shape,), shape))
  )
  program.steps.append(
    _Winner(
      Ends((a, b, excess), winner, (shape, shape, shape), shape),
      lambda x, y, z: 0.0 * x + y + z,
      lambda x, y, z: 0.0 * x + y + z,
    )
  )


class _Winner(AffineStep):
  """b + relu(a - b), which is known to be the larger of a and b."""

  def bounds(self, *x: Interval) -> Interval:
    """The sum's, met with the range of a maximum."""
    a, b, _ = x
    larger = Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high))
    return intervals.intersect(super().bounds(*x), larger)
