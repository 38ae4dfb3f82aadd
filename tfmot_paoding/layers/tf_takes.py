"""TensorFlow functions that take entries along axes: strides, gather, tile.

Each entry of the result is one of the tensor's, found by its place along each
axis, or zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.layers.tf_arguments import (
  Arguments,
  Move,
  axis_of,
  is_whole,
  whole,
)
from tfmot_paoding.ops import (
  Array,
  Concatenate,
  Line,
  Op,
  Permute,
  Positions,
  Reshape,
  Shape,
)
from tfmot_paoding.ops.channel_pads import PadChannels
from tfmot_paoding.ops.slices import Slice
from tfmot_paoding.ops.takes import Take
from tfmot_paoding.ops.windows import Pad

_MODES = {'REFLECT': 'reflect', 'SYMMETRIC': 'symmetric'}


class _Gather(Move):
  """Entries by their numbers, which are known beforehand."""

  def lower(self, given, in_shapes, out_shapes):
    indices, axis = _indices(given), _gather_axis(given, in_shapes)
    if indices is None or axis is None or given.get('batch_dims'):
      return None
    (shape,), (out,) = in_shapes, out_shapes
    if indices.ndim == 0:
      at = int(indices)
      whole = (*shape[:axis], 1, *shape[axis + 1 :])
      part = Slice(axis, at, at + 1, len(shape), True)
      return [[part, Reshape(out, whole)]]
    taken = tuple(int(k) for k in indices.ravel())
    ops: list[Op] = [Take(axis, taken, len(shape))]
    if indices.ndim > 1:
      fixed = 'sets those it asks for by number on several axes'
      flat = (*shape[:axis], len(taken), *shape[axis + 1 :])
      ops = [Take(axis, taken, len(shape), fixed=fixed), Reshape(out, flat)]
    return [ops]

  def resize(self, given, kept, out_shape):
    axis = _gather_axis(given, [tuple(len(part) for part in kept)])
    stay, indices = kept[axis], _indices(given)
    if stay.all():
      return {}
    among = np.cumsum(stay) - 1
    if indices.ndim == 0:
      return {'indices': int(among[indices])}
    return {'indices': among[indices[stay[indices]]].tolist()}


class _Tile(Move):
  """All entries several times, one run after another."""

  def lower(self, given, in_shapes, out_shapes):
    counts, (shape,) = whole(given.get('multiples')), in_shapes
    if counts is None or counts[0] != 1:
      return None
    return [
      [
        Take(axis, tuple(np.tile(np.arange(size), count)), len(shape))
        for axis, (size, count) in enumerate(
          zip(shape, counts[1:], strict=True)
        )
        if count != 1
      ]
    ]


class _Repeat(Move):
  """Each entry several times."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    count, axis = given.get('repeats'), axis_of(given.get('axis'), len(shape))
    if not is_whole([count]) or axis is None:
      return None
    taken = tuple(np.repeat(np.arange(shape[axis]), int(count)))
    return [[Take(axis, taken, len(shape))]]


class _Reverse(Move):
  """Entries in the opposite order."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), axes = in_shapes, _axes(given.get('axis'), len(in_shapes[0]))
    if axes is None:
      return None
    return [
      [Take(axis, tuple(range(shape[axis]))[::-1], len(shape)) for axis in axes]
    ]


class _Roll(Move):
  """Entries moved on, those at the end to the beginning."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), axes = in_shapes, _axes(given.get('axis'), len(in_shapes[0]))
    shifts = whole(given.get('shift'))
    if axes is None or shifts is None or len(shifts) != len(axes):
      return None
    return [
      [
        Take(axis, tuple(np.roll(np.arange(shape[axis]), by)), len(shape))
        for axis, by in zip(axes, shifts, strict=True)
      ]
    ]

  def resize(self, given, kept, out_shape):
    axes = _axes(given['axis'], len(kept))
    found = []
    for axis, by in zip(axes, whole(given['shift']), strict=True):
      stay = kept[axis]
      # What comes to the beginning are the last entries.
      last = by % len(stay)
      found.append(int(stay[len(stay) - last :].sum()) if last else 0)
    alone = isinstance(given['shift'], int)
    return {'shift': found[0] if alone else found}


