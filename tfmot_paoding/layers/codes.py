"""Layers that make codes of inputs: bins, categories, indices of words."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Code, Op, Shape

_layers = keras.layers


class _CodeHandler(base.LayerHandler):
  """One code for each number, or ones where these are.

  Attributes:
    whole: Whether the layer takes whole numbers alone.
  """

  whole = False

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """One operation; weights beside the numbers, or frequencies, count more."""
    mode = getattr(layer, 'output_mode', None)
    most = {'int': self.codes(layer) - 1, 'one_hot': 1, 'multi_hot': 1}
    row = in_shapes[0][-1:]
    if row > (1,):  # not one of a size that nobody knows
      most['count'] = row[0]  # all of them the same
    if mode not in most or len(in_shapes) != 1:
      return base.opaque(layer, f'makes codes that are not known ({mode!r})')
    kind = type(layer).__name__, repr(sorted(_settings(layer).items()))
    # Samples are real numbers, whatever comes into the model.
    encode = (lambda x: layer(tf.cast(x, tf.int64))) if self.whole else layer
    return [Code(kind, float(most[mode]), out_shape, encode)]

  def codes(self, layer: Any) -> int:
    """How many there are."""
    raise NotImplementedError


def _settings(layer: Any) -> dict[str, Any]:
  """What tells one code from another."""
  config = layer.get_config()
  return {k: v for k, v in config.items() if k not in ('name', 'trainable')}


@base.register_handler(_layers.Discretization)
class DiscretizationHandler(_CodeHandler):
  """Which bin a number lies in."""

  def codes(self, layer: Any) -> int:
    """One more than there are boundaries."""
    return len(layer.bin_boundaries) + 1


@base.register_handler(_layers.CategoryEncoding)
class CategoryEncodingHandler(_CodeHandler):
  """Ones at the categories of whole numbers."""

  def codes(self, layer: Any) -> int:
    """The categories."""
    return layer.num_tokens


@base.register_handler(_layers.IntegerLookup)
class IntegerLookupHandler(_CodeHandler):
  """Where a whole number stands in a list."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Not the way back."""
    if layer.invert:
      return base.opaque(layer, 'gives what stands in its list')
    return super().lower(layer, path, in_shapes, out_shape)

  def codes(self, layer: Any) -> int:
    """Those of the list, and of what is not in it."""
    return layer.vocabulary_size()


@base.register_handler(_layers.Hashing)
class HashingHandler(_CodeHandler):
  """A number that stands for another one."""

  whole = True

  def codes(self, layer: Any) -> int:
    """Its bins."""
    return layer.num_bins
