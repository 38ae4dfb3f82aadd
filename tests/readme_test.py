"""The documentation runs as it stands, and its commands can be given.

Python between fences is run, of README, of the pages of figures and of the
docstrings of packages. Commands name scripts and flags that exist.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import shlex

import numpy as np
import pytest
import tf_keras
from absl import flags

import tfmot_paoding as paoding
from tests import imports, testing
from tfmot_paoding.command import subcommands
from tfmot_paoding.layers import base
from tfmot_paoding.methods.criteria import criteria

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_README = _ROOT / 'README.md'
_SCRIPT = re.compile(r'(?:examples|\.ci)/[\w/]+\.py')
_COMMAND = re.compile(
  rf'(python3? {_SCRIPT.pattern}|{subcommands.PROGRAM}(?= \w+ --))([^`]*)'
)


@functools.cache
def text_of(path: pathlib.Path) -> str:
  """What a page says; of a module, its docstring."""
  text = path.read_text(encoding='utf-8')
  if path.suffix == '.py':
    text = ast.get_docstring(ast.parse(text)) or ''
  return text


def pages() -> list[pathlib.Path]:
  """README, the pages of figures, and all that has a docstring of its own."""
  return [
    _README,
    *sorted((_ROOT / 'examples').rglob('*.md')),
    *sorted((_ROOT / 'examples').rglob('*.py')),
    *sorted((_ROOT / 'tfmot_paoding').rglob('*.py')),
  ]


def blocks(path: pathlib.Path) -> list[str]:
  """The Python of a page."""
  return re.findall(r'```python\n(.*?)```', text_of(path), re.DOTALL)


def named(path: pathlib.Path) -> str:
  """A page's name among the tests."""
  return str(path.relative_to(_ROOT))


@pytest.fixture
def clean():
  """Takes back what the documentation registers."""
  handlers, classes = dict(base._HANDLERS), dict(criteria._classes)
  yield
  base._HANDLERS.clear()
  base._HANDLERS.update(handlers)
  criteria._classes.clear()
  criteria._classes.update(classes)


@pytest.fixture
def names(tmp_path, monkeypatch, clean) -> dict:
  """What a page may take for granted: a model, pruned, and samples."""
  monkeypatch.chdir(tmp_path)
  model = testing.mlp((5, 8, 6, 3))
  x = testing.samples((5,), 8).astype(np.float32) * 0.1 + 0.5
  return {
    'paoding': paoding,
    'tf_keras': tf_keras,
    'model': model,
    'small': paoding.prune(
      model, 0.5, method='l1', input_range=(0.0, 1.0), verbose=0
    ),
    'x': x,
    'y': model(x).numpy().argmax(-1),
  }


def run(path: pathlib.Path, names: dict) -> None:
  """Runs a page's Python, block after block."""
  for block in blocks(path):
    exec(compile(block, named(path), 'exec'), names)


def test_readme_runs(tmp_path, names):
  assert len(blocks(_README)) >= 3
  for name in set(names) - {'model'}:
    del names[name]
  run(_README, names)
  assert str(len(names['tiny'])) in (tmp_path / 'g_model.h').read_text()
  assert names['fitted'].profile.bytes <= 40_000
  assert names['small'].layers[0].units == 4


def test_readme_is_one_page():
  assert len(_README.read_text(encoding='utf-8').split()) <= 1000


@pytest.mark.parametrize(
  'path', [p for p in pages()[1:] if blocks(p)], ids=named
)
def test_other_pages_run(path, names):
  run(path, names)


def test_a_layer_of_ones_own(names):
  run(_ROOT / 'tfmot_paoding/layers/__init__.py', names)
  made = testing.fill(
    tf_keras.Sequential(
      [
        tf_keras.Input((5,)),
        tf_keras.layers.Dense(4),
        names['Projection'](6),
        tf_keras.layers.Dense(2),
      ]
    )
  )
  halved = paoding.prune(made, 0.5, verbose=0)
  assert halved.layers[0].units == 2
  assert halved.layers[1].width == 3
  assert np.all(np.isfinite(halved(np.ones((1, 5), np.float32))))


def test_a_layer_with_an_inside_of_ones_own(names):
  run(_ROOT / 'tfmot_paoding/layers/__init__.py', names)
  inputs = tf_keras.Input((5,))
  x = tf_keras.layers.Dense(4)(inputs)
  x = tf_keras.layers.Add()([x, names['GatedLinear'](8, 4, name='gated')(x)])
  made = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(x))
  halved = paoding.prune(testing.fill(made), 0.5, verbose=0)
  gated = halved.get_layer('gated')
  assert (gated.hidden, gated.width) == (4, 2)
  assert np.all(np.isfinite(halved(np.ones((1, 5), np.float32))))


def test_a_criterion_of_ones_own(names):
  run(_ROOT / 'tfmot_paoding/methods/__init__.py', names)
  assert [layer.units for layer in names['small'].layers] == [4, 3, 3]


