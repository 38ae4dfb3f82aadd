"""Linear bounds of subdomains in one compiled pass, and their ascent.

Coefficients go backward as in `walks`, a row a subdomain. What s z >= 0 rules
out, where a neuron's sign s is fixed, is felt through a Lagrange multiplier:
b >= 0 adds -b s to the coefficient of z. Any such b is sound, and where all
signs are fixed the best ones make the bound exact. So they may be looked for in
float32, in half of the time; the bound that counts is worked out in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfmot_paoding.bounds.coefficients import reduced, transposed
from tfmot_paoding.bounds.program import Program
from tfmot_paoding.bounds.steps import AffineStep, CurvedStep, HeldLines

Array = np.ndarray
# Tensors by the value that they are of.
ByValue = dict[int, tf.Tensor]

_EPSILON = np.finfo(np.float64).eps
_DOUBLE = tf.float64
_SINGLE = tf.float32
_DECAY = 0.98  # of both rates, from one step to the next


class LineTensors(NamedTuple):
  """`HeldLines` as tensors; None for slopes that are 0."""

  low_slopes: tuple[tf.Tensor | None, ...]
  low_shift: tf.Tensor
  high_slopes: tuple[tf.Tensor | None, ...]
  high_shift: tf.Tensor


class Fixed(NamedTuple):
  """What does not change while slopes are optimised."""

  rows: tf.Tensor
  offsets: tf.Tensor
  lines: dict[int, LineTensors]
  least: ByValue
  most: ByValue
  signs: ByValue
  boxes: dict[int, tuple[tf.Tensor, tf.Tensor]]
  sizes: ByValue
  size: tf.Tensor


class Free(NamedTuple):
  """What is optimised."""

  slopes: ByValue
  multipliers: ByValue
  mix: tf.Tensor


class SplitPass:
  """The backward pass of one value of a program.

  Args:
    program: The steps.
    value: The value, of shape (outputs,).
    splits: What the curved steps make whose neurons can be split.
  """

  def __init__(self, program: Program, value: int, splits: Collection[int]):
    self._program = program
    self._value = value
    self._splits = frozenset(splits)
    self.ascend = _traced(self._climb)
    self.estimate = _traced(self._roughly)
    self.evaluate = _traced(self._strictly)

  def _climb(
    self, fixed: Fixed, free: Free, steps: tf.Tensor, rates: tf.Tensor
  ) -> Free:
    """The best of some steps of Adam, until all bounds are positive."""
    fixed, free, rates = _cast((fixed, free, rates), _SINGLE)
    flat = tf.nest.flatten(free)
    scales = self._scales(fixed, free)
    zeros = [tf.zeros_like(part) for part in flat]
    best = tf.fill(tf.shape(fixed.offsets)[:1], _nothing(_SINGLE))

    def going(step, best, *_):
      return (step <= steps) & tf.reduce_any(best <= 0)

    def body(step, best, kept, now, first, second):
      with tf.GradientTape() as tape:
        tape.watch(now)
        free_now = tf.nest.pack_sequence_as(free, now)
        low, _, _ = self._backward(fixed, free_now, strict=False)
        fine = tf.where(tf.math.is_finite(low), low, 0.0)
      gradients = tape.gradient(
        fine, now, unconnected_gradients=tf.UnconnectedGradients.ZERO
      )
      better = low > best
      kept = [_where(better, a, b) for a, b in zip(now, kept, strict=True)]
      moves, first, second = _adam(step, gradients, first, second)
      moved = self._moved(fixed, free, now, moves, scales, rates)
      return step + 1, tf.maximum(best, low), kept, moved, first, second

    start = (tf.constant(0), best, flat, flat, zeros, zeros)
    _, _, kept, *_ = tf.while_loop(going, body, start)
    return _cast(tf.nest.pack_sequence_as(free, kept), _DOUBLE)

  def _moved(
    self,
    fixed: Fixed,
    free: Free,
    now: list[tf.Tensor],
    moves: list[tf.Tensor],
    scales: ByValue,
    rates: tf.Tensor,
  ) -> list[tf.Tensor]:
    """A step further, and back into what is allowed."""
    now = tf.nest.pack_sequence_as(free, now)
    moves = tf.nest.pack_sequence_as(free, moves)
    slopes = {
      v: tf.clip_by_value(
        slope + rates[0] * moves.slopes[v], fixed.least[v], fixed.most[v]
      )
      for v, slope in now.slopes.items()
    }
    multipliers = {
      v: tf.nn.relu(b + rates[1] * scales[v] * moves.multipliers[v])
      for v, b in now.multipliers.items()
    }
    mix = tf.maximum(now.mix + rates[0] * moves.mix, 1e-6)
    return tf.nest.flatten(Free(slopes, multipliers, mix))

  def _scales(self, fixed: Fixed, free: Free) -> ByValue:
    """How large coefficients are in each step, one number a subdomain."""
    _, seen, _ = self._backward(fixed, free, strict=False)
    return {
      v: tf.reduce_mean(tf.abs(c), list(range(1, len(c.shape))), keepdims=True)
      for v, c in seen.items()
    }

  def _roughly(self, fixed: Fixed, free: Free) -> tf.Tensor:
    """About what `evaluate` says first."""
    low, _, _ = self._backward(*_cast((fixed, free), _SINGLE), strict=False)
    return low

  def _strictly(
    self, fixed: Fixed, free: Free
  ) -> tuple[tf.Tensor, ByValue, ByValue]:
    return self._backward(fixed, free, strict=True)

  def _backward(
    self, fixed: Fixed, free: Free, strict: bool
  ) -> tuple[tf.Tensor, ByValue, ByValue]:
    """The bound, neurons' coefficients, and the points where it is least."""
    mix = free.mix / tf.reduce_sum(free.mix, 1, keepdims=True)
    rows = tf.einsum('dm,dmo->do', mix, fixed.rows)[:, None]
    total = -tf.reduce_sum(mix * fixed.offsets, 1, keepdims=True)
    lost = tf.zeros_like(total)
    if strict:
      count = int(fixed.rows.shape[1])
      size = tf.einsum('dm,dmo->do', mix, tf.abs(fixed.rows)) * fixed.size
      size = tf.reduce_sum(size, 1, keepdims=True)
      size += tf.reduce_sum(mix * tf.abs(fixed.offsets), 1, keepdims=True)
      lost += (count + 4) * _EPSILON * size
    held, seen, points = {self._value: rows}, {}, {}
    for step in reversed(self._program.steps):
      coefficients = held.pop(step.output, None)
      if coefficients is None:
        continue
      if strict:
        size = fixed.sizes[step.output]
        lost += step.slack * _dot(tf.abs(coefficients), size)
      if isinstance(step, AffineStep):
        total += _dot(coefficients, step.shift[None, None])
        back = transposed(step, coefficients)
      else:
        seen[step.output] = coefficients
        back, moved = self._bent(step, coefficients, fixed, free)
        total += moved
      for source, one in zip(step.inputs, back, strict=True):
        if one is not None:
          held[source] = held[source] + one if source in held else one
    for source, (low, high) in fixed.boxes.items():
      coefficients = held.get(source, tf.zeros_like(low))
      centre, radius = 0.5 * (low + high), 0.5 * (high - low)
      absolute = tf.abs(coefficients)
      total += _dot(coefficients, centre) - _dot(absolute, radius)
      if strict:
        entries = int(np.prod(self._program.shapes[source]))
        size = tf.maximum(tf.abs(low), tf.abs(high))
        lost += (entries + 4) * _EPSILON * _dot(absolute, size)
        points[source] = tf.where(coefficients > 0, low, high)
    found = (total - 2.0 * lost)[:, 0]
    found = tf.where(tf.math.is_nan(found), _nothing(found.dtype), found)
    splits = {v: c for v, c in seen.items() if v in self._splits}
    return found, splits, points

  def _bent(
    self, step: CurvedStep, coefficients: tf.Tensor, fixed: Fixed, free: Free
  ) -> tuple[list[tf.Tensor | None], tf.Tensor]:
    """Through a curved step, as in `Walk`, and the multipliers behind it."""
    lines = fixed.lines[step.output]
    positive = tf.maximum(coefficients, 0.0)
    negative = tf.minimum(coefficients, 0.0)
    moved = _dot(positive, lines.low_shift) + _dot(negative, lines.high_shift)
    positive, negative = step.expand(positive), step.expand(negative)
    if step.output in self._splits:
      slope = tf.clip_by_value(
        free.slopes[step.output],
        fixed.least[step.output],
        fixed.most[step.output],
      )
      back = positive * slope + negative * lines.high_slopes[0]
      back -= fixed.signs[step.output] * free.multipliers[step.output]
      return [back], moved
    back = []
    for low, high, shape in zip(
      lines.low_slopes, lines.high_slopes, step.in_shapes, strict=True
    ):
      if low is None:
        back.append(None)
        continue
      back.append(reduced(positive * low + negative * high, shape))
    return back, moved


