"""Prints what would go, and what stays and why."""

from __future__ import annotations

from tfmot_paoding.compat import keras
from tfmot_paoding.methods.stairs import group_multiples, units_to_stair
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import Grouping, find_groups


def print_plan(
  model: keras.Model,
  sparsity: float | None,
  attention: str,
  multiple_of: int | str | None = None,
) -> None:
  """Prints a model's groups and what is left alone.

  Args:
    model: The model.
    sparsity: The fraction of each group that would go; None if that is not
      known yet.
    attention: What of attention's heads would go.
    multiple_of: What widths shall end at a multiple of.
  """
  grouping = _grouping(model, attention)
  multiples = group_multiples(grouping.offered, multiple_of)
  for group in grouping.offered:
    names = ['/'.join(member.node.path) for member in group.producers]
    tied = f', tied with {", ".join(names[1:])}' if names[1:] else ''
    after = ''
    if sparsity is not None:
      gone = units_to_stair(group.size, multiples[group.name], sparsity)
      after = f' -> {group.size - gone}'
    print(f'group: {names[0]}: {group.size}{after} units{tied}')
  print_left_alone(model, attention)


def print_left_alone(model: keras.Model, attention: str) -> None:
  """Prints each layer whose units stay, and why."""
  for path, reason in _grouping(model, attention).stays.items():
    print(f'left alone: {"/".join(path)}: {reason}')


def count_units(model: keras.Model, attention: str) -> int:
  """The units of a model that can be pruned."""
  return sum(group.size for group in _grouping(model, attention).offered)


def _grouping(model: keras.Model, attention: str) -> Grouping:
  return find_groups(build_graph(model, attention))
