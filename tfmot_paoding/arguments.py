"""Checks of arguments: bad numbers are refused by name, idle ones told of."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Mapping
from typing import Any

from tfmot_paoding import callers


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


def check_flag(name: str, value: Any) -> bool:
  """The value itself.

  Raises:
    ValueError: it is neither True nor False.
  """
  if not isinstance(value, bool):
    raise ValueError(f'`{name}` must be True or False, but got {value!r}.')
  return value


def check_sparsity(
  value: Any, name: str, meaning: str = 'the fraction of units to remove'
) -> float:
  """The value as a float.

  Args:
    value: What it is.
    name: Of the argument.
    meaning: What it is a fraction of.

  Raises:
    ValueError: it is not a number in [0, 1).
  """
  if not is_number(value):
    raise ValueError(f'`{name}` must be a number in [0, 1), but got {value!r}.')
  if not 0 <= value < 1:
    raise ValueError(
      f'`{name}` must lie in [0, 1), {meaning}, but got {value}. For 50 % pass '
      '0.5.'
    )
  return float(value)


def warn_idle(given: Mapping[str, Any], why: str, advice: str) -> None:
  """Warns, once for all of them, of arguments that nothing will look at.

  Args:
    given: The value by name of what would be idle; None and False are what is
      left out.
    why: What makes it so, after 'has no effect': 'since `data` are given'.
    advice: What to do, a sentence.
  """
  idle = [
    name
    for name, value in given.items()
    if value is not None and value is not False
  ]
  if idle:
    names = ' and '.join(f'`{name}`' for name in idle)
    verb = 'has' if len(idle) == 1 else 'have'
    warnings.warn(
      f'{names} {verb} no effect, {why}. {advice}', stacklevel=callers.level()
    )
