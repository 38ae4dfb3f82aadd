"""Calls as they once were: taken still, with a word on how to write them."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmot_paoding import callers


def takes_old_calls(
  order: Sequence[str] | None = None,
  renamed: Mapping[str, str] | None = None,
) -> Callable[[Callable], Callable]:
  """Lets a function be called as it was before its arguments got their names.

  Args:
    order: All arguments in the order in which they could be passed by position;
      None for the order that they have.
    renamed: New name by old name of arguments that are called otherwise now.
  """

  def decorate(function: Callable) -> Callable:
    parameters = inspect.signature(function).parameters
    names = list(order or parameters)
    count = sum(
      one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
      for one in parameters.values()
    )

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
      if count < len(args) <= len(names):
        more = dict(zip(names[count:], args[count:], strict=False))
        args = args[:count]
        _warn(
          f'{function.__name__} takes {", ".join(map(repr, more))} by name: '
          f'pass {", ".join(f"{name}=..." for name in more)}.'
        )
        _add(function, kwargs, more)
      for old in kwargs.keys() & (renamed or {}).keys():
        new = renamed[old]
        _warn(f'{function.__name__} calls `{old}` now `{new}`.')
        _add(function, kwargs, {new: kwargs.pop(old)})
      return function(*args, **kwargs)

    return called

  return decorate


def _warn(message: str) -> None:
  warnings.warn(
    f'{message} The old call will go.',
    DeprecationWarning,
    stacklevel=callers.level(),
  )


def _add(function: Callable, kwargs: dict[str, Any], more: dict) -> None:
  """Adds arguments by name.

  Raises:
    TypeError: one is there already.
  """
  for name, value in more.items():
    if name in kwargs:
      raise TypeError(
        f'{function.__name__} got multiple values for argument {name!r}.'
      )
    kwargs[name] = value
