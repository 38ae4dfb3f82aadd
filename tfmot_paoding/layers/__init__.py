"""One handler a layer family; importing this registers them all."""

from tfmot_paoding.layers import (
  activation,
  applications,
  conv,
  dense,
  embedding,
  merging,
  normalization,
  positions,
  shape,
  tf_ops,
  wrapping,
)
from tfmot_paoding.layers.base import (
  LayerHandler,
  handler_of,
  is_known,
  opaque,
  register_handler,
  weight_ref,
)
from tfmot_paoding.layers.wrapping import inner_layer
from tfmot_paoding.numerics.activations import Activation

__all__ = [
  'Activation',
  'LayerHandler',
  'activation',
  'applications',
  'conv',
  'dense',
  'embedding',
  'handler_of',
  'inner_layer',
  'is_known',
  'merging',
  'normalization',
  'opaque',
  'positions',
  'register_handler',
  'shape',
  'tf_ops',
  'weight_ref',
  'wrapping',
]
