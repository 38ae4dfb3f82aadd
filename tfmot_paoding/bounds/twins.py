"""The steps of two models of one structure, and of their difference.

The values are those of the original, those of the pruned model, and how far
the one is from the other: an affine step
A' y - A x + b' - b = A' (y - x) + (A' - A) x + b' - b, an activation held
between lines in the difference alone (NeuroDiff, Paulsen et al. 2020, arXiv
2009.09943). Bounds of the difference come from the same walks as any others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfmot_paoding.bounds.program import Piece, Program, pieces
from tfmot_paoding.bounds.steps import AffineStep, CurvedStep, Ends
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.numerics import intervals, tangents
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Line, Lines
from tfmot_paoding.ops import Elementwise, Largest, LearnedSlope, Op, Params

Array = np.ndarray


def build_difference(
  graph: Graph,
  before: Params,
  after: Params,
  outputs: tuple[int, ...] | None = None,
) -> Program:
  """A program whose outputs are the pruned model's values less the original's.

  Args:
    graph: The graph that both sets of weights fit.
    before: The original's weights.
    after: The pruned model's weights, of the same shapes.
    outputs: Values of the graph; None for its outputs.

  Raises:
    NoRelaxationError: an operation that leads to them has no sound relaxation.
  """
  outputs = tuple(outputs or graph.outputs)
  program = Program(list(graph.shapes), graph.inputs)
  twins = _Twins(program, before, after)
  for piece in pieces(graph, program, outputs):
    twins.add(piece)
  program.outputs = tuple(twins.gap(value) for value in outputs)
  return program


class _Twins:
  """What each value of the original is in the pruned model, and the gap."""

  def __init__(self, program: Program, before: Params, after: Params):
    self._program = program
    self._before = before
    self._after = after
    self._others: dict[int, int] = {}
    self._gaps: dict[int, int] = {}

  def add(self, piece: Piece) -> None:
    """The steps of one operation in both models and between them."""
    program = self._program
    op, inputs, output = piece.op, piece.inputs, piece.output
    program.add(op, self._before, inputs, output)
    same = not any(value in self._gaps for value in inputs)
    if same and not _moved(op, self._before, self._after):
      return
    shape = program.shapes[output]
    other, gap = program.add_value(shape), program.add_value(shape)
    others = tuple(self._others.get(value, value) for value in inputs)
    program.add(op, self._after, others, other)
    self._others[output], self._gaps[output] = other, gap
    program.gaps[gap] = (other, output)
    if op.linear:
      self._affine(op, inputs, gap)
    else:
      self._curved(op, inputs, others, gap)

  def gap(self, value: int) -> int:
    """The difference of a value, also where there is none."""
    if value not in self._gaps:
      shape = self._program.shapes[value]
      gap = self._gaps[value] = self._program.add_value(shape)
      self._none(value, gap)
    return self._gaps[value]

  def _none(self, value: int, gap: int) -> None:
    shape = self._program.shapes[value]
    self._program.steps.append(
      AffineStep(
        Ends((value,), gap, [shape], shape), tf.zeros_like, tf.zeros_like
      )
    )

  def _affine(self, op: Op, inputs: tuple[int, ...], gap: int) -> None:
    """A' (y - x) + (A' - A) x + b' - b; equal inputs have no y - x."""
    before, after, program = self._before, self._after, self._program
    moved = [value in self._gaps for value in inputs]
    changed = op.change(before, after) if _moved(op, before, after) else None
    gaps = [self._gaps[value] for value in inputs if value in self._gaps]
    read = (*gaps, *(inputs if changed else ()))
    shapes = [program.shapes[value] for value in read]
    zeros = [program.shapes[value] for value in inputs]

    def total(method: str, *x: tf.Tensor) -> tf.Tensor:
      found, rest = [], list(x)
      if gaps:
        rows = tf.shape(x[0])[:1]
        d = [
          rest.pop(0) if there else _zeros(rows, shape)
          for there, shape in zip(moved, zeros, strict=True)
        ]
        found.append(getattr(op, method)(after, *d))
      if changed:
        found.append(getattr(changed[0], method)(changed[1], *rest))
      return tf.add_n(found)

    program.steps.append(
      AffineStep(
        Ends(read, gap, shapes, program.shapes[gap]),
        lambda *x: total('transform', *x),
        lambda *x: total('spread', *x),
        op.intercept(after) - op.intercept(before),
        op.rearranges and all(moved),
      )
    )

  def _curved(
    self,
    op: Op,
    inputs: tuple[int, ...],
    others: tuple[int, ...],
    gap: int,
  ) -> None:
    """Lines in y - x, knowing the bounds of x and y."""
    # Equal inputs have a difference too: zero.
    for value in inputs:
      self.gap(value)
    gaps = tuple(self._gaps[value] for value in inputs)
    program, count = self._program, len(inputs)
    shapes = [program.shapes[value] for value in gaps]
    curve = _Curve(op, self._before, self._after)

    def split(function: Callable) -> Callable:
      return lambda *x: function(
        x[:count], x[count : 2 * count], x[2 * count :]
      )

    program.steps.append(
      CurvedStep(
        Ends(gaps, gap, shapes, program.shapes[gap]),
        split(curve.bounds),
        split(curve.relax),
        (*inputs, *others),
        -2 if isinstance(op, Largest) else None,
      )
    )


