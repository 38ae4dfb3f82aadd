"""The command starts at once and quietly; other programs are left alone."""

from __future__ import annotations

import os
import time

import pytest

from tests.processes import ROOT, python
from tfmot_paoding.command.starting import command_arguments

_WITHOUT_TENSORFLOW = """
import sys
class Refuses:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('tensorflow', 'numpy', 'keras', 'tf_keras'):
      raise ImportError(f'{name} was imported')
sys.meta_path.insert(0, Refuses())
"""


@pytest.mark.parametrize(
  ('argv', 'orig_argv', 'wanted'),
  [
    (['-m', 'prune'], ['python', '-m', 'tfmot_paoding', 'prune'], ['prune']),
    (['-m'], ['python', '-Wignore', '-mtfmot_paoding'], []),
    (['/bin/tfmot-paoding', 'x'], ['python', '/bin/tfmot-paoding', 'x'], ['x']),
    (['-m', 'tests'], ['python', '-m', 'pytest', 'tests'], None),
    (['-m', '-m'], ['python', '-m', 'x', '-m', 'tfmot_paoding'], None),
    (['train.py', 'prune'], ['python', 'train.py', 'prune'], None),
    (['-c'], ['python', '-c', 'import tfmot_paoding'], None),
    ([''], ['python'], None),
    ([], ['program'], None),
  ],
)
def test_which_program_is_the_command(argv, orig_argv, wanted):
  assert command_arguments(argv, orig_argv) == wanted


@pytest.mark.parametrize(
  ('script', 'name'),
  [('prune_model.py', 'prune'), ('fit_budget.py', 'budget')],
)
def test_help_needs_nothing_that_is_slow(script, name, tmp_path):
  (tmp_path / 'sitecustomize.py').write_text(_WITHOUT_TENSORFLOW)
  path = f'{tmp_path}{os.pathsep}{ROOT}'
  ways = [
    ['-m', 'tfmot_paoding', name],
    [str(ROOT / 'examples' / script)],
  ]
  texts = set()
  for way in ways:
    began = time.perf_counter()
    done = python(*way, '--help', PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert time.perf_counter() - began < 3  # a machine that is busy
    texts.add(done.stdout)
  assert len(texts) == 1
  assert '--min_agreement' in texts.pop()


def test_the_quickstarts_help_is_quick_too(tmp_path):
  (tmp_path / 'sitecustomize.py').write_text(_WITHOUT_TENSORFLOW)
  path = f'{tmp_path}{os.pathsep}{ROOT}'
  done = python(str(ROOT / 'examples/quickstart.py'), '--help', PYTHONPATH=path)
  assert '--sparsity' in done.stdout
  assert not done.stderr


def test_wrong_flags_are_said_before_anything_is_loaded(tmp_path):
  (tmp_path / 'sitecustomize.py').write_text(_WITHOUT_TENSORFLOW)
  path = f'{tmp_path}{os.pathsep}{ROOT}'
  done = python('-m', 'tfmot_paoding', 'prune', '--model=x', PYTHONPATH=path)
  assert done.returncode == 2
  assert done.stderr.count('\n') == 1


_AT_THE_END = """
import atexit, pathlib, sys
names = ('tensorflow', 'keras', 'sklearn', 'matplotlib')
atexit.register(
  lambda: pathlib.Path({path!r}).write_text(
    ' '.join(name for name in names if name in sys.modules)
  )
)
"""


def test_only_what_a_user_should_read_is_printed(tmp_path):
  loaded = tmp_path / 'loaded'
  text = _AT_THE_END.format(path=str(loaded))
  (tmp_path / 'sitecustomize.py').write_text(text)
  path = f'{tmp_path}{os.pathsep}{ROOT}'
  done = python(
    *('-m', 'tfmot_paoding', 'prune', '--model=a', '--output=b'),
    PYTHONPATH=path,
  )
  # Keras's wrappers for these take a quarter of the time before the command.
  assert loaded.read_text() == 'tensorflow keras'
  assert done.returncode == 1
  assert done.stdout == ''
  assert done.stderr == "error: There is no model file 'a'.\n"
