"""Adversarial examples: FGSM and PGD in the L-infinity norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.arguments import check_whole
from tfmot_paoding.bounds.balls import (
  as_inputs,
  balls,
  check_epsilon,
  check_labels,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.robustness.scores import (
  by_class,
  check_scores,
  scores_model,
  scores_of,
)

Array = np.ndarray

_BATCH = 256


def fgsm(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  *,
  batch_size: int = _BATCH,
) -> Any:
  """One step of size epsilon along the sign of the loss's gradient.

  Goodfellow et al. 2015, arXiv 1412.6572. The signs are those of
  cross-entropy's gradient, worked out on the scores in front of softmax so
  that they do not vanish where the network is sure; where a gradient is 0 the
  input stays.

  Args:
    model: A classifier with one output: probabilities by a softmax or sigmoid,
      or logits.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The step, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      Examples stay inside.
    batch_size: How many samples are worked on at once.

  Returns:
    Adversarial examples, of x's shape, float32.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: an argument is bad, the model is no classifier, or it gives
      probabilities whose logits are not known.
  """
  target = _Target(model, x, y, epsilon, input_range)
  return target.run(batch_size, lambda part: _one_step(target, part))


def pgd(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  steps: int = 40,
  restarts: int = 1,
  seed: int = 0,
  *,
  step_size: float | None = None,
  batch_size: int = _BATCH,
) -> Any:
  """Projected gradient descent on the label's lead, with random restarts.

  Madry et al. 2018, arXiv 1706.06083. The first start is the sample itself,
  further ones are drawn evenly from the ball. Steps follow the sign of the
  gradient of cross-entropy, with a size that falls to a hundredth along a
  cosine; of all points visited, the one where the label's lead over the next
  class is least is kept. Samples that are broken are not attacked further.

  Args:
    model: A classifier with one output: probabilities by a softmax or sigmoid,
      or logits.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The ball's radius, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      Examples stay inside.
    steps: Gradient steps a start.
    restarts: Starts.
    seed: For the starts.
    step_size: The first step's size; None for half of epsilon.
    batch_size: How many samples are worked on at once.

  Returns:
    Adversarial examples, of x's shape, float32; never worse for the attacker
    than the samples themselves.

  Raises:
    TypeError: as `fgsm`.
    ValueError: as `fgsm`; `steps` or `restarts` is below 1.
  """
  for name, value in (('steps', steps), ('restarts', restarts)):
    check_whole(name, value, 1)
  target = _Target(model, x, y, epsilon, input_range)
  size = target.epsilon / 2 if step_size is None else check_epsilon(step_size)
  rng = np.random.default_rng(seed)
  return target.run(
    batch_size,
    lambda part: _descend(target, part, rng, steps, restarts, size),
  )


class _Target:
  """A classifier under attack, its samples, and the balls around them."""

  def __init__(
    self, model: Any, x: Any, y: Any, epsilon: float, input_range: Any
  ):
    model = as_tf_keras(model)
    self.scores = scores_of(model)
    graph = self.scores.graph
    shapes = [graph.shapes[value] for value in graph.inputs]
    self.epsilon = check_epsilon(epsilon)
    boxes = balls(model, x, self.epsilon, input_range, shapes)
    self.boxes = [inward(box) for box in boxes]
    self.x = [
      np.clip(part.astype(np.float32), box.low, box.high)
      for part, box in zip(as_inputs(x, shapes), self.boxes, strict=True)
    ]
    self.labels = check_labels(y, len(self.x[0]), self.scores.classes)
    self.is_list = len(shapes) > 1
    self.model = scores_model(model)
    if self.scores.final is None:
      check_scores(self._call([part[:64] for part in self.x]))
    branches = compat.may_branch(self.model)
    traced = tf.function(self._gradient, autograph=branches)
    self.gradient = traced.get_concrete_function(
      [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes],
      tf.TensorSpec((None,), tf.int64),
    )

  def run(self, batch_size: int, attack: Callable[[slice], list[Array]]) -> Any:
    """Examples for all samples, batch after batch."""
    check_whole('batch_size', batch_size, 1)
    found: list[list[Array]] = []
    for start in range(0, len(self.labels), batch_size):
      part = slice(start, min(start + batch_size, len(self.labels)))
      found.append(attack(part))
    joined = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return joined if self.is_list else joined[0]

  def ball(self, part: slice | Array) -> list[Interval]:
    """The balls of some samples."""
    return [Interval(box.low[part], box.high[part]) for box in self.boxes]

  def _call(self, x: Sequence[Any]) -> tf.Tensor:
    x = [tf.convert_to_tensor(part) for part in x]
    return self.model(x if len(x) > 1 else x[0], training=False)

  def _gradient(
    self, x: list[tf.Tensor], labels: tf.Tensor
  ) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The gradient of the loss, and the label's lead, (batch,).

    The loss is log(sum of exp(z_k) over other classes) - z_label: its gradient
    is that of cross-entropy over 1 - p_label, so that the signs are the same
    and it does not vanish where the network is sure.
    """
    with tf.GradientTape() as tape:
      tape.watch(x)
      scores = by_class(tf.cast(self._call(x), tf.float32))
      own = tf.one_hot(labels, scores.shape[-1], on_value=True, off_value=False)
      others = tf.where(own, -np.inf, scores)
      score = tf.reduce_sum(tf.where(own, scores, 0.0), -1)
      loss = tf.reduce_logsumexp(others, -1) - score
    return tape.gradient(loss, x), score - tf.reduce_max(others, -1)


