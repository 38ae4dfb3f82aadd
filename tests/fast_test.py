"""The fast set is chosen by what modules import."""

from __future__ import annotations

import pathlib

import pytest

from tests.fast import Fast

_TESTS = pathlib.Path(__file__).resolve().parent


@pytest.mark.parametrize(
  ('module', 'fast'),
  [
    ('numerics/intervals_test.py', True),
    ('methods/criteria_test.py', True),
    ('pruning/one_call_test.py', False),  # above
    ('fuzz_test.py', False),  # by an example
    ('newcomers_test.py', False),  # runs a program
    ('build_file_test.py', False),  # by a helper
  ],
)
def test_modules_of_arrays_and_graphs_are_fast(module, fast):
  assert Fast(_TESTS.parent).holds(_TESTS / module) == fast


def test_each_low_folder_has_some_and_helpers_are_followed(tmp_path):
  fast = Fast(_TESTS.parent)
  held = {
    path.parent.name for path in _TESTS.rglob('*_test.py') if fast.holds(path)
  }
  assert held >= {'numerics', 'ops', 'layers', 'network', 'methods', 'inputs'}
  for text, wanted in (
    ('import numpy\n', True),
    ('from tests import testing\n', True),
    ('import tfmot_paoding\n', False),
    ('from tests import bazel\n', False),
  ):
    path = tmp_path / f'{len(text)}_test.py'
    path.write_text(text, encoding='utf-8')
    assert fast.holds(path) == wanted, text
