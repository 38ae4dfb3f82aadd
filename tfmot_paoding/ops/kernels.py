"""What operations with a kernel share, and those that slide it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding.ops.base import Array, Op, Params, WeightRef

# Why an operation whose windows or moves are missing cannot be followed.
UNKNOWN_POSITIONS = (
  'lays out its positions in a way that is not known (interpolation, or a '
  'dilated transposed convolution)'
)


class WithKernel:
  """What linear operations with a kernel and a bias share."""

  kernel: WeightRef

  @property
  def multiplies(self) -> WeightRef:
    """The kernel."""
    return self.kernel

  def product(self, x: tf.Tensor, kernel: Array) -> tf.Tensor:
    """The product alone, of a tensor (batch, *shape)."""
    raise NotImplementedError

  def offset(self, params: Params) -> Array | float:
    """The bias, or 0."""
    raise NotImplementedError

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """The product alone."""
    return self.product(x[0], params[self.kernel])

  def spread(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """With absolute weights."""
    return self.product(x[0], tf.abs(params[self.kernel]))

  def intercept(self, params: Params) -> Array | float:
    """The bias."""
    return self.offset(params)

  def change(self, before: Params, after: Params) -> tuple[Op, Params]:
    """The product with the change of the kernel."""
    return self, {self.kernel: after[self.kernel] - before[self.kernel]}


class Windowed:
  """What operations share that slide a window, if it is known."""

  seen: Any

  # How much padding there is depends on them.
  needs_sizes = True

  @property
  def linear(self) -> bool:
    """Where the window is known."""
    return self.seen is not None

  @property
  def obstacle(self) -> str | None:
    """A window that is not known."""
    return UNKNOWN_POSITIONS if self.seen is None else None