class _Pad(Move):
  """Zeros, a constant or entries of the border around positions.

  Beside channels, zeros.
  """

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    pads = _pads(given.get('paddings'), len(shape))
    if pads is None:
      return None
    mode = str(given.get('mode', 'CONSTANT')).upper()
    if mode == 'CONSTANT':
      value = given.get('constant_values') or 0
      if not isinstance(value, (int, float)):
        return None
      wider = [PadChannels(*pads[-1])] if any(pads[-1]) else []
      if wider and value:
        return None
      if not any(any(pair) for pair in pads[:-1]):
        return [wider]
      around = Positions(True, kind='ZeroPadding', move=Pad(tuple(pads[:-1])))
      if not value:
        return [[around, *wider]]
      value = float(value)
      return [[Line((1.0,), (-value,)), around, Line((1.0,), (value,))]]
    if mode not in _MODES or any(pads[-1]):
      return None
    return [
      [
        Take(
          axis,
          tuple(np.pad(np.arange(size), pair, _MODES[mode])),
          len(shape),
        )
        for axis, (size, pair) in enumerate(zip(shape, pads, strict=True))
        if any(pair)
      ]
    ]

  def resize(self, given, kept, out_shape):
    *others, (before, after) = np.asarray(given['paddings']).tolist()
    if not (before or after):
      return {}
    added = out_shape[-1] - int(kept[-1].sum())
    # Of the shorter side nothing leaves; see `PadChannels`.
    if after >= before:
      after = added - before
    else:
      before = added - after
    return {'paddings': [*others, [before, after]]}


class _Stack(Move):
  """Tensors side by side on an axis of their own."""

  def lower(self, given, in_shapes, out_shapes):
    (shape, *others), (out,) = in_shapes, out_shapes
    axis = axis_of(given.get('axis', 0), len(out))
    if axis is None or not shape or any(x != shape for x in others):
      return None
    count, rank = len(in_shapes), len(shape)
    place = min(axis, rank - 1)
    row = (*shape[:place], count * shape[place], *shape[place + 1 :])
    ops: list[Op] = [Concatenate(place, place == rank - 1)]
    if axis < rank:
      return [[*ops, Reshape(out, row)]]
    parts = (*shape[:-1], count, shape[-1])
    order = (*range(rank - 1), rank, rank - 1)
    return [[*ops, Reshape(parts, row), Permute(order, out)]]


class _Unstack(Move):
  """The entries of an axis, each a tensor of its own."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    axis = axis_of(given.get('axis', 0), len(shape))
    if axis is None:
      return None
    alone = (*shape[:axis], 1, *shape[axis + 1 :])
    return [
      [Slice(axis, k, k + 1, len(shape), True), Reshape(out, alone)]
      for k, out in enumerate(out_shapes)
    ]


TAKES: Mapping[str, Move] = {
  'gather': _Gather(),
  'compat.v1.gather': _Gather(),
  'tile': _Tile(),
  'repeat': _Repeat(),
  'reverse': _Reverse(),
  'roll': _Roll(),
  'pad': _Pad(),
  'compat.v1.pad': _Pad(),
  'stack': _Stack(),
  'unstack': _Unstack(),
}


def _indices(given: Arguments) -> Array | None:
  """What is gathered, if it is known beforehand."""
  found = _whole_numbers(given.get('indices'))
  known = found is not None and found.size and found.min() >= 0
  return found if known else None


def _whole_numbers(value: Any) -> Array | None:
  """Whole numbers as an array; None for what is not known beforehand."""
  try:
    found = np.asarray(value)
  except (TypeError, ValueError, NotImplementedError):
    return None
  # A Keras tensor makes an array of objects.
  return found if found.dtype.kind in 'iu' else None


def _gather_axis(given: Arguments, in_shapes: Sequence[Shape]) -> int | None:
  axis = given.get('axis')
  return axis_of(0 if axis is None else axis, len(in_shapes[0]))


def _axes(value: Any, rank: int) -> list[int] | None:
  values = whole(value)
  if values is None:
    return None
  axes = [axis_of(one, rank) for one in values]
  return None if None in axes else axes


def _pads(value: Any, rank: int) -> list[tuple[int, int]] | None:
  """(before, after) along each axis but the batch's."""
  found = _whole_numbers(value)
  if found is None or found.shape != (rank + 1, 2):
    return None
  first, *rest = ((int(a), int(b)) for a, b in found)
  return rest if first == (0, 0) else None
