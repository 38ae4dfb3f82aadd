"""A network as a list of steps, each affine or held between lines.

Bounds go forward through a step as intervals; coefficients of a bound on
something behind it go backward. A step knows by how much rounding can have
moved either: float64 sums are wrong by at most a small multiple of the sum of
their absolute terms, and `magnitudes` tells these.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Lines
from tfmot_paoding.ops import Op, Params, Shape

Array = np.ndarray

_EPSILON = np.finfo(np.float64).eps
# A graph is made in the time of about ten calls without one.
_EAGER = 6


@dataclasses.dataclass(frozen=True)
class Ends:
  """What a step is between.

  Attributes:
    inputs: The values it reads.
    output: The value it makes.
    in_shapes: Their shapes without the batch axis.
    out_shape: The same of what it makes.
  """

  inputs: Sequence[int]
  output: int
  in_shapes: Sequence[Shape]
  out_shape: Shape


class Step:
  """One step between values.

  Args:
    ends: The values.

  Attributes:
    inputs: The values it reads.
    output: The value it makes.
    in_shapes: Their shapes without the batch axis.
    out_shape: The same of what it makes.
  """

  def __init__(self, ends: Ends):
    self.inputs = tuple(ends.inputs)
    self.output = ends.output
    self.in_shapes = [tuple(shape) for shape in ends.in_shapes]
    self.out_shape = tuple(ends.out_shape)

  @property
  def slack(self) -> float:
    """By how much sums of its terms can be off, relative to their size."""
    terms = sum(int(np.prod(shape)) for shape in self.in_shapes)
    return (terms + int(np.prod(self.out_shape)) + 16) * _EPSILON

  def bounds(self, *x: Interval) -> Interval:
    """Bounds of the output, (batch, *out_shape), rounded outwards."""
    raise NotImplementedError


class AffineStep(Step):
  """A x + b, A given as a function of float64 tensors.

  Args:
    ends: The values.
    transform: A x, of tensors with a batch axis.
    spread: |A| x.
    shift: b, broadcasting to the output.
    rearranges: Whether every output entry is some input entry.
  """

  def __init__(
    self,
    ends: Ends,
    transform: Callable[..., tf.Tensor],
    spread: Callable[..., tf.Tensor],
    shift: Array | float = 0.0,
    rearranges: bool = False,
  ):
    super().__init__(ends)
    self.rearranges = rearranges
    self._transform = transform
    self._spread = spread
    self.shift = np.broadcast_to(shift, self.out_shape)

  @functools.cached_property
  def transform(self) -> Callable[..., tf.Tensor]:
    """A x, compiled."""
    return _Compiled(self._transform, self.in_shapes)

  @functools.cached_property
  def spread(self) -> Callable[..., tf.Tensor]:
    """|A| x, compiled."""
    return _Compiled(self._spread, self.in_shapes)

  @functools.cached_property
  def transpose(self) -> Callable[..., list[tf.Tensor]]:
    """A^T of coefficients (rows, *out_shape), compiled."""
    return _Compiled(self._transpose, [self.out_shape])

  @functools.cached_property
  def rough_transpose(self) -> Callable[..., list[tf.Tensor]]:
    """The same in float32, for what need not be sound."""
    return _Compiled(self._transpose, [self.out_shape], tf.float32)

  def _transpose(self, coefficients: tf.Tensor) -> list[tf.Tensor]:
    """One tensor an input."""
    rows = tf.shape(coefficients)[:1]
    zeros = []
    for shape in self.in_shapes:
      zero = tf.zeros(tf.concat([rows, shape], 0), coefficients.dtype)
      zeros.append(tf.ensure_shape(zero, (None, *shape)))
    with tf.GradientTape() as tape:
      tape.watch(zeros)
      made = self._transform(*zeros)
      # A step may be the same at every position; then it is smaller.
      made = tf.broadcast_to(made, tf.shape(coefficients))
    return tape.gradient(
      made, zeros, coefficients, tf.UnconnectedGradients.ZERO
    )

  def bounds(self, *x: Interval) -> Interval:
    """Centre-radius arithmetic."""
    if self.rearranges:
      return Interval(
        self.transform(*[part.low for part in x]).numpy(),
        self.transform(*[part.high for part in x]).numpy(),
      )
    centre = self.transform(*[part.centre for part in x]).numpy() + self.shift
    slack = self.slack
    seen = [part.radius + slack * part.magnitude for part in x]
    radius = (1 + slack) * self.spread(*seen).numpy()
    radius = radius + slack * np.abs(self.shift)
    return intervals.outward(centre - radius, centre + radius)

  def magnitudes(self, *x: Interval) -> Array:
    """The sum of the absolute terms of each entry, (batch, *out_shape)."""
    size = self.spread(*[part.magnitude for part in x]).numpy()
    return size + np.abs(self.shift)


class _Compiled:
  """A function of tensors, compiled once it is asked again and again.

  Most bounds ask each step a few times; a graph takes as long to make as many
  of those.

  Args:
    function: Of tensors.
    shapes: Theirs, without the rows, of which there are any number.
    dtype: Theirs.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    shapes: Sequence[Shape],
    dtype: tf.DType = tf.float64,
  ):
    self._function = function
    self._eager = _EAGER
    self._dtype = dtype
    self._specs = [tf.TensorSpec((None, *shape), dtype) for shape in shapes]
    self._asked = 0
    self._traced: Callable[..., Any] | None = None

  def __call__(self, *x: Any) -> Any:
    """What the function makes of tensors or arrays."""
    tensors = [tf.convert_to_tensor(part, self._dtype) for part in x]
    self._asked += 1
    # Of convolutions TensorFlow has gradients of gradients in graphs alone.
    if self._asked <= self._eager and not compat.is_recorded():
      try:
        return self._function(*tensors)
      except AttributeError:  # as it has gradients of means of volumes
        self._eager = 0
    if self._traced is None:
      traced = tf.function(self._function, autograph=False)
      self._traced = traced.get_concrete_function(*self._specs)
    return self._traced(*tensors)


