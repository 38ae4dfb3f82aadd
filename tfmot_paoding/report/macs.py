"""Multiply-accumulates of a model."""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.input_shapes import check_sizes
from tfmot_paoding.network.network import Network


def count_macs(model: keras.Model, input_shape: Any = None) -> int:
  """Multiply-accumulates of one inference for one sample.

  Counted are products and convolutions, as is usual, those of recurrent layers
  at every step of time, and those of attention: of queries with keys and of
  shares with values. Other layers that stay as they are count nothing.

  Args:
    model: A model that `prune_low_saliency` takes.
    input_shape: The sizes that the model leaves open, without the batch axis,
      such as (224, 224, 3); a dict by input name for several inputs.

  Raises:
    TypeError: `model` is not a tf_keras model.
    ValueError: it is subclassed or not built, leaves sizes open, or
      `input_shape` does not fit it.
  """
  model = as_opened(model, input_shape)
  check_sizes(model)
  return Network.of(model).macs