def _one_step(target: _Target, part: slice) -> list[Array]:
  x = [a[part] for a in target.x]
  gradients, _ = target.gradient(
    [tf.constant(a) for a in x], tf.constant(target.labels[part])
  )
  step = np.float32(target.epsilon)
  return [
    np.clip(a + step * np.sign(gradient), box.low, box.high)
    for a, gradient, box in zip(x, gradients, target.ball(part), strict=True)
  ]


def _descend(
  target: _Target,
  part: slice,
  rng: np.random.Generator,
  steps: int,
  restarts: int,
  size: float,
) -> list[Array]:
  best = [np.array(a[part]) for a in target.x]
  least = np.full(len(best[0]), np.inf, np.float32)
  for number in range(restarts):
    going = np.flatnonzero(least > 0)
    if not going.size:
      break
    boxes = [
      Interval(box.low[going], box.high[going]) for box in target.ball(part)
    ]
    x = [np.array(a[part][going]) for a in target.x]
    if number:
      x = [rng.uniform(box.low, box.high).astype(np.float32) for box in boxes]
      x = [np.clip(a, *box) for a, box in zip(x, boxes, strict=True)]
    labels = tf.constant(target.labels[part][going])
    for step in range(steps + 1):
      gradients, lead = target.gradient([tf.constant(a) for a in x], labels)
      lead = lead.numpy()
      better = lead < least[going]
      least[going[better]] = lead[better]
      for kept, a in zip(best, x, strict=True):
        kept[going[better]] = a[better]
      if step == steps:
        break
      rate = size * max(0.01, 0.5 * (1 + np.cos(np.pi * step / steps)))
      x = [
        np.clip(a + np.float32(rate) * np.sign(gradient), *box)
        for a, gradient, box in zip(x, gradients, boxes, strict=True)
      ]
  return best


def inward(box: Interval) -> Interval:
  """The box in float32, rounded inwards."""
  low, high = box.low.astype(np.float32), box.high.astype(np.float32)
  low = np.where(low < box.low, np.nextafter(low, np.float32(np.inf)), low)
  high = np.where(
    high > box.high, np.nextafter(high, np.float32(-np.inf)), high
  )
  # A ball of radius 0 between two numbers of float32 is that sample.
  return Interval(np.minimum(low, np.maximum(low, high)), np.maximum(low, high))
