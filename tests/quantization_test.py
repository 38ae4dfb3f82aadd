"""A mode is one entry of one table, which everything else reads."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import quantization as lib
from tfmot_paoding.command import model_files, subcommands
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


@pytest.fixture
def made_up(monkeypatch):
  """A mode that nobody else knows: 16 bits whose biases take 32."""
  mode = dataclasses.replace(
    lib.QUANTIZATIONS['int16x8'],
    name='made_up',
    text='small biases',
    biases='int32',
  )
  monkeypatch.setitem(lib.QUANTIZATIONS, mode.name, mode)
  return mode


def types(data: bytes) -> list[str]:
  return [tensor.type for tensor in TFLiteFile(data).tensors]


def test_a_mode_that_is_one_entry_is_converted_and_checked(made_up):
  model = testing.mlp((16, 40, 30, 4))
  data = paoding.convert_to_tflite(model, made_up.name)
  assert {'int8', 'int16', 'int32'} == set(types(data))
  assert 'int64' in types(paoding.convert_to_tflite(model, 'int16x8'))
  x = {model.input_names[0]: testing.draw((16,)).astype(np.float32)}
  assert (
    paoding.tflite.compare_tflite(model, data, inputs=x).mean
    < made_up.tolerance
  )
  assert paoding.Budget(macs=5, quantization=made_up.name)


def test_its_tolerance_is_what_the_check_takes(made_up, monkeypatch):
  strict = dataclasses.replace(made_up, tolerance=1e-9)
  monkeypatch.setitem(lib.QUANTIZATIONS, made_up.name, strict)
  with pytest.raises(
    ValueError, match='more than the 1e-09 that made_up explains'
  ):
    paoding.convert_to_tflite(testing.mlp(), made_up.name)


def test_command_lines_and_errors_list_it(made_up, capsys):
  given = ['--model=in.h5', '--output=out', '--quantization=made_up']
  _, values = subcommands.parse(['prune', *given])
  assert model_files.quantization_of(values) == 'made_up'
  with pytest.raises(SystemExit):
    subcommands.parse(['prune', '--help'])
  said = ' '.join(capsys.readouterr().out.split())
  assert 'made_up: small biases' in said
  for refused in (
    lambda: paoding.convert_to_tflite(testing.mlp(), 'other'),
    lambda: paoding.Budget(macs=5, quantization='other'),
  ):
    with pytest.raises(ValueError, match="None, 'dynamic'.* or 'made_up', but"):
      refused()


def test_none_has_a_name_on_command_lines():
  names = lib.quantization_flags()
  assert names[0] == 'none'
  assert [lib.quantization_of_flag(name) for name in names] == list(
    lib.QUANTIZATIONS
  )


@pytest.mark.parametrize('name', lib.QUANTIZATIONS)
def test_files_hold_what_a_mode_says(name):
  mode = lib.QUANTIZATIONS[name]
  model = testing.mlp((32, 90, 70, 5))
  # Layers whose rounding would move the outputs stay at eight bits.
  data = paoding.convert_to_tflite(testing.on_steps(model), name)
  file = TFLiteFile(data)
  (weights,) = [t for t in file.tensors if t.size == 70 * 90 and t.stored]
  assert weights.type == mode.weights
  assert weights.stored == 70 * 90 * mode.weight_bits // 8
  (out,) = [file.tensors[index] for index in file.outputs]
  assert out.type == mode.activations


def test_an_arena_for_files_of_phones_alone_is_refused():
  with pytest.raises(
    ValueError, match="None, 'int8', 'int16x8' or 'int4x8', but"
  ):
    paoding.Budget(arena_bytes=5000, quantization='dynamic')


@pytest.mark.parametrize('name', lib.QUANTIZATIONS)
def test_what_a_mode_does_not_read_is_told_of_and_what_it_reads_is_not(name):
  model, mode = testing.mlp(), lib.QUANTIZATIONS[name]
  x = testing.samples((5,), 20).astype(np.float32)
  for given in (
    {'prior': 'smooth', 'float_io': True},
    {'representative_data': x},
  ):
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      paoding.convert_to_tflite(model, name, input_range=(-1.0, 1.0), **given)
    told = [w for w in caught if 'no effect' in str(w.message)]
    unread = [argument for argument in given if argument not in mode.reads]
    for argument, warning in zip(unread, told, strict=True):
      text = str(warning.message)
      assert f'`{argument}` has no effect' in text
      assert f'`quantization` is {name!r}' in text
      assert f'or use {lib.listed(lib.that_read(argument))}.' in text
      assert "'int8', 'int16x8'" in text
      assert warning.filename == __file__


def test_a_mode_that_reads_nothing_more_warns_for_that_alone(made_up):
  """What is told follows from the entry, not from the mode's name."""
  assert lib.that_read('float_io')[-1] is made_up
  plain = lib.Quantization('plain', 'real numbers', 0.1)
  with pytest.raises(ValueError, match='`sparse` goes with'):
    paoding.convert_to_tflite(testing.mlp(), made_up.name, sparse=True)
  assert plain.reads == ('sparse',)


def test_sources_that_hide_each_other_are_told_of():
  model, x = testing.mlp(), testing.samples((5,), 20).astype(np.float32)
  with pytest.warns(UserWarning, match='`prior` .* `representative_data` are'):
    paoding.convert_to_tflite(
      model,
      'int8',
      input_range=(-1.0, 1.0),
      prior='smooth',
      representative_data=x,
    )
  with pytest.warns(UserWarning, match='`prior` .* `data` are given'):
    paoding.inputs.draw_samples(model, (-1.0, 1.0), 4, prior='smooth', data=x)


@pytest.mark.parametrize('name', [None, 'int8'])
def test_a_budget_with_data_says_nothing_of_conversions(name):
  x = testing.samples((5,), 20).astype(np.float32)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    paoding.prune_to_budget(
      testing.mlp((5, 24, 3)),
      paoding.Budget(macs=100, quantization=name),
      method='l1',
      input_range=(-1.0, 1.0),
      data=x,
      verbose=0,
    )
  assert not [w for w in caught if 'no effect' in str(w.message)]