def _adam(
  step: tf.Tensor,
  gradients: list[tf.Tensor],
  first: list[tf.Tensor],
  second: list[tf.Tensor],
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
  """Adam's moves, of a size that falls, and its moments."""
  first = [0.9 * a + 0.1 * g for a, g in zip(first, gradients, strict=True)]
  second = [
    0.999 * a + 0.001 * g * g for a, g in zip(second, gradients, strict=True)
  ]
  count = tf.cast(step, gradients[0].dtype) + 1
  rate = tf.pow(tf.constant(_DECAY, count.dtype), count - 1)
  rate *= tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
  moves = [
    rate * a / (tf.sqrt(b) + 1e-12) for a, b in zip(first, second, strict=True)
  ]
  return moves, first, second


def _cast(parts: Any, dtype: tf.DType) -> Any:
  """A structure of tensors, in another precision."""
  return tf.nest.map_structure(
    lambda x: x if x is None else tf.cast(x, dtype), parts
  )


def _nothing(dtype: tf.DType) -> tf.Tensor:
  """What a bound that overflowed says."""
  return tf.constant(-np.inf, dtype)


def double(x: Array) -> tf.Tensor:
  """As a tensor of float64."""
  return tf.constant(x, _DOUBLE)


def _dot(x: tf.Tensor, y: Any) -> tf.Tensor:
  """Sums of products over the entries, (domains, 1)."""
  return tf.reduce_sum(x * y, list(range(2, len(x.shape))))


def _where(rows: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
  """Of some domains the one, of the rest the other."""
  shape = tf.concat([tf.shape(rows), tf.ones(len(one.shape) - 1, tf.int32)], 0)
  return tf.where(tf.reshape(rows, shape), one, other)


def line_tensors(held: HeldLines) -> LineTensors:
  """A step's lines, for the pass."""
  low, high = [], []
  for a, b in zip(held.low_slopes, held.high_slopes, strict=True):
    # What is flat may be of any shape, and leads nowhere.
    flat = held.tilt is None and not (np.any(a) or np.any(b))
    low.append(None if flat else double(a))
    high.append(None if flat else double(b))
  return LineTensors(
    tuple(low), double(held.low_shift), tuple(high), double(held.high_shift)
  )


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
  """A compiled function of tensors, for any number of subdomains.

  Traced once for what is known of ranks and inner sizes: a number of
  subdomains that is new would else cost seconds.
  """
  compiled: dict[Any, Callable[..., Any]] = {}

  def run(*arguments: Any) -> Any:
    specs = tf.nest.map_structure(
      lambda x: (
        tf.TensorSpec((None, *x.shape[1:]), x.dtype)
        if isinstance(x, tf.Tensor) and x.shape.rank
        else x
        if x is None
        else tf.TensorSpec(x.shape, x.dtype)
      ),
      arguments,
    )
    key = str(specs)
    if key not in compiled:
      # Nothing here is Python that has to become a graph: twice as quick.
      traced = tf.function(function, autograph=False)
      compiled[key] = traced.get_concrete_function(*specs)
    return compiled[key](*arguments)

  return run
