"""Prints what would go, and what stays and why."""

from __future__ import annotations

from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups


def print_plan(model: keras.Model, sparsity: float | None) -> None:
  """Prints a model's groups and what is left alone.

  Args:
    model: The model.
    sparsity: The fraction of each group that would go; None if that is not
      known yet.
  """
  grouping = find_groups(build_graph(model))
  for group in grouping.groups:
    names = ['/'.join(member.node.path) for member in group.producers]
    tied = f', tied with {", ".join(names[1:])}' if names[1:] else ''
    after = ''
    if sparsity is not None:
      after = f' -> {group.size - int(group.size * sparsity + 1e-6)}'
    print(f'group: {names[0]}: {group.size}{after} units{tied}')
  print_left_alone(model)


def print_left_alone(model: keras.Model) -> None:
  """Prints each layer whose units stay, and why."""
  for path, reason in find_groups(build_graph(model)).left_alone.items():
    print(f'left alone: {"/".join(path)}: {reason}')


def count_units(model: keras.Model) -> int:
  """The units of a model that can be pruned."""
  return sum(group.size for group in find_groups(build_graph(model)).groups)
