"""Writes a BUILD beside each folder of sources: one target a module.

The deps of a target are what its file imports. `//:tfmot_paoding` is for
others; the rest is seen from within.
"""

from __future__ import annotations

import pathlib
import re
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests import imports  # noqa: E402

_PYTHON = '@rules_python//python:defs.bzl'
_TREE = '//:tree'
_FILES = 'all_files'
_ROOT_OF_ALL = re.compile(r'^_?ROOT = pathlib', re.MULTILINE)


class Module:
  """A file and the target it is in."""

  def __init__(self, path: pathlib.Path, homes: set[pathlib.Path]):
    self.path = path
    self.module = imports.module_name(path, _ROOT)
    self.home = next(folder for folder in path.parents if folder in homes)
    self.source = path.relative_to(self.home).as_posix()
    # The folder's own label is its `__init__`, but for a module of its name.
    alone = not (self.home / f'{self.home.name}.py').is_file()
    whole = path.stem == '__init__' and alone
    self.name = self.home.name if whole else path.stem
    self.text = path.read_text(encoding='utf-8')

  @property
  def kind(self) -> str:
    """The rule that it is an instance of."""
    if self.path.stem.endswith('_test'):
      return 'pytest_test'
    binary = "if __name__ == '__main__'" in self.text
    return 'py_binary' if binary else 'py_library'

  def seen_from(self, home: pathlib.Path) -> str:
    """Its label in a BUILD."""
    if home == self.home:
      return f':{self.name}'
    package = self.home.relative_to(_ROOT).as_posix().removeprefix('.')
    short = self.name == self.home.name
    return f'//{package}' + ('' if short else f':{self.name}')


def rule(kind: str, **fields: str | list[str] | bool) -> str:
  """A call, laid out as buildifier would; empty lists are left out."""
  lines = [f'{kind}(']
  for key, value in fields.items():
    if isinstance(value, list) and len(value) > 1:
      lines += [f'    {key} = [', *[f'        "{v}",' for v in value], '    ],']
    elif isinstance(value, list) and value:
      lines.append(f'    {key} = ["{value[0]}"],')
    elif value and isinstance(value, str):
      lines.append(f'    {key} = "{value}",')
  return '\n'.join([*lines, ')', ''])


def target(one: Module, modules: dict[str, Module]) -> str:
  """The rule of a module."""
  local = imports.local_imports(one.path, set(modules), _ROOT) - {one.module}
  labels = {modules[name].seen_from(one.home) for name in local}
  outside = {f'@pypi//{n}' for n in imports.third_party_imports(one.path)}
  fields = {
    'data': data(one),
    'deps': sorted(labels, key=_place) + sorted(outside),
  }
  if one.kind == 'pytest_test':
    return rule(one.kind, name=one.name, src=one.source, **fields)
  return rule(one.kind, name=one.name, srcs=[one.source], **fields)


def data(one: Module) -> list[str]:
  """What it reads that is no Python of its own."""
  if one.module == imports.PACKAGE:
    return ['py.typed']
  # Who asks for the root reads files of it, or runs programs there.
  reads = one.module.startswith('tests.') and _ROOT_OF_ALL.search(one.text)
  return [_TREE] if reads else []


def _place(label: str) -> tuple[bool, list[str]]:
  """Where buildifier puts it: what is of the same file first."""
  return not label.startswith(':'), label.replace(':', '.').split('.')


def loads(kinds: set[str]) -> str:
  """The load statements for these rules."""
  plain = ', '.join(f'"{kind}"' for kind in sorted(kinds - {'pytest_test'}))
  lines = [f'load("{_PYTHON}", {plain})'] if plain else []
  if 'pytest_test' in kinds:
    lines.append('load("//tests:defs.bzl", "pytest_test")')
  return '\n'.join([*lines, ''])


def files_of(home: pathlib.Path, homes: set[pathlib.Path]) -> str:
  """All files of a folder, for tests that read sources."""
  if home != _ROOT:
    return f'filegroup(\n    name = "{_FILES}",\n    srcs = glob(["*"]),\n)\n'
  patterns = ['*.md', '*.py', '*.toml', '.ci/*', 'examples/*']
  others = ['BUILD', 'LICENSE', 'MODULE.bazel']
  others += sorted(
    (f'//{h.relative_to(_ROOT).as_posix()}:{_FILES}' for h in homes - {home}),
    key=_place,
  )
  lines = ['filegroup(', '    name = "tree",', '    testonly = True,']
  lines += ['    srcs = glob([', *[f'        "{p}",' for p in patterns]]
  lines += ['    ]) + [', *[f'        "{o}",' for o in others], '    ],', ')']
  return '\n'.join([*lines, ''])


def head(home: pathlib.Path) -> str:
  """What a BUILD starts with behind its loads."""
  if home == _ROOT:
    return '\n'.join(
      [
        'package(default_visibility = ["//:__subpackages__"])\n',
        'licenses(["notice"])\n',
        'exports_files([\n    "LICENSE",\n    "pyproject.toml",\n])\n',
        'alias(\n    name = "tfmot_paoding",\n    actual = "//tfmot_paoding",\n'
        '    visibility = ["//visibility:public"],\n)\n',
        'alias(\n    name = "tfmot-paoding",\n'
        '    actual = "//tfmot_paoding:__main__",\n'
        '    visibility = ["//visibility:public"],\n)\n',
      ]
    )
  testonly = 'tests' in home.relative_to(_ROOT).parts
  settings = [
    *(['    default_testonly = True,'] if testonly else []),
    '    default_visibility = ["//:__subpackages__"],',
  ]
  text = '\n'.join(['package(', *settings, ')', ''])
  if home == _ROOT / 'tests':
    text += '\nexports_files(["pytest_main.py"])\n'
  return text


def build_files() -> dict[pathlib.Path, str]:
  """The text of every BUILD by its path."""
  paths = imports.source_files(_ROOT)
  homes = {path.parent for path in paths} - {_ROOT / 'examples'} | {_ROOT}
  members = [Module(path, homes) for path in paths]
  modules = {member.module: member for member in members}
  texts = {}
  for home in sorted(homes):
    inside = [
      m
      for m in members
      if m.home == home and m.path != _ROOT / 'tests' / 'pytest_main.py'
    ]
    title = (
      'The package, the examples and the licence.'
      if home == _ROOT
      else 'One target a module.'
    )
    parts = [
      f'"""{title}"""\n',
      loads({member.kind for member in inside}),
      head(home),
      *[target(member, modules) for member in inside],
      files_of(home, homes),
    ]
    texts[home / 'BUILD'] = '\n'.join(parts)
  return texts


def main() -> None:
  """Writes the files, and removes those of folders that are gone."""
  texts = build_files()
  for folder in ('examples', 'tests', imports.PACKAGE):
    for old in set((_ROOT / folder).rglob('BUILD')) - set(texts):
      old.unlink()
  for path, text in texts.items():
    path.write_text(text, encoding='utf-8')


if __name__ == '__main__':
  main()
