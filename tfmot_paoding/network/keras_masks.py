"""Where Keras masks run in a model, and which layers heed them.

A mask says which steps of a sequence are there. It comes from an `Embedding`
with `mask_zero` or from `Masking`, travels beside the tensors, and is heeded by
the few layers whose `call` takes one.
"""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras


def heeds_mask(layer: Any) -> bool:
  """Whether what a layer gives at inference depends on a mask."""
  if isinstance(layer, keras.layers.TimeDistributed):
    return heeds_mask(layer.layer)
  if isinstance(layer, keras.layers.BatchNormalization):
    return False  # its statistics do, in training
  return compat.takes_mask(layer)


def carries_mask(layer: Any, tensor: Any, came: bool) -> bool:
  """Whether a mask may travel with what a call gives.

  Args:
    layer: The layer.
    tensor: What the call gives, a Keras tensor.
    came: Whether one came along with what the call takes. A nested model is
      built without it, so that its tensors do not tell.
  """
  if getattr(tensor, '_keras_mask', None) is not None:
    return True
  # Where the axis of steps goes, the mask goes.
  return came and layer.supports_masking and tensor.shape.rank > 2
