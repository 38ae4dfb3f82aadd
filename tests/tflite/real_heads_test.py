"""What normalizes entries of unlike scale stays in real numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.real_heads import real_inputs

L = keras.layers
MEAN = np.array([0.0, 10.0, 1000.0, 20000.0, 0.5])
DEVIATION = np.array([0.1, 2.0, 150.0, 4000.0, 0.02])


def rows(count=300) -> np.ndarray:
  z = np.random.default_rng(0).normal(size=(count, 5))
  return (MEAN + DEVIATION * z).astype(np.float32)


def table(mean=MEAN, deviation=DEVIATION) -> keras.Model:
  norm = L.Normalization(mean=mean, variance=np.square(deviation))
  layers = [keras.Input((5,)), norm, L.Dense(24, 'relu'), L.Dense(4)]
  return testing.fill(keras.Sequential(layers))


def converted(model, x, **more):
  return paoding.convert_to_tflite(
    model,
    'int8',
    input_range=(x.min(0), x.max(0)),
    representative_data=x,
    **more,
  )


def agreement(model, data, x) -> float:
  found = paoding.tflite.compare_tflite(
    model, data, inputs={model.input_names[0]: x}
  )
  return found.agreement


def test_small_entries_are_not_lost_where_real_numbers_come_in():
  model, x = table(), rows()
  with warnings.catch_warnings():
    warnings.filterwarnings('error', message='.* share ')
    data = converted(model, x, float_io=True)
  assert agreement(model, data, x) > 0.97
  assert list(TFLiteFile(data).operator_counts)[:3] == [
    'SUB',
    'MUL',
    'QUANTIZE',
  ]
  assert real_inputs(data) == set(model.input_names)


def test_where_integers_come_in_it_is_refused_and_the_way_out_is_told():
  model, x = table(), rows()
  with (
    pytest.warns(UserWarning, match='or pass `float_io=True`'),
    pytest.raises(ValueError, match='differs from the Keras model'),
  ):
    converted(model, x)


@pytest.mark.parametrize(
  'model',
  [
    table(np.zeros(5), np.array([0.9, 1.0, 1.1, 0.8, 1.2])),
    testing.fill(
      keras.Sequential([keras.Input((5,)), L.Rescaling(0.1, 1.0), L.Dense(4)])
    ),
    testing.mlp(),
  ],
)
def test_entries_of_one_scale_become_integers_first(model):
  x = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
  data = converted(model, x, float_io=True)
  assert next(iter(TFLiteFile(data).operator_counts)) == 'QUANTIZE'
  assert not real_inputs(data)


def test_means_alone_may_be_unlike():
  mean = np.array([0.0, 10.0, 1000.0, 20.0, 0.5])
  model = table(mean, np.ones(5))
  x = (mean + np.random.default_rng(0).normal(size=(300, 5))).astype(np.float32)
  data = converted(model, x, float_io=True)
  assert agreement(model, data, x) > 0.97


def test_microcontrollers_run_it():
  pytest.importorskip('tflite_micro')
  model, x = table(), rows(40)
  data = converted(model, x, float_io=True)
  (made,) = paoding.tflite.run_micro(
    data, {model.input_names[0]: x}, outputs=model.output_names
  )
  answers = model(x).numpy().argmax(1)
  assert (np.reshape(made, (len(x), -1)).argmax(1) == answers).mean() > 0.9
