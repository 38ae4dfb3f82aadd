"""Which weights of a layer must be zero where a unit is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfmot_paoding.layers import is_known
from tfmot_paoding.network.lowering import operations_of
from tfmot_paoding.ops import Op, Shape


def masked_names(operations: Iterable[Op]) -> list[str]:
  """The attributes of a layer that carry masks, by its operations."""
  names = {
    ref.name: None
    for op in operations
    for ref, axes in op.weights().items()
    if axes.masked and not axes.incoming is axes.outgoing is None
  }
  return list(names)


def names_of(layer: Any, input_shape: Any) -> list[str]:
  """The attributes that carry masks of a built layer by itself.

  Args:
    layer: A built layer.
    input_shape: Its input's shape with the batch axis, or a list of shapes.

  Returns:
    The names; none where the package does not know the layer, or not with
    these settings.
  """
  if not is_known(layer):
    return []
  several = not all(
    size is None or isinstance(size, int) for size in input_shape
  )
  shapes = input_shape if several else [input_shape]
  try:
    operations = operations_of(
      layer,
      (layer.name,),
      [_sizes(shape) for shape in shapes],
      lambda: _sizes(layer.compute_output_shape(input_shape)),
    )
  except NotImplementedError:
    return []  # only a call tells: no layer with units of its own
  if not all(op.known for op in operations):
    return []
  return masked_names(operations)


def _sizes(shape: Any) -> Shape:
  """The sizes without the batch axis; 1 where one is not known."""
  return tuple(1 if size is None else int(size) for size in tuple(shape)[1:])
