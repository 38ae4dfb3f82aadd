"""What the command does before the package is loaded."""

from __future__ import annotations

import os
import sys

from tfmot_paoding.command import subcommands, tensorflow_log

__all__ = ['QUIET', 'start']

# Set in the environment, it makes any program's `import tfmot_paoding` quiet.
QUIET = 'TFMOT_PAODING_QUIET'
# Which Keras 3 imports if they are there, for what the command asks nobody for.
_UNUSED = ('sklearn', 'matplotlib')


def start() -> None:
  """Reads the command's flags, hides TensorFlow's log, and loads TensorFlow.

  In a program that is not the command, and does not ask for quiet, it does
  nothing.

  Raises:
    SystemExit: the flags ask for help, or are wrong.
  """
  arguments = command_arguments(sys.argv, sys.orig_argv)
  if arguments is not None:
    subcommands.parse(arguments)
  if arguments is not None or os.environ.get(QUIET, '') not in ('', '0'):
    tensorflow_log.hide()
  if arguments is not None:
    _load_tensorflow()


def _load_tensorflow() -> None:
  """Loads TensorFlow, and Keras 3 without what it may do without.

  Wrappers for scikit-learn and its pictures: with what these load in turn, a
  quarter of the time before the command begins. Whoever imports them later
  finds them.
  """
  absent = [name for name in _UNUSED if name not in sys.modules]
  sys.modules.update(dict.fromkeys(absent))  # an import fails then
  try:
    import keras  # noqa: F401
    import tensorflow  # noqa: F401
  finally:
    for name in absent:
      del sys.modules[name]


def command_arguments(
  argv: list[str], orig_argv: list[str]
) -> list[str] | None:
  """The arguments of the command; None in any other program.

  Args:
    argv: `sys.argv`, which while `python -m` looks for a module begins with
      '-m' whatever that module is.
    orig_argv: `sys.orig_argv`, which says which it is.
  """
  if not argv:
    return None
  before = orig_argv[: len(orig_argv) - len(argv) + 1]
  is_module = argv[0] == '-m' and ''.join(before[-2:]).endswith(
    'mtfmot_paoding'
  )
  name, _ = os.path.splitext(os.path.basename(argv[0]))
  return argv[1:] if is_module or name == subcommands.PROGRAM else None
