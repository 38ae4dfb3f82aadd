"""A model as TFLite can express it: in float32, with nothing it cannot keep."""

from __future__ import annotations

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.network.cloning import in_float32, with_whole_inputs
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.index_inputs import uses_of_inputs
from tfmot_paoding.quantization import Quantization, with_casts


def prepared(
  model: keras.Model, mode: Quantization, takes_real: bool
) -> keras.Model:
  """The model that is converted in a model's place: the same answers.

  Args:
    model: A plain tf_keras model, not changed.
    mode: What numbers the file shall hold.
    takes_real: Whether integers throughout take real numbers.

  Raises:
    ValueError: a layer keeps states, or its weights or inputs are such that
      the file could not hold them.
  """
  _check_states(model)
  model = in_float32(model)
  if mode.is_calibrated:
    model = _with_indices(model, mode, takes_real)
  return model


def _check_states(model: keras.Model) -> None:
  """Raises where a layer keeps states from one call to the next."""
  for layer in model._flatten_layers():
    if isinstance(layer, keras.layers.RNN) and layer.stateful:
      raise ValueError(
        f'Layer {layer.name!r} is stateful, and a .tflite made of it could not '
        'keep its states between two calls. Convert a copy of the model built '
        'with `stateful=False` (the same weights), which begins anew with '
        'every call; or make the states inputs and outputs of the model, '
        '`initial_state=` and `return_state=True`.'
      )


def _with_indices(
  model: keras.Model, mode: Quantization, takes_real: bool
) -> keras.Model:
  """The model with whole numbers where it looks them up in tables.

  Steps of 8 bits hold none but a small table's, and 16 bits have no cast.

  Raises:
    ValueError: an input is looked up, and is a number as well.
  """
  if takes_real and mode.casts:
    return model
  graph, names = build_graph(model), []
  for tensor, name, whole, use in zip(
    model.inputs,
    model.input_names,
    whole_entries(model, graph),
    uses_of_inputs(graph),
    strict=True,
  ):
    if tensor.dtype.is_integer or not whole.any():
      continue
    if use.as_number or not whole.all():
      raise ValueError(
        f'Input {name!r} holds rows of a table and is read as a number too: '
        f'the steps of {mode.name!r} cannot hold both. Give the model an '
        f'int32 input, or pass `float_io=True` with {with_casts()}.'
      )
    names.append(name)
  return with_whole_inputs(model, names) if names else model
