"""Checks of arguments that are plain numbers: refused by name, never raw."""

from __future__ import annotations

import numbers
from typing import Any


def check_whole(name: str, value: Any, least: int) -> int:
  """The value as an int.

  Args:
    name: Of the argument.
    value: What it is.
    least: The least that it may be.

  Raises:
    ValueError: it is no whole number, or less.
  """
  whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not whole or value < least:
    raise ValueError(
      f'`{name}` must be an integer of at least {least}, but got {value!r}.'
    )
  return int(value)


def check_seed(seed: Any) -> int:
  """The seed as an int.

  Raises:
    ValueError: it is no whole number of at least 0.
  """
  return check_whole('seed', seed, 0)


def is_number(value: Any) -> bool:
  """Whether a value is a number, and no bool."""
  return isinstance(value, numbers.Real) and not isinstance(value, bool)