class CurvedStep(Step):
  """A function that is not affine, held between lines on each interval.

  Args:
    ends: The values; lines are functions of its inputs.
    bounds: Bounds of the output from those of inputs and context.
    relax: Lines from the same.
    context: Further values whose bounds it must know.
    axis: An axis of the input, counted from the end, that the output lacks.
    op: The operation, where the step is one of a single model.
  """

  def __init__(
    self,
    ends: Ends,
    bounds: Callable[..., Interval],
    relax: Callable[..., Lines],
    context: Sequence[int] = (),
    axis: int | None = None,
    op: Op | None = None,
  ):
    super().__init__(ends)
    self.context = tuple(context)
    self.axis = axis
    self.op = op
    self._bounds = bounds
    self._relax = relax

  def bounds(self, *x: Interval) -> Interval:
    """The function's range."""
    return self._bounds(*x)

  def relax(self, *x: Interval) -> HeldLines:
    """Lines, laid out for coefficients with an axis of rows."""
    low, high, tilt = self._relax(*x)
    steep = [
      np.maximum(np.abs(a), np.abs(b))
      for a, b in zip(low.slopes, high.slopes, strict=True)
    ]
    if tilt is not None:
      steep[0] = np.maximum(steep[0], np.maximum(*map(np.abs, tilt)))
    terms = zip(steep, x, strict=False)
    # What is flat may be of any shape.
    size = sum(a * self._size(part) for a, part in terms if np.any(a))
    if self.axis is not None and np.ndim(size):
      size = size.sum(self.axis)
    size = size + np.maximum(np.abs(low.shift), np.abs(high.shift))
    return HeldLines(
      tuple(
        self._laid_out(slope, part)
        for slope, part in zip(low.slopes, x, strict=False)
      ),
      self._rows(low.shift),
      tuple(
        self._laid_out(slope, part)
        for slope, part in zip(high.slopes, x, strict=False)
      ),
      self._rows(high.shift),
      None if tilt is None else Interval(*map(self._rows, tilt)),
      np.broadcast_to(size, low.shift.shape),
    )

  @staticmethod
  def _size(x: Interval) -> Array:
    size = x.magnitude
    return np.where(np.isfinite(size), size, 0.0)

  def _laid_out(self, slope: Array, x: Interval) -> Array:
    if slope.ndim == 0:
      slope = np.broadcast_to(slope, (1,) * x.low.ndim)
    return self._rows(slope)

  @staticmethod
  def _rows(x: Array) -> Array:
    return np.ascontiguousarray(x)[:, None]

  def expand(self, coefficients: tf.Tensor) -> tf.Tensor:
    """Coefficients of the output with the axis that it lacks."""
    if self.axis is None:
      return coefficients
    return tf.expand_dims(coefficients, self.axis)


class HeldLines(NamedTuple):
  """Lines of one step for a batch, (batch, rows or 1, *shape) each.

  Attributes:
    low_slopes: Slopes below, one array an input.
    low_shift: Where the line below meets zero.
    high_slopes: Slopes above.
    high_shift: Where the line above meets zero.
    tilt: The slopes that the line below may have instead, through 0; None
      where it has one alone.
    size: The largest absolute terms of an entry, (batch, *out_shape).
  """

  low_slopes: tuple[Array, ...]
  low_shift: Array
  high_slopes: tuple[Array, ...]
  high_shift: Array
  tilt: Interval | None
  size: Array

  @property
  def loose(self) -> Array:
    """Entries whose lines differ, (batch, *out_shape)."""
    apart = self.low_shift != self.high_shift
    for low, high in zip(self.low_slopes, self.high_slopes, strict=True):
      other = low != high
      if other.ndim > apart.ndim:
        other = other.any(-2)
      apart = apart | other
    return apart[:, 0]


def step_of(
  op: Op,
  params: Params,
  ends: Ends,
) -> Step:
  """The step of an operation that is linear or can be relaxed."""
  axes = len(ends.in_shapes[0]), len(ends.out_shape)
  if op.linear:
    return AffineStep(
      ends,
      lambda *x: op.transform(_alike(op, params, x[0].dtype), *x),
      lambda *x: op.spread(params, *x),
      op.intercept(params),
      op.rearranges,
    )
  return CurvedStep(
    ends,
    lambda *x: op.bounds(params, x if op.joins else x[0]),
    lambda *x: op.relax(params, *x),
    axis=-2 if axes[0] > axes[1] else None,
    op=op,
  )


def _alike(op: Op, params: Params, dtype: tf.DType) -> Params:
  """An operation's weights in the precision of what it is given."""
  if dtype == tf.float64:
    return params
  return {ref: params[ref].astype(dtype.as_numpy_dtype) for ref in op.weights()}
