"""BUILD files as Bazel reads them, as far as plain Python can."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

_IGNORED = ('licenses', 'package')


@dataclasses.dataclass(frozen=True)
class Target:
  """A rule with its attributes.

  Attributes:
    kind: The rule: 'py_library'.
    package: Its folder from the root, '' for the root itself.
    fields: Its attributes.
  """

  kind: str
  package: str
  fields: dict

  @property
  def label(self) -> str:
    """Its full label."""
    return f'//{self.package}:{self.fields["name"]}'

  def labels(self, *attributes: str) -> list[str]:
    """The full labels that these attributes hold."""
    found = []
    for attribute in attributes:
      value = self.fields.get(attribute, [])
      values = [value] if isinstance(value, str) else value
      found += [full(one, self.package) for one in values]
    return found


def full(label: str, package: str) -> str:
  """A label written out, as '//folder:name'."""
  if label.startswith('@'):
    return label
  if not label.startswith('//'):
    return f'//{package}:{label.removeprefix(":")}'
  folder, _, name = label.removeprefix('//').partition(':')
  return f'//{folder}:{name or folder.rsplit("/", 1)[-1]}'


class Workspace:
  """All BUILD files below a folder.

  Attributes:
    targets: By label.
    exported: The labels of files that other packages may name.
  """

  def __init__(self, root: pathlib.Path):
    self.root = root
    self.packages = {
      path.parent.relative_to(root).as_posix().removeprefix('.'): path
      for folder in ('examples', 'tests', 'tfmot_paoding')
      for path in [root / 'BUILD', *(root / folder).rglob('BUILD')]
    }
    self.targets: dict[str, Target] = {}
    self.exported: set[str] = set()
    for package, path in self.packages.items():
      self._execute(path, package)

  def _execute(self, path: pathlib.Path, package: str) -> dict:
    """Starlark is Python here, but for what rules and loads do."""

    def rule(kind):
      def add(**fields):
        target = Target(kind, package, fields)
        assert target.label not in self.targets, f'two of {target.label}'
        self.targets[target.label] = target

      return add

    def load(label, *names):
      if label.startswith('@rules_python//'):
        scope.update({name: rule(name) for name in names})
      else:
        folder, _, name = full(label, package).removeprefix('//').partition(':')
        loaded = self._execute(self.root / folder / name, package)
        scope.update({name: loaded[name] for name in names})

    def glob(patterns):
      found = {f for p in patterns for f in path.parent.glob(p) if f.is_file()}
      return sorted(f.relative_to(path.parent).as_posix() for f in found)

    def export(names):
      self.exported |= {full(name, package) for name in names}

    scope = {
      'load': load,
      'glob': glob,
      'exports_files': export,
      'alias': rule('alias'),
      'filegroup': rule('filegroup'),
      **{name: lambda *args, **kwargs: None for name in _IGNORED},
    }
    exec(compile(path.read_text(encoding='utf-8'), str(path), 'exec'), scope)
    return scope

  def file(self, label: str) -> pathlib.Path | None:
    """The file of a label, where its package has it."""
    package, _, name = label.removeprefix('//').partition(':')
    path = self.root / package / name
    if package not in self.packages or not path.is_file():
      return None
    home = next(f for f in path.parents if (f / 'BUILD').is_file())
    return path if home == self.root / package else None

  def reached(self, label: str, *attributes: str) -> Iterator[str]:
    """Each label that a target needs, itself among them."""
    waiting, done = [label], set()
    while waiting:
      label = waiting.pop()
      if label in done or label.startswith('@'):
        continue
      done.add(label)
      yield label
      if label in self.targets:
        waiting += self.targets[label].labels(*attributes)

  def run(
    self, label: str, folder: pathlib.Path, **texts: str
  ) -> subprocess.CompletedProcess:
    """Runs a program in a folder with nothing but what it says it needs.

    Args:
      label: Of a py_test or py_binary.
      folder: An empty one.
      **texts: Other texts for its files, by their names without '.py'.
    """
    for needed in self.reached(label, 'srcs', 'deps', 'data', 'actual'):
      path = self.file(needed)
      if path is not None and needed not in self.targets:
        to = folder / path.relative_to(self.root)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
        if path.stem in texts:
          to.write_text(texts[path.stem], encoding='utf-8')
    # As Bazel does, for folders of Python.
    for path in list(folder.rglob('*.py')):
      for parent in path.relative_to(folder).parents[:-1]:
        (folder / parent / '__init__.py').touch()
    target = self.targets[label]
    main = self.file(
      target.labels('main' if target.fields.get('main') else 'srcs')[0]
    )
    arguments = [
      re.sub(
        r'\$\(rootpath (.*?)\)',
        lambda found: str(
          self.file(full(found[1], target.package)).relative_to(self.root)
        ),
        argument,
      )
      for argument in target.fields.get('args', [])
    ]
    return subprocess.run(
      [sys.executable, main.relative_to(self.root), *arguments],
      cwd=folder,
      env={**os.environ, 'PYTHONPATH': str(folder)},
      capture_output=True,
      text=True,
      check=False,
    )
