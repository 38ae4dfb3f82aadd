"""Runs a script again and again, each time in a fork of one process.

That process has imported what the script needs, which takes most of the time of
a short run. As a script it imports nothing of the package. Its argument is the
script. What it is to run it reads as lines of JSON: arguments, environment,
folder, and files for what is said. For each it answers with two lines, the
number of the fork and how that ended. It ends with its input, or when it has
had nothing to do for a while.

A script may have a function `prepare`, which imports what it uses; all else it
then does as `__main__` alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import signal
import sys
import traceback
from typing import Any, NoReturn

_IDLE = 60  # seconds


def serve(script: str) -> None:
  """Forks for every line until there are no more."""
  answers = os.dup(1)
  _say_to(os.devnull, os.devnull)
  with contextlib.suppress(Exception):  # the forks will say what it is
    _prepare(script)
  # Ctrl-C is for whoever waits, who ends the fork.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  while select.select([0], [], [], _IDLE)[0]:
    line = sys.stdin.buffer.readline()
    if not line:
      return
    number = os.fork()
    if not number:
      os.close(answers)
      _run(script, **json.loads(line))
    os.write(answers, b'%d\n' % number)
    _, status = os.waitpid(number, 0)
    os.write(answers, b'%d\n' % os.waitstatus_to_exitcode(status))


def _prepare(script: str) -> None:
  """Imports what the script says, if it does; another is not even read."""
  with open(script, encoding='utf-8') as file:
    if '\ndef prepare()' not in file.read():
      return
  runpy.run_path(script, run_name='prepared')['prepare']()


def _run(
  script: str,
  arguments: list[str],
  environment: dict[str, str],
  folder: str,
  said: list[str],
) -> NoReturn:
  """Runs the script as a process of its own would, to its end."""
  code: Any = 1
  try:
    _say_to(*said)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name='__main__')
    code = 0
  except SystemExit as end:
    code = end.code
  except BaseException:
    traceback.print_exc()
  if isinstance(code, str):
    print(code, file=sys.stderr)
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
  os._exit(code if isinstance(code, int) else int(code is not None))


def _say_to(output: str, errors: str) -> None:
  """Sends what is said from now on to two files."""
  for number, path in ((1, output), (2, errors)):
    made = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(made, number)
    os.close(made)


if __name__ == '__main__':
  with contextlib.suppress(BrokenPipeError):  # nobody waits any more
    serve(*sys.argv[1:])
