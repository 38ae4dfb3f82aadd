"""The flags of `verify`, and which values of them are wrong."""

from __future__ import annotations

from absl import flags

from tfmot_paoding.command.choices import VERIFIERS
from tfmot_paoding.command.input_flags import (
  loading_flags,
  model_flag,
  test_data_flag,
)

__all__ = ['ONNX', 'verify_flags']

ONNX = '.onnx'  # how a file's name ends


def verify_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `verify`."""
  model_flag(values, 'an .onnx file (the extra [verify]), ')
  test_data_flag(values, 'to decide the balls of')
  flags.DEFINE_float(
    'epsilon',
    None,
    'The radius of the balls around --test_data in the L-infinity norm, in '
    'units of the inputs.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'samples',
    None,
    'How many of --test_data to decide, the first ones; all if left out.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_list(
    'property',
    None,
    'VNN-LIB files to decide in place of balls, with commas in between.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'scores',
    False,
    '--property is of the class scores in front of a final softmax or sigmoid, '
    'and not of the outputs.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'method',
    VERIFIERS[0],
    VERIFIERS,
    'bab: branch and bound; marabou: the solver of that name (the extra '
    '[verify]), for --test_data.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'seconds',
    60.0,
    'How long to work on each.',
    flag_values=values,
  )
  loading_flags(values)
  flags.DEFINE_string(
    'output',
    None,
    'Also write the answers: an .npz of `name`, `verdict`, `seconds`, '
    '`subdomains` (-1: not counted), `low` and `high` (what is proved of the '
    'least lead, and what was seen), and `example`, an input that breaks it '
    '(NaN where none does).',
    flag_values=values,
  )
  _refuse_what_does_not_fit(values)


def _refuse_what_does_not_fit(values: flags.FlagValues) -> None:
  flags.register_multi_flags_validator(
    ['test_data', 'property'],
    lambda given: bool(given['test_data']) != bool(given['property']),
    message='Give either --test_data, with --epsilon, or --property.',
    flag_values=values,
  )
  flags.register_multi_flags_validator(
    ['test_data', 'epsilon'],
    lambda given: bool(given['test_data']) == (given['epsilon'] is not None),
    message='--epsilon is the radius around --test_data: give both.',
    flag_values=values,
  )
  for name, without in (
    ('samples', None),
    ('input_range', []),
    ('method', VERIFIERS[0]),
  ):
    flags.register_multi_flags_validator(
      [name, 'property'],
      lambda given, name=name, without=without: (
        not given['property'] or given[name] == without
      ),
      message=f'--{name} is of --test_data: leave it out with --property.',
      flag_values=values,
    )
  flags.register_multi_flags_validator(
    ['scores', 'property'],
    lambda given: given['property'] or not given['scores'],
    message='--scores is of --property: balls are decided by scores anyway.',
    flag_values=values,
  )
  for name in ('input_shape', 'allow_code'):
    flags.register_multi_flags_validator(
      [name, 'model'],
      lambda given, name=name: (
        not given[name] or not (given['model'] or '').endswith(ONNX)
      ),
      message=f'--{name} is of Keras models: leave it out with an .onnx.',
      flag_values=values,
    )
  flags.register_validator(
    'seconds',
    lambda value: 0 < value < float('inf'),
    message='--seconds must be positive.',
    flag_values=values,
  )
  flags.register_validator(
    'epsilon',
    lambda value: value is None or 0 <= value < float('inf'),
    message='--epsilon must be a number of at least 0.',
    flag_values=values,
  )
  flags.register_validator(
    'output',
    lambda path: path is None or path.endswith('.npz'),
    message='--output must end in .npz.',
    flag_values=values,
  )
