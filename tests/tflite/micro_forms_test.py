"""Operators that tflite-micro lacks come in those that it has."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import extras
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.convert import convert_unchecked
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.micro import check_micro
from tfmot_paoding.tflite.micro_forms import with_forms, with_micro_forms

L = keras.layers
RANGE = (-2.0, 2.0)


FUNCTIONS = {
  'GELU': tf.nn.gelu,
  'approximate GELU': lambda x: tf.nn.gelu(x, approximate=True),
  'EXP': tf.exp,
  'LOG': lambda x: tf.math.log(1.5 + tf.nn.relu(x)),
  'SQRT': lambda x: tf.sqrt(1.5 + tf.nn.relu(x)),
  'CONCATENATION': lambda x: tf.concat(tf.split(x, 12, -1)[::-1], -1),
}
# 16 bits have no square root, in any interpreter.
MODES = {
  None: [*FUNCTIONS],
  'int8': [*FUNCTIONS],
  'int16x8': [name for name in FUNCTIONS if name != 'SQRT'],
}


def net(*functions) -> keras.Model:
  """A model of a few rows, which reads each function of what is hidden."""
  inputs = keras.Input((3, 12))
  hidden = [function(L.Dense(12)(inputs)) for function in functions]
  heads = [L.Dense(2)(L.Flatten()(x)) for x in hidden]
  return testing.fill(keras.Model(inputs, heads))


@pytest.fixture(scope='module', params=MODES)
def case(request) -> tuple:
  """A mode, a model of all functions and the file that LiteRT gets."""
  model = net(*(FUNCTIONS[name] for name in MODES[request.param]))
  data = convert_unchecked(model, request.param, input_range=RANGE)
  return request.param, model, data


def answers(model, data, run, count=40):
  x = np.random.default_rng(0).uniform(*RANGE, (count, *model.input_shape[1:]))
  given = {model.input_names[0]: x.astype(np.float32)}
  return run(data, given, outputs=model.output_names)


def test_a_file_gives_what_it_gave(case):
  mode, model, data = case
  written = with_micro_forms(data)
  assert with_forms(data)
  assert not with_forms(written)
  here = paoding.tflite.run_tflite
  least = {None: 2e-6, 'int8': 0.0, 'int16x8': 4e-4}[mode]
  for before, after in zip(
    *(answers(model, one, here) for one in (data, written)), strict=True
  ):
    # Of 8 bits it is the kernel's own table.
    np.testing.assert_allclose(after, before, atol=least * np.ptp(before))


@pytest.mark.skipif(not extras.MICRO.is_installed, reason='without [micro]')
def test_tflite_micro_runs_it_as_litert_does(case):
  mode, model, data = case
  written = with_micro_forms(data)
  step = {None: 1e-6, 'int8': 2 / 255, 'int16x8': 1e-4}[mode]
  for here, there in zip(
    answers(model, written, paoding.tflite.run_tflite, 8),
    answers(model, written, paoding.tflite.run_micro, 8),
    strict=True,
  ):
    np.testing.assert_allclose(there, here, atol=step * np.ptp(here))


def test_gelu_of_real_numbers_is_within_what_it_says():
  inputs = keras.Input((1,))
  model = keras.Model(inputs, tf.nn.gelu(inputs))
  data = convert_unchecked(model, None, input_range=(-9, 9), micro=True)
  assert 'GELU' not in TFLiteFile(data).operator_counts
  x = np.linspace(-9, 9, 3001, dtype=np.float32)[:, None]
  (found,) = paoding.tflite.run_tflite(
    data, {model.input_names[0]: x}, outputs=model.output_names
  )
  wide = tf.nn.gelu(x.astype(np.float64)).numpy()
  assert np.abs(found - wide).max() < 2e-6


@pytest.mark.parametrize('case', ['int8'], indirect=True)
def test_a_table_is_what_an_integer_stands_for(case):
  _, _, data = case
  file, made = TFLiteFile(data), TFLiteFile(with_micro_forms(data))
  op = next(op for op in file.operators if op.name == 'GELU')
  x, y = file.tensors[op.inputs[0]], file.tensors[op.outputs[0]]
  real = x.step * (np.arange(-128.0, 128) - x.zero_point)
  wanted = np.round(tf.nn.gelu(real).numpy() / y.step) + y.zero_point
  (gather,) = (one for one in made.operators if one.outputs == op.outputs)
  table = made.tensors[gather.inputs[0]]
  stored = made.object.buffers[table.buffer].data
  found = np.frombuffer(bytes(stored), np.int8)
  assert np.abs(found - np.clip(wanted, -128, 127)).max() <= 1


def test_what_tflite_micro_has_is_left_as_it_is():
  data = convert_unchecked(net(tf.nn.relu), 'int8', input_range=RANGE)
  assert with_micro_forms(data) is data
  real = convert_unchecked(net(tf.exp), None, input_range=RANGE)
  assert with_micro_forms(real) is real


@pytest.mark.skipif(not extras.MICRO.is_installed, reason='without [micro]')
def test_a_file_that_does_not_run_says_how_it_would():
  model = net(tf.nn.gelu)
  data = convert_unchecked(model, 'int8', input_range=RANGE)
  with pytest.raises(paoding.MicroError, match='micro=True.*GELU') as caught:
    check_micro(data)
  assert 'Replace' not in str(caught.value)
  check_micro(
    paoding.convert_to_tflite(model, 'int8', input_range=RANGE, micro=True)
  )
  with pytest.raises(paoding.MicroError, match='TOPK_V2'):
    paoding.convert_to_tflite(
      net(lambda x: tf.math.top_k(x, 3)[0]), input_range=RANGE, micro=True
    )


@pytest.mark.parametrize(
  ('settings', 'match'),
  [
    ({'quantization': 'dynamic'}, '`quantization` must be None'),
    ({'sparse': True}, 'Leave `sparse` out'),
  ],
)
def test_what_contradicts_is_refused(settings, match):
  with pytest.raises(ValueError, match=match):
    paoding.convert_to_tflite(net(tf.nn.relu), micro=True, **settings)


@pytest.mark.skipif(not extras.MICRO.is_installed, reason='without [micro]')
def test_a_budget_of_an_arena_comes_in_what_tflite_micro_has():
  budget = paoding.Budget(arena_bytes=100_000)
  model = net(tf.nn.gelu)
  with pytest.warns(UserWarning, match='so few weights'):
    fitted = paoding.prune_to_budget(
      model, budget, method='l1', input_range=RANGE, verbose=0
    )
  assert fitted.profile.arena_bytes <= 100_000
