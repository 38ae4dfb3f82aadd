"""`fit` under an objective, for wrapped and for plain models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.bounds.balls import TOLERANCE
from tfmot_paoding.compat import NEVER, keras
from tfmot_paoding.inputs.ranges import RangeLike, input_boxes, resolve_range
from tfmot_paoding.network.graph import check_model
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.robustness.scores import by_class, scores_of
from tfmot_paoding.training.first_step import make_variables
from tfmot_paoding.training.live import Box, LiveBounds
from tfmot_paoding.training.objectives import (
  Natural,
  Objective,
  StabilityRegularizer,
  objectives,
)


class RobustModel(keras.Model):
  """A model whose `fit` follows an objective; see `robust_model`."""

  def follow(
    self,
    model: keras.Model,
    objective: Objective,
    input_range: Any,
    stability: StabilityRegularizer | None,
  ) -> None:
    """Sets what to train for; called by `robust_model`."""
    self.learner = getattr(model, 'learner', None)
    self._objective = objective
    self._stability = stability
    self._ends = None
    if isinstance(objective, Natural) and stability is None:
      return
    scores = scores_of(model)
    graph = scores.graph
    (box,) = input_boxes(model, input_range, [graph.shapes[graph.inputs[0]]])
    self._ends = box.low.astype(np.float32), box.high.astype(np.float32)
    (self._head,) = heads_of(graph)
    if objective.needs_bounds or stability is not None:
      # Refuses here, before any training, what has no bounds.
      self._live = LiveBounds(graph, scores.value, objective.needs_linear)

  def make_train_function(self, force: bool = False) -> Callable:
    """Keras's, but its step is traced once.

    tf.function traces what makes variables again, without them; for most steps
    that is half of the time before the second.
    """
    if self.train_function is None or force:
      train = super().make_train_function(force)

      def ready_to_train(iterator: Any) -> dict[str, tf.Tensor]:
        if not self.learner:
          make_variables(self, iterator)
        return train(iterator)

      self.train_function = ready_to_train
    return self.train_function

  def train_step(self, data: Any) -> dict[str, tf.Tensor]:
    """One step of the objective's loss, the regularizers', and `stability`."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    # As the model itself would, were it called with x.
    x = tf.cast(x, self.inputs[0].dtype)
    if weight is not None:
      raise ValueError(
        'Sample weights are not known to robust objectives: leave them out.'
      )
    with sound_convolutions(self), tf.GradientTape() as tape:
      loss, outputs = self._objective.loss(self, x, y)
      if self._stability is not None:
        loss += tf.cast(self._stability(self, x), loss.dtype)
      if self.losses:
        loss += tf.cast(tf.add_n(self.losses), loss.dtype)
      # Optimizers add gradients up over replicas; all terms are means.
      own = loss / tf.cast(_replicas(), loss.dtype)
    if self.learner is None:
      self.optimizer.minimize(own, self.trainable_variables, tape=tape)
    else:
      self.learner.descend(self, own, tape)
    return {**self.compute_metrics(x, y, outputs, None), 'loss': loss}

  # What objectives ask for.

  @property
  def step(self) -> tf.Tensor:
    """The optimizer's step."""
    return self.optimizer.iterations

  def loss_of(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """The compiled loss, float32, without regularizers."""
    # Keras gives each replica its part of the mean over all.
    loss = tf.cast(self.compiled_loss(y, outputs), tf.float32)
    return loss * tf.cast(_replicas(), tf.float32)

  def run(self, x: tf.Tensor, training: bool) -> tf.Tensor:
    """The model's outputs."""
    return self(x, training=training)

  def scores(self, outputs: tf.Tensor) -> tf.Tensor:
    """Class scores, (batch, classes), float32."""
    return by_class(self._head.logits(outputs))

  def labels(self, y: tf.Tensor) -> tf.Tensor:
    """Classes, from integers or one-hot rows."""
    if y.shape.rank == 2 and y.shape[-1] not in (1, None):
      return tf.argmax(y, -1)
    return tf.cast(tf.reshape(y, (-1,)), tf.int64)

  def ball(self, x: tf.Tensor, epsilon: tf.Tensor) -> Box:
    """The part of the ball around x that lies in the input range."""
    low, high = (tf.cast(end, x.dtype) for end in self._ends)
    epsilon = tf.cast(epsilon, x.dtype)
    centre = tf.clip_by_value(x, low, high)
    # A ball far outside would be empty, and its bounds the wrong way round.
    inside = tf.debugging.assert_less_equal(
      tf.reduce_max(tf.abs(x - centre)),
      tf.cast(TOLERANCE * np.max(self._ends[1] - self._ends[0]), x.dtype),
      'Samples lie outside `input_range`. Scale them as the model expects '
      'them, or pass robust_model the range that they have.',
    )
    with tf.control_dependencies([inside] if inside is not None else []):
      centre = tf.identity(centre)
    return Box(
      tf.maximum(centre - epsilon, low), tf.minimum(centre + epsilon, high)
    )

  def bounds(
    self, box: Box, x: tf.Tensor | None = None
  ) -> tuple[LiveBounds, Any, Any]:
    """The live bounds, the weights, and the bounds of every value.

    Args:
      box: The inputs' bounds.
      x: A batch whose statistics batch normalization takes; None for its moving
        ones.
    """
    params = self._live.params()
    if x is not None:
      params = self._live.in_training(params, [tf.cast(x, tf.float32)])
    box = Box(*(tf.cast(end, tf.float32) for end in box))
    return self._live, params, self._live.forward(params, [box])


def _replicas() -> int:
  return tf.distribute.get_strategy().num_replicas_in_sync


def robust_model(
  model: keras.Model,
  objective: str | Mapping[str, Any] | Objective = 'natural',
  input_range: RangeLike = None,
  *,
  stability: StabilityRegularizer | None = None,
  steps: int | None = None,
) -> RobustModel:
  """The same layers under a `fit` that follows an objective.

  The result shares every layer and weight with `model`: compile and fit it as
  any other, with TFMOT's wrappers inside and its callbacks, mixed precision,
  and `tf.distribute` (call this inside the strategy's scope). Afterwards go on
  with `model`: `strip_pruning(model)`, `compact`, `save`.

  Args:
    model: A Sequential or functional tf_keras classifier with one input and one
      output; wrapped for pruning or not.
    objective: An objective, its config, or the name of one without settings.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
      Attacks and bounds stay inside; samples outside end `fit` with an error
      of TensorFlow's that says so.
    stability: If given, a term that makes ReLUs stable.
    steps: How many training steps there will be, if known: an objective or a
      pruning schedule that is not through by then is refused.

  Returns:
    A functional model; not compiled.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built, no classifier with one input, a
      layer has no bounds that the objective needs (`NoRelaxationError`, the
      layer is named), or `objective` is unknown or outlasts the training.
  """
  check_model(model)
  objective = objectives.get(objective)
  if len(model.inputs) != 1 and not isinstance(objective, Natural):
    raise ValueError(
      f'Expected a model with one input, but {model.name!r} has '
      f'{len(model.inputs)}.'
    )
  if steps is not None:
    _check_length(model, objective, steps)
  if not isinstance(objective, Natural) or stability is not None:
    input_range = resolve_range(model, input_range)
  found = RobustModel(model.inputs, model.outputs, name=model.name)
  found.follow(model, objective, input_range, stability)
  return found


def _check_length(model: keras.Model, objective: Objective, steps: int) -> None:
  """Raises unless everything that changes does so within training.

  Raises:
    ValueError: ramps or a pruning schedule end after it.
  """
  if objective.settled_at > steps:
    raise ValueError(
      f'The objective changes until step {objective.settled_at}, but training '
      f'ends at step {steps}. Shorten its ramps, or train longer.'
    )
  for layer in compat.collect_prunable_layers(model):
    end = getattr(layer.pruning_schedule, 'end_step', -1)
    if steps < end != NEVER:
      raise ValueError(
        f'The pruning schedule of {layer.layer.name!r} goes on until step '
        f'{end}, but training ends at step {steps}. Shorten it, or train '
        'longer.'
      )
