"""How stable the activations of each unit are around samples: NRS scores."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers
from tfmot_paoding.arguments import check_whole
from tfmot_paoding.bounds.balls import balls
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.network import Network
from tfmot_paoding.robustness.scores import scores_of
from tfmot_paoding.training.live import Box, LiveBounds

Array = np.ndarray


def stability_scores(
  model: keras.Model,
  x: Any,
  epsilon: float,
  input_range: RangeLike = None,
  *,
  batch_size: int = 128,
) -> dict[str, Array]:
  """What each hidden unit is worth by how stable it is around samples.

  The mean of 1 + tanh(1 + l u / gamma^2) over samples and positions, l and u
  being bounds by intervals of what the unit's activation reads, and gamma the
  scale of the batch normalization right before it, or 1: about 2 where one side
  of the kink is never left, near 0 where the kink is far inside. A unit that is
  off all over every ball gives nothing, and is worth 0. The criterion
  `methods.GivenScores` takes what is returned.

  The structured score of Li et al. 2022, arXiv 2206.07311, whose regularizer is
  `StabilityRegularizer`.

  Args:
    model: A classifier with one input.
    x: Samples whose balls to look at.
    epsilon: The balls' radius, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    batch_size: How many samples are worked on at once.

  Returns:
    By the name of each group, at least 0 for each of its units. Groups without
    an activation that has a kink are left out, with a warning.

  Raises:
    TypeError: `model` is no tf_keras model.
    NoRelaxationError: an operation has no bounds that can be trained through.
    ValueError: a setting is bad, the model is no classifier, or no group has an
      activation with a kink.
  """
  check_whole('batch_size', batch_size, 1)
  model = as_tf_keras(model)
  scores = scores_of(model)
  graph, grouping = scores.graph, Network.of(model).groups
  live = LiveBounds(graph, scores.value)
  (ball,) = balls(model, x, epsilon, input_range, [scores.only_input])
  params = live.params()
  count = sum(group.size for group in grouping.groups)
  total, seen = np.zeros(count), np.zeros(count)
  alive = np.zeros(count, bool)
  for start in range(0, len(ball.low), batch_size):
    ends = (end[start : start + batch_size] for end in ball)
    box = Box(*(tf.constant(end, tf.float32) for end in ends))
    bounds = live.forward(params, [box])
    for source, output, gamma in live.activations():
      low, high = (end.numpy() for end in bounds[source])
      square = 1.0 if gamma is None else np.square(params[gamma]) + 1e-12
      term = 1.0 + np.tanh(1.0 + low * high / square)
      units = np.broadcast_to(grouping.units[source], low.shape)
      known = units >= 0
      total += np.bincount(units[known], term[known], count)
      seen += np.bincount(units[known], minlength=count)
      speaks = np.any([end.numpy() != 0 for end in bounds[output]], axis=0)
      alive[units[known & speaks]] = True
  return _by_group(grouping, seen, np.where(alive, total, 0.0))


def _by_group(grouping: Any, seen: Array, total: Array) -> dict[str, Array]:
  """Means by the names of groups, those that were seen."""
  found, left, start = {}, [], 0
  for group in grouping.groups:
    units = slice(start, start + group.size)
    start += group.size
    name = '/'.join(group.name)
    if seen[units].all():
      found[name] = total[units] / seen[units]
    else:
      left.append(name)
  if not found:
    raise ValueError(
      'No unit of the model that can be removed passes an activation with a '
      'kink, such as ReLU: stability says nothing of it.'
    )
  if left:
    warnings.warn(
      f'The units of {", ".join(map(repr, left))} pass no activation with a '
      'kink: stability says nothing of them, and they have no scores.',
      stacklevel=callers.level(),
    )
  return found
