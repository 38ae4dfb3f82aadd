"""The flags of each sub-command, and which values of them are wrong."""

from __future__ import annotations

import itertools
import re

from absl import flags

from tfmot_paoding.accelerators import (
  ACCELERATORS,
  AUTO,
  NPUS,
  listed,
  multiples_help,
)
from tfmot_paoding.command.choices import ATTENTION, METHODS
from tfmot_paoding.command.input_flags import input_flags, model_flag
from tfmot_paoding.quantization import (
  QUANTIZATIONS,
  quantization_flags,
  quantization_help,
  that_read,
)

__all__ = ['budget_flags', 'factorize_flags', 'prune_flags', 'report_flags']

# What --scope=global spreads the cut by: the cost of a unit, and the floor.
_GLOBAL = ('parameters', 0.1)
# name=rank, name=front:behind, name=front: or name=:behind.
_RANK = r'[^=]+=(\d+|\d+:\d*|:\d+)'


def prune_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `prune`."""
  model_flag(values)
  _tflite_flag(values)
  _pruning_flags(values)
  flags.DEFINE_float(
    'sparsity',
    0.5,
    'Fraction of units to remove; of what, --scope says.',
    lower_bound=0.0,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'scope',
    'local',
    ['local', 'global'],
    'local: the same fraction of every layer; global: the fraction of all '
    'units, those first that the outputs feel least for what they cost.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'cost',
    _GLOBAL[0],
    ['parameters', 'macs'],
    'What --scope=global saves.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'floor',
    _GLOBAL[1],
    'Fraction of every layer that --scope=global leaves.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'curve',
    [],
    "Further sparsities for the report's trade-off curve, such as .25,.75.",
    flag_values=values,
  )
  _writing_flags(values)
  flags.register_validator(
    'sparsity',
    lambda value: value < 1,
    message='--sparsity must lie in [0, 1); for 50 % pass 0.5.',
    flag_values=values,
  )
  _named_multiple(values)
  flags.register_multi_flags_validator(
    ['scope', 'cost', 'floor'],
    lambda given: (
      given['scope'] == 'global' or (given['cost'], given['floor']) == _GLOBAL
    ),
    message='--cost and --floor are of --scope=global.',
    flag_values=values,
  )
  flags.register_validator(
    'curve',
    lambda texts: all(re.fullmatch(r'0?\.\d+|0', x.strip()) for x in texts),
    message='--curve takes sparsities in [0, 1) such as .25,.5.',
    flag_values=values,
  )
  flags.register_multi_flags_validator(
    ['curve', 'report'],
    lambda given: given['report'] or not given['curve'],
    message='--curve is drawn in the report: give --report as well.',
    flag_values=values,
  )


def budget_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `budget`."""
  model_flag(values)
  _tflite_flag(values)
  flags.DEFINE_integer(
    'flash_bytes',
    None,
    'The most bytes that the .tflite may have.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'arena_bytes',
    None,
    "The most bytes of tflite-micro's tensor arena.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    'macs',
    None,
    'The most multiply-accumulates of one inference.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'latency_ratio',
    None,
    'The longest inference on one thread, as a fraction of that of the '
    'unpruned model, timed on this machine.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'npu_cycles',
    None,
    'The most cycles of one inference on --npu.',
    flag_values=values,
  )
  _pruning_flags(values)
  flags.DEFINE_bool(
    'low_rank',
    False,
    'Also try chains of thinner layers, alone and behind units that leave, '
    'where they keep more answers.',
    flag_values=values,
  )
  _conversion_flag(values, 'int8')
  _npu_flag(values)
  flags.register_multi_flags_validator(
    ['npu_cycles', 'npu'],
    lambda given: given['npu'] or given['npu_cycles'] is None,
    message='--npu_cycles are of an NPU: give --npu as well.',
    flag_values=values,
  )
  input_flags(values)
  _result_flags(values)


def factorize_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `factorize`."""
  model_flag(values)
  _tflite_flag(values)
  flags.DEFINE_float(
    'sparsity',
    None,
    'Fraction of the parameters, or of what --cost says, to save.',
    lower_bound=0.0,
    flag_values=values,
  )
  flags.DEFINE_list(
    'ranks',
    [],
    'In its place, the rank of each layer: name=rank, or of a convolution '
    'name=front:behind, either of which may be left out. --dry_run lists the '
    'layers and their largest ranks.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'cost',
    'parameters',
    ['parameters', 'macs'],
    'What --sparsity is a fraction of.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'last_layers',
    False,
    "Also make layers thinner that make the model's outputs.",
    flag_values=values,
  )
  _multiple_flag(values, 'rank')
  _named_multiple(values)
  _writing_flags(values)
  flags.register_validator(
    'sparsity',
    lambda value: value is None or value < 1,
    message='--sparsity must lie in [0, 1); for 50 % pass 0.5.',
    flag_values=values,
  )
  flags.register_validator(
    'ranks',
    lambda texts: all(re.fullmatch(_RANK, text.strip()) for text in texts),
    message='--ranks takes name=rank or name=front:behind, such as '
    'dense=8,conv=4:6.',
    flag_values=values,
  )
  flags.register_multi_flags_validator(
    ['sparsity', 'ranks', 'dry_run'],
    lambda given: (
      (given['sparsity'] is not None) + bool(given['ranks'])
      in ((0, 1) if given['dry_run'] else (1,))
    ),
    message='Give either --sparsity or --ranks.',
    flag_values=values,
  )


def _writing_flags(values: flags.FlagValues) -> None:
  """What is written of a model that no budget converts, and on which inputs."""
  _conversion_flag(values, 'none')
  _float_io_flag(values)
  input_flags(values)
  _npus_flag(values)
  _result_flags(values)
  _npu_in_report(values)


def report_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `report`."""
  model_flag(values)
  flags.DEFINE_string(
    'pruned',
    None,
    'The pruned model: an .h5 or .keras file or a SavedModel, such as '
    '`prune --save` writes.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'output',
    None,
    'Where to write the report: this path with .html and .json at its end.',
    flag_values=values,
  )
  _conversion_flag(values, 'none')
  _float_io_flag(values)
  input_flags(values)
  _npus_flag(values)
  flags.mark_flags_as_required(['pruned', 'output'], flag_values=values)


