"""Flags of what widths hardware rewards, and of NPUs."""

from __future__ import annotations

from absl import flags

from tfmot_paoding.accelerators import (
  ACCELERATORS,
  AUTO,
  NPUS,
  listed,
  multiples_help,
)
from tfmot_paoding.quantization import QUANTIZATIONS


def multiple_flag(values: flags.FlagValues, size: str) -> None:
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


def named_multiple(values: flags.FlagValues) -> None:
  """Refuses what only a budget knows."""
  flags.register_validator(
    'multiple_of',
    lambda text: text != AUTO,
    message=f'--multiple_of={AUTO} is of `budget`, which knows a device: name '
    f'it here, one of {listed(ACCELERATORS)}.',
    flag_values=values,
  )


def npu_in_report(values: flags.FlagValues) -> None:
  """NPUs are of the report."""
  flags.register_multi_flags_validator(
    ['npu', 'report'],
    lambda given: given['report'] or not given['npu'],
    message='--npu is measured in the report: give --report as well.',
    flag_values=values,
  )


def npu_flag(values: flags.FlagValues) -> None:
  """The NPU of a device."""
  flags.DEFINE_enum(
    'npu',
    None,
    list(NPUS),
    'The NPU of the device, whose cycles Vela counts (the extra [npu]).',
    flag_values=values,
  )
  _takes_integers(values)


def npus_flag(values: flags.FlagValues) -> None:
  """NPUs to compare."""
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
