"""TensorFlow functions that reduce, pool and lay out positions anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.layers.tf_arguments import Arguments, Move, axis_of, whole
from tfmot_paoding.ops import (
  Line,
  Op,
  Permute,
  Positions,
  Reshape,
  Shape,
  UnitLength,
)
from tfmot_paoding.ops.normalizations import LEAST_SQUARE
from tfmot_paoding.ops.reductions import Reduce
from tfmot_paoding.ops.tensor_products import TensorProduct
from tfmot_paoding.ops.variances import Variance
from tfmot_paoding.ops.windows import (
  AveragePool,
  GlobalAverage,
  GlobalMax,
  MaxPool,
  window,
)

_TURNED = Line((-1.0,), (0.0,))
# Settings of products that are not known.
_OF_PRODUCTS = (
  'adjoint_a',
  'adjoint_b',
  'a_is_sparse',
  'b_is_sparse',
  'output_type',
)


class _Reduction(Move):
  """The mean, sum or extreme along axes.

  Args:
    kind: 'mean', 'sum', 'max' or 'min'.
  """

  any_sizes = True

  def __init__(self, kind: str):
    self._kind = kind

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    axes = _reduced(given.get('axis'), len(shape))
    if not axes or not shape:
      return None
    keeps = bool(given.get('keepdims'))
    if axes == list(range(len(shape) - 1)):
      ops = self._over_all(shape, keeps)
    elif len(shape) - 1 not in axes:
      ops = self._over_some(shape, axes, None if keeps else out)
    elif len(axes) == 1:
      ops = [Reduce(self._kind, axes[0], shape), *_without(shape, out, keeps)]
    else:
      return None
    return None if ops is None else [ops]

  def _over_all(self, shape: Shape, keeps: bool) -> list[Op]:
    """Over all positions."""
    largest = self._kind in ('max', 'min')
    move = GlobalMax(keeps) if largest else GlobalAverage(keeps)
    name = 'GlobalMax' if largest else 'GlobalAverage'
    return self._around(
      [Positions(squeeze=not keeps, kind=name, move=move)],
      math.prod(shape[:-1]),
    )

  def _over_some(
    self, shape: Shape, axes: list[int], out: Shape | None
  ) -> list[Op] | None:
    """A window that is as long as the axes are; None for too many of them."""
    *sizes, channels = shape
    if len(sizes) > 3:
      return None
    size = [n if axis in axes else 1 for axis, n in enumerate(sizes)]
    seen = window('valid', size, size, [1] * len(size), sizes)
    largest = self._kind in ('max', 'min')
    move = MaxPool(seen) if largest else AveragePool(seen)
    name = 'MaxPooling' if largest else 'AveragePooling'
    ops: list[Op] = [Positions(kind=name, move=move)]
    if out is not None:
      left = [1 if axis in axes else n for axis, n in enumerate(sizes)]
      ops.append(Reshape(out, (*left, channels)))
    return self._around(ops, math.prod(size))

  def _around(self, ops: list[Op], count: int) -> list[Op]:
    """With a factor in front, or behind."""
    if self._kind == 'sum':
      return [*ops, Line((float(count),), (0.0,))]
    return [_TURNED, *ops, _TURNED] if self._kind == 'min' else ops


class _Variance(Move):
  """How far apart positions are, along some of their axes.

  Args:
    kind: 'variance' or 'std'.
  """

  def __init__(self, kind: str):
    self._kind = kind

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    axes = _reduced(given.get('axis'), len(shape))
    if not axes or len(shape) - 1 in axes:
      return None
    from_end = tuple(axis - len(shape) for axis in axes)
    return [[Variance(self._kind, from_end, bool(given.get('keepdims')))]]


class _Product(Move):
  """The product of two tensors."""

  def lower(self, given, in_shapes, out_shapes):
    turns = [_turn(given, name) for name in ('a', 'b')]
    plain = not any(given.get(name) for name in _OF_PRODUCTS)
    tensors = all(compat.is_keras_tensor(given.get(name)) for name in 'ab')
    if not (plain and tensors) or None in turns:
      return None
    return product_of(in_shapes, *turns)


def product_of(
  in_shapes: list[Shape], turn_a: bool, turn_b: bool
) -> list[list[Op]] | None:
  """The product of two tensors over their last two axes.

  Args:
    in_shapes: Without the batch axis.
    turn_a: Whether the first one's are turned.
    turn_b: Whether the second one's are.

  Returns:
    As `Move.lower`: None where tensors are not of that kind.
  """
  a, b = in_shapes
  if len(a) != len(b) or len(a) < 2 or a[:-2] != b[:-2]:
    return None
  terms, columns = a[-2 if turn_a else -1], b[-2 if turn_b else -1]
  return [[TensorProduct(turn_a, turn_b, terms, columns)]]


class _Pool(Move):
  """A window that slides over positions.

  Args:
    largest: Whether the largest is taken, not the mean.
  """

  def __init__(self, largest: bool):
    self._largest = largest

  def lower(self, given, in_shapes, out_shapes):
    (shape,) = in_shapes
    rank = len(shape) - 1
    sizes = [_along(given.get(key), rank) for key in ('ksize', 'strides')]
    layout = given.get('data_format')
    if None in sizes or (layout is not None and layout[1] == 'C'):
      return None
    padding = str(given.get('padding')).lower()
    if padding not in ('same', 'valid') or rank > 3:
      return None
    seen = window(padding, *sizes, [1] * rank, shape[:-1])
    move = MaxPool(seen) if self._largest else AveragePool(seen)
    name = 'MaxPooling' if self._largest else 'AveragePooling'
    return [[Positions(kind=name, move=move)]]


class _Length(Move):
  """Divided by the length over the last axis."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), axes = in_shapes, whole(given.get('axis'))
    epsilon = given.get('epsilon', LEAST_SQUARE)
    if axes is None or [axis_of(a, len(shape)) for a in axes] != [
      len(shape) - 1
    ]:
      return None
    if not isinstance(epsilon, float):
      return None
    return [[UnitLength(epsilon=epsilon)]]


