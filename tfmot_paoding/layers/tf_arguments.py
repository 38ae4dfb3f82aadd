"""What a call of a TensorFlow function is told, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.ops import Array, Op, Shape

Arguments = Mapping[str, Any]
# What stays along each axis of a tensor, for each axis but the batch's.
Kept = Sequence[Array]


class Move:
  """One function; stateless.

  Attributes:
    any_sizes: Whether sizes that the model leaves open do not matter.
  """

  any_sizes = False

  def lower(
    self, given: Arguments, in_shapes: list[Shape], out_shapes: list[Shape]
  ) -> list[list[Op]] | None:
    """The operations that make each output; None where it is not known so.

    Args:
      given: The call's arguments by name; tensors among them.
      in_shapes: The shapes of its tensors, without the batch axis.
      out_shapes: The shapes of its outputs, likewise.
    """
    raise NotImplementedError

  def resize(
    self, given: Arguments, kept: Kept, out_shape: Shape
  ) -> dict[str, Any]:
    """The arguments that change where units leave.

    Args:
      given: The call's arguments by name.
      kept: Which entries of its first tensor stay.
      out_shape: The first output's new shape, without the batch axis.
    """
    del given, kept, out_shape
    return {}


def is_whole(values: Any) -> bool:
  """Whether these are whole numbers, known beforehand."""
  if not isinstance(values, (list, tuple, np.ndarray)):
    return False
  return all(
    isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    for value in values
  )


def whole(value: Any) -> list[int] | None:
  """Whole numbers as a list, of one as well; None for anything else."""
  if isinstance(value, (int, np.integer)) or (
    isinstance(value, np.ndarray) and value.ndim == 0
  ):
    value = [value]
  if isinstance(value, np.ndarray):
    value = value.tolist()
  return [int(one) for one in value] if is_whole(value) else None


def axis_of(value: Any, rank: int) -> int | None:
  """An axis counted without the batch's; None for that one, or no number."""
  if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
    return None
  value = int(value) + (rank + 1 if value < 0 else 0)
  return value - 1 if 1 <= value <= rank else None


def number_of(value: Any) -> float | None:
  """A number that is known beforehand."""
  if isinstance(value, (tf.Tensor, np.ndarray, np.generic)):
    value = np.asarray(value)
    value = value.item() if value.size == 1 else None
  known = isinstance(value, (int, float)) and not isinstance(value, bool)
  return float(value) if known and np.isfinite(value) else None
