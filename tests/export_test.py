"""Export, checked in the real interpreter."""

from __future__ import annotations

import os

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import export as lib
from tfmot_paoding.compat import keras, strip_pruning

X = testing.samples((64,), 20).astype(np.float32)


def model():
  return testing.mlp((64, 96, 64, 10))


def outputs(made, data):
  name, out = made.input_names[0], made.output_names[0]
  out = out.removeprefix('prune_low_saliency_')  # conversion strips wrappers
  rows = [lib.run_tflite(data, {name: x[None]}, [out])[0] for x in X]
  return np.concatenate(rows)


@pytest.mark.parametrize(
  ('quantization', 'tolerance'),
  [(None, 1e-5), ('dynamic', 0.1), ('float16', 0.01)],
)
def test_only_compaction_shrinks_the_file(quantization, tolerance):
  original = model()
  wrapped = paoding.prune_low_saliency(original)
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  sizes = []
  for made in (original, wrapped, stripped, small):
    data = paoding.convert_to_tflite(made, quantization)
    sizes.append(len(data))
    wanted = made.predict(X, verbose=0)
    np.testing.assert_allclose(
      outputs(made, data), wanted, rtol=0, atol=tolerance * np.abs(wanted).max()
    )
  assert sizes[1] >= 0.99 * sizes[0]
  assert sizes[2] >= 0.99 * sizes[0]
  assert sizes[3] < 0.55 * sizes[0]


def test_quantization_shrinks_too():
  sizes = [
    len(paoding.convert_to_tflite(model(), q))
    for q in (None, 'float16', 'dynamic')
  ]
  assert sizes == sorted(sizes, reverse=True)


def test_several_inputs_and_outputs_keep_their_names():
  a, b = keras.Input((3,), name='zz'), keras.Input((4,), name='aa')
  x = keras.layers.Concatenate()([a, b])
  made = testing.fill(
    keras.Model(
      [a, b],
      [keras.layers.Dense(2, name='y')(x), keras.layers.Dense(3, name='b')(x)],
    )
  )
  data = paoding.convert_to_tflite(made)
  values = {
    'zz': np.ones((1, 3), np.float32),
    'aa': np.ones((1, 4), np.float32),
  }
  found = lib.run_tflite(data, values, made.output_names)
  for one, two in zip(found, made(list(values.values())), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize('bad', ['int4', 'none', 8])
def test_unknown_quantizations_are_named(bad):
  with pytest.raises(ValueError, match="`quantization`.*'dynamic'.*float16"):
    paoding.convert_to_tflite(model(), bad)


def test_other_objects_are_refused():
  with pytest.raises(TypeError, match='tf_keras model'):
    paoding.convert_to_tflite('model.h5')


def test_a_conversion_that_differs_is_refused(monkeypatch):
  made, other = model(), testing.mlp((64, 96, 64, 10), seed=9)
  data = paoding.convert_to_tflite(other)
  monkeypatch.setattr(lib, '_convert', lambda *_: data)
  made.input_names, made.output_names = other.input_names, other.output_names
  with pytest.raises(ValueError, match='differs from the Keras model'):
    paoding.convert_to_tflite(made)


class TestWriteFile:
  def test_it_writes_and_replaces(self, tmp_path):
    path = tmp_path / 'x.tflite'
    paoding.write_file(str(path), b'one')
    paoding.write_file(str(path), b'two')
    assert path.read_bytes() == b'two'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_failure_leaves_the_old_file_and_no_other(
    self, tmp_path, monkeypatch
  ):
    path = tmp_path / 'x.tflite'
    path.write_bytes(b'old')

    def full(handle):
      raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
      paoding.write_file(str(path), b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_missing_folder_is_an_error(self, tmp_path):
    with pytest.raises(OSError, match='nowhere'):
      paoding.write_file(str(tmp_path / 'nowhere' / 'x.tflite'), b'')
