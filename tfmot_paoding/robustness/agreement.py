"""Samples whose answer pruning provably cannot have changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfmot_paoding.bounds import Walk, build_difference, walks
from tfmot_paoding.bounds.balls import as_inputs, balls
from tfmot_paoding.bounds.walks import check_method
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, resolve_range
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.matching import pair_models
from tfmot_paoding.robustness.scores import Scores, scores_of

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Agreement:
  """What is proved of two models' answers around each sample, (batch,) each.

  Attributes:
    answers: The original's answers at the samples.
    original: Whether the original gives that answer in the whole ball.
    same: Whether both give it in the whole ball: pruning changes nothing.
    apart: The same from two separate bounds, one of each model: what knowing
      the difference is worth.
  """

  answers: Array
  original: Array
  same: Array
  apart: Array


def certified_agreement(
  original: keras.Model,
  pruned: keras.Model,
  x: Any,
  epsilon: float,
  input_range: RangeLike = None,
  method: str = 'crown',
  *,
  batch_size: int = 32,
  verbose: int | str = 'auto',
) -> Agreement:
  """Where the pruned model provably answers as the original, in each ball.

  The original leads with its answer c by f_c - f_k; pruning takes at most
  what (g - f)_c - (g - f)_k can lose. Where the first outweighs the second for
  every other class k, both models answer c.

  Args:
    original: A classifier with one output.
    pruned: The wrapped, stripped or compact model, fine-tuned or not.
    x: Samples, (batch, *input shape), or a list with one array an input.
    epsilon: The balls' radius in the L-infinity norm, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    method: 'ibp', 'crown-ibp' or 'crown'; see `output_bounds`.
    batch_size: How many samples are worked on at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    What is proved.

  Raises:
    TypeError: an argument is no tf_keras model.
    NoRelaxationError: an operation has no sound relaxation.
    ValueError: the two differ in structure, the original is no classifier, or
      a setting is bad.
  """
  original, pruned = as_opened(original), as_opened(pruned)
  check_method(method)
  scores = scores_of(original)
  pair = pair_models(original, pruned)
  shapes = [pair.graph.shapes[value] for value in pair.graph.inputs]
  input_range = resolve_range(original, input_range, as_inputs(x, shapes))
  boxes = balls(original, x, epsilon, input_range, shapes)
  program = build_difference(
    pair.graph, pair.before, pair.after, (scores.value,)
  )
  points = balls(original, x, 0.0, input_range, shapes)
  answers = np.concatenate(
    [
      scores.answers(walk.bounds(scores.value).centre)
      for _, walk in walks(program, points, 'ibp', None, batch_size, 0)
    ]
  )
  found = [
    _proved(walk, program.outputs[0], scores, answers[part])
    for part, walk in walks(program, boxes, method, None, batch_size, verbose)
  ]
  return Agreement(
    answers, *(np.concatenate(p) for p in zip(*found, strict=True))
  )


def _proved(
  walk: Walk, gap: int, scores: Scores, answers: Array
) -> tuple[Array, Array, Array]:
  rows = scores.margins(answers)
  lead = walk.lower(scores.value, rows)
  both = walk.lower_sum([(scores.value, rows), (gap, rows)])
  both = np.maximum(both, lead + walk.lower(gap, rows))
  pruned = walk.other(gap)
  own = lead if pruned is None else walk.lower(pruned, rows)
  leads = (lead > 0).all(1)
  return (
    leads,
    leads & (np.maximum(both, own) > 0).all(1),
    leads & (own > 0).all(1),
  )
