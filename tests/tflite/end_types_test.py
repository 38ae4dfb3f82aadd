"""Tests of files that take and give integers as devices have them."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.quantization import quantization_of
from tfmot_paoding.tflite import micro
from tfmot_paoding.tflite.end_types import EndTypes, end_types
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import load_interpreter


def camera(scaled=True):
  """Bytes of a camera, scaled inside of the network."""
  x = inputs = keras.Input((8, 8, 3))
  if scaled:
    x = keras.layers.Rescaling(1 / 255)(x)
  x = keras.layers.Conv2D(8, 3, activation='relu')(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  outputs = keras.layers.Dense(4, activation='softmax')(x)
  return testing.fill(keras.Model(inputs, outputs))


def files(model, kinds, quantization='int8', **kwargs):
  return [
    paoding.convert_to_tflite(
      model,
      quantization,
      input_range=(0, 255),
      inference_input_type=taken,
      inference_output_type=given,
      **kwargs,
    )
    for taken, given in kinds
  ]


def ends(data):
  file = TFLiteFile(data)
  return tuple(
    file.tensors[places[0]].type for places in (file.inputs, file.outputs)
  )


KINDS = [
  ('int8', 'int8'),
  ('uint8', 'uint8'),
  ('uint8', 'int8'),
  ('uint8', 'float32'),
  ('float32', 'uint8'),
  (tf.float32, tf.int8),
]


def test_bytes_are_the_same_numbers_in_every_type():
  model = camera()
  made = files(model, KINDS)
  for data, kinds in zip(made, KINDS, strict=True):
    assert ends(data) == tuple(tf.dtypes.as_dtype(kind).name for kind in kinds)
  x = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3))
  signed, unsigned = (load_interpreter(data) for data in made[:2])
  for runner in (signed, unsigned):
    runner.allocate_tensors()
  (at, to), (at_bytes, to_bytes) = (
    (runner.get_input_details()[0], runner.get_output_details()[0])
    for runner in (signed, unsigned)
  )
  assert at_bytes['quantization'] == (1.0, 0)  # a byte is its value
  assert at['quantization'] == (1.0, -128)
  for one in x:
    signed.set_tensor(at['index'], (one[None] - 128).astype(np.int8))
    unsigned.set_tensor(at_bytes['index'], one[None].astype(np.uint8))
    signed.invoke()
    unsigned.invoke()
    np.testing.assert_array_equal(
      signed.get_tensor(to['index']).astype(int) + 128,
      unsigned.get_tensor(to_bytes['index']),
    )


@pytest.mark.parametrize('kinds', [('uint8', 'uint8'), ('float32', 'int8')])
def test_answers_are_the_models(kinds):
  model = camera()
  (data,) = files(model, [kinds])
  x = testing.samples((8, 8, 3), 40, 0.0, 255.0).astype(np.float32)
  found = paoding.tflite.compare_tflite(model, data, inputs=x)
  assert found.agreement > 0.9


def test_a_microcontroller_takes_bytes():
  pytest.importorskip('tflite_micro')
  model = camera()
  signed, unsigned = files(model, [(None, None), ('uint8', 'uint8')])
  found = paoding.profile_tflite(unsigned, latency=False)
  assert not found.micro_error
  assert found.arena_bytes > 0
  plain = paoding.profile_tflite(signed, latency=False).operators
  more = {name: n - plain.get(name, 0) for name, n in found.operators.items()}
  assert {name: n for name, n in more.items() if n} == {'QUANTIZE': 2}
  x = testing.samples((8, 8, 3), 10, 0.0, 255.0).astype(np.float32)
  same = paoding.tflite.compare_tflite(
    model, unsigned, inputs=x, run=micro.run_micro
  )
  assert same.agreement > 0.8


def test_bytes_in_c(tmp_path):
  (data,) = files(camera(), [('uint8', 'float32')])
  _, header = paoding.write_c_array(
    data, str(tmp_path / 'camera'), arena_bytes=1
  )
  lines = pathlib.Path(header).read_text().splitlines()
  (line,) = [line for line in lines if 'uint8' in line]
  assert 'input' in line


def test_sixteen_bits_have_real_ends_apart():
  kinds = [('float32', 'int16'), ('int16', 'float32')]
  for data, asked in zip(files(camera(), kinds, 'int16x8'), kinds, strict=True):
    assert ends(data) == asked


def test_four_bits_take_bytes():
  pytest.importorskip('ai_edge_quantizer')
  kinds = [('uint8', 'float32'), ('float32', 'uint8')]
  for data, asked in zip(files(camera(), kinds, 'int4x8'), kinds, strict=True):
    assert ends(data) == asked


def test_rows_of_tables_stay_whole():
  x = inputs = keras.Input((6,))
  x = keras.layers.Embedding(50, 4)(x)
  x = keras.layers.Flatten()(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  with pytest.warns(UserWarning, match="is 'uint8', but the file has int32"):
    paoding.convert_to_tflite(
      model, 'int8', input_range=(0, 49), inference_input_type='uint8'
    )


@pytest.mark.parametrize(
  ('quantization', 'given', 'message'),
  [
    (None, 'uint8', "must be 'float32' where `quantization` is None"),
    ('dynamic', 'int8', "must be 'float32' where `quantization` is 'dynamic'"),
    ('int16x8', 'uint8', "must be 'float32' or 'int16' where"),
    ('int8', 'int16', "must be 'float32' or 'int8' or 'uint8' where"),
    ('int8', 'byte', "but got 'byte'"),
  ],
)
def test_types_that_a_mode_has_not(quantization, given, message):
  with pytest.raises(ValueError, match=message):
    files(camera(), [(given, None)], quantization)


def test_two_that_contradict():
  with pytest.raises(ValueError, match='`float_io` asks for real inputs'):
    files(camera(), [('uint8', None)], float_io=True)


def test_what_stands_for_nothing_said():
  mode = quantization_of('int8')
  assert end_types(mode, False, None, None) == EndTypes('int8', 'int8')
  assert end_types(mode, True, None, None) == EndTypes('float32', 'float32')
  mode = quantization_of(None)
  assert end_types(mode, False, None, None) == EndTypes('float32', 'float32')


def test_inputs_to_compare_that_are_not_the_models():
  model = camera()
  with pytest.raises(
    ValueError, match="each of the inputs .*got \\['other'\\]"
  ):
    paoding.tflite.compare_tflite(model, b'', inputs={'other': np.zeros(1)})
