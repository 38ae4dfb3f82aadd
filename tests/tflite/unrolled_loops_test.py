"""Recurrent layers for microcontrollers: steps in place of loops."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import MicroError, run_micro
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.unrolled_loops import without_loops

L = keras.layers
LAYERS = {
  'GRU': lambda: L.GRU(5, return_sequences=True),
  'both directions': lambda: L.Bidirectional(
    L.SimpleRNN(3, return_sequences=True)
  ),
  'LSTM of an activation of its own': lambda: L.LSTM(
    4, activation='relu', return_sequences=True
  ),
}


AUTOENCODER = (
  lambda: L.LSTM(4, activation='relu', name='code'),
  lambda: L.RepeatVector(6),
  lambda: L.LSTM(4, activation='relu', return_sequences=True),
  lambda: L.LSTM(3, return_sequences=True, recurrent_dropout=0.1),
  lambda: L.TimeDistributed(L.Dense(3)),
)


def network(*layers) -> keras.Model:
  return testing.fill(keras.Sequential([keras.Input((6, 3)), *layers]))


def answers(model, data, x):
  return run_micro(data, {model.input_names[0]: x}, outputs=model.output_names)[
    0
  ]


@pytest.mark.parametrize('quantization', [None, 'int8'])
@pytest.mark.parametrize('name', LAYERS)
def test_sequences_are_right_on_microcontrollers(name, quantization):
  pytest.importorskip('tflite_micro')
  model = network(LAYERS[name](), L.Dense(2))
  x = testing.draw((6, 3), 3).astype(np.float32)
  data = paoding.convert_to_tflite(
    model, quantization, input_range=(-1, 1), micro=True
  )
  assert 'WHILE' not in TFLiteFile(data).operator_counts
  wanted = np.asarray(model(x))
  tolerance = (0.05 if quantization else 1e-5) * (1 + np.abs(wanted).max())
  np.testing.assert_allclose(answers(model, data, x), wanted, atol=tolerance)


def test_a_loop_that_answers_wrong_there_is_refused():
  """It gave tensors of the wrong size their place, and ran."""
  pytest.importorskip('tflite_micro')
  model = network(LAYERS['LSTM of an activation of its own']())
  data = paoding.convert_to_tflite(model, input_range=(-1, 1))
  with pytest.raises(MicroError, match='`micro=True`'):
    answers(model, data, testing.draw((6, 3), 3).astype(np.float32))
  profile = paoding.profile_tflite(data)
  assert profile.arena_bytes is None


def test_loops_that_end_stay():
  last = network(L.GRU(4), L.Dense(2))
  assert without_loops(last, all_of_them=False) is last
  assert without_loops(last, all_of_them=True) is not last
  operator = network(L.LSTM(4, return_sequences=True))
  assert without_loops(operator, all_of_them=True) is operator


def test_an_autoencoder_of_sequences_goes_the_whole_way():
  pytest.importorskip('tflite_micro')
  model = network(*(layer() for layer in AUTOENCODER))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('code').units == 2
  x = testing.draw((6, 3), 3).astype(np.float32)
  data = paoding.convert_to_tflite(small, input_range=(-1, 1), micro=True)
  assert TFLiteFile(data).operator_counts['UNIDIRECTIONAL_SEQUENCE_LSTM'] == 1
  np.testing.assert_allclose(answers(small, data, x), small(x), atol=1e-5)
