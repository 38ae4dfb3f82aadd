"""Cells of LSTMs may count beyond what TensorFlow's converter lets them."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.cell_clips import without_cell_clips
from tfmot_paoding.tflite.flatbuffer import TFLiteFile

_STEPS = 24


def counting() -> keras.Model:
  """Units that add up what comes in, and lose it where that turns."""
  inputs = keras.Input((_STEPS, 1))
  layer = keras.layers.LSTM(4)
  model = keras.Model(inputs, layer(inputs))
  kernel = np.zeros((1, 16))
  kernel[0, 8:12] = 8.0  # of input, forget, candidate and output
  back = np.random.default_rng(0).normal(0, 0.01, (4, 16))
  layer.set_weights([kernel, back, np.repeat([8.0, 8.0, 0.0, 8.0], 4)])
  return model


def up_and_down() -> np.ndarray:
  """Sums of 14 and back to 4: after a cut at 10 they come back to 0."""
  x = np.ones((2, _STEPS, 1), np.float32)
  x[0, 14:] = -1.0
  x[1, 20:] = -1.0
  return x


@pytest.mark.parametrize('quantization', [None, 'dynamic', 'float16'])
def test_real_numbers_count_on(quantization):
  model, x = counting(), up_and_down()
  data = paoding.convert_to_tflite(model, quantization, input_range=(-1, 1))
  named = {model.input_names[0]: x}
  (found,) = paoding.tflite.run_tflite(data, named, outputs=model.output_names)
  np.testing.assert_allclose(found, model(x), atol=0.02)


@pytest.mark.parametrize('quantization', ['int8', 'dynamic', None])
def test_no_file_says_that_cells_are_cut_off(quantization):
  inputs = keras.Input((5, 3))
  model = keras.Model(inputs, keras.layers.LSTM(4)(inputs))
  data = paoding.convert_to_tflite(model, quantization, input_range=(-1, 1))
  graph = TFLiteFile(data).object.subgraphs[0]
  found = [
    getattr(op.builtinOptions, 'cellClip', None) for op in graph.operators
  ]
  assert [clip for clip in found if clip is not None] == [0.0]


def test_files_without_lstms_stay_as_they_are():
  model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
  data = paoding.convert_to_tflite(model, input_range=(-1, 1))
  assert without_cell_clips(data) == data
