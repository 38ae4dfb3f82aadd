"""Files that are damaged: an error that says so, wherever the damage is."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


@pytest.fixture(scope='module', params=[None, 'int8'])
def data(request) -> bytes:
  x = inputs = keras.Input((6, 6, 2))
  x = keras.layers.Conv2D(4, 3, activation='relu')(x)
  x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, x))
  return paoding.convert_to_tflite(model, request.param)


def packed(file: TFLiteFile) -> bytes:
  builder = flatbuffers.Builder(1024)
  builder.Finish(file.object.Pack(builder), b'TFL3')
  return bytes(builder.Output())


def messages(files) -> list[str]:
  """What is said of those that are refused."""
  found = []
  for changed in files:
    try:
      TFLiteFile(changed)
    except ValueError as error:
      found.append(str(error))
  return found


def test_cut_files_are_read_or_refused(data):
  found = messages(data[:size] for size in range(0, len(data), 7))
  assert len(found) > len(data) // 14
  assert all('.tflite' in text for text in found)


def test_changed_files_are_read_or_refused(data):
  rng, files = np.random.default_rng(0), []
  for _ in range(500):
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
      changed[rng.integers(8, len(data))] = rng.integers(256)
    files.append(bytes(changed))
  found = messages(files)
  assert 50 < len(found) < 450
  assert all('damaged .tflite' in text for text in found)


@pytest.mark.parametrize(
  ('of', 'name', 'value'),
  [
    (lambda m: m.subgraphs[0].operators[0], 'inputs', np.array([99])),
    (lambda m: m.subgraphs[0].operators[0], 'outputs', np.array([-2])),
    (lambda m: m.subgraphs[0].operators[0], 'opcodeIndex', 99),
    (lambda m: m.subgraphs[0].tensors[1], 'buffer', 99),
    (lambda m: m.subgraphs[0].tensors[0], 'shape', np.array([2**31 - 1] * 2)),
    (lambda m: m.subgraphs[0], 'outputs', np.array([99])),
    (lambda m: m, 'subgraphs', []),
    (lambda m: m.signatureDefs[0].inputs[0], 'tensorIndex', 1),
  ],
)
def test_places_that_do_not_exist_are_refused(data, of, name, value):
  file = TFLiteFile(data)
  if isinstance(value, np.ndarray):
    value = value.astype(np.int32)
  setattr(of(file.object), name, value)
  with pytest.raises(ValueError, match='damaged .tflite'):
    TFLiteFile(packed(file))


def options(file: TFLiteFile, name: str):
  """The settings of the first operator of a kind, in any graph."""
  return next(
    op.builtinOptions
    for graph in file.object.subgraphs
    for op in graph.operators
    if hasattr(op.builtinOptions, name)
  )


@pytest.mark.parametrize(
  ('setting', 'value'),
  [('numSplits', 2**28), ('condSubgraphIndex', 7), ('bodySubgraphIndex', -1)],
)
def test_settings_that_bring_an_interpreter_down_are_refused(setting, value):
  inputs = keras.Input((4, 3))
  model = testing.fill(keras.Model(inputs, keras.layers.GRU(2)(inputs)))
  file = TFLiteFile(paoding.convert_to_tflite(model))
  setattr(options(file, setting), setting, value)
  with pytest.raises(ValueError, match=f'damaged .*{setting} of {value}'):
    TFLiteFile(packed(file))


def test_steps_that_no_window_takes_are_refused(data):
  file = TFLiteFile(data)
  options(file, 'strideW').strideW = 5636098
  with pytest.raises(ValueError, match='damaged .*CONV_2D has a strideW'):
    TFLiteFile(packed(file))


def test_inner_graphs_are_looked_at_too():
  inputs = keras.Input((4, 3))
  model = testing.fill(keras.Model(inputs, keras.layers.GRU(2)(inputs)))
  file = TFLiteFile(paoding.convert_to_tflite(model))
  file.object.subgraphs[1].outputs = np.array([99], np.int32)
  with pytest.raises(ValueError, match='damaged .*there is no tensor 99'):
    TFLiteFile(packed(file))


@pytest.mark.parametrize('kind', ['BFLOAT16', 'UINT16'])
def test_types_that_are_rare_are_read(kind):
  model = testing.mlp((40, 60, 3))
  file = TFLiteFile(paoding.convert_to_tflite(model, 'float16'))
  weights = file.weight_bytes
  for tensor in file.object.subgraphs[0].tensors:
    if tensor.type == schema.TensorType.FLOAT16:
      tensor.type = getattr(schema.TensorType, kind)
  assert TFLiteFile(packed(file)).weight_bytes == weights


def test_a_file_without_a_signature_is_read(data):
  file = TFLiteFile(data)
  file.object.signatureDefs = []
  data = packed(file)
  assert paoding.profile_tflite(data, micro=False, seconds=0.01).latency
  name = file.tensors[file.inputs[0]].name
  assert TFLiteFile(data).signature(of_inputs=True) == {name: 0}


def test_it_says_which_of_two_files_is_bad(data):
  with pytest.raises(ValueError, match='`reference`.* is a damaged'):
    paoding.profile_tflite(data, data[:200], micro=False)
  with pytest.raises(ValueError, match='`reference`.* bytes of a .tflite'):
    paoding.profile_tflite(data, 'x.tflite', micro=False)


def test_what_the_interpreter_refuses_is_one_kind_of_error(data):
  file = TFLiteFile(data)
  file.object.operatorCodes[0].version = 99
  changed = packed(file)
  with pytest.raises(ValueError, match='does not run this .tflite'):
    paoding.profile_tflite(changed, micro=False)
  x = {name: np.zeros((1, 6, 6, 2)) for name in file.signature(True)}
  with pytest.raises(ValueError, match='does not run this .tflite'):
    paoding.tflite.run_tflite(changed, x, outputs=list(file.signature(False)))


def test_names_are_those_of_the_file(data):
  file = TFLiteFile(data)
  (name,) = file.signature(of_inputs=True)
  x = np.zeros((1, 6, 6, 2), np.float32)
  with pytest.raises(ValueError, match="takes the inputs .*but got \\['x'\\]"):
    paoding.tflite.run_tflite(data, {'x': x}, outputs=[])
  with pytest.raises(ValueError, match="no output 'y'; it has"):
    paoding.tflite.run_tflite(data, {name: x}, outputs=['y'])
