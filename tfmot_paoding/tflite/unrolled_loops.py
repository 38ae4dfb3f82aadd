"""Recurrent layers whose steps are written one by one.

TFLite has no integers for loops, and tflite-micro none that collect a sequence.
"""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.network.cloning import clone_with, copy_weights, fresh_layer

_layers = keras.layers
# The activations of TFLite's LSTM.
_OPERATOR = keras.activations.tanh, keras.activations.sigmoid
_RECURRENT = (_layers.GRU, _layers.LSTM, _layers.SimpleRNN)


def without_loops(model: keras.Model, *, all_of_them: bool) -> keras.Model:
  """The model with such layers unrolled; itself where it has none.

  Args:
    model: A plain tf_keras model, not changed.
    all_of_them: Whether those that give their last step alone are among them.
  """

  def unrolls(layer: Any) -> bool:
    recurrent = _recurrent(layer)
    return (
      recurrent is not None
      and _is_loop(recurrent)
      and (all_of_them or recurrent.return_sequences)
      and _has_known_steps(layer)
    )

  if not any(map(unrolls, model._flatten_layers())):
    return model

  def make_layer(layer: Any, _: Any) -> Any:
    config = _unrolled(layer.get_config()) if unrolls(layer) else None
    return fresh_layer(layer, config)

  made = clone_with(model, make_layer)
  copy_weights(model, made)
  return made


def _recurrent(layer: Any) -> Any:
  """The recurrent layer that it is, or that it runs in both directions."""
  inner = layer.forward_layer if type(layer) is _layers.Bidirectional else layer
  return inner if type(inner) in _RECURRENT else None


def _is_loop(layer: Any) -> bool:
  """Whether the converter makes a loop of it, and not an operator."""
  if layer.unroll:
    return False
  if type(layer) is not _layers.LSTM:
    return True
  settings = layer.activation, layer.recurrent_activation
  return settings != _OPERATOR or not layer.use_bias


def _has_known_steps(layer: Any) -> bool:
  return bool(layer.inbound_nodes) and all(
    call.keras_inputs[0].shape[1] is not None for call in layer.inbound_nodes
  )


def _unrolled(config: Any) -> Any:
  if isinstance(config, (list, tuple)):
    return type(config)(map(_unrolled, config))
  if not isinstance(config, dict):
    return config
  return {
    key: True if key == 'unroll' else _unrolled(value)
    for key, value in config.items()
  }
