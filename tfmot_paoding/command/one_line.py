"""What a user did wrong, told in one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from absl import app

__all__ = ['FAILED', 'in_one_line', 'script']

FAILED = 1  # the exit code


def in_one_line(run: Callable[..., Any]) -> Callable[..., int]:
  """A program that ends with a line where it would end with a traceback.

  Args:
    run: The program: what it raises of these kinds a user should read, an
      `ImportError`, `OSError`, `TypeError` or `ValueError`.

  Returns:
    The same, which gives an exit code: what `run` gives, or 0, or 1.
  """

  @functools.wraps(run)
  def told(*args: Any, **kwargs: Any) -> int:
    try:
      return run(*args, **kwargs) or 0
    except (ImportError, OSError, TypeError, ValueError) as error:
      sys.stdout.flush()
      print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
      return FAILED

  return told


def script(run: Callable[[], Any]) -> Callable[[list[str]], int]:
  """`in_one_line` as `app.run` takes it, of a script that has flags alone.

  Args:
    run: The program.

  Returns:
    The same, for the program's name and what it was called with that is no
    flag, of which there must be nothing: absl passes it on without a word.
  """

  @functools.wraps(run)
  def checked(argv: list[str]) -> int:
    if len(argv) > 1:
      raise app.UsageError(f'Only flags are taken, but got {argv[1:]}.')
    return in_one_line(run)()

  return checked
