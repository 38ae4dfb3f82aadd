"""Which test modules are fast: those of arrays, operations and graphs.

Chosen by what a module imports, itself and through its helpers, so that no list
is kept: nothing of the package above the floor of the networks, and no programs
of their own. Such a module prunes no model, trains none and converts none.
"""

from __future__ import annotations

import pathlib

from tests import imports

# The highest folder of the package, as its docstring lists them.
_HIGHEST = 'methods'
_PROGRAMS = {'subprocess', 'runpy', 'nbclient', 'multiprocessing'}


class Fast:
  """Answers for one state of the sources below a root."""

  def __init__(self, root: pathlib.Path):
    self._root = root
    order = imports.folder_order(self._root)
    self._folders = set(order[: order.index(_HIGHEST) + 1])
    self._modules = {
      imports.module_name(path, self._root): path
      for path in imports.source_files(self._root)
    }

    self._known: dict[pathlib.Path, bool] = {}

  def holds(self, path: pathlib.Path) -> bool:
    """Whether a test module is fast."""
    if path not in self._known:
      self._known[path] = self._is_fast(path)
    return self._known[path]

  def _is_fast(self, path: pathlib.Path) -> bool:
    waiting, done = [path], set()
    while waiting:
      path = waiting.pop()
      done.add(path)
      if _PROGRAMS & imports.imported_names(path):
        return False
      for module in imports.local_imports(path, set(self._modules), self._root):
        if not module.startswith(imports.PACKAGE):
          waiting += {self._modules[module]} - done
        elif imports.folder_of(module) not in self._folders:
          return False
    return True
