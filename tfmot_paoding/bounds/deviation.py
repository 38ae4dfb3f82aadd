"""How far pruning can have moved a model's outputs: in a box, or near samples.

The pruned model's units are matched to the original's (by order and weights),
and merges are read off the weights; both only tighten the bound. Whatever
they miss is bounded as a plain change of weights, so the bound is sound for
any two models of one structure: the same functions, wired alike, that differ
in weights and widths alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.arguments import check_whole
from tfmot_paoding.bounds import Walk, build_difference, in_front, walks
from tfmot_paoding.bounds.balls import balls
from tfmot_paoding.bounds.walks import check_method
from tfmot_paoding.bounds.whole_range import propagate, propagate_change
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, input_boxes, resolve_range
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.matching import Pair, pair_models
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import (
  Elementwise,
  LearnedSlope,
  Params,
  Softmax,
)

Array = np.ndarray


def deviation_bound(
  original: keras.Model,
  pruned: keras.Model,
  input_range: RangeLike = None,
  *,
  x: Any = None,
  epsilon: float = 0.0,
  method: str = 'ibp',
  batch_size: int = 32,
  verbose: int | str = 'auto',
) -> Array | list[Array]:
  """A sound bound on |pruned(z) - original(z)|: for every z, or near samples.

  Differences between the two networks are propagated as such, in float64 and
  rounded outwards: as intervals (ReluDiff, Paulsen et al. 2020, arXiv
  2001.03662), or as linear functions of the input (NeuroDiff, arXiv
  2009.09943). It speaks of the networks as functions of real numbers: what
  float32 rounds differently while running comes on top.

  Args:
    original: The model before pruning.
    pruned: The wrapped, stripped or compact model, fine-tuned or not.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    x: Samples, (batch, *input shape) or a list with one array an input, for a
      bound in the part of each one's ball that lies in the range; None for one
      bound in the whole range.
    epsilon: The balls' radius in the L-infinity norm, in units of the inputs.
    method: 'ibp', 'crown-ibp' or 'crown'; see `robustness.output_bounds`.
      Linear bounds take more time, and pay in small balls.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    The bound for each output, of the output's shape without the batch axis,
    or (batch, *output shape) for samples; a list of these for a model with
    several outputs.

  Raises:
    TypeError: an argument is no tf_keras model.
    ValueError: the two differ in structure, an operation without known bounds
      leads to an output (`NoBoundError`, `NoRelaxationError`), or a setting is
      bad.
  """
  original, pruned = as_opened(original), as_opened(pruned)
  check_method(method)
  check_whole('batch_size', batch_size, 1)
  if x is None and epsilon:
    raise ValueError(
      f'`epsilon` is the radius of balls around samples, but there are none: '
      f'pass `x` as well, or leave `epsilon` ({epsilon!r}) out for a bound in '
      'the whole range.'
    )
  pair = pair_models(original, pruned)
  graph = pair.graph
  shapes = [graph.shapes[value] for value in graph.inputs]
  if x is not None:
    boxes = balls(original, x, epsilon, input_range, shapes)
    found = _in_boxes(pair, boxes, method, batch_size, verbose)
    return found if len(found) > 1 else found[0]
  input_range = resolve_range(original, input_range)
  boxes = input_boxes(original, input_range, shapes)
  found = _in_range(pair, boxes)
  if method != 'ibp':
    lone = [Interval(box.low[None], box.high[None]) for box in boxes]
    tight = _in_boxes(pair, lone, method, 1, verbose)
    found = [np.minimum(a, b[0]) for a, b in zip(found, tight, strict=True)]
  return found if len(found) > 1 else found[0]


def _in_range(pair: Pair, boxes: list[Interval]) -> list[Array]:
  """One bound an output for the whole box, convolutions channel by channel."""
  graph = pair.graph
  change = ChangeBound(graph, pair.before, boxes)(pair.after, pair.merges())
  if any(interval is None for interval in change):
    reasons = [n.op.reason for n in graph.nodes if not n.op.known]
    raise NoBoundError(f'No sound bound: {"; ".join(reasons)}.')
  return [
    np.array(np.broadcast_to(interval.magnitude, graph.shapes[value]))
    for interval, value in zip(change, graph.outputs, strict=True)
  ]


def _in_boxes(
  pair: Pair,
  boxes: Sequence[Interval],
  method: str,
  batch_size: int,
  verbose: int | str,
) -> list[Array]:
  """A bound a box and output, position by position."""
  graph, outputs = pair.graph, pair.graph.outputs
  kinds = (Softmax, Elementwise, LearnedSlope)
  values, finals = zip(*in_front(graph, kinds), strict=True)
  program = build_difference(graph, pair.before, pair.after, values)
  parts: list[list[Array]] = [[] for _ in outputs]
  for _, walk in walks(program, boxes, method, None, batch_size, verbose):
    for k, change in enumerate(walk.outputs()):
      if finals[k] is not None:
        change = _behind(finals[k], pair, walk, program.outputs[k], change)
      parts[k].append(change.magnitude)
  return [np.concatenate(part) for part in parts]


def _behind(op: Any, pair: Pair, walk: Walk, gap: int, d: Interval) -> Interval:
  """The change behind the last activation from that in front of it."""
  theirs, ours = walk.sides(gap)
  change = op.difference(pair.after, d, ours, theirs)
  if any(pair.before[r] is not pair.after[r] for r in op.weights()):
    moved = op.changed(pair.before, pair.after, ours)
    change = intervals.add(change, moved)
  return change


def largest_deviation(
  original: keras.Model, pruned: keras.Model, input_range: RangeLike = None
) -> float:
  """The largest entry of `deviation_bound`; NaN where there is no bound."""
  try:
    found = deviation_bound(original, pruned, input_range)
  except NoBoundError:
    return float('nan')
  found = found if isinstance(found, list) else [found]
  return float(max(part.max() for part in found))


class NoBoundError(ValueError):
  """An operation without known bounds leads to an output."""


class ChangeBound:
  """Bounds each output's change from one set of weights to others.

  Args:
    graph: The graph that all the weights fit.
    before: The original weights.
    boxes: Bounds of each input.
  """

  def __init__(self, graph: Graph, before: Params, boxes: list[Interval]):
    self._graph = graph
    self._before = before
    self._boxes = boxes
    self._bounds = propagate(graph, before, boxes)

  def __call__(
    self, after: Params, merges: Mapping[int, Array]
  ) -> list[Interval | None]:
    """Bounds by output; None behind an operation without known bounds.

    Args:
      after: The changed weights.
      merges: As `bounds.propagate_change` takes them.
    """
    change = propagate_change(
      self._graph,
      self._before,
      after,
      self._bounds,
      propagate(self._graph, after, self._boxes),
      merges,
    )
    return [change[value] for value in self._graph.outputs]
