"""Embeddings: a table's columns are units."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Lookup, Op, Shape


@base.register_handler(keras.layers.Embedding)
class EmbeddingHandler(base.LayerHandler):
  """A row of the table for each integer."""

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """A lookup."""
    return [Lookup(base.weight_ref(path, layer, 'embeddings'))]

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """Fewer columns."""
    config['output_dim'] = out_shape[-1]
    return config
