"""TensorFlow functions that only move entries: slices, splits, reshapes.

Units are numbers on entries, so these carry them as they are. Where a removal
changes sizes that stand in the call itself, the smaller model is called with
others.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.layers.tf_arguments import Move, axis_of, is_whole
from tfmot_paoding.layers.tf_choices import CHOICES
from tfmot_paoding.layers.tf_reductions import REDUCTIONS
from tfmot_paoding.layers.tf_scalars import SCALARS
from tfmot_paoding.layers.tf_takes import TAKES
from tfmot_paoding.ops import Array, Concatenate, Op, Permute, Reshape
from tfmot_paoding.ops.slices import Slice
from tfmot_paoding.ops.takes import Take

# A part of a slice that is a tensor, say.
_UNKNOWN = object()


class _GetItem(Move):
  """x[:, 2:5, ::2] and the like: runs, single entries, and steps."""

  def lower(self, given, in_shapes, out_shapes):
    shape, *more = in_shapes
    spec = _spec(given['slice_spec'], len(shape))
    if more or spec is None or not shape:
      return None
    places = [place for place in spec if place is not tf.newaxis]
    ops: list[Op] = []
    for axis, (place, size) in enumerate(zip(places, shape, strict=True)):
      if _steps(place):
        taken = range(size)[place]
        if not taken:
          return None
        ops.append(_stepped(axis, place, size, len(shape)))
        continue
      run = _run(place, size)
      alone = not isinstance(place, slice)
      if run is None:
        return None
      if run != (0, size) or alone:
        ops.append(Slice(axis, *run, len(shape), alone))
    if any(not isinstance(place, slice) for place in spec):
      sizes = [
        len(range(size)[place]) if isinstance(place, slice) else 1
        for place, size in zip(places, shape, strict=True)
      ]
      ops.append(Reshape(out_shapes[0], tuple(sizes)))
    return [ops]

  def resize(self, given, kept, out_shape):
    along = iter(kept)
    spec = [slice(None)]
    for place in _spec(given['slice_spec'], len(kept)):
      new = place is tf.newaxis
      spec.append(place if new else _moved(place, next(along)))
    parts = [
      {'start': place.start, 'stop': place.stop, 'step': place.step}
      if isinstance(place, slice)
      else place
      for place in spec
    ]
    return {'slice_spec': tuple(parts)}


class _Split(Move):
  """Runs along one axis, all of one size or each of its own."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    axis = axis_of(given.get('axis', 0), len(shape))
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
    axis = axis_of(given.get('axis', 0), len(kept))
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
    axis = axis_of(given['axis'], rank)
    if axis is None or any(len(shape) != rank for shape in in_shapes):
      return None
    return [[Concatenate(axis, axis == rank - 1)]]


class _Transpose(Move):
  """Axes in another order, the batch's first."""

  def lower(self, given, in_shapes, out_shapes):
    perm = given.get('perm')
    if given.get('conjugate') or perm is None or not is_whole(perm):
      return None
    perm = [int(axis) for axis in perm]
    if perm[0] != 0:
      return None
    return [[Permute(tuple(axis - 1 for axis in perm[1:]), out_shapes[0])]]


class _Reshape(Move):
  """A new shape for each sample."""

  def lower(self, given, in_shapes, out_shapes):
    (shape, *more), (out,) = in_shapes, out_shapes
    sizes = given['shape']
    if not isinstance(sizes, (list, tuple)) or not is_whole(sizes[1:]):
      return None
    # What stands for the batch must leave each sample to itself: a size that is
    # worked out then does, as all others are given.
    of_batch = compat.is_keras_tensor(sizes[0]) if more else sizes[0] == -1
    if len(sizes) != len(out) + 1 or len(more) > 1 or not of_batch:
      return None
    if np.prod(shape) != np.prod(out):
      return None
    return [[Reshape(out, shape)]]

  def resize(self, given, kept, out_shape):
    return {'shape': [given['shape'][0], *out_shape]}


class _LengthOne(Move):
  """An axis of one entry comes, or goes."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    axis = given.get('axis')
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    rank = max(len(shape), len(out))
    if not axes or any(axis_of(one, rank) is None for one in axes):
      return None
    return [[Reshape(out, shape)]]


MOVES: Mapping[str, Move] = {
  **TAKES,
  **REDUCTIONS,
  **SCALARS,
  **CHOICES,
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


def _spec(spec: Any, rank: int) -> list[slice | int | None] | None:
  """What is asked of each axis but the batch's, new ones among them.

  None where it is not known, or of the batch's axis.
  """
  parts = spec if isinstance(spec, (list, tuple)) else [spec]
  found = [_place(part) for part in parts]
  if any(place is _UNKNOWN for place in found):
    return None
  own = [place for place in found if place not in (tf.newaxis, Ellipsis)]
  missing = [slice(None)] * (rank + 1 - len(own))
  if Ellipsis in found:
    at = found.index(Ellipsis)
    found[at : at + 1] = missing
  else:
    found += missing
  return found[1:] if found[0] == slice(None) else None


def _place(part: Any) -> Any:
  """A slice, a whole number, an ellipsis or a new axis."""
  if isinstance(part, Mapping):
    part = slice(part['start'], part['stop'], part['step'])
  if isinstance(part, slice):
    ends = (part.start, part.stop)
    known = all(end is None or is_whole([end]) for end in (*ends, part.step))
    return slice(*ends, part.step) if known and part.step != 0 else _UNKNOWN
  if part is Ellipsis or part is tf.newaxis:
    return part
  return part if is_whole([part]) else _UNKNOWN


def _steps(place: slice | int) -> bool:
  """Whether entries are passed over, or taken from the end."""
  return isinstance(place, slice) and place.step not in (None, 1)


def _stepped(axis: int, place: slice, size: int, rank: int) -> Take:
  """Every so many entries, from one of the first to the end, or others."""
  taken = tuple(range(size)[place])
  if place.step == -1 and len(taken) == size:
    return Take(axis, taken, rank)
  regular = (
    place.step > 1
    and size % place.step == 0
    and len(taken) * place.step == size
    and 0 <= (place.start or 0) < place.step
  )
  if regular:
    return Take(axis, taken, rank, place.step)
  return Take(axis, taken, rank, fixed='asks for some of them by steps')


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
  if _steps(place):
    # Whole blocks leave, and of each the same entries are taken.
    return slice(place.start, None, place.step)
  start, stop = _run(place, len(kept))
  before, inside = int(kept[:start].sum()), int(kept[start:stop].sum())
  if isinstance(place, slice):
    return slice(before, before + inside)
  return before
