"""LSTMs of integers: ranges as Keras runs them, and steps that kernels take."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import converter, lstm_ranges
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import run_apart
from tfmot_paoding.tflite.micro import run_micro

_layers = keras.layers
RANGE = (-1.0, 1.0)


def sequences(bias, units=3, **settings) -> keras.Model:
  """An LSTM whose gates have one bias; at 8 its cells count the steps."""
  inputs = keras.Input((10, 6))
  layer = _layers.LSTM(units, return_sequences=True, **settings)
  model = testing.fill(keras.Model(inputs, layer(inputs)), scale=0.5)
  kernel, back, _ = layer.get_weights()
  layer.set_weights([kernel, back, np.full(4 * units, bias)])
  return model


@pytest.fixture(scope='module')
def x():
  return testing.samples((10, 6), 40, seed=3).astype(np.float32)


@pytest.mark.parametrize('bias', [0.0, 2.0, 8.0])
def test_integers_are_near_real_numbers_whatever_the_gates(bias, x):
  """At 0 cells stay below 1, where tanh was left out in silence."""
  model = sequences(bias)
  data = convert_unchecked(model, 'int8', input_range=RANGE)
  found = paoding.compare_tflite(model, data, inputs=x, run=run_apart)
  assert found.mean < 0.02
  assert found.apart < 0.5


def test_both_interpreters_give_the_same(x):
  pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
  model = sequences(2.0)
  data = convert_unchecked(model, 'int8', input_range=RANGE)
  named = {model.input_names[0]: x[:8]}
  (one,) = run_apart(data, named, outputs=model.output_names)
  (two,) = run_micro(data, named, outputs=model.output_names)
  np.testing.assert_allclose(one, two, atol=0.02)


def test_states_do_not_go_from_sample_to_sample():
  """Ten steps of at most one make a cell of ten; samples of them 80."""
  data = convert_unchecked(sequences(8.0), 'int8', input_range=RANGE)
  graph = TFLiteFile(data).object.subgraphs[0]
  states = [t.quantization.scale[0] for t in graph.tensors if t.isVariable]
  assert min(states) == 2.0**-11  # to 16
  hidden = [
    t.quantization.scale[0]
    for t in graph.tensors
    if b'hidden' in t.name or list(t.shape) == [1, 10, 3]
  ]
  assert len(hidden) == 2
  assert len(set(hidden)) == 1


@pytest.mark.parametrize('settings', [{}, {'go_backwards': True}])
def test_cells_are_those_of_keras(settings, x):
  units = 3
  model = sequences(0.5, units, **settings)
  layer = model.layers[1]
  config = {**layer.get_config(), 'return_state': True}
  twin = _layers.LSTM.from_config(config)
  twin(x[:1])
  twin.set_weights(layer.get_weights())
  kernel, back, bias = (np.split(w, 4, -1) for w in layer.get_weights())
  read = x[:, ::-1] if settings else x
  found = lstm_ranges.cells(
    read, [w.T for w in kernel], [w.T for w in back], bias
  )
  np.testing.assert_allclose(found[:, -1], twin(x)[2], atol=1e-5)
  first = twin(x[:, -1:] if settings else x[:, :1])
  np.testing.assert_allclose(found[:, 0], first[2], atol=1e-5)


def test_files_without_lstms_stay_as_they_are(monkeypatch):
  given = []

  def spy(ranged, drawn):
    given.append(lstm_ranges.with_lstm_ranges(ranged, drawn) is ranged)
    return ranged

  monkeypatch.setattr(converter, 'with_lstm_ranges', spy)
  convert_unchecked(testing.mlp(), 'int8', input_range=RANGE)
  assert given == [True]
