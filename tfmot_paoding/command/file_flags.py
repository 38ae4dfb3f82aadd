"""Flags of the files that are written, and of how a .tflite is made."""

from __future__ import annotations

import itertools

from absl import flags

from tfmot_paoding.quantization import (
  QUANTIZATIONS,
  quantization_flags,
  quantization_help,
  that_read,
)

_MODELS = ('.h5', '.hdf5', '.keras')


def result_flags(values: flags.FlagValues) -> None:
  """Which further files are written."""
  flags.DEFINE_string(
    'save',
    None,
    'Also write the pruned Keras model: an .h5 or .keras file of tf_keras.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'c_array',
    None,
    'Also write the model as C++ source for tflite-micro: this path with .cc '
    'and .h at its end. Operators that it lacks, GELU say, are then written in '
    'those that it has, which phones run more slowly.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'report',
    None,
    'Also write what pruning did: this path with .html and .json at its end.',
    flag_values=values,
  )
  flags.register_validator(
    'save',
    lambda path: path is None or path.endswith(('.h5', '.keras')),
    message='--save must end in .h5 or .keras.',
    flag_values=values,
  )


def tflite_flag(values: flags.FlagValues) -> None:
  """Where the .tflite goes, if one is written."""
  flags.DEFINE_string(
    'output', None, 'Where to write the .tflite.', flag_values=values
  )
  flags.DEFINE_bool(
    'dry_run',
    False,
    'Print which units would be pruned, and what is left alone and why; write '
    'nothing.',
    flag_values=values,
  )
  flags.register_validator(
    'output',
    lambda path: not (path or '').endswith(_MODELS),
    message='--output is where the .tflite goes. The Keras model goes to '
    '--save.',
    flag_values=values,
  )


def needs_tflite(values: flags.FlagValues) -> None:
  """The .tflite is what it is all for."""
  flags.register_multi_flags_validator(
    ['output', 'dry_run'],
    lambda given: given['output'] or given['dry_run'],
    message='--output must be given, unless --dry_run is.',
    flag_values=values,
  )


def may_save_alone(values: flags.FlagValues) -> None:
  """The Keras model may be all that is written: TFLite lacks some layers."""
  flags.register_multi_flags_validator(
    ['output', 'save', 'dry_run'],
    lambda given: given['output'] or given['save'] or given['dry_run'],
    message='--output must be given, or --save for the Keras model alone, '
    'unless --dry_run is.',
    flag_values=values,
  )
  for name, nothing in (
    ('c_array', None),
    ('report', None),
    ('quantization', 'none'),
  ):
    flags.register_multi_flags_validator(
      [name, 'output', 'dry_run'],
      lambda given, name=name, nothing=nothing: (
        given['output'] or given['dry_run'] or given[name] == nothing
      ),
      message=f'--{name} is of the .tflite: give --output as well.',
      flag_values=values,
    )


def conversion_flag(values: flags.FlagValues, quantization: str) -> None:
  """How a .tflite is made."""
  flags.DEFINE_enum(
    'quantization',
    quantization,
    quantization_flags(),
    f'{quantization_help()}.',
    flag_values=values,
  )


def float_io_flag(values: flags.FlagValues) -> None:
  """What an integer file takes and gives."""
  flags.DEFINE_bool(
    'float_io',
    False,
    'Real inputs and outputs for integers throughout.',
    flag_values=values,
  )
  modes = [mode.flag for mode in that_read('float_io')]
  flags.register_multi_flags_validator(
    ['float_io', 'quantization'],
    lambda given: given['quantization'] in modes or not given['float_io'],
    message=f'--float_io is for --quantization={" or ".join(modes)}: other '
    'files have real inputs and outputs.',
    flag_values=values,
  )
  for end in ('input', 'output'):
    _end_type_flag(values, end)


def _end_type_flag(values: flags.FlagValues, end: str) -> None:
  types = {mode.flag: mode.end_types for mode in QUANTIZATIONS.values()}
  known = dict.fromkeys(itertools.chain(*types.values()))
  name = f'inference_{end}_type'
  flags.DEFINE_enum(
    name,
    None,
    list(known),
    f'What integers throughout have as {end}; their own integers if not given.',
    flag_values=values,
  )
  flags.register_multi_flags_validator(
    [name, 'quantization'],
    lambda given: (
      given[name] is None or given[name] in types[given['quantization']]
    ),
    message=f'--{name} must be one that --quantization has: '
    + '; '.join(f'{flag}: {", ".join(kinds)}' for flag, kinds in types.items())
    + '.',
    flag_values=values,
  )
