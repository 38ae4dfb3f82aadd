"""The command's flags: what they take, and the help."""

from __future__ import annotations

import pytest
from absl import flags

from tfmot_paoding.command import choices, subcommands
from tfmot_paoding.layers.base import VIEWS
from tfmot_paoding.methods import method_names
from tfmot_paoding.methods.named import DEFAULT_METHOD

MODEL = ['--model=in.h5', '--output=out.tflite']


def ended(arguments: list[str]) -> int:
  """The exit code of arguments that end the process."""
  with pytest.raises(SystemExit) as stop:
    subcommands.parse(arguments)
  return stop.value.code


@pytest.mark.parametrize('name', sorted(subcommands.SUBCOMMANDS))
def test_help_lists_every_flag(name, capsys):
  assert ended([name, '--help']) == 0
  said = capsys.readouterr().out
  values = flags.FlagValues()
  subcommands.SUBCOMMANDS[name].define(values)
  listed = {line.split()[0] for line in said.splitlines() if line[:2] == '--'}
  wanted = {
    f'--[no]{flag}' if values[flag].boolean else f'--{flag}' for flag in values
  }
  assert listed == wanted
  assert {'--model', '--input_range', '--output'} <= listed


@pytest.mark.parametrize('arguments', [[], ['--help'], ['-h'], ['help']])
def test_the_overview_names_every_subcommand(arguments, capsys):
  assert ended(arguments) == 0
  said = capsys.readouterr().out
  for name in subcommands.SUBCOMMANDS:
    assert f'tfmot-paoding {name} --' in said


def test_examples_of_the_help_can_be_given():
  for name, subcommand in subcommands.SUBCOMMANDS.items():
    found, values = subcommands.parse([name, *subcommand.example.split()])
    assert found is subcommand
    assert values.model == 'in.h5'


def test_the_version(capsys):
  assert ended(['--version']) == 0
  assert capsys.readouterr().out.startswith('tfmot-paoding ')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['magic'], "'magic'"),
    (['prune', *MODEL, '--sparsity=1.5'], 'pass 0.5'),
    (['prune', *MODEL, '--sparsity=-1'], 'sparsity'),
    (['prune', *MODEL, '--method=magic'], 'impact'),
    (['prune', *MODEL, '--input_range=1'], 'two numbers'),
    (['prune', *MODEL, '--input_range=0,1,2,3'], 'by its name'),
    (['prune', *MODEL, '--input_range=a=0,1,2,3'], 'by its name'),
    (['prune', *MODEL, '--input_range=a=0,1,a=2,3'], 'by its name'),
    (['prune', *MODEL, '--input_shape=3,x'], 'whole numbers'),
    (['prune', *MODEL, '--seed=-1'], 'seed'),
    (['prune', *MODEL, '--curve=.5'], '--report'),
    (['prune', *MODEL, '--curve=5', '--report=r'], 'sparsities in [0, 1)'),
    (['prune', *MODEL, '--save=small'], '.keras'),
    (['prune', '--model=m.h5', '--output=small.keras'], '--save'),
    (['prune', *MODEL, '--min_agreement=80'], 'min_agreement'),
    (['prune', *MODEL, '--min_agreement=nan'], 'min_agreement'),
    (['prune', *MODEL, '--float_io'], '--quantization=int8'),
    (['prune', *MODEL, '--inference_input_type=uint8'], 'int8: float32, int8'),
    (['prune', *MODEL, '--inference_output_type=byte'], 'uint8'),
    (['prune', *MODEL, '--floor=.3'], '--scope=global'),
    (['prune', *MODEL, '--nonsense'], 'nonsense'),
    (['prune', *MODEL, 'more'], 'more'),
    (['prune', '--output=x'], '--model'),
    (['prune', '--model=x'], '--output'),
    (['budget', *MODEL, '--flash_bytes=much'], 'flash_bytes'),
    (['budget', *MODEL, '--quantization=int2'], 'int8'),
    (['report', *MODEL], '--pruned'),
    (['prune', *MODEL, '--multiple_of=0'], 'at least 1'),
    (['prune', *MODEL, '--multiple_of=ethos-n78'], "'ethos-u55'"),
    (['prune', *MODEL, '--multiple_of=auto'], 'name it here'),
    (
      ['prune', *MODEL, '--npu=ethos-u55-128', '--quantization=int8'],
      '--report',
    ),
    (['factorize', *MODEL], 'either --sparsity or --ranks'),
    (['factorize', *MODEL, '--sparsity=.5', '--ranks=a=2'], 'either'),
    (['factorize', *MODEL, '--sparsity=50'], 'pass 0.5'),
    (['factorize', *MODEL, '--ranks=a'], 'name=front:behind'),
    (['factorize', *MODEL, '--ranks=a=2:3:4'], 'name=front:behind'),
    (['factorize', *MODEL, '--ranks=a=:'], 'name=front:behind'),
    (['factorize', *MODEL, '--ranks=a=2', '--multiple_of=auto'], 'name it'),
    (['budget', *MODEL, '--npu=ethos-n78'], 'ethos-u55-32'),
    (['budget', *MODEL, '--npu_cycles=9'], '--npu'),
    (
      ['budget', *MODEL, '--npu=ethos-u55-128', '--quantization=none'],
      'int8 or int16x8',
    ),
  ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, message, capsys):
  assert ended(arguments) == 2
  said = capsys.readouterr().err
  assert message in said
  assert said.count('\n') == 1
  assert said.startswith('error: ')
  assert '--help' in said


def test_one_parse_leaves_nothing_for_the_next():
  subcommands.parse(['prune', *MODEL, '--seed=3', '--curve=.5', '--report=r'])
  _, values = subcommands.parse(['prune', *MODEL])
  assert (values.seed, values.curve, values.report) == (0, [], None)


def test_an_old_name_of_a_flag():
  _, values = subcommands.parse(['prune', *MODEL, '--calibration_data=x.npz'])
  assert values.data == 'x.npz'


def test_choices_are_those_of_the_package():
  assert sorted(choices.METHODS) == sorted(method_names())
  assert choices.ATTENTION == VIEWS
  _, values = subcommands.parse(['prune', *MODEL])
  assert values.method == DEFAULT_METHOD