def _pruning_flags(values: flags.FlagValues) -> None:
  """How a model is pruned."""
  flags.DEFINE_enum(
    'method',
    'reconstruction',
    METHODS,
    'How units are chosen and made up for.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'step_sparsity',
    None,
    'Fraction removed between two refreshes of what is known of the network; '
    '.1 for budgets and methods that fit, .025 for others, if left out.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'attention',
    ATTENTION[0],
    ATTENTION,
    'What of a MultiHeadAttention leaves: whole heads, or channels of all '
    'heads at once.',
    flag_values=values,
  )
  _multiple_flag(values, 'width')


def _multiple_flag(values: flags.FlagValues, size: str) -> None:
  """What sizes are multiples of."""
  flags.DEFINE_string(
    'multiple_of',
    None,
    f'What every {size} ends at a multiple of, since hardware works in steps: '
    f'a number, or the name of an accelerator ({multiples_help()}).',
    flag_values=values,
  )
  flags.register_validator(
    'multiple_of',
    lambda text: text is None or _is_multiple(text),
    message=f'--multiple_of takes a number of at least 1, such as 8, or one of '
    f'{listed([*ACCELERATORS, *NPUS])}; of a budget, {AUTO!r} too.',
    flag_values=values,
  )


def _named_multiple(values: flags.FlagValues) -> None:
  """Refuses what only a budget knows."""
  flags.register_validator(
    'multiple_of',
    lambda text: text != AUTO,
    message=f'--multiple_of={AUTO} is of `budget`, which knows a device: name '
    f'it here, one of {listed(ACCELERATORS)}.',
    flag_values=values,
  )


def _npu_in_report(values: flags.FlagValues) -> None:
  """NPUs are of the report."""
  flags.register_multi_flags_validator(
    ['npu', 'report'],
    lambda given: given['report'] or not given['npu'],
    message='--npu is measured in the report: give --report as well.',
    flag_values=values,
  )


def _npu_flag(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    'npu',
    None,
    list(NPUS),
    'The NPU of the device, whose cycles Vela counts (the extra [npu]).',
    flag_values=values,
  )
  _takes_integers(values)


def _npus_flag(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    'npu',
    None,
    'NPUs whose cycles Vela counts for the report (the extra [npu]), such as '
    'ethos-u55-128,ethos-u85-256.',
    flag_values=values,
  )
  flags.register_validator(
    'npu',
    lambda names: set(names or ()) <= NPUS.keys(),
    message=f'--npu takes {listed(NPUS)}, with commas in between.',
    flag_values=values,
  )
  _takes_integers(values)


def _takes_integers(values: flags.FlagValues) -> None:
  whole = [m.flag for m in QUANTIZATIONS.values() if m.on_npu]
  flags.register_multi_flags_validator(
    ['npu', 'quantization'],
    lambda given: not given['npu'] or given['quantization'] in whole,
    message='--npu takes integers throughout: give --quantization='
    + ' or '.join(whole),
    flag_values=values,
  )


def _is_multiple(text: str) -> bool:
  """Whether a text is what --multiple_of takes."""
  if text.isdecimal():
    return int(text) >= 1
  return text == AUTO or text in ACCELERATORS or text in NPUS


def _result_flags(values: flags.FlagValues) -> None:
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
    'and .h at its end.',
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


def _tflite_flag(values: flags.FlagValues) -> None:
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
  flags.register_multi_flags_validator(
    ['output', 'dry_run'],
    lambda given: given['output'] or given['dry_run'],
    message='--output must be given, unless --dry_run is.',
    flag_values=values,
  )


def _conversion_flag(values: flags.FlagValues, quantization: str) -> None:
  """How a .tflite is made."""
  flags.DEFINE_enum(
    'quantization',
    quantization,
    quantization_flags(),
    f'{quantization_help()}.',
    flag_values=values,
  )


def _float_io_flag(values: flags.FlagValues) -> None:
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
