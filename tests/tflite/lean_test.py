"""Leaner files are the same files: for interpreters, and read back."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.quantization import quantization_of
from tfmot_paoding.tflite import converter
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.lean import lean
from tfmot_paoding.tflite.litert import run_tflite
from tfmot_paoding.tflite.micro import run_micro
from tfmot_paoding.tflite.representative import a_few

_layers = keras.layers
RANGE = (-1.0, 1.0)


def network() -> keras.Model:
  """Many channels of few weights, whose scales weigh."""
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 3)),
        _layers.Conv2D(24, 1),
        _layers.BatchNormalization(),
        _layers.ReLU(),
        _layers.DepthwiseConv2D(3),
        _layers.BatchNormalization(),
        _layers.ReLU(),
        _layers.GlobalAveragePooling2D(),
        _layers.Dense(3, activation='softmax'),
      ]
    )
  )


@pytest.fixture(scope='module', params=[None, 'int8', 'dynamic', 'int16x8'])
def files(request) -> tuple[bytes, bytes]:
  """As it is converted, and lean."""
  model, mode = network(), quantization_of(request.param)
  drawn = a_few(model, RANGE, seed=0, count=4) if mode.takes_inputs else None
  plain = converter._written(model, mode, drawn, None, False)
  return plain, lean(plain)


def test_weights_begin_where_the_schema_wants_them(files):
  """At multiples of 16, which TensorFlow's own files do not."""
  plain, small = map(testing.buffer_starts, files)
  assert any(start % 16 for start in plain)
  assert len(small) > 4
  assert not any(start % 16 for start in small)


def test_interpreters_give_the_same(files):
  pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
  x = testing.samples((8, 8, 3), 4).astype(np.float32)
  for run in (run_tflite, run_micro):
    names = TFLiteFile(files[0]).signature(of_inputs=True)
    outputs = list(TFLiteFile(files[0]).signature(of_inputs=False))
    if run is run_micro and 'HYBRID' in str(_kinds(files[0])):
      continue
    made = [
      run(data, dict.fromkeys(names, x), outputs=outputs) for data in files
    ]
    np.testing.assert_array_equal(*made)


def _kinds(data: bytes) -> str:
  """'HYBRID' where weights alone are integers, which micro does not run."""
  tensors = TFLiteFile(data).tensors
  kinds = {tensor.type for tensor in tensors if tensor.stored > 12}
  ends = {tensors[k].type for k in TFLiteFile(data).inputs}
  return 'HYBRID' if 'int8' in kinds and 'float32' in ends else ''


def test_contents_scales_and_ends_stay(files):
  one, two = (TFLiteFile(data).object for data in files)
  graphs = one.subgraphs[0], two.subgraphs[0]
  for a, b in zip(*(graph.tensors for graph in graphs), strict=True):
    assert (a.type, a.isVariable) == (b.type, b.isVariable)
    np.testing.assert_array_equal(a.shape, b.shape)
    for name in ('scale', 'zeroPoint', 'quantizedDimension'):
      pair = [getattr(t.quantization, name, None) for t in (a, b)]
      np.testing.assert_array_equal(*pair)
    held = [m.buffers[t.buffer].data for m, t in ((one, a), (two, b))]
    empty = [data is None or not len(data) for data in held]
    assert empty[0] == empty[1]
    if not empty[0]:
      np.testing.assert_array_equal(*held)
  for name in ('inputs', 'outputs'):
    ours, theirs = (
      [graph.tensors[k].name for k in getattr(graph, name)] for graph in graphs
    )
    assert ours == theirs
  for a, b in zip(*(graph.operators for graph in graphs), strict=True):
    np.testing.assert_array_equal(a.inputs, b.inputs)
    np.testing.assert_array_equal(a.outputs, b.outputs)
  names = [tensor.name for tensor in graphs[1].tensors]
  assert len(set(names)) == len(names)


def test_they_are_smaller_and_lean_once(files):
  assert len(files[1]) < len(files[0])
  assert lean(files[1]) == files[1]


def test_zero_points_stand_once():
  """Of 24 channels 192 bytes in each of two layers' weights and biases."""
  model, mode = network(), quantization_of('int8')
  drawn = a_few(model, RANGE, seed=0, count=4)
  plain = converter._written(model, mode, drawn, None, False)
  assert len(plain) - len(lean(plain)) > 3 * 192


def test_every_file_is_lean():
  data = paoding.convert_to_tflite(network(), 'int8', input_range=RANGE)
  assert lean(data) == data
