"""Processes that scripts are forked from, one after the other.

A script that converts or runs a small file takes hundredths of a second, and
its imports up to half of one; a model becomes a file of integers by three such
scripts, and a budget by dozens. The process that has imported them is kept, and
each run has a fork of its own: what ends that ends nothing else.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

_WORKER = os.path.join(os.path.dirname(__file__), 'forks_worker.py')
# Elsewhere libraries may not be used in a fork, or there is none.
CAN_FORK = sys.platform == 'linux'


class GoneError(RuntimeError):
  """A process that forks has ended, before it began what it was given."""


class Forks:
  """A process that has imported what a script needs.

  Args:
    start: How Python runs a script's path, the last of them, in a process of
      its own.
    script: The script.
  """

  def __init__(self, start: Sequence[str], script: str):
    self.owner = os.getpid()
    self._process = subprocess.Popen(
      [*start, _WORKER, script],
      bufsize=0,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
    )

  def run(
    self, arguments: Sequence[str], seconds: float | None
  ) -> subprocess.CompletedProcess:
    """Runs the script in a fork to its end.

    Whatever interrupts that ends the fork, and this process with it.

    Args:
      arguments: What the script is given.
      seconds: What it may take at most; None for no limit.

    Raises:
      GoneError: the process has ended. The script was not run.
      subprocess.TimeoutExpired: it takes longer.
    """
    with tempfile.TemporaryDirectory() as folder:
      said = [os.path.join(folder, name) for name in ('out', 'err')]
      number = self._begin(arguments, said)
      try:
        code = int(self._answer(seconds))
      except BaseException:
        self._interrupt(number)
        raise
      texts = []
      for path in said:
        with open(path, encoding='utf-8', errors='replace') as file:
          texts.append(file.read())
    return subprocess.CompletedProcess(list(arguments), code, *texts)

  def _begin(self, arguments: Sequence[str], said: Sequence[str]) -> int:
    """Gives the process something to do; the number of the fork.

    Raises:
      GoneError: it has ended.
    """
    job = {
      'arguments': list(arguments),
      'environment': dict(os.environ),
      'folder': os.getcwd(),
      'said': list(said),
    }
    try:
      self._process.stdin.write(json.dumps(job).encode() + b'\n')
      return int(self._answer(None))
    except BaseException as error:
      self.end()
      if isinstance(error, (BrokenPipeError, EOFError)):
        raise GoneError('It has nothing to do, or cannot start.') from error
      raise

  def _interrupt(self, number: int) -> None:
    """Ends a fork, which its process waits for, and the process."""
    os.kill(number, signal.SIGKILL)
    with contextlib.suppress(EOFError):
      self._answer(None)
    self.end()

  def _answer(self, seconds: float | None) -> bytes:
    """The next line.

    Raises:
      EOFError: there is none.
      subprocess.TimeoutExpired: it takes longer than that.
    """
    stream = self._process.stdout
    if not select.select([stream], [], [], seconds)[0]:
      raise subprocess.TimeoutExpired(self._process.args, seconds)
    line = stream.readline()
    if not line:
      raise EOFError
    return line

  def end(self) -> None:
    """Ends the process, which does nothing, or what nobody waits for."""
    self._process.stdin.close()
    self._process.stdout.close()
    if self.owner == os.getpid():
      self._process.kill()
      self._process.wait()


# By script, those that have nothing to do: several threads have several.
_KEPT: dict[str, list[Forks]] = collections.defaultdict(list)


def run_in_fork(
  start: Sequence[str],
  script: str,
  arguments: Sequence[str],
  seconds: float | None,
) -> subprocess.CompletedProcess:
  """Runs a script in a fork of a process that is kept for the next.

  Args:
    start: As for `Forks`.
    script: The script.
    arguments: What it is given.
    seconds: What it may take at most; None for no limit.

  Raises:
    GoneError: no process can be started.
    subprocess.TimeoutExpired: it takes longer.
  """
  while True:
    kept = _KEPT[script]
    forks, is_new = (kept.pop(), False) if kept else (None, True)
    if forks is not None and forks.owner != os.getpid():
      forks.end()  # of the process that this one is a fork of
      continue
    forks = forks or Forks(start, script)
    try:
      done = forks.run(arguments, seconds)
    except GoneError:
      if is_new:
        raise
      continue  # it had waited for long
    kept.append(forks)
    return done


@atexit.register
def end_all() -> None:
  """Ends the processes that are kept."""
  for kept in _KEPT.values():
    while kept:
      kept.pop().end()
