"""What an LSTM remembers is no weight, though both begin as zeros."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import converter
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import run_apart
from tfmot_paoding.tflite.own_states import shares_states, with_own_states


@pytest.fixture(scope='module')
def model() -> keras.Model:
  """One unit, one input, and gates that do not look at it."""
  inputs = keras.Input((24, 1))
  layer = keras.layers.LSTM(1)
  model = keras.Model(inputs, layer(inputs))
  layer.set_weights(
    [
      np.array([[0.0, 0.0, 2.0, 0.0]]),
      np.array([[0.1, -0.1, 0.2, 0.1]]),
      np.zeros(4),
    ]
  )
  return model


@pytest.mark.parametrize(
  ('quantization', 'least'), [(None, 1e-5), ('int8', 0.02)]
)
def test_a_unit_alone_answers_as_in_keras(model, quantization, least):
  data = convert_unchecked(model, quantization, input_range=(-1, 1))
  x = np.random.default_rng(0).uniform(-1, 1, (20, 24, 1)).astype(np.float32)
  found = paoding.compare_tflite(model, data, inputs=x, run=run_apart)
  assert found.mean < least


@pytest.mark.parametrize('quantization', [None, 'int8'])
def test_files_of_others_are_refused_before_they_run(
  model, quantization, monkeypatch
):
  monkeypatch.setattr(converter, 'with_own_states', lambda data: data)
  data = convert_unchecked(model, quantization, input_range=(-1, 1))
  named = {model.input_names[0]: np.zeros((1, 24, 1), np.float32)}
  with pytest.raises(ValueError, match='A state of an LSTM is a weight'):
    paoding.tflite.run_tflite(data, named, outputs=model.output_names)
  if quantization is None:
    mended = with_own_states(data)
    assert shares_states(TFLiteFile(data).object)
    assert not shares_states(TFLiteFile(mended).object)
    assert with_own_states(mended) is mended
