"""Each BUILD says what the sources import, and its tests really run.

Bazel fetches its rules from the net, so that it is not asked here: labels are
followed, and programs run where nothing is but what they say they need.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import re
import runpy

import pytest

from tests import bazel, imports

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_SPACE = bazel.Workspace(_ROOT)
_SOURCES = imports.source_files(_ROOT)
_MODULES = {imports.module_name(path, _ROOT): path for path in _SOURCES}
_RUNNER = '//tests:pytest_main.py'
_CONFTEST = '//tests:conftest'


def _owners() -> dict[pathlib.Path, list[bazel.Target]]:
  """The Python targets that have a source file, by file."""
  found = collections.defaultdict(list)
  for target in _SPACE.targets.values():
    if target.kind.startswith('py_'):
      for label in target.labels('srcs'):
        found[_SPACE.file(label)].append(target)
  return found


_OWNERS = _owners()


def label_of(path: pathlib.Path) -> str:
  """The one target of a file."""
  (owner,) = _OWNERS[path]
  return owner.label


def test_they_are_what_the_generator_writes():
  made = runpy.run_path(str(_ROOT / '.ci' / 'make_build.py'))['build_files']()
  assert set(made) == set(_SPACE.packages.values()), 'run .ci/make_build.py'
  for path, text in made.items():
    assert path.read_text(encoding='utf-8') == text, 'run .ci/make_build.py'


@pytest.mark.parametrize('module', sorted(_MODULES))
def test_deps_are_the_imports(module):
  path = _MODULES[module]
  if module == 'tests.pytest_main':
    assert {target.kind for target in _OWNERS[path]} == {'py_test'}
    return
  (target,) = _OWNERS[path]
  local = imports.local_imports(path, set(_MODULES), _ROOT) - {module}
  wanted = {label_of(_MODULES[name]) for name in local}
  wanted |= {f'@pypi//{name}' for name in imports.third_party_imports(path)}
  if path.stem.endswith('_test'):
    assert target.kind == 'py_test'
    wanted.add(_CONFTEST)
  found = target.labels('deps')
  assert set(found) == wanted
  assert len(found) == len(wanted)


def test_every_label_leads_somewhere():
  for target in _SPACE.targets.values():
    for label in target.labels('srcs', 'deps', 'data', 'main', 'actual'):
      if label.startswith('@') or label in _SPACE.targets:
        continue
      assert _SPACE.file(label) is not None, (target.label, label)
      package = label.removeprefix('//').partition(':')[0]
      assert package == target.package or label in _SPACE.exported, label


def test_nothing_that_is_shipped_needs_tests():
  for label in _SPACE.reached('//:tfmot_paoding', 'deps', 'data', 'actual'):
    assert not label.startswith('//tests')


def test_no_target_needs_itself():
  needs = {
    label: {d for d in target.labels('deps', 'actual') if d in _SPACE.targets}
    for label, target in _SPACE.targets.items()
  }
  done: set[str] = set()
  while len(done) < len(needs):
    ready = {t for t in needs if t not in done and needs[t] <= done}
    assert ready, f'a cycle among {sorted(set(needs) - done)}'
    done |= ready


def test_the_package_and_its_command_are_for_all():
  for label in ('//:tfmot_paoding', '//:tfmot-paoding'):
    target = _SPACE.targets[label]
    assert target.fields['visibility'] == ['//visibility:public']


def test_every_module_is_there_for_the_package_or_a_program():
  programs = [
    target.label
    for target in _SPACE.targets.values()
    if target.kind in ('alias', 'py_binary') and 'tests' not in target.package
  ]
  reached = {
    label
    for program in programs
    for label in _SPACE.reached(program, 'deps', 'actual')
  }
  for path in imports.module_files(_ROOT).values():
    statements = ast.parse(path.read_text(encoding='utf-8')).body
    if len(statements) > 1:  # more than a docstring
      assert label_of(path) in reached, path


def test_binaries_are_binaries():
  for name in ('//:quickstart', '//examples/figures:compare_methods'):
    assert _SPACE.targets[name].kind == 'py_binary'


def test_the_lock_file_has_every_distribution():
  module = (_ROOT / 'MODULE.bazel').read_text(encoding='utf-8')
  (lock,) = re.findall(r'requirements_lock = "//:(.*)"', module)
  pins = dict(
    line.split('==')
    for line in (_ROOT / lock).read_text(encoding='utf-8').splitlines()
    if not line.startswith('#')
  )
  for target in _SPACE.targets.values():
    for label in target.labels('deps'):
      if label.startswith('@pypi//'):
        name = label.removeprefix('@pypi//').replace('_', '-')
        assert name in pins, label


@pytest.mark.parametrize(
  ('text', 'code'),
  [
    (None, 0),
    ('def test_it():\n  assert 1 == 2\n', 1),
    ('import nothing_of_this_name\n', 2),
    ('', 5),  # no tests at all
  ],
)
def test_a_test_fails_where_its_tests_do(tmp_path, text, code):
  texts = {} if text is None else {'registry_test': text}
  done = _SPACE.run('//tests:registry_test', tmp_path, **texts)
  assert done.returncode == code, done.stdout + done.stderr


def test_a_test_in_a_folder_runs_with_what_it_names(tmp_path):
  label = '//tests/numerics:intervals_test'
  done = _SPACE.run(label, tmp_path)
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'passed' in done.stdout
  files = {path.name for path in (tmp_path / 'tfmot_paoding').rglob('*.py')}
  assert 'prune.py' not in files  # else the run says nothing of its deps
