"""A script in a fork does what it does in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tfmot_paoding.tflite import forks as lib
from tfmot_paoding.tflite import processes

pytestmark = pytest.mark.skipif(
  not lib.CAN_FORK, reason='scripts are not forked here'
)

_TELLS = """
import os, sys
known = len(sys.modules)

def prepare():
  import wave
  print('noise')

if __name__ == '__main__':
  print(os.getppid(), os.getpid(), 'wave' in sys.modules)
"""


@pytest.fixture
def script(tmp_path):
  """Writes a script; processes that are kept for it end with the test."""

  def write(text):
    path = str(tmp_path / 'script.py')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(text)
    paths.append(path)
    return path

  paths = []
  yield write
  for path in paths:
    for forks in lib._KEPT.pop(path, []):
      forks.end()


def told(path):
  return processes.run_script(path, []).stdout.split()


def test_one_process_imports_for_all(script):
  path = script(_TELLS)
  first, second = told(path), told(path)
  assert first[0] == second[0] != str(os.getpid())
  assert first[1] != second[1]
  assert first[2] == second[2] == 'True'


@pytest.mark.parametrize(
  'end',
  [
    'pass',
    'sys.exit(3)',
    'sys.exit()',
    'sys.exit("why")',
    'raise ValueError("one thing\\nand more")',
    'os.kill(os.getpid(), 11)',
    'print(open(0).read())',
    'print(os.getcwd(), os.environ["OF_A_TEST"], "SHLVL" in os.environ)',
  ],
)
def test_it_ends_and_says_what_it_would_have(script, end, monkeypatch):
  path = script(f'import os, sys\nprint("é", sys.argv[1:], flush=True)\n{end}')
  processes.run_script(path, [])  # from now on there is one to fork
  monkeypatch.setenv('OF_A_TEST', 'said later')
  monkeypatch.delenv('SHLVL', raising=False)
  monkeypatch.chdir(os.path.dirname(path))
  found = processes.run_script(path, ['a b', '--c'])
  monkeypatch.setattr(lib, 'CAN_FORK', False)
  alone = processes.run_script(path, ['a b', '--c'])
  assert found.returncode == alone.returncode
  assert found.stdout == alone.stdout
  assert processes.last_error(found.stderr) == (
    processes.last_error(alone.stderr)
  )


def test_what_takes_too_long_is_ended_and_the_next_one_runs(script, tmp_path):
  path = script(
    'import os, sys, time\n'
    'if sys.argv[1:]:\n'
    '  open(sys.argv[1], "w").write(str(os.getpid()))\n'
    '  time.sleep(60)\n'
  )
  processes.run_script(path, [])
  said = tmp_path / 'number'
  with pytest.raises(subprocess.TimeoutExpired):
    processes.run_script(path, [str(said)], 1)
  with pytest.raises(ProcessLookupError):
    os.kill(int(said.read_text()), 0)
  assert processes.run_script(path, []).returncode == 0


def test_one_that_has_ended_meanwhile_is_started_again(script):
  path = script(_TELLS)
  first = told(path)[0]
  os.kill(int(first), signal.SIGKILL)
  assert told(path)[0] != first


def test_a_fork_of_the_caller_has_its_own(script, monkeypatch):
  path = script(_TELLS)
  first = told(path)[0]
  (theirs,) = lib._KEPT[path]
  theirs.owner += 1  # as it is for a fork
  assert told(path)[0] != first
  assert theirs not in lib._KEPT[path]


def test_a_script_that_prepares_nothing_runs_once(script, tmp_path):
  path = script(f'open({str(tmp_path / "log")!r}, "a").write("x")')
  processes.run_script(path, [])
  assert (tmp_path / 'log').read_text() == 'x'


def test_where_none_can_be_started_scripts_run_all_the_same(
  script, monkeypatch
):
  path = script(_TELLS)
  monkeypatch.setattr(lib, '_WORKER', 'nowhere.py')
  assert told(path)[2] == 'False'


def test_all_end_with_python(script):
  path = script(_TELLS)
  first = int(told(path)[0])
  (kept,) = lib._KEPT[path]
  kept.end()
  with pytest.raises(ProcessLookupError):
    os.kill(first, 0)
