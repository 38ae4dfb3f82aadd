"""What a user says of units by the names of the layers that make them."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from tfmot_paoding import callers
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Group

T = TypeVar('T')

# In a dict by the name of a layer, all that it does not name.
OTHERS = '*'


def makers(groups: Iterable[Group]) -> dict[str, Path]:
  """The first layer of the units that a layer's name stands for.

  Of a layer that makes units of several groups, such as heads and what they
  add to a stream, those of the last: what it begins itself.
  """
  return {
    '/'.join(member.node.path): group.layer
    for group in groups
    for member in group.producers
  }


def with_named(groups: Sequence[Group], names: Iterable[str]) -> list[Group]:
  """The groups that leave unasked, and those that wait for a name and have it.

  Args:
    groups: All of a network.
    names: Of layers; `OTHERS` and unknown ones count for nothing.
  """
  first = makers(groups)
  named = {first.get(name) for name in names}
  return [
    group
    for group in groups
    if group.why_named is None or (group.can_be_named and group.layer in named)
  ]


def by_group(
  graph: Graph,
  groups: Sequence[Group],
  named: Mapping[str, T],
  what: str,
  alike: Callable[[T, T], bool] = operator.eq,
) -> dict[Path, T]:
  """What a dict by the name of a layer says, by each group's first layer.

  Args:
    graph: The network.
    groups: Those whose units may leave.
    named: By the name of any layer that makes units of a group; `OTHERS` for
      all groups that no name stands for.
    what: What is in the dict, for errors.
    alike: Whether two of these are the same.

  Returns:
    Without groups of which nothing is said.

  Raises:
    ValueError: the dict is empty, names a layer that does not exist or makes
      no such units, or says two things of units that are tied.
  """
  known = makers(groups)
  choices = f'Layers whose units can be pruned: {", ".join(sorted(known))}.'
  if not named:
    raise ValueError(
      f'A dict of layer name to {what} must name a layer, but it is empty. '
      f'{choices}'
    )
  chosen: dict[Path, tuple[str, T]] = {}
  for name, one in named.items():
    if name == OTHERS:
      continue
    if name not in known:
      exists = name in {'/'.join(path) for path in graph.layers}
      problem = 'cannot be pruned' if exists else 'does not exist'
      raise ValueError(f'Layer {name!r} {problem}. {choices}')
    earlier, other = chosen.setdefault(known[name], (name, one))
    if not alike(one, other):
      raise ValueError(
        f'The units of layers {earlier!r} and {name!r} are tied, since they '
        f'meet in the network. Give both the same {what}, or name one.'
      )
  found = {layer: one for layer, (_, one) in chosen.items()}
  if OTHERS in named:
    others = {group.layer for group in groups} - set(found)
    if not others:
      warnings.warn(
        f'{OTHERS!r} in a dict of layer name to {what} stands for all layers '
        'that are not named, but all are: it has no effect. Leave it out.',
        stacklevel=callers.level(),
      )
    found |= dict.fromkeys(others, named[OTHERS])
  return found
