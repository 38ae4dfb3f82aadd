"""TensorFlow functions that only move entries: slices, splits, reshapes.

Units are numbers on entries, so these carry them as they are. Where a removal
changes sizes that stand in the call itself, the smaller model is called with
others.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.ops import Array, Concatenate, Op, Permute, Reshape, Shape
from tfmot_paoding.ops.slices import Slice

Arguments = Mapping[str, Any]
# What stays along each axis of a tensor, for each axis but the batch's.
Kept = Sequence[Array]


class Move:
  """One function; stateless."""

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


class _GetItem(Move):
  """x[:, 2:5] and the like: runs and single entries, of steps of 1."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    places = _places(given['slice_spec'], len(shape))
    if places is None:
      return None
    ops: list[Op] = []
    for axis, (place, size) in enumerate(zip(places, shape, strict=True)):
      run = _run(place, size)
      if run is None:
        return None
      if run != (0, size) or not isinstance(place, slice):
        alone = not isinstance(place, slice)
        ops.append(Slice(axis, *run, len(shape), alone))
    if any(not isinstance(place, slice) for place in places):
      sizes = [
        run[1] - run[0]
        for run in itertools.starmap(_run, zip(places, shape, strict=True))
      ]
      ops.append(Reshape(out_shapes[0], tuple(sizes)))
    return [ops]

  def resize(self, given, kept, out_shape):
    places = _places(given['slice_spec'], len(kept))
    moved = [_moved(*pair) for pair in zip(places, kept, strict=True)]
    everything = {'start': None, 'stop': None, 'step': None}
    spec = [
      {'start': place.start, 'stop': place.stop, 'step': None}
      if isinstance(place, slice)
      else place
      for place in moved
    ]
    return {'slice_spec': (everything, *spec)}


class _Split(Move):
  """Runs along one axis, all of one size or each of its own."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    axis = _axis(given.get('axis', 0), len(shape))
    if axis is None or shape[axis] is None:
      return None
    sizes = [out[axis] for out in out_shapes]
    if sum(sizes) != shape[axis]:
      return None
    ends = list(itertools.accumulate(sizes))
    return [
      [Slice(axis, end - size, end, len(shape))]
      for size, end in zip(sizes, ends, strict=True)
    ]

  def resize(self, given, kept, out_shape):
    axis = _axis(given.get('axis', 0), len(kept))
    parts = given['num_or_size_splits']
    if isinstance(parts, int):
      parts = [len(kept[axis]) // parts] * parts
    ends = np.cumsum([int(size) for size in parts])
    left = [int(part.sum()) for part in np.split(kept[axis], ends[:-1])]
    equal = len(set(left)) == 1
    return {'num_or_size_splits': len(left) if equal else left}


class _Concat(Move):
  """One after another."""

  def lower(self, given, in_shapes, out_shapes):
    rank = len(out_shapes[0])
    axis = _axis(given['axis'], rank)
    if axis is None or any(len(shape) != rank for shape in in_shapes):
      return None
    return [[Concatenate(axis, axis == rank - 1)]]


class _Transpose(Move):
  """Axes in another order, the batch's first."""

  def lower(self, given, in_shapes, out_shapes):
    perm = given.get('perm')
    if given.get('conjugate') or perm is None or not _is_whole(perm):
      return None
    perm = [int(axis) for axis in perm]
    if perm[0] != 0:
      return None
    return [[Permute(tuple(axis - 1 for axis in perm[1:]), out_shapes[0])]]


class _Reshape(Move):
  """A new shape for each sample."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    # What stands for the batch must leave each sample to itself.
    sizes = given['shape']
    if not _is_whole(sizes) or len(sizes) != len(out) + 1 or sizes[0] != -1:
      return None
    if np.prod(shape) != np.prod(out):
      return None
    return [[Reshape(out, shape)]]

  def resize(self, given, kept, out_shape):
    return {'shape': [-1, *out_shape]}


class _LengthOne(Move):
  """An axis of one entry comes, or goes."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    axis = given.get('axis')
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    rank = max(len(shape), len(out))
    if not axes or any(_axis(one, rank) is None for one in axes):
      return None
    return [[Reshape(out, shape)]]


MOVES: Mapping[str, Move] = {
  '__operators__.getitem': _GetItem(),
  'split': _Split(),
  'concat': _Concat(),
  'transpose': _Transpose(),
  'compat.v1.transpose': _Transpose(),
  'reshape': _Reshape(),
  'expand_dims': _LengthOne(),
  'squeeze': _LengthOne(),
  'compat.v1.squeeze': _LengthOne(),
}


def _is_whole(values: Any) -> bool:
  """Whether these are whole numbers, known beforehand."""
  if not isinstance(values, (list, tuple, np.ndarray)):
    return False
  return all(isinstance(value, (int, np.integer)) for value in values)


def _axis(value: Any, rank: int) -> int | None:
  """An axis counted without the batch's; None for that one, or no number."""
  if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
    return None
  value = int(value) + (rank + 1 if value < 0 else 0)
  return value - 1 if 1 <= value <= rank else None


def _places(spec: Any, rank: int) -> list[slice | int] | None:
  """What is asked of each axis but the batch's; None where it is not known."""
  parts = spec if isinstance(spec, (list, tuple)) else [spec]
  spec = [_place(part) for part in parts]
  if any(part is None for part in spec):
    return None
  if Ellipsis in spec:
    at = spec.index(Ellipsis)
    missing = rank + 1 - (len(spec) - 1)
    spec[at : at + 1] = [slice(None)] * missing
  spec += [slice(None)] * (rank + 1 - len(spec))
  return spec[1:] if spec[0] == slice(None) else None


def _place(part: Any) -> Any:
  """A slice, a whole number or an ellipsis; None for all else."""
  if isinstance(part, Mapping):
    part = slice(part['start'], part['stop'], part['step'])
  if isinstance(part, slice):
    ends = (part.start, part.stop)
    known = all(end is None or _is_whole([end]) for end in ends)
    return slice(*ends) if known and part.step in (None, 1) else None
  if part is Ellipsis or (_is_whole([part]) and not isinstance(part, bool)):
    return part
  return None


def _run(place: slice | int, size: int) -> tuple[int, int] | None:
  """The first entry and the one behind the last; None for no entry."""
  if isinstance(place, slice):
    start, stop, _ = place.indices(size)
  else:
    start = operator.index(place) % size
    stop = start + 1
  return (start, stop) if start < stop else None


def _moved(place: slice | int, kept: Array) -> slice | int:
  """The same entries, counted among those that stay."""
  if bool(kept.all()):
    return place
  start, stop = _run(place, len(kept))
  before, inside = int(kept[:start].sum()), int(kept[start:stop].sum())
  if isinstance(place, slice):
    return slice(before, before + inside)
  return before
