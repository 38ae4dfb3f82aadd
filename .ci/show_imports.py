"""Prints the folders of the package and the imports between them.

A folder stands above all that it imports from. An arrow that a longer way
makes plain is left out; with `--all` each is shown, with its number of imports.
"""

from __future__ import annotations

import pathlib
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests import imports  # noqa: E402

Arrows = dict[str, dict[str, int]]


def floors(arrows: Arrows) -> list[list[str]]:
  """The folders by the longest way down, the ground first.

  Raises:
    ValueError: folders import in a circle.
  """
  found: list[list[str]] = []
  left, below = set(arrows), set()
  while left:
    ready = {name for name in left if set(arrows[name]) <= below}
    if not ready:
      raise ValueError(f'A circle among {", ".join(sorted(left))}.')
    found.append(sorted(ready))
    below |= ready
    left -= ready
  return found


def plain(arrows: Arrows, start: str) -> list[str]:
  """Where arrows from a folder end that no longer way replaces."""

  def reached(name: str) -> set[str]:
    return {name}.union(*(reached(end) for end in arrows[name]))

  ends = arrows[start]
  return sorted(
    end
    for end in ends
    if not any(end in reached(other) for other in ends if other != end)
  )


def picture(arrows: Arrows, everything: bool) -> str:
  """One line a folder, the highest floor first."""
  lines = []
  width = max(map(len, arrows))
  for number, names in reversed(list(enumerate(floors(arrows)))):
    for name in names:
      ends = plain(arrows, name)
      if everything:
        ends = [f'{end} ({n})' for end, n in sorted(arrows[name].items())]
      floor = f'{number:2}' if name == names[0] else '  '
      arrow = f' -> {", ".join(ends)}' if ends else ''
      lines.append(f'{floor}  {name:{width if arrow else 0}}{arrow}')
  return '\n'.join(lines)


def main(arguments: list[str]) -> None:
  """Prints the picture."""
  arrows = imports.folder_arrows(_ROOT)
  print(picture(arrows, '--all' in arguments))
  count = sum(len(ends) for ends in arrows.values())
  print(f'{len(arrows)} folders and modules on top, {count} arrows.')


if __name__ == '__main__':
  main(sys.argv[1:])
