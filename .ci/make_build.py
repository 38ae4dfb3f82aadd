"""Writes BUILD from what the sources import: one target a module."""

from __future__ import annotations

import pathlib
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests import imports  # noqa: E402

_HEAD = '''"""One target a module; its deps are the architecture."""

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])

exports_files(["LICENSE"])
'''


def target_name(module: str) -> str:
  """The label of a package module: its path below the package."""
  inner = module.removeprefix(imports.PACKAGE).lstrip('.')
  return inner.replace('.', '_') or imports.PACKAGE


def rule(kind: str, name: str, source: str, deps: list[str], **more) -> str:
  """One rule, laid out as buildifier would."""
  lines = [f'{kind}(', f'    name = "{name}",', f'    srcs = ["{source}"],']
  lines += [f'    {key} = {value},' for key, value in more.items()]
  if deps:
    lines += ['    deps = [', *[f'        "{d}",' for d in deps], '    ],']
  return '\n'.join([*lines, ')', ''])


def labels(path: pathlib.Path, modules: set[str], own: str = '') -> list[str]:
  """The deps of a file."""
  inside = imports.package_imports(path, modules) - {own}
  outside = imports.third_party_imports(path)
  return sorted(':' + target_name(m) for m in inside) + sorted(
    f'@pypi//{name}' for name in outside
  )


def helper_labels(path: pathlib.Path) -> list[str]:
  """The test helpers and examples that a test imports."""
  names = imports.imported_names(path)
  found = [
    p for p in (_ROOT / 'tests').glob('*.py') if f'tests.{p.stem}' in names
  ]
  examples = [
    p
    for p in (_ROOT / 'examples').rglob('*.py')
    if imports.module_name(p, _ROOT) in names
  ]
  return [f':tests_{p.stem}' for p in sorted(found)] + [
    f':{p.stem}' for p in sorted(examples)
  ]


def main() -> None:
  """Writes the file."""
  files = imports.module_files(_ROOT)
  modules = set(files)
  parts = [_HEAD]
  for module, path in files.items():
    source = str(path.relative_to(_ROOT))
    deps = labels(path, modules, module)
    parts.append(rule('py_library', target_name(module), source, deps))
  for path in sorted((_ROOT / 'examples').rglob('*.py')):
    source = str(path.relative_to(_ROOT))
    binary = "if __name__ == '__main__'" in path.read_text(encoding='utf-8')
    deps = labels(path, modules)
    deps = [f':{name}' for name in sorted(imports.siblings(path))] + deps
    kind = 'py_binary' if binary else 'py_library'
    parts.append(rule(kind, path.stem, source, deps))
  for path in sorted((_ROOT / 'tests').rglob('*.py')):
    if path.stem == '__init__':
      continue
    source = str(path.relative_to(_ROOT))
    deps = helper_labels(path) + labels(path, modules)
    if path.stem.endswith('_test'):
      name = '_'.join(path.relative_to(_ROOT / 'tests').with_suffix('').parts)
      parts.append(rule('py_test', name, source, deps))
    else:
      name = f'tests_{path.stem}'
      parts.append(rule('py_library', name, source, deps, testonly=True))
  (_ROOT / 'BUILD').write_text('\n'.join(parts), encoding='utf-8')


if __name__ == '__main__':
  main()
