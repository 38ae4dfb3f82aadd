"""Scripts in processes of their own, for what may end the one it runs in."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

from tfmot_paoding.tflite import forks

# A script's own folder comes first where it is looked for modules, and names
# there (`litert`, `profile`) hide those of others; so does the folder that the
# caller happens to be in.
_START = """
import runpy, sys
if not sys.path[0]:
  del sys.path[0]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
_TRACEBACK = 'Traceback (most recent call last):\n'


class EndedError(RuntimeError):
  """A script's process was ended from within, by a signal.

  Attributes:
    signal: Its name, such as 'SIGSEGV'.
  """

  def __init__(self, name: str):
    super().__init__(f'its process ended with {name}')
    self.signal = name


def run_script(
  script: str, arguments: Sequence[str], seconds: float | None = None
) -> subprocess.CompletedProcess:
  """Runs a script to its end, and what it prints as text.

  On Linux that is a fork of a process that is kept for a minute: it has
  imported what a script's function `prepare` says.

  What interrupts the wait (Ctrl-C, a timeout) kills the script's process too.

  Args:
    script: Its path.
    arguments: What it is given.
    seconds: What it may take at most; None for no limit.

  Raises:
    subprocess.TimeoutExpired: it takes longer.
  """
  start = [sys.executable, '-c', _START]
  if forks.CAN_FORK:
    with contextlib.suppress(forks.GoneError):
      return forks.run_in_fork(start, script, arguments, seconds)
  return subprocess.run(
    [*start, script, *arguments],
    capture_output=True,
    text=True,
    errors='replace',
    timeout=seconds,
    check=False,
  )


def checked_script(script: str, arguments: Sequence[str]) -> None:
  """Runs a script that must get through.

  Raises:
    EndedError: its process was ended by a signal.
    RuntimeError: it raised; the message is what it said.
  """
  done = run_script(script, arguments)
  if done.returncode < 0:
    raise EndedError(signal_name(done.returncode))
  if done.returncode:
    raise RuntimeError(last_error(done.stderr) or 'it gave no reason.')


def signal_name(returncode: int) -> str:
  """The name of the signal that ended a process."""
  try:
    return signal.Signals(-returncode).name
  except ValueError:
    return f'signal {-returncode}'


def last_error(text: str) -> str:
  """What the last exception of a script said, of all that it printed."""
  lines = text.rpartition(_TRACEBACK)[2].strip('\n').splitlines()
  while len(lines) > 1 and lines[0].startswith(' '):
    lines.pop(0)
  return re.sub(r'^[\w.]*(Error|Exception): ', '', '\n'.join(lines).strip())
