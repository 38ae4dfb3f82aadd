"""The sub-commands: their flags, and the help that they print."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence

from absl import flags

from tfmot_paoding.command.flag_sets import (
  budget_flags,
  factorize_flags,
  prune_flags,
  report_flags,
)
from tfmot_paoding.command.verify_flags import verify_flags
from tfmot_paoding.version import __version__

__all__ = ['PROGRAM', 'SUBCOMMANDS', 'Subcommand', 'parse']

PROGRAM = 'tfmot-paoding'
_HELP = ('--help', '-help', '-h', '--helpfull', '--helpshort', 'help')
_BAD_FLAGS = 2  # the exit code


@dataclasses.dataclass(frozen=True)
class Subcommand:
  """One of them.

  Attributes:
    name: What it is called; its module, which loads TensorFlow, is too.
    summary: What it does, in a line.
    example: How it is called.
    define: Defines its flags.
  """

  name: str
  summary: str
  example: str
  define: Callable[[flags.FlagValues], None]


SUBCOMMANDS = {
  one.name: one
  for one in (
    Subcommand(
      'prune',
      'Removes a fraction of the units of a trained Keras model, without data, '
      'and writes a .tflite.',
      '--model=in.h5 --sparsity=0.5 --input_range=0,1 --output=out.tflite',
      prune_flags,
    ),
    Subcommand(
      'budget',
      'Prunes a trained Keras model, without data, by the least that fits a '
      'device. Give the limits that you have.',
      '--model=in.h5 --input_range=0,1 --flash_bytes=32768 --output=out.tflite',
      budget_flags,
    ),
    Subcommand(
      'factorize',
      'Makes layers of a trained Keras model of thinner ones (low rank), '
      'without data, and writes a .tflite.',
      '--model=in.h5 --sparsity=0.5 --input_range=0,1 --output=out.tflite',
      factorize_flags,
    ),
    Subcommand(
      'report',
      'Measures a pruned model beside its original, and writes a page.',
      '--model=in.h5 --pruned=small.keras --output=report',
      report_flags,
    ),
    Subcommand(
      'verify',
      'Proves that a classifier answers right in balls around samples, or '
      'finds what breaks it; or decides VNN-LIB properties. The exit code is 0 '
      'where all hold, 3 where one is broken, and 4 where none is, but one is '
      'left open.',
      '--model=in.h5 --test_data=test.npz --epsilon=0.02 --input_range=0,1',
      verify_flags,
    ),
  )
}


def parse(arguments: Sequence[str]) -> tuple[Subcommand, flags.FlagValues]:
  """The sub-command that arguments name, and its flags.

  Args:
    arguments: What follows the program's name.

  Raises:
    SystemExit: with 0 where help was asked for and printed, and with 2 where
      the arguments are wrong, which is said in a line.
  """
  name, *rest = arguments or ['--help']
  if name in _HELP and rest[:1] and rest[0] in SUBCOMMANDS:
    name, rest = rest[0], ['--help']
  if name in _HELP:
    print(_overview())
    sys.exit(0)
  if name == '--version':
    print(f'{PROGRAM} {__version__}')
    sys.exit(0)
  if name not in SUBCOMMANDS:
    _refuse(
      f'Expected {", ".join(SUBCOMMANDS)} or --help, but got {name!r}.', ''
    )
  subcommand, values = SUBCOMMANDS[name], flags.FlagValues()
  subcommand.define(values)
  if any(argument in _HELP for argument in rest):
    print(_help(subcommand, values))
    sys.exit(0)
  try:
    _, *unexpected = values([PROGRAM, *rest])
  except flags.Error as error:
    _refuse(str(error), f' {name}')
  if unexpected:
    _refuse(f'Unexpected arguments: {unexpected}.', f' {name}')
  return subcommand, values


def _refuse(message: str, name: str) -> None:
  """Ends the process with one line."""
  text = ' '.join(message.split()).rstrip('.')
  print(f'error: {text}. See {PROGRAM}{name} --help.', file=sys.stderr)
  sys.exit(_BAD_FLAGS)


def _overview() -> str:
  """What there is."""
  lines = ['Prunes trained Keras models without data.', '']
  for one in SUBCOMMANDS.values():
    lines += [f'  {PROGRAM} {one.name} {one.example}']
    lines += [flags.text_wrap(one.summary, 80, ' ' * 6), '']
  lines.append(f'{PROGRAM} prune --help lists the flags of prune, and so on.')
  return '\n'.join(lines)


def _help(subcommand: Subcommand, values: flags.FlagValues) -> str:
  """The flags of a sub-command, in the order of their definition."""
  call = f'{PROGRAM} {subcommand.name} {subcommand.example}'
  lines = [flags.text_wrap(subcommand.summary, 80), '', f'  {call}', '']
  for name in values:
    flag = values[name]
    if flag.name == name:  # else it is an alias
      lines.append(f'--{"[no]" if flag.boolean else ""}{name}')
      lines.append(flags.text_wrap(_help_of(flag), 80, ' ' * 4))
  return '\n'.join(lines)


def _help_of(flag: flags.Flag) -> str:
  """What a flag says, its choices and its default."""
  text = flag.help
  choices = getattr(flag.parser, 'enum_values', None)
  if choices:
    # absl sets them before the text, without a blank to break the line at.
    text = text.removeprefix(f'<{"|".join(choices)}>: ')
    text += f' One of {", ".join(choices)}.'
  if flag.default:
    text += f' Default: {flag.default_as_str.strip(chr(39))}.'
  return text
