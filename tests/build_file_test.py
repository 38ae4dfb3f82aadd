"""BUILD says what the sources import, and the architecture has no cycles."""

from __future__ import annotations

import ast
import pathlib

import pytest

from tests import imports

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_FILES = imports.module_files(_ROOT)


def targets() -> dict[str, dict]:
  """BUILD's targets by name: kind, srcs and deps."""
  found = {}
  tree = ast.parse((_ROOT / 'BUILD').read_text(encoding='utf-8'))
  for statement in tree.body:
    call = statement.value
    if not isinstance(call, ast.Call) or not call.func.id.startswith('py_'):
      continue
    fields = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert fields['name'] not in found, f'two targets {fields["name"]}'
    found[fields['name']] = {'kind': call.func.id, 'deps': [], **fields}
  return found


def target_of(source: str) -> dict:
  """The one target that has a source file."""
  owners = [t for t in targets().values() if source in t['srcs']]
  assert len(owners) == 1, f'{source} is in {len(owners)} targets'
  return owners[0]


@pytest.mark.parametrize('module', sorted(_FILES))
def test_deps_are_the_imports(module):
  path = _FILES[module]
  target = target_of(str(path.relative_to(_ROOT)))
  assert target['kind'] == 'py_library'
  inside = imports.package_imports(path, set(_FILES)) - {module}
  sources = {str(_FILES[m].relative_to(_ROOT)) for m in inside}
  wanted = {':' + target_of(source)['name'] for source in sources}
  wanted |= {f'@pypi//{name}' for name in imports.third_party_imports(path)}
  assert set(target['deps']) == wanted
  assert len(target['deps']) == len(wanted)


@pytest.mark.parametrize(
  'source',
  sorted(
    str(path.relative_to(_ROOT))
    for folder in ('examples', 'tests')
    for path in (_ROOT / folder).rglob('*.py')
    if path.stem != '__init__'
  ),
)
def test_deps_of_tests_and_examples_are_the_imports(source):
  path = _ROOT / source
  names = imports.imported_names(path)
  sources = {
    str(_FILES[m].relative_to(_ROOT))
    for m in imports.package_imports(path, set(_FILES))
  }
  sources |= {
    str(helper.relative_to(_ROOT))
    for helper in (_ROOT / 'tests').glob('*.py')
    if f'tests.{helper.stem}' in names
  }
  sources |= {
    str(helper.relative_to(_ROOT))
    for helper in (_ROOT / 'examples').rglob('*.py')
    if names & {helper.stem, imports.module_name(helper, _ROOT)}
  }
  wanted = {':' + target_of(s)['name'] for s in sources}
  wanted |= {f'@pypi//{name}' for name in imports.third_party_imports(path)}
  assert set(target_of(source)['deps']) == wanted


def test_every_source_has_a_target_and_every_target_a_source():
  sources = [s for t in targets().values() for s in t['srcs']]
  for source in sources:
    assert (_ROOT / source).is_file(), source
  on_disk = {
    str(path.relative_to(_ROOT))
    for folder in ('tfmot_paoding', 'examples', 'tests')
    for path in (_ROOT / folder).rglob('*.py')
    if not (folder == 'tests' and path.stem == '__init__')
  }
  assert set(sources) == on_disk


def test_tests_are_tests_and_binaries_binaries():
  for path in (_ROOT / 'tests').rglob('*_test.py'):
    assert target_of(str(path.relative_to(_ROOT)))['kind'] == 'py_test'
  for name in ('quickstart', 'prune_model', 'compare_methods'):
    assert targets()[name]['kind'] == 'py_binary'


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
