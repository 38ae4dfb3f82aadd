"""Programs that tests run as a user does."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import textwrap

from tests import shortly

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
  """Runs a script as `Warm` does, to its end."""
  return Warm(path, *flags).wait()


def warm_code(code: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs Python code as `Warm` does, to its end."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'code.py')
    path.write_text(textwrap.dedent(code), encoding='utf-8')
    return warm_script(str(path), *flags)


class Warm:
  """A script in a fork of a process that has only imported TensorFlow.

  It is spared the seconds of that, which others show to go well, and what tests
  are spared; all else is as in a process of its own, devices too.

  Args:
    path: The script.
    *flags: What it is given.
    **env: What its environment says beside that of the tests.
  """

  def __init__(self, path: str, *flags: str, **env: str):
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['tfmot_paoding'])
    self._flags = flags
    self._folder = tempfile.TemporaryDirectory()
    self._said = [
      os.path.join(self._folder.name, name) for name in ('out', 'err')
    ]
    self._process = context.Process(
      target=_run_script, args=(path, flags, env, self._said)
    )
    self._process.start()

  def wait(self, seconds: float | None = None) -> subprocess.CompletedProcess:
    """What came of it.

    Raises:
      subprocess.TimeoutExpired: it takes longer.
    """
    self._process.join(seconds)
    if self._process.exitcode is None:
      self.kill()
      raise subprocess.TimeoutExpired(self._flags, seconds)
    texts = [
      pathlib.Path(name).read_text(encoding='utf-8') for name in self._said
    ]
    self._folder.cleanup()
    return subprocess.CompletedProcess(
      self._flags, self._process.exitcode, *texts
    )

  def kill(self) -> None:
    """Ends it, if it has not come to an end."""
    self._process.kill()
    self._process.join()
    self._folder.cleanup()


def _run_script(
  path: str, flags: tuple[str, ...], env: dict[str, str], said: list[str]
) -> None:
  """What the fork does: what it says goes to two files."""
  for number, name in enumerate(said, 1):
    with open(name, 'wb') as file:
      os.dup2(file.fileno(), number)
  os.environ.update(env)
  # As in the tests' own process: what was imported is no garbage.
  gc.freeze()
  gc.set_threshold(50_000, 20, 50)
  sys.argv = [path, *flags]
  sys.path.insert(0, os.path.dirname(path))
  with (
    shortly.timed(),
    shortly.operations_made(),
    shortly.called(),
    shortly.compared(),
    shortly.taught(),
    shortly.models_made(),
  ):
    runpy.run_path(path, run_name='__main__')
