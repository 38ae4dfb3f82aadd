"""Runs the command `tfmot-paoding`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from absl import logging

from tfmot_paoding.command import subcommands
from tfmot_paoding.command.one_line import in_one_line

__all__ = ['main', 'run']

_INTERRUPTED = 130  # the exit code


def main() -> None:
  """The program.

  Raises:
    SystemExit: 0 when all was written, 1 with a line that says why not, 2 where
      flags are wrong; of `verify` 3 or 4 where not all is proved.
  """
  logging.set_verbosity(logging.ERROR)
  warnings.showwarning = _show
  try:
    sys.exit(run(sys.argv[1:]))
  except KeyboardInterrupt:
    sys.exit(_INTERRUPTED)


def run(arguments: Sequence[str]) -> int:
  """Does what arguments say; the exit code.

  Args:
    arguments: A sub-command and its flags.

  Raises:
    SystemExit: the flags are wrong, or ask for help.
  """
  subcommand, given = subcommands.parse(arguments)
  # Not before the flags are right: they load TensorFlow.
  from tfmot_paoding.command import budget, factorize, prune, report, verify

  modules = {
    'budget': budget,
    'factorize': factorize,
    'prune': prune,
    'report': report,
    'verify': verify,
  }
  return in_one_line(modules[subcommand.name].run)(given)


def _show(message, category, filename, lineno, file=None, line=None) -> None:
  """Shows a warning as a user reads it: no place in the source."""
  del category, filename, lineno, line
  print(f'warning: {" ".join(str(message).split())}', file=file or sys.stderr)
