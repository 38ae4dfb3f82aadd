"""Reads what a module imports, for the check of BUILD and its generator."""

from __future__ import annotations

import ast
import pathlib
import sys

PACKAGE = 'tfmot_paoding'

# Import name -> distribution, for those that are not the standard library's.
_DISTRIBUTIONS = {
  'absl': 'absl_py',
  'art': 'adversarial_robustness_toolbox',
  'ai_edge_litert': 'ai_edge_litert',
  'flatbuffers': 'flatbuffers',
  'foolbox': 'foolbox',
  'h5py': 'h5py',
  'hypothesis': 'hypothesis',
  'keras': 'keras',
  'maraboupy': 'maraboupy',
  'matplotlib': 'matplotlib',
  'numpy': 'numpy',
  'paoding': 'paoding_dl',
  'pytest': 'pytest',
  'sklearn': 'scikit_learn',
  'tensorflow': 'tensorflow',
  'tensorflow_model_optimization': 'tensorflow_model_optimization',
  'tf2onnx': 'tf2onnx',
  'tf_keras': 'tf_keras',
  'tflite_micro': 'tflite_micro',
}


def module_files(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Every module of the package by its dotted name."""
  found = {}
  for path in sorted((root / PACKAGE).rglob('*.py')):
    found[module_name(path, root)] = path
  return found


def module_name(path: pathlib.Path, root: pathlib.Path) -> str:
  """The dotted name that a file below the root is imported by."""
  parts = list(path.relative_to(root).with_suffix('').parts)
  if parts[-1] == '__init__':
    parts.pop()
  return '.'.join(parts)


def imported_names(path: pathlib.Path) -> set[str]:
  """Every dotted name that a file may mean by an import, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      found.add(node.module)
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def package_imports(path: pathlib.Path, modules: set[str]) -> set[str]:
  """The package's modules that a file imports from.

  `from tfmot_paoding import x` counts as x alone where x is a module.
  """
  names = imported_names(path)
  found = {name for name in names if name in modules}
  # `from a.b import c` names a.b as well; drop it where only modules in it
  # were meant.
  for parent in list(found):
    inner = {n for n in names if n.startswith(parent + '.')}
    direct = {n for n in inner if n.count('.') == parent.count('.') + 1}
    if direct and direct <= modules and not _imports_plainly(path, parent):
      found.discard(parent)
  return found


def _imports_plainly(path: pathlib.Path, name: str) -> bool:
  """Whether `import name` itself stands in a file."""
  return any(
    isinstance(node, ast.Import) and any(a.name == name for a in node.names)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
  )


def siblings(path: pathlib.Path) -> set[str]:
  """The modules beside a binary that it imports by their bare names."""
  beside = {other.stem for other in path.parent.glob('*.py')} - {path.stem}
  return beside & imported_names(path)


def third_party_imports(path: pathlib.Path) -> set[str]:
  """The distributions that a file imports from.

  Raises:
    KeyError: one that no list knows.
  """
  tops = {name.split('.')[0] for name in imported_names(path)}
  local = {PACKAGE, 'tests', 'examples', path.stem, *siblings(path)}
  return {
    _DISTRIBUTIONS[top]
    for top in tops
    if top not in sys.stdlib_module_names and top not in local
  }
