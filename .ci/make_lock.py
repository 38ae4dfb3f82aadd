"""Prints the lock file of `pip.parse`: what is installed, as it is.

Run it where the package is installed with all of its extras:
`python .ci/make_lock.py > .ci/requirements_lock.txt`.
"""

from __future__ import annotations

import pathlib
import re
import sys
from importlib import metadata

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests import imports  # noqa: E402


def normal(name: str) -> str:
  """A distribution's name as indices spell it."""
  return re.sub(r'[-_.]+', '-', name).lower()


def needed(name: str) -> set[str]:
  """What an installed distribution asks for in this environment."""
  found = set()
  for line in metadata.requires(name) or ():
    wanted, _, marker = line.partition(';')
    if 'extra ==' not in marker:
      found.add(normal(re.match(r'[\w.-]+', wanted.strip()).group()))
  return found


def main() -> None:
  """Prints a pin a line."""
  installed = {
    normal(d.metadata['Name']): d.version for d in metadata.distributions()
  }
  waiting = {
    normal(name)
    for path in imports.source_files(_ROOT)
    for name in imports.third_party_imports(path)
  }
  missing = waiting - set(installed)
  if missing:
    raise SystemExit(f'Not installed: {", ".join(sorted(missing))}.')
  pinned: set[str] = set()
  while waiting:
    name = waiting.pop()
    # What is not here stands under a marker of another platform.
    if name in installed and name not in pinned:
      pinned.add(name)
      waiting |= needed(name)
  print('# Of Python 3.11; .ci/make_lock.py prints it.')
  for name in sorted(pinned):
    print(f'{name}=={installed[name]}')


if __name__ == '__main__':
  main()