class _Curve:
  """f'(y) - f(x) of a function that is not affine."""

  def __init__(self, op: Op, before: Params, after: Params):
    self._op = op
    self._before = before
    self._after = after
    self._moved = _moved(op, before, after)

  def bounds(self, d, x, y) -> Interval:
    """The difference under the new weights, and what they change."""
    op = self._op
    if isinstance(op, Largest):
      return Interval(d[0].low.max(-2), d[0].high.max(-2))._replace(
        low=d[0].low.min(-2)
      )
    change = op.difference(
      self._after, *(_given(op, part) for part in (d, x, y))
    )
    if self._moved:
      change = intervals.add(change, self._change(x))
    return change

  def relax(self, d, x, y) -> Lines:
    """Slopes between x and y times the difference; else its range."""
    op = self._op
    if isinstance(op, Largest):
      return _of_same_leader(self.bounds(d, x, y), d[0], x[0], y[0])
    hull = intervals.hull(x[0], y[0])
    if isinstance(op, Elementwise):
      return tangents.of_product(op.slopes(hull), d[0])
    if not isinstance(op, LearnedSlope):
      return tangents.constant(self.bounds(d, x, y), len(d))
    low, high, _ = tangents.of_product(op.slopes(self._after, hull), d[0])
    if self._moved:
      change = self._change(x)
      low = low._replace(shift=low.shift + change.low)
      high = high._replace(shift=high.shift + change.high)
    return Lines(low, high)

  def _change(self, x) -> Interval:
    return self._op.changed(self._before, self._after, _given(self._op, x))


def _of_same_leader(
  value: Interval, d: Interval, x: Interval, y: Interval
) -> Lines:
  """The leader's difference where one entry leads in both models."""
  low = np.minimum(x.low, y.low)
  chosen, decided = tangents.leader(low, np.maximum(x.high, y.high), -2)
  chosen = chosen * 1.0
  settled = np.broadcast_to(decided, chosen.shape)[..., 0, :]
  slope = (chosen * decided,)
  return Lines(
    Line(slope, np.where(settled, 0.0, value.low)),
    Line(slope, np.where(settled, 0.0, value.high)),
  )


def _given(op: Op, x: tuple[Interval, ...]) -> Interval | tuple[Interval, ...]:
  return x if op.joins else x[0]


def _zeros(rows: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
  zeros = tf.zeros(tf.concat([rows, shape], 0), tf.float64)
  return tf.ensure_shape(zeros, (None, *shape))


def _moved(op: Op, before: Params, after: Params) -> bool:
  return any(
    not np.array_equal(before[ref], after[ref]) for ref in op.weights()
  )
