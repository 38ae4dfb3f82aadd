"""Imports go one way: from what is listed later to what is listed before."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

from tests import imports

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_FILES = imports.module_files(_ROOT)
_ORDER = imports.folder_order(_ROOT)
# The façade and the program stand on all.
_TOP = {imports.PACKAGE, '__main__'}


def _arrows():
  """Read where somebody asks: each test process comes by here."""
  return imports.folder_arrows(_ROOT)


def test_the_packages_docstring_lists_each_folder_once():
  assert sorted(_ORDER) == sorted(set(_arrows()) - _TOP)


@pytest.mark.parametrize('folder', _ORDER)
def test_folders_import_what_is_listed_before_them(folder):
  before = set(_ORDER[: _ORDER.index(folder)])
  assert set(_arrows()[folder]) <= before


def test_imports_have_no_cycle():
  edges = {
    module: imports.package_imports(path, set(_FILES)) - {module}
    for module, path in _FILES.items()
  }
  done: set[str] = set()
  while len(done) < len(edges):
    ready = {m for m in edges if m not in done and edges[m] <= done}
    assert ready, f'a cycle among {sorted(set(edges) - done)}'
    done |= ready


def test_the_package_imports_no_tests_and_no_examples():
  for module, path in _FILES.items():
    tops = {name.split('.')[0] for name in imports.imported_names(path)}
    assert not tops & {'tests', 'examples'}, module


def test_only_compat_imports_keras_and_tfmot():
  for module, path in _FILES.items():
    outside = imports.third_party_imports(path)
    private = outside & {'tf_keras', 'tensorflow_model_optimization'}
    # TensorFlow hands out Keras too, and which one depends on import order.
    tree = ast.parse(path.read_text(encoding='utf-8'))
    through_tf = any(
      isinstance(node, ast.Attribute)
      and node.attr == 'keras'
      and isinstance(node.value, ast.Name)
      and node.value.id in ('tf', 'tensorflow')
      for node in ast.walk(tree)
    ) or any(
      name.split('.')[:2] == ['tensorflow', 'keras']
      for name in imports.imported_names(path)
    )
    assert not (private or through_tf) or module == 'tfmot_paoding.compat'


@pytest.mark.parametrize(
  'module', ['compaction.dead_units', 'tflite.convert', 'bounds.deviation']
)
def test_what_comes_after_pruning_knows_nothing_of_choosing(module):
  reached, waiting = set(), {f'tfmot_paoding.{module}'}
  while waiting:
    name = waiting.pop()
    reached.add(name)
    waiting |= imports.package_imports(_FILES[name], set(_FILES)) - reached
  assert not {n for n in reached if n.startswith('tfmot_paoding.methods.named')}


@pytest.mark.parametrize('arguments', [[], ['--all']])
def test_the_picture_shows_each_folder(arguments):
  done = subprocess.run(
    [sys.executable, str(_ROOT / '.ci' / 'show_imports.py'), *arguments],
    capture_output=True,
    text=True,
    check=True,
  )
  shown = [line[2:].split()[0] for line in done.stdout.splitlines()[:-1]]
  assert sorted(shown) == sorted(_arrows())
  if arguments:
    first = max(_arrows()['pruning'], key=_arrows()['pruning'].get)
    assert f'{first} ({_arrows()["pruning"][first]})' in done.stdout