@functools.cache
def own_flags(path: pathlib.Path) -> frozenset[str]:
  """The flags that a file defines itself."""
  calls = [
    node
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    if isinstance(node, ast.Call)
    and getattr(node.func, 'attr', '').startswith('DEFINE_')
  ]
  return frozenset(ast.literal_eval(call.args[0]) for call in calls)


@functools.cache
def flags_of(path: pathlib.Path) -> frozenset[str]:
  """The flags that a script defines, and those of what it imports.

  Of the package only its command defines any.
  """
  found = own_flags(path) | {'help', 'verbosity'}
  for name in imports.siblings(path):
    found |= flags_of(path.with_name(f'{name}.py'))
  if 'tfmot_paoding.command.main' in imports.imported_names(path):
    # A thin one: its sub-command stands in it by name.
    text = path.read_text(encoding='utf-8')
    for name, subcommand in subcommands.SUBCOMMANDS.items():
      if f"'{name}'" in text:
        values = flags.FlagValues()
        subcommand.define(values)
        found |= set(values)
  return found


def test_no_script_defines_a_flag_of_what_it_imports():
  for path in (_ROOT / 'examples').rglob('*.py'):
    for name in imports.siblings(path):
      twice = own_flags(path) & flags_of(path.with_name(f'{name}.py'))
      assert not twice, (path, name)


def commands(text: str) -> list[list[str]]:
  """Commands of a page: a script or the package's program, and what follows.

  A command ends with its line, unless that goes on, or with its backtick.
  """
  found = []
  for line in text.replace('\\\n', ' ').splitlines():
    for match in _COMMAND.finditer(line):
      rest = shlex.split(match[2], comments=True)
      found.append([match[1].split()[-1], *rest])
  return found


@pytest.mark.parametrize(
  'path', [p for p in pages() if _COMMAND.search(text_of(p))], ids=named
)
def test_commands_can_be_given(path):
  for script in _SCRIPT.findall(text_of(path)):
    assert (_ROOT / script).is_file(), script
  for program, *rest in commands(text_of(path)):
    if program == subcommands.PROGRAM:
      subcommands.parse(rest)
      continue
    known = flags_of(_ROOT / program)
    for word in rest:
      if word.startswith('--'):
        name = word.removeprefix('--').split('=')[0]
        assert name in known or name.removeprefix('no') in known, word


def test_commands_are_found():
  text = (
    'x `python examples/a.py --b=1 \\\n --c` or\n  python examples/d.py\n'
    'the command `tfmot-paoding prune`, bin/tfmot-paoding prune --model=x\n'
  )
  assert commands(text) == [
    ['examples/a.py', '--b=1', '--c'],
    ['examples/d.py'],
    ['tfmot-paoding', 'prune', '--model=x'],
  ]


def test_links_and_extras_exist():
  setup = (_ROOT / 'setup.py').read_text(encoding='utf-8')
  known = re.findall(r"^    '(\w+)': \[", setup, re.MULTILINE)
  for path in pages():
    text = text_of(path)
    for link in re.findall(r'\]\(([^)#:\s]+)\)', text):
      assert (path.parent / link).exists(), (path, link)
    for extra in re.findall(r"(?:tfmot_paoding|'\.)\[(\w+)\]", text):
      assert extra in known, (path, extra)


def test_every_page_of_figures_is_a_scripts_and_linked():
  figures = _ROOT / 'examples/figures'
  readme = text_of(_README)
  for page in figures.glob('*.md'):
    assert page.stem == 'paoding' or page.with_suffix('.py').is_file(), page
    assert f'(examples/figures/{page.name})' in readme
    assert commands(text_of(page)), page


def rows(text: str, columns: int) -> list[list[str]]:
  """The rows of a page's tables that have so many columns, without heads."""
  lines = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in text.splitlines()
    if line.startswith('|')
  ]
  return [x for x in lines if len(x) == columns and '---' not in x[0]]


def test_figures_of_readme_are_those_measured():
  figures = _ROOT / 'examples/figures'
  tree = ast.parse((figures / 'plot_accuracy.py').read_text(encoding='utf-8'))
  (titles,) = (
    ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign) and node.targets[0].id == '_TITLES'
  )
  text = text_of(figures / 'compare_networks.md')
  measured = {}
  heads = None
  for row in rows(text, 8) + rows(text, 9):
    if row[0] == 'network':
      heads = row
      continue
    for head, cell in zip(heads[2:6], row[2:6], strict=True):
      measured[titles[row[0]], row[1], head] = cell.split()[0].lstrip('0')
  shown = rows(text_of(_README), 6)[1:]
  assert len(shown) == 6
  for network, *cells in shown:
    wanted = [
      measured[network, method, head]
      for method, head in (
        ('original', '50%'),
        ('reconstruction', '25%'),
        ('reconstruction', '50%'),
        ('l1', '50%'),
        ('ceiling', '50%'),
      )
    ]
    assert cells == wanted, network
