"""A file is said to run where it runs."""

from __future__ import annotations

import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import extras
from tfmot_paoding.compat import keras
from tfmot_paoding.quantization import QUANTIZATIONS
from tfmot_paoding.tflite.interpreters import runs_in

L = keras.layers


def file_of(activation) -> bytes:
  layers = [L.Input((4,)), L.Dense(6, activation), L.Dense(2)]
  model = testing.fill(keras.Sequential(layers))
  return paoding.convert_to_tflite(model, input_range=(0, 1))


@pytest.mark.skipif(not extras.MICRO.is_installed, reason='without [micro]')
def test_an_operator_that_tflite_micro_lacks_is_told():
  mode = QUANTIZATIONS[None]
  found = runs_in(file_of('gelu'), mode)
  assert found.startswith('LiteRT (phones). ')
  assert 'GELU' in found
  assert runs_in(file_of('relu'), mode) == mode.runs_in


def test_numbers_that_it_does_not_compute_with_need_no_run():
  mode = QUANTIZATIONS['float16']
  assert not mode.on_micro
  assert runs_in(b'', mode) == mode.runs_in
