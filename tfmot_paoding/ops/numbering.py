"""Reading arrays of unit numbers, most of them broadcast along positions."""

from __future__ import annotations

import numpy as np

from tfmot_paoding.ops.base import Array, UnitBook


def last_axis(numbers: Array) -> Array | None:
  """The unit numbers along the last axis, or None if they differ elsewhere."""
  if not numbers.size or not numbers.ndim:
    return None
  numbers = core(numbers)
  row = numbers.reshape(-1, numbers.shape[-1])[0]
  return None if np.any(numbers != row) else row


def core(numbers: Array) -> Array:
  """A view without the repetitions of `np.broadcast_to`, axes kept."""
  last = numbers.ndim - 1
  return numbers[
    tuple(
      slice(0, 1) if stride == 0 and axis != last else slice(None)
      for axis, stride in enumerate(numbers.strides)
    )
  ]


def channel_row(book: UnitBook, numbers: Array) -> Array:
  """The unit numbers of the channels, alike at every position.

  Units that lie in one channel at several positions are tied; where that
  would leave one unit alone, those on other axes are frozen.
  """
  row = last_axis(numbers)
  if row is not None:
    return row
  if not numbers.size or book.align(numbers, -1) < 2:
    book.freeze(
      numbers, f'their channel is not the last axis at {book.label!r}'
    )
    return np.full(numbers.shape[-1], -1)
  return core(numbers).reshape(-1, numbers.shape[-1])[0]
