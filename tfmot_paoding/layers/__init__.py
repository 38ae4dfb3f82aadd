"""One handler a layer family; importing this registers them all."""

from tfmot_paoding.layers import activation, dense, normalization, shape
from tfmot_paoding.layers.base import (
  LayerHandler,
  handler_of,
  opaque,
  register_handler,
  weight_ref,
)

__all__ = [
  'LayerHandler',
  'activation',
  'dense',
  'handler_of',
  'normalization',
  'opaque',
  'register_handler',
  'shape',
  'weight_ref',
]
