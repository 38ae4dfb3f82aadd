"""What is proved of a network in a ball around each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding.bounds import (
  AlphaSettings,
  Program,
  Walk,
  build_program,
  in_front,
  walks,
)
from tfmot_paoding.bounds.balls import balls, check_labels
from tfmot_paoding.bounds.walks import check_method
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.graph import read_params
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Elementwise, Softmax
from tfmot_paoding.robustness.scores import Scores, scores_of

Array = np.ndarray

BATCH = 128


def output_bounds(
  model: keras.Model,
  x: Any,
  epsilon: float,
  input_range: RangeLike = None,
  method: str = 'crown',
  *,
  alpha: AlphaSettings | None = None,
  batch_size: int = BATCH,
  verbose: int | str = 'auto',
) -> tuple[Array, Array] | list[tuple[Array, Array]]:
  """Sound bounds of a model's outputs in a ball around each sample.

  They hold for the network as a function of real numbers, and are rounded
  outwards; what float32 rounds while running comes on top.

  Args:
    model: A tf_keras model; wrapped, stripped, compact or never pruned.
    x: Samples, (batch, *input shape), or a list with one array an input.
    epsilon: The ball's radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      The ball is cut off there.
    method: 'ibp', intervals (Gowal et al. 2018); 'crown-ibp', linear bounds
      backward from the output over lines that intervals allow; 'crown',
      linear bounds in front of every activation too (Zhang et al. 2018; with
      the same lines as DeepPoly, Singh et al. 2019); 'alpha-crown', the lines
      below optimised for every output (Xu et al. 2021).
    alpha: Settings of 'alpha-crown'.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    (low, high), each (batch, *output shape); a list of pairs for a model with
    several outputs.

  Raises:
    TypeError: `model` is no tf_keras model.
    NoRelaxationError: an operation that leads to an output is not known, or
      has no sound relaxation; the layer is named.
    ValueError: an argument is bad: samples outside the range or of a wrong
      shape, `epsilon` negative or NaN, an unknown method.
  """
  model = as_opened(model)
  check_method(method)
  graph = Network.of(model).graph
  values, finals = zip(*in_front(graph, (Softmax, Elementwise)), strict=True)
  program = build_program(graph, read_params(graph), values)
  shapes = [graph.shapes[value] for value in graph.inputs]
  boxes = balls(model, x, epsilon, input_range, shapes)
  parts: list[list[Interval]] = [[] for _ in values]
  for _, walk in walks(program, boxes, method, alpha, batch_size, verbose):
    found = walk.outputs()
    for part, value, final, bounds in zip(
      parts, values, finals, found, strict=True
    ):
      part.append(_behind(final, walk, value, bounds))
  joined = [
    (
      np.concatenate([p.low for p in part]),
      np.concatenate([p.high for p in part]),
    )
    for part in parts
  ]
  return joined if len(joined) > 1 else joined[0]


def certified(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  method: str = 'crown',
  *,
  alpha: AlphaSettings | None = None,
  batch_size: int = BATCH,
  verbose: int | str = 'auto',
) -> Array:
  """Which samples are provably answered right in the whole ball.

  The label's score is bounded from below against every other class's, one
  linear bound each; so nothing is lost where bounds of two scores overlap.

  Args:
    model: A classifier with one output; see `output_bounds`.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The ball's radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      The ball is cut off there.
    method: 'ibp', 'crown-ibp', 'crown' or 'alpha-crown'; see `output_bounds`.
      Samples that 'ibp' certifies are not worked on further.
    alpha: Settings of 'alpha-crown'.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    Shape (batch,), bool: True is a proof, False says nothing.

  Raises:
    TypeError: as `output_bounds`.
    NoRelaxationError: as `output_bounds`.
    ValueError: as `output_bounds`; labels are out of range; the model is no
      classifier.
  """
  found = margins(
    model,
    x,
    y,
    epsilon,
    input_range,
    method,
    alpha=alpha,
    batch_size=batch_size,
    verbose=verbose,
  )
  return found > 0


def margins(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  method: str = 'crown',
  *,
  alpha: AlphaSettings | None = None,
  everywhere: bool = False,
  batch_size: int = BATCH,
  verbose: int | str = 'auto',
) -> Array:
  """Lower bounds of the label's lead over the next class in each ball.

  Args:
    model: A classifier with one output.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The ball's radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      The ball is cut off there.
    method: 'ibp', 'crown-ibp', 'crown' or 'alpha-crown'; see `output_bounds`.
    alpha: Settings of 'alpha-crown'.
    everywhere: Whether 'ibp' and the answer at the centre save no work: by what
      they decide, samples cannot be compared.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    Shape (batch,), in units of logits. What intervals prove positive or an
    answer at the centre proves negative is not made tighter, unless
    `everywhere`.

  Raises:
    TypeError: as `certified`.
    ValueError: as `certified`.
  """
  model = as_opened(model)
  check_method(method)
  scores = scores_of(model)
  graph = scores.graph
  shapes = [graph.shapes[value] for value in graph.inputs]
  boxes = balls(model, x, epsilon, input_range, shapes)
  labels = check_labels(y, len(boxes[0].low), scores.classes)
  program = build_program(graph, read_params(graph), (scores.value,))
  found = np.full(len(labels), -np.inf)
  waiting = np.arange(len(labels))
  for one in (method,) if everywhere else dict.fromkeys(('ibp', method)):
    chosen = _some(boxes, waiting)
    for part, walk in walks(
      program, chosen, one, alpha, batch_size, verbose if one == method else 0
    ):
      at = waiting[part]
      rows = scores.margins(labels[at])
      found[at] = np.maximum(found[at], walk.lower(scores.value, rows).min(1))
    if one != method:
      waiting = np.flatnonzero(found <= 0)
      right = _right(
        scores, program, _some(boxes, waiting), labels[waiting], batch_size
      )
      waiting = waiting[right]
  return found


def _some(boxes: Sequence[Interval], samples: Array) -> list[Interval]:
  return [Interval(box.low[samples], box.high[samples]) for box in boxes]


def _right(
  scores: Scores,
  program: Program,
  boxes: Sequence[Interval],
  labels: Array,
  batch_size: int,
) -> Array:
  """Which balls are answered right in their middle."""
  middles = [Interval(box.centre, box.centre) for box in boxes]
  found = np.zeros(len(labels), bool)
  for part, walk in walks(program, middles, 'ibp', None, batch_size, 0):
    rows = scores.margins(labels[part])
    # Rounding alone may hide an answer that hangs by a hair.
    found[part] = walk.lower(scores.value, rows).min(1) > -1e-6
  return found


def _behind(
  final: Softmax | Elementwise | None,
  walk: Walk,
  value: int,
  bounds: Interval,
) -> Interval:
  """Bounds behind the last activation from those in front of it."""
  if final is None:
    return bounds
  found = final.bounds({}, bounds)
  if final.answers != 'softmax' or bounds.low.ndim != 2:
    return found
  return intervals.intersect(found, _softmax(walk, value, bounds.low.shape[1]))


def _softmax(walk: Walk, value: int, classes: int) -> Interval:
  """p_k = 1 / sum_j exp(z_j - z_k), from bounds of every difference."""
  unit = np.eye(classes)
  rows = (unit[:, None] - unit[None]).reshape(1, classes**2, classes)
  batch = len(walk.bounds(value).low)
  # [k, j]: the least z_k - z_j; 0 for a class and itself.
  least = walk.lower(value, np.repeat(rows, batch, 0))
  least = least.reshape(batch, classes, classes)
  index = np.arange(classes)
  least[:, index, index] = 0.0
  with np.errstate(over='ignore'):
    low = 1.0 / np.exp(np.minimum(-least, 700.0)).sum(-1)
    high = 1.0 / np.exp(np.minimum(least, 700.0)).sum(1)
  error = 1e-12  # of exp and of the sums
  return Interval(low * (1 - error), np.minimum(high * (1 + error), 1.0))
