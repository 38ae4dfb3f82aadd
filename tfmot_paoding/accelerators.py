"""What runs a network on a device, and in which steps of width its work goes.

Within a step every width costs the same, so that a layer that stops at a
multiple keeps units for nothing. It imports nothing, so that the command can
list the names before it loads TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

# Stands for what a budget names, where there is one.
AUTO = 'auto'


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """What multiplies on a device.

  Attributes:
    name: What `multiple_of=` takes.
    multiple: The number that widths should be multiples of.
    source: Where that number comes from.
    configurations: The names that `npu=` takes, of one that has cycles to
      count: `name` and its multiply-accumulates a cycle.
    least: The narrowest width that takes less than `multiple` channels do, a
      divisor of it; None where nothing narrower does.
  """

  name: str
  multiple: int
  source: str
  configurations: tuple[str, ...] = ()
  least: int | None = None


def _sizes(name: str, *macs: int) -> tuple[str, ...]:
  return tuple(f'{name}-{count}' for count in macs)


ACCELERATORS: dict[str, Accelerator] = {
  one.name: one
  for one in (
    Accelerator(
      'xnnpack',
      8,
      'its matrix kernels for Arm make eight channels at a time '
      '(`nr` in its src/configs/gemm-config.c)',
    ),
    Accelerator(
      'cmsis-nn',
      4,
      'its dot products read four bytes at a time, and its vector kernels '
      'scale four channels at a time (arm_nn_mat_mult_nt_t_s8.c)',
    ),
    Accelerator(
      'ethos-u55',
      8,
      'it reads and makes channels in blocks of eight '
      "(`ifm_ublock`, `ofm_ublock` in Vela's architecture_features.py)",
      _sizes('ethos-u55', 32, 64, 128, 256),
    ),
    Accelerator(
      'ethos-u65',
      8,
      'it reads and makes channels in blocks of eight '
      "(`ifm_ublock`, `ofm_ublock` in Vela's architecture_features.py)",
      _sizes('ethos-u65', 256, 512),
    ),
    Accelerator(
      'ethos-u85',
      16,
      'cycles that Vela counts fall at multiples of 16, and may rise at other '
      'multiples of eight; eight take a fifth less than 16',
      _sizes('ethos-u85', 128, 256, 512, 1024, 2048),
      least=8,
    ),
  )
}

# What `npu=` takes, by name.
NPUS: dict[str, Accelerator] = {
  configuration: one
  for one in ACCELERATORS.values()
  for configuration in one.configurations
}


def accelerator_of(name: str) -> Accelerator:
  """The accelerator of a name, or of one of its configurations.

  Raises:
    ValueError: there is none.
  """
  found = {**ACCELERATORS, **NPUS}
  if name in found:
    return found[name]
  raise ValueError(
    f'Unknown accelerator {name!r}. Known: {listed(ACCELERATORS)}; and, as '
    f'configurations of these, {listed(NPUS)}.'
  )


def check_npu(name: object) -> str:
  """The name of a configuration of an NPU.

  Raises:
    ValueError: there is none of that name.
  """
  if isinstance(name, str) and name in NPUS:
    return name
  raise ValueError(
    f'`npu` must be one of {listed(NPUS)}, the accelerator and its '
    f'multiply-accumulates a cycle, but got {name!r}.'
  )


def multiples_help() -> str:
  """The named multiples, for a help text."""
  return ', '.join(
    f'{one.name}: {one.multiple}' for one in ACCELERATORS.values()
  )


def listed(names: Iterable[str]) -> str:
  """Names as a sentence has them."""
  return ', '.join(map(repr, names))