class _Resize(Move):
  """Positions repeated or interpolated."""

  def lower(self, given, in_shapes, out_shapes):
    kind = given.get('method', 'bilinear')
    # Each result lies between the values it is made from.
    if kind not in ('nearest', 'bilinear', 'area') or given.get('antialias'):
      return None
    return [[Positions(kind=kind)]]


class _Blocks(Move):
  """Square blocks of positions become channels, or the other way round.

  Args:
    to_depth: Whether they become channels.
  """

  def __init__(self, to_depth: bool):
    self._to_depth = to_depth

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    size = given.get('block_size')
    if given.get('data_format', 'NHWC') != 'NHWC' or not isinstance(size, int):
      return None
    height, width, channels = shape
    if self._to_depth:
      parts = (height // size, size, width // size, size, channels)
    else:
      parts = (height, width, size, size, channels // size**2)
    return _side_by_side(shape, parts, out)


def _side_by_side(
  shape: Shape, parts: tuple[int, ...], out: Shape
) -> list[list[Op]]:
  """The operations of an image in parts whose second and third axis turn."""
  order = (0, 2, 1, 3, 4)
  moved = tuple(parts[axis] for axis in order)
  return [[Reshape(parts, shape), Permute(order, moved), Reshape(out, moved)]]


class _Patches(Move):
  """Patches of an image, side by side, become channels."""

  def lower(self, given, in_shapes, out_shapes):
    (shape,), (out,) = in_shapes, out_shapes
    sizes, strides, rates = (
      _along(given.get(key), 2) for key in ('sizes', 'strides', 'rates')
    )
    height, width, channels = shape
    if sizes is None or sizes != strides or rates != [1, 1]:
      return None
    tall, wide = sizes
    if height % tall or width % wide:
      return None
    parts = (height // tall, tall, width // wide, wide, channels)
    return _side_by_side(shape, parts, out)


REDUCTIONS: Mapping[str, Move] = {
  'nn.space_to_depth': _Blocks(True),
  'nn.depth_to_space': _Blocks(False),
  **{
    f'math.reduce_{kind}': _Reduction(kind)
    for kind in ('mean', 'sum', 'max', 'min')
  },
  **{
    f'{where}{kind}_pool{rank}': _Pool(kind == 'max')
    for where in ('nn.', 'compat.v1.nn.')
    for kind in ('avg', 'max')
    for rank in ('', '1d', '2d', '3d')
  },
  'math.reduce_variance': _Variance('variance'),
  'math.reduce_std': _Variance('std'),
  'linalg.matmul': _Product(),
  'math.l2_normalize': _Length(),
  'nn.l2_normalize': _Length(),
  'image.extract_patches': _Patches(),
  'image.resize': _Resize(),
}


def _turn(given: Arguments, name: str) -> bool | None:
  """Whether a factor is turned; None where nobody can tell."""
  value = given.get(f'transpose_{name}', False)
  return value if isinstance(value, bool) else None


def _reduced(value: Any, rank: int) -> list[int] | None:
  """The axes in order; None for the batch's among them, or unknown ones."""
  axes = whole(value)
  if axes is None:
    return None
  found = [axis_of(axis, rank) for axis in axes]
  return None if None in found else sorted(found)


def _without(shape: Shape, out: Shape, keeps: bool) -> list[Op]:
  return [] if keeps else [Reshape(out, (*shape[:-1], 1))]


def _along(value: Any, rank: int) -> list[int] | None:
  """What TensorFlow is given for one, some or all axes, for each position's."""
  sizes = whole(value)
  if sizes is None:
    return None
  if len(sizes) == rank + 2:
    return sizes[1:-1] if sizes[0] == sizes[-1] == 1 else None
  if len(sizes) == 1:
    return sizes * rank
  return sizes if len(sizes) == rank else None
