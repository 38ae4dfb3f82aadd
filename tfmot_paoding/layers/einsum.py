"""EinsumDense, where it multiplies the last axes by a kernel.

Of several axes that it makes, or reads, the first one is that of units.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.activation import lower_function
from tfmot_paoding.ops import Op, Projection, Reshape, Shape


@base.register_handler(keras.layers.EinsumDense)
class EinsumDenseHandler(base.LayerHandler):
  """A product with the last axes laid out flat, then the fused activation."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A product, between reshapes where there are several axes."""
    axes = _axes(layer.equation)
    if axes is None:
      return base.opaque(
        layer,
        f'computes {layer.equation!r}, which is no product of its last axes '
        'with a kernel of these and new ones',
      )
    if layer.bias is not None and set(layer.bias_axes) != set(axes.made):
      return base.opaque(layer, 'adds a bias along some of the axes it makes')
    kernel = tuple(layer.kernel.shape)
    rows, made = kernel[: len(axes.read)], kernel[len(axes.read) :]
    product = Projection(
      base.weight_ref(path, layer, 'kernel'),
      base.weight_ref(path, layer, 'bias'),
      row_axes=len(rows),
      read=math.prod(rows[1:]),
      made=math.prod(made[1:]),
    )
    ops: list[Op] = [product]
    if len(rows) > 1:
      source = in_shapes[0]
      flat = (*source[: -len(rows)], math.prod(rows))
      ops.insert(0, Reshape(flat, source))
    if len(made) > 1:
      flat = (*out_shape[: -len(made)], math.prod(made))
      ops.append(Reshape(out_shape, flat))
    return [*ops, *lower_function(layer, layer.activation)]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer units."""
    count = len(_axes(layer.equation).made)
    given = config['output_shape']
    kept = list(given) if isinstance(given, (list, tuple)) else [given]
    config['output_shape'] = (*kept[:-count], *out_shape[-count:])
    return config


@dataclasses.dataclass(frozen=True)
class _Axes:
  """The letters of the axes that a product reads, and of those it makes."""

  read: str
  made: str


def _axes(equation: str) -> _Axes | None:
  """What an equation reads and makes; None where it is no such product."""
  left, _, target = equation.replace(' ', '').partition('->')
  source, _, kernel = left.partition(',')
  if source.startswith('...') and target.startswith('...'):
    source, target = source[3:], target[3:]
  if '.' in source + kernel + target:
    return None
  read = ''.join(letter for letter in source if letter in kernel)
  made = ''.join(letter for letter in kernel if letter not in source)
  rest = source[: len(source) - len(read)]
  product = read and made and kernel == read + made
  if product and source == rest + read and target == rest + made:
    return _Axes(read, made)
  return None
