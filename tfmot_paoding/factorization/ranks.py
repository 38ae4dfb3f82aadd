"""Which chain each layer becomes, when one number is given for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmot_paoding.factorization.forms import Options

Array = np.ndarray


def choose(layers: Sequence[Options], limit: float) -> list[int] | None:
  """The choices that lose least for what they take together.

  From the cheapest of each on: the step that gains most for what it takes
  comes first, along the lower convex hull of each layer's losses, as long as
  there is room; then any single step that still fits.

  Args:
    layers: What each layer may become.
    limit: What they may take together.

  Returns:
    The number of an option for each layer; None where even the cheapest of
    each take more.
  """
  found = [0] * len(layers)
  left = limit - least(layers)
  if left < 0:
    return None
  hulls = [_hull(layer.costs, layer.losses) for layer in layers]

  def next_corner(k: int) -> list[int]:
    return [to for to in hulls[k] if to > found[k]][:1]

  def any_option(k: int) -> range:
    return range(found[k] + 1, len(layers[k].costs))

  for candidates in (next_corner, any_option):
    while True:
      steps = [
        (_gain(layer, found[k], to), k, to)
        for k, layer in enumerate(layers)
        for to in candidates(k)
        if layer.costs[to] - layer.costs[found[k]] <= left
      ]
      if not steps:
        break
      _, k, to = max(steps, key=lambda step: step[0])  # the first of equals
      left -= float(layers[k].costs[to] - layers[k].costs[found[k]])
      found[k] = to
  return found


def least(layers: Sequence[Options]) -> float:
  """What the cheapest of each take together."""
  return sum(float(layer.costs[0]) for layer in layers)


def _gain(layer: Options, start: int, to: int) -> float:
  """What a step gains for what it takes."""
  taken = float(layer.costs[to] - layer.costs[start])
  return float(layer.losses[start] - layer.losses[to]) / max(taken, 1e-300)


def _hull(costs: Array, losses: Array) -> list[int]:
  """The corners of the lower convex hull of falling points."""
  corners = [0]
  for k in range(1, len(costs)):
    while len(corners) > 1 and _slope(costs, losses, corners[-1], k) <= _slope(
      costs, losses, corners[-2], corners[-1]
    ):
      corners.pop()
    corners.append(k)
  return corners


def _slope(x: Array, y: Array, start: int, end: int) -> float:
  return float((y[end] - y[start]) / (x[end] - x[start]))
