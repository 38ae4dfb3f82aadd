"""Names of hardware: what they stand for, and what is said of others."""

from __future__ import annotations

import pytest

from tfmot_paoding import accelerators as lib


@pytest.mark.parametrize(
  ('name', 'known', 'multiple'),
  [
    ('xnnpack', 'xnnpack', 8),
    ('cmsis-nn', 'cmsis-nn', 4),
    ('ethos-u55', 'ethos-u55', 8),
    ('ethos-u65-512', 'ethos-u65', 8),
    ('ethos-u85-256', 'ethos-u85', 16),
  ],
)
def test_a_name_and_a_configuration(name, known, multiple):
  found = lib.accelerator_of(name)
  assert (found.name, found.multiple) == (known, multiple)


def test_the_least_width_divides_the_multiple():
  leasts = [one for one in lib.ACCELERATORS.values() if one.least]
  assert leasts
  assert all(one.multiple % one.least == 0 for one in leasts)


@pytest.mark.parametrize('name', ['ethos-u57', 'ethos-u55-1', '', 'XNNPACK'])
def test_an_unknown_accelerator_lists_those_known(name):
  with pytest.raises(ValueError, match="'cmsis-nn'.*'ethos-u85-2048'"):
    lib.accelerator_of(name)


def test_cycles_are_counted_on_configurations_alone():
  assert lib.check_npu('ethos-u55-128') == 'ethos-u55-128'
  for other in ('ethos-u55', 'xnnpack', 128, None):
    with pytest.raises(ValueError, match="'ethos-u55-32'"):
      lib.check_npu(other)


def test_the_help_names_every_multiple():
  text = lib.multiples_help()
  for one in lib.ACCELERATORS.values():
    assert f'{one.name}: {one.multiple}' in text
