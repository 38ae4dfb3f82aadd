"""Who joins a registry is tested with the others; no list is kept by hand."""

from __future__ import annotations

import pathlib
import re

from tests.processes import Warm

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
  call = '-p', 'tests.newcomers', '-q'
  run = Warm(str(_ROOT / 'tests/pytest_main.py'), *call, *modules).wait(900)
  assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
  assert int(re.search(r'(\d+) passed', run.stdout).group(1)) > 150
