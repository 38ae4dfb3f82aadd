"""Reads what a module imports, for the check of BUILD and its generator."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import sys

PACKAGE = 'tfmot_paoding'

# Import name -> distribution, for those that are not the standard library's.
_DISTRIBUTIONS = {
  'absl': 'absl_py',
  'art': 'adversarial_robustness_toolbox',
  'ai_edge_litert': 'ai_edge_litert',
  'ai_edge_quantizer': 'ai_edge_quantizer',
  'ethosu': 'ethos_u_vela',
  'flatbuffers': 'flatbuffers',
  'foolbox': 'foolbox',
  'h5py': 'h5py',
  'hypothesis': 'hypothesis',
  'ipykernel': 'ipykernel',
  'keras': 'keras',
  'maraboupy': 'maraboupy',
  'matplotlib': 'matplotlib',
  'nbclient': 'nbclient',
  'nbformat': 'nbformat',
  'numpy': 'numpy',
  'onnx': 'onnx',
  'onnxruntime': 'onnxruntime',
  'pytest': 'pytest',
  'scipy': 'scipy',
  'skimage': 'scikit_image',
  'sklearn': 'scikit_learn',
  'tensorboard': 'tensorboard',
  'tensorflow': 'tensorflow',
  'tensorflow_model_optimization': 'tensorflow_model_optimization',
  'tf2onnx': 'tf2onnx',
  'tf_keras': 'tf_keras',
  'tflite_micro': 'tflite_micro',
}

# Of programs that a script compares with; whoever runs it installs them.
_BY_HAND = {'model_compression_toolkit', 'paoding'}


def source_files(root: pathlib.Path) -> list[pathlib.Path]:
  """All sources but the empty `__init__` files among the tests."""
  return [
    path
    for folder in (PACKAGE, 'examples', 'tests')
    for path in sorted((root / folder).rglob('*.py'))
    if folder != 'tests' or path.stem != '__init__'
  ]


def local_imports(
  path: pathlib.Path, modules: set[str], root: pathlib.Path
) -> set[str]:
  """The modules among these that a file needs.

  Those that it imports, from beside it by their bare names too, and programs
  beside it that it runs, which it names as files.
  """
  beside = siblings(path) | {
    other.stem
    for other in path.parent.glob('*.py')
    if other.name in texts(path)
  }
  named = {module_name(path.parent / f'{stem}.py', root) for stem in beside}
  return package_imports(path, modules) | (named & modules)


def texts(path: pathlib.Path) -> set[str]:
  """The text constants of a file."""
  return {
    node.value
    for node in _nodes(path)
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
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


@functools.cache
def _nodes(path: pathlib.Path) -> tuple[ast.AST, ...]:
  """What a file is made of; sources do not change while they are read."""
  return tuple(ast.walk(ast.parse(path.read_text(encoding='utf-8'))))


@functools.cache
def imported_names(path: pathlib.Path) -> frozenset[str]:
  """Every dotted name that a file may mean by an import, anywhere in it."""
  found = set()
  for node in _nodes(path):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      found.add(node.module)
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
    elif isinstance(node, ast.Call) and _imports(node.func) and node.args:
      (name,) = node.args[:1]
      if isinstance(name, ast.Constant):
        found.add(name.value)
  return frozenset(found)


def _imports(function: ast.expr) -> bool:
  """Whether a function is one that imports the module of a name."""
  return isinstance(function, ast.Attribute) and function.attr in (
    'import_module',
    'importorskip',
  )


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
    for node in _nodes(path)
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
  local = {PACKAGE, 'tests', 'examples', path.stem, *siblings(path), *_BY_HAND}
  return {
    _DISTRIBUTIONS[top]
    for top in tops
    if top not in sys.stdlib_module_names and top not in local
  }


def folder_of(module: str) -> str:
  """The folder, or the module on top, that a module of the package is in."""
  return module.split('.')[1] if '.' in module else module


@functools.cache
def folder_arrows(root: pathlib.Path) -> dict[str, dict[str, int]]:
  """From which folder of the package how many imports lead into which."""
  files = module_files(root)
  found: dict[str, dict[str, int]] = {folder_of(name): {} for name in files}
  for module, path in files.items():
    start = folder_of(module)
    for other in package_imports(path, set(files)):
      end = folder_of(other)
      if end != start:
        found[start][end] = found[start].get(end, 0) + 1
  return found


def folder_order(root: pathlib.Path) -> list[str]:
  """The folders as the package's docstring lists them, from the ground up."""
  tree = ast.parse((root / PACKAGE / '__init__.py').read_text(encoding='utf-8'))
  lines = re.findall(
    r'^\* ((?:`\w+`(?:, )?)+):', ast.get_docstring(tree), re.MULTILINE
  )
  return re.findall(r'\w+', ' '.join(lines))
