"""The operations that layers lower to, and what each does to bounds.

A layer is lowered to one or more operations on tensors without their batch
axis. An operation knows which unit of its input each weight entry belongs to,
bounds its output, bounds the change of its output, and hands back how far the
network's outputs can move when its input does. It knows nothing of Keras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfmot_paoding import intervals
from tfmot_paoding.activations import Activation
from tfmot_paoding.intervals import Interval

Array = np.ndarray
Shape = tuple[int, ...]


class WeightRef(NamedTuple):
  """A weight by its layer's path through nested models and its attribute."""

  layer: tuple[str, ...]
  name: str


Params = Mapping[WeightRef, Array]


class Gain(NamedTuple):
  """How far each output can move per unit of movement of each entry.

  A change within [-a, b] (a, b >= 0) moves output k within
  [-(a up + b down), b up + a down]. Both arrays: (entries, outputs).
  """

  up: Array
  down: Array


class WeightAxes(NamedTuple):
  """Where a weight keeps its units.

  Attributes:
    incoming: Axis that follows the operation's input units, or None.
    outgoing: Axis that follows its output units, or None.
    masked: Whether removing a unit zeroes its entries.
  """

  incoming: int | None
  outgoing: int | None
  masked: bool = True


class Op:
  """One operation; subclasses are frozen dataclasses."""

  # Whether output unit k is a function of input unit k alone.
  channelwise = False

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The weights it reads."""
    return {}

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Bounds of the output from bounds of the input."""
    raise NotImplementedError

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Bounds of op(y) - op(x) from bounds of y - x, of x and of y.

    The weights are the same on both sides.
    """
    raise NotImplementedError

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """The gain at the input from the gain at the output."""
    raise NotImplementedError

  def constant(self, params: Params, x: Array) -> Array:
    """The output's entries that no input can change; NaN for the others.

    Args:
      params: The weights.
      x: The same of the operation's input.
    """
    fixed = ~np.isnan(x)
    if not self.channelwise and not fixed.all():
      return np.full(
        self.bounds(params, _point(np.zeros_like(x))).low.shape, np.nan
      )
    known = np.where(fixed, x, 0.0)
    value = self.bounds(params, _point(known)).centre
    return np.where(fixed, value, np.nan) if self.channelwise else value


def _point(x: Array) -> Interval:
  return Interval(x, x)


@dataclasses.dataclass(frozen=True)
class MatMul(Op):
  """x W + b over the last axis."""

  kernel: WeightRef
  bias: WeightRef | None = None

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """Kernel (inputs, units) and bias (units,)."""
    axes = {self.kernel: WeightAxes(0, 1)}
    if self.bias is not None:
      axes[self.bias] = WeightAxes(None, 0)
    return axes

  def offset(self, params: Params) -> Array | float:
    """The bias, or 0."""
    return 0.0 if self.bias is None else params[self.bias]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Centre-radius arithmetic."""
    return intervals.affine(x, params[self.kernel], self.offset(params))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """W alone: the bias cancels."""
    del x, y
    return intervals.affine(d, params[self.kernel])

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Positive weights keep the direction, negative ones turn it."""
    del x
    kernel = params[self.kernel]
    outputs = gain.up.shape[-1]
    rows = (-1, kernel.shape[1], outputs)  # one a position before the last axis
    back = weighted(
      kernel, Gain(gain.up.reshape(rows), gain.down.reshape(rows))
    )
    return Gain(back.up.reshape(-1, outputs), back.down.reshape(-1, outputs))

  def constant(self, params: Params, x: Array) -> Array:
    """A unit is constant if all its weights for varying inputs are zero."""
    kernel, varies = params[self.kernel], np.isnan(x)
    reached = varies.astype(float) @ (kernel != 0) > 0
    value = np.where(varies, 0.0, x) @ kernel + self.offset(params)
    return np.where(reached, np.nan, value)


def weighted(kernel: Array, gain: Gain) -> Gain:
  """The gain (..., d, outputs) before a kernel (d, m) with `gain` behind it."""
  positive, negative = np.maximum(kernel, 0), np.maximum(-kernel, 0)
  return Gain(
    positive @ gain.up + negative @ gain.down,
    positive @ gain.down + negative @ gain.up,
  )


@dataclasses.dataclass(frozen=True)
class Scale(Op):
  """Batch normalization at inference: a factor and an offset a channel.

  gamma (x - mean) / sqrt(variance + epsilon) + beta over the last axis.
  """

  mean: WeightRef
  variance: WeightRef
  gamma: WeightRef | None = None
  beta: WeightRef | None = None
  epsilon: float = 1e-3

  channelwise = True

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """All of shape (units,); a removed unit's statistics stay as they are."""
    axes = {}
    for ref in (self.gamma, self.beta):
      if ref is not None:
        axes[ref] = WeightAxes(None, 0)
    for ref in (self.mean, self.variance):
      axes[ref] = WeightAxes(None, 0, masked=False)
    return axes

  def factor(self, params: Params) -> Array:
    """gamma / sqrt(variance + epsilon), shape (units,)."""
    gamma = 1.0 if self.gamma is None else params[self.gamma]
    return gamma / np.sqrt(params[self.variance] + self.epsilon)

  def offset(self, params: Params) -> Array:
    """beta - mean * factor, shape (units,)."""
    beta = 0.0 if self.beta is None else params[self.beta]
    return beta - params[self.mean] * self.factor(params)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The line on both ends."""
    scaled = intervals.scale(x, self.factor(params))
    offset = self.offset(params)
    return intervals.outward(scaled.low + offset, scaled.high + offset)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """The factor alone: the offset cancels."""
    del x, y
    return intervals.scale(d, self.factor(params))

  def constant(self, params: Params, x: Array) -> Array:
    """A factor of zero leaves the offset, whatever comes in."""
    factor, offset = self.factor(params), self.offset(params)
    return np.where(factor == 0, 0.0, x * factor) + offset

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """A negative factor turns the direction."""
    shape = x.low.shape
    factor = np.broadcast_to(self.factor(params), shape).reshape(-1, 1)
    up, down = np.maximum(factor, 0), np.maximum(-factor, 0)
    return Gain(
      up * gain.up + down * gain.down, up * gain.down + down * gain.up
    )


@dataclasses.dataclass(frozen=True)
class Elementwise(Op):
  """A scalar activation."""

  activation: Activation

  channelwise = True

  def bounds(self, params: Params, x: Interval) -> Interval:
    """The activation's range."""
    del params
    return intervals.outward(*self.activation.value_range(x.low, x.high))

  def slopes(self, x: Interval) -> Interval:
    """The range of slopes on x."""
    return intervals.outward(*self.activation.slope_range(x.low, x.high))

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """A slope between x and y, times the change (mean value theorem)."""
    moved = intervals.multiply(d, self.slopes(intervals.hull(x, y)))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(moved, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """Positive slopes keep the direction, negative ones turn it."""
    del params
    slopes = self.slopes(x)
    up = np.maximum(slopes.high, 0).reshape(-1, 1)
    down = np.maximum(-slopes.low, 0).reshape(-1, 1)
    return Gain(
      up * gain.up + down * gain.down, up * gain.down + down * gain.up
    )


@dataclasses.dataclass(frozen=True)
class Softmax(Op):
  """Softmax over the last axis."""

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Each logit at one end, the others at the opposite one."""
    del params
    return Interval(
      np.nan_to_num(_softmax_against(x.low, x.high), nan=0.0),
      np.nan_to_num(_softmax_against(x.high, x.low), nan=1.0),
    )

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Slope p(1 - p) <= 1/4 for a class's own logit, -p q for the others."""
    own = intervals.multiply(d, Interval(np.zeros(()), np.full((), 0.25)))
    other = intervals.multiply(d, Interval(np.full((), -0.25), np.zeros(())))
    total = intervals.outward(
      other.low.sum(-1, keepdims=True) - other.low + own.low,
      other.high.sum(-1, keepdims=True) - other.high + own.high,
    )
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(total, apart)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """The same slopes, transposed."""
    del params
    shape = (*x.low.shape, gain.up.shape[-1])
    up, down = gain.up.reshape(shape), gain.down.reshape(shape)
    others_up = up.sum(-2, keepdims=True) - up
    others_down = down.sum(-2, keepdims=True) - down
    return Gain(
      (0.25 * (up + others_down)).reshape(gain.up.shape),
      (0.25 * (down + others_up)).reshape(gain.up.shape),
    )


def _softmax_against(own: Array, others: Array) -> Array:
  """Softmax with a class's own logit from one array, the rest from another."""
  # exp(others - own), own term replaced by exp(0): (..., k, j) pairs.
  gaps = others[..., None, :] - own[..., :, None]
  index = np.arange(own.shape[-1])
  gaps[..., index, index] = 0.0
  return 1.0 / np.exp(np.minimum(gaps, 700.0)).sum(-1)


@dataclasses.dataclass(frozen=True)
class Reshape(Op):
  """A new shape for the same entries in the same order."""

  shape: Shape

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Both ends reshaped."""
    del params
    return x.reshape(self.shape)

  def constant(self, params: Params, x: Array) -> Array:
    """The same entries."""
    del params
    return x.reshape(self.shape)

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Both ends reshaped."""
    del params, x, y
    return d.reshape(self.shape)

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """A gain counts entries in order, whatever their shape."""
    del params, x
    return gain


@dataclasses.dataclass(frozen=True)
class Opaque(Op):
  """An operation that the package does not know.

  Groups that touch it are left alone; no bound can pass it.

  Attributes:
    reason: Why it is opaque, naming the layer.
  """

  reason: str

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Refuses: a bound made up here would not be sound."""
    raise ValueError(f'No sound bounds: {self.reason}.')

  difference = bounds
  pullback = bounds

  def constant(self, params: Params, x: Array) -> Array:
    """Nothing is known to be constant."""
    raise ValueError(f'No constants: {self.reason}.')
