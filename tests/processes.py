"""Programs that tests run as a user does."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def python(*arguments: str, **env: str) -> subprocess.CompletedProcess:
  """A Python whose environment says nothing of TensorFlow's log."""
  kept = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.run(
    [sys.executable, *arguments],
    capture_output=True,
    text=True,
    check=False,
    env={**kept, 'PYTHONPATH': str(ROOT), **env},
  )


def warm_script(path: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs a script in a fork of a process that has only imported TensorFlow.

  It is spared the seconds of that, which a first run has shown to go well.

  Args:
    path: The script.
    flags: What it is given.
  """
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(['tfmot_paoding'])
  with tempfile.TemporaryDirectory() as folder:
    said = [os.path.join(folder, name) for name in ('out', 'err')]
    process = context.Process(target=_run_script, args=(path, flags, said))
    process.start()
    process.join()
    texts = [pathlib.Path(name).read_text(encoding='utf-8') for name in said]
    return subprocess.CompletedProcess(flags, process.exitcode, *texts)


def _run_script(path: str, flags: tuple[str, ...], said: list[str]) -> None:
  """What the fork does: what it says goes to two files."""
  for number, name in enumerate(said, 1):
    with open(name, 'wb') as file:
      os.dup2(file.fileno(), number)
  sys.argv = [path, *flags]
  sys.path.insert(0, os.path.dirname(path))
  runpy.run_path(path, run_name='__main__')
