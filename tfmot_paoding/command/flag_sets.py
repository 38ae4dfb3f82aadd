"""The flags of each sub-command, and which values of them are wrong."""

from __future__ import annotations

import re

from absl import flags

from tfmot_paoding.command.choices import ATTENTION, METHODS
from tfmot_paoding.command.device_flags import (
  multiple_flag,
  named_multiple,
  npu_flag,
  npu_in_report,
  npus_flag,
)
from tfmot_paoding.command.file_flags import (
  conversion_flag,
  float_io_flag,
  may_save_alone,
  needs_tflite,
  result_flags,
  tflite_flag,
)
from tfmot_paoding.command.input_flags import input_flags, model_flag

__all__ = ['budget_flags', 'factorize_flags', 'prune_flags', 'report_flags']

# What --scope=global spreads the cut by: the cost of a unit, and the floor.
_GLOBAL = ('parameters', 0.1)
# name=rank, name=front:behind, name=front: or name=:behind.
_RANK = r'[^=]+=(\d+|\d+:\d*|:\d+)'


def prune_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `prune`."""
  model_flag(values)
  tflite_flag(values)
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
  named_multiple(values)
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
  tflite_flag(values)
  needs_tflite(values)
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
  conversion_flag(values, 'int8')
  npu_flag(values)
  flags.register_multi_flags_validator(
    ['npu_cycles', 'npu'],
    lambda given: given['npu'] or given['npu_cycles'] is None,
    message='--npu_cycles are of an NPU: give --npu as well.',
    flag_values=values,
  )
  input_flags(values)
  result_flags(values)


def factorize_flags(values: flags.FlagValues) -> None:
  """Defines the flags of `factorize`."""
  model_flag(values)
  tflite_flag(values)
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
  multiple_flag(values, 'rank')
  named_multiple(values)
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
  conversion_flag(values, 'none')
  float_io_flag(values)
  input_flags(values)
  npus_flag(values)
  result_flags(values)
  may_save_alone(values)
  npu_in_report(values)


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
  conversion_flag(values, 'none')
  float_io_flag(values)
  input_flags(values)
  npus_flag(values)
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
  multiple_flag(values, 'width')
