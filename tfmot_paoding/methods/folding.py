"""Folding: several units become one at their centroid.

What a unit is made by becomes the mean over its cluster, what it feeds the
sum. A mean of units that are not perfectly correlated varies less than they
do; batch normalization's variance is set to what the mean of the cluster has,
so that what leaves it keeps its size.

Reference: Wang et al. 2025, arXiv 2502.10216 (model folding, its data-free
repair).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfmot_paoding.methods.unit_weights import rows_at_scales
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Group, Member, along
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray


class Fold(NamedTuple):
  """One unit folded into another.

  Attributes:
    removed: The unit that goes.
    kept: The unit that becomes the mean of both clusters.
    share: The removed unit's part in the mean, in (0, 1).
  """

  removed: int
  kept: int
  share: float


def fold_weights(
  graph: Graph, params: Params, group: Group, folds: Sequence[Fold]
) -> dict[WeightRef, Array]:
  """What producers' and carriers' weights become.

  Args:
    graph: The network's graph.
    params: Its weights.
    group: The group whose units are folded.
    folds: In the order in which they happened.

  Returns:
    The changed weights; removed units are left as they were.
  """
  clusters = _clusters(group.size, folds)
  params = {**params, **_alike(graph, params, group, clusters)}
  found = {}
  scales = rows_at_scales(graph, params, group)
  for ref, axis, _, units in group.own_weights():
    value = np.array(found.get(ref, params[ref]))
    places = Member(group.producers[0].node, units).places
    if ref in scales:
      _fold_variance(value, places, folds, scales[ref])
    else:
      _fold_mean(value, axis, places, folds)
    found[ref] = value
  return found


def _clusters(size: int, folds: Sequence[Fold]) -> Array:
  """The unit that each unit ends up in, (units,)."""
  found = np.arange(size)
  for removed, kept, _ in folds:
    found[found == removed] = kept
  return found


def _alike(
  graph: Graph, params: Params, group: Group, clusters: Array
) -> dict[WeightRef, Array]:
  """The same units with one variance a cluster before batch normalization.

  What stands straight before it is scaled to the deviation of the cluster's
  last unit, and so are its statistics: no output changes, and means are taken
  of like sizes.
  """
  makers = {
    tuple(call.outputs[0] for call in member.calls): member
    for member in (*group.producers, *group.carriers)
    if member.node.op.multiplies is not None
  }
  readers, found = graph.readers(), {}
  for scale in group.carriers:
    op, seen = scale.node.op, tuple(call.inputs[0] for call in scale.calls)
    alone = seen in makers and all(len(readers[value]) == 1 for value in seen)
    if not (alone and op.statistics is not None):
      continue
    variance, places = params[op.variance] + op.epsilon, scale.places
    goal = np.array(variance)
    goal[places] = variance[places[clusters]]
    size = np.sqrt(variance / goal)
    for ref, axes in makers[seen].node.op.weights().items():
      found[ref] = _divided(params[ref], axes.outgoing, size)
    found[op.mean] = params[op.mean] / size
    found[op.variance] = goal - op.epsilon
  return found


def _divided(value: Array, axis: int | None, size: Array) -> Array:
  """A weight of an operation that shall make values divided by `size`.

  Args:
    value: The weight.
    axis: That of its output's channels; None if they are the last two, as in a
      depthwise kernel.
    size: Shape (channels,).
  """
  if axis is None:
    return value / size.reshape(value.shape[-2:])
  shape = [1] * value.ndim
  shape[axis] = -1
  return value / size.reshape(shape)


def _fold_mean(
  value: Array, axis: int, places: Array, folds: Sequence[Fold]
) -> None:
  """Weighted means along an axis, in place."""
  for removed, kept, share in folds:
    one, other = along(axis, places[kept]), along(axis, places[removed])
    value[one] = (1 - share) * value[one] + share * value[other]


def _fold_variance(
  variance: Array, places: Array, folds: Sequence[Fold], rows: Array
) -> None:
  """Variances of means, in place.

  Args:
    variance: Of the channels, shape (channels,).
    places: The channels of each unit, shape (units, positions).
    folds: The folds.
    rows: What makes the channels, (d, channels): how their directions agree
      stands for how their values correlate.
  """
  rows = np.array(rows)
  for removed, kept, share in folds:
    one, other = places[kept], places[removed]
    a = (1 - share) * np.sqrt(variance[one])
    b = share * np.sqrt(variance[other])
    alike = _cosines(rows[:, one], rows[:, other])
    # Never quite 0: a mean of opposites is constant, its scale still finite.
    variance[one] = np.maximum(a * a + b * b + 2 * alike * a * b, 1e-12)
    rows[:, one] = (1 - share) * rows[:, one] + share * rows[:, other]


def _cosines(a: Array, b: Array) -> Array:
  """Of columns with columns; 1 where one of them is zero."""
  size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
  return np.where(size > 0, (a * b).sum(0) / np.where(size > 0, size, 1), 1.0)
