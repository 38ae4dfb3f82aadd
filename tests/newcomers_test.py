"""Who joins a registry is tested with the others; no list is kept by hand."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
# How tests ask for all that there is.
_ALL = re.compile(r'\bnames(?:_alone)?\(\)|method_names\(\)|ACTIVATIONS|TAME')


def test_newcomers_pass_the_tests_that_run_over_the_registries():
  """In a process of its own, which keeps its newcomers to itself."""
  modules = [
    str(path.relative_to(_ROOT))
    for path in sorted((_ROOT / 'tests').rglob('*_test.py'))
    if _ALL.search(path.read_text(encoding='utf-8'))
    and path != pathlib.Path(__file__)
  ]
  assert len(modules) >= 10
  run = subprocess.run(
    [sys.executable, '-m', 'pytest', '-p', 'tests.newcomers', '-q', *modules],
    cwd=_ROOT,
    env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
  assert int(re.search(r'(\d+) passed', run.stdout).group(1)) > 150
