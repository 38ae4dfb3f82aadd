"""What a classifier is trained for: natural, adversarial, verifiable, smooth.

One objective serves pre-training, pruning and fine-tuning alike (Sehwag et al.
2019, arXiv 1906.06110). An objective is a small frozen object; `robust_model`
lets `fit` follow it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfmot_paoding.arguments import check_whole
from tfmot_paoding.registry import Configurable, Registry
from tfmot_paoding.training.live import Box, LiveBounds
from tfmot_paoding.training.ramps import (
  Number,
  Ramp,
  check_number,
  end_of,
  value_at,
)


class Trainee(Protocol):
  """What an objective may ask of the model that trains."""

  def loss_of(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """The compiled loss, a scalar."""

  def run(self, x: tf.Tensor, training: bool) -> tf.Tensor:
    """The model's outputs."""

  def scores(self, outputs: tf.Tensor) -> tf.Tensor:
    """Class scores from outputs, (batch, classes), float32."""

  def labels(self, y: tf.Tensor) -> tf.Tensor:
    """Classes, (batch,), int64."""

  def ball(self, x: tf.Tensor, epsilon: tf.Tensor) -> Box:
    """The part of the ball around x that lies in the input range."""

  def bounds(
    self, box: Box, x: tf.Tensor | None = None
  ) -> tuple[LiveBounds, Any, Any]:
    """The live bounds, the weights, and the bounds of every value.

    With a batch `x`, batch normalization takes its statistics, as in `run` in
    training; else its moving ones.
    """

  @property
  def step(self) -> tf.Tensor:
    """The training step."""


class Objective(Configurable):
  """A training objective; subclasses are frozen dataclasses.

  Attributes:
    needs_bounds: Whether it asks for bounds; then models with a layer that has
      none are refused before training.
    needs_linear: Whether it asks for linear ones.
  """

  needs_bounds = False
  needs_linear = False

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss of a batch, a scalar, and the outputs to show metrics of."""
    raise NotImplementedError

  @property
  def settled_at(self) -> int:
    """The training step from which the objective is the same."""
    fields = dataclasses.fields(self)
    return end_of(*(getattr(self, field.name) for field in fields))

  def get_config(self) -> dict[str, Any]:
    """The settings as plain values; ramps as dicts."""
    config = super().get_config()
    return {name: _plain(value) for name, value in config.items()}

  @classmethod
  def from_config(cls, config: Any) -> Objective:
    """The objective whose `get_config` gave `config`."""
    return cls(
      **{
        name: Ramp(**value) if isinstance(value, dict) else value
        for name, value in config.items()
      }
    )


objectives: Registry[Objective] = Registry('objective', Objective)
register_objective = objectives.register


@objectives.register('natural')
@dataclasses.dataclass(frozen=True)
class Natural(Objective):
  """The compiled loss on the data as they are."""

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The compiled loss."""
    outputs = trainee.run(x, True)
    return trainee.loss_of(y, outputs), outputs


@objectives.register('adversarial')
@dataclasses.dataclass(frozen=True)
class Adversarial(Objective):
  """The loss on PGD examples that are made anew for every batch.

  Madry et al. 2018, arXiv 1706.06083; with `trades`, cross-entropy on the data
  plus `trades` times the divergence that an attack on the divergence makes
  (Zhang et al. 2019, arXiv 1901.08573).

  Attributes:
    epsilon: The balls' radius, in units of the inputs.
    steps: Gradient steps of the attack.
    step_size: Of each; None for 2.5 epsilon / steps.
    trades: The weight of TRADES's second term; None for plain PGD training.
  """

  epsilon: Number
  steps: int = 7
  step_size: float | None = None
  trades: float | None = None

  def __post_init__(self):
    check_number(self.epsilon, 'epsilon')
    check_whole('steps', self.steps, 1)
    for name in ('step_size', 'trades'):
      value = getattr(self, name)
      if isinstance(value, Ramp):
        raise TypeError(f'`{name}` must be a number or None, but got {value}.')
      if value is not None:
        check_number(value, name)

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss at the worst point that the attack finds."""
    epsilon = self.radius(trainee)
    if self.trades is None:
      outputs = trainee.run(self.attacked(trainee, x, y, epsilon), True)
      return trainee.loss_of(y, outputs), outputs
    clean = tf.stop_gradient(trainee.scores(trainee.run(x, False)))
    moved = self.attacked(trainee, x, y, epsilon, tf.nn.softmax(clean))
    outputs = trainee.run(x, True)
    gap = divergence(
      tf.nn.softmax(trainee.scores(outputs)),
      trainee.scores(trainee.run(moved, True)),
    )
    return trainee.loss_of(y, outputs) + self.trades * gap, outputs

  def radius(self, trainee: Trainee) -> tf.Tensor:
    """The ball's at the trainee's step, float32."""
    return value_at(self.epsilon, trainee.step)

  def attacked(
    self,
    trainee: Trainee,
    x: tf.Tensor,
    y: tf.Tensor,
    epsilon: tf.Tensor,
    probabilities: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Steps along the gradient's sign, from a random point of the ball.

    Args:
      trainee: The model.
      x: Inputs.
      y: Labels.
      epsilon: The ball's radius.
      probabilities: What to move away from; None for the labels.
    """
    box = trainee.ball(x, epsilon)
    size = 2.5 * epsilon / self.steps
    if self.step_size is not None:
      size = tf.constant(self.step_size, tf.float32)
    z = x + tf.random.uniform(tf.shape(x), -1.0, 1.0, x.dtype) * tf.cast(
      epsilon, x.dtype
    )
    z = tf.clip_by_value(z, box.low, box.high)
    for _ in range(self.steps):
      with tf.GradientTape() as tape:
        tape.watch(z)
        scores = trainee.scores(trainee.run(z, False))
        if probabilities is None:
          loss = _cross_entropy(trainee.labels(y), scores)
        else:
          loss = divergence(probabilities, scores)
      gradient = tape.gradient(loss, z)
      z += tf.cast(size, z.dtype) * tf.sign(gradient)
      z = tf.clip_by_value(z, box.low, box.high)
    return tf.stop_gradient(z)


@objectives.register('verifiable')
@dataclasses.dataclass(frozen=True)
class Verifiable(Objective):
  """The loss at the worst scores that bounds allow.

  kappa times the loss on the data plus (1 - kappa) times cross-entropy of the
  worst scores in the ball, by intervals (IBP, Gowal et al. 2018, arXiv
  1810.12715). `linear` is the share of CROWN-IBP's bounds in the worst scores
  (Zhang et al. 2020, arXiv 1906.06316), as a rule a ramp from 1 to 0. Batch
  normalization takes the statistics of the data in the bounds as well.

  Attributes:
    epsilon: The balls' radius, in units of the inputs; as a rule a ramp from 0.
    kappa: The share of the loss on the data; as a rule a ramp from 1 to 1/2.
    linear: The share of linear bounds.
  """

  epsilon: Number
  kappa: Number = 0.5
  linear: Number = 0.0

  needs_bounds = True

  def __post_init__(self):
    check_number(self.epsilon, 'epsilon')
    check_number(self.kappa, 'kappa', most=1.0)
    check_number(self.linear, 'linear', most=1.0)

  @property
  def needs_linear(self) -> bool:
    """Whether there ever is a share of linear bounds."""
    return self.linear != 0.0

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The mixture of both losses."""
    step = trainee.step
    kappa = value_at(self.kappa, step)
    outputs = trainee.run(x, True)
    labels = trainee.labels(y)
    box = trainee.ball(x, value_at(self.epsilon, step))
    live, params, bounds = trainee.bounds(box, x)
    classes = trainee.scores(outputs).shape[-1]
    unit = tf.eye(classes)
    rows = tf.gather(unit, labels)[:, None] - unit[None]
    # Of two classes with one score, the first one's is 0 and has no bounds.
    rows = rows[..., -bounds[live.value].low.shape[-1] :]
    leads = live.leads(params, bounds, rows)
    if self.needs_linear:
      share = value_at(self.linear, step)
      linear = live.linear_leads(params, bounds, rows)
      leads = share * linear + (1.0 - share) * leads
    worst = _cross_entropy(labels, -leads)
    loss = kappa * trainee.loss_of(y, outputs) + (1.0 - kappa) * worst
    return loss, outputs


@objectives.register('smoothing')
@dataclasses.dataclass(frozen=True)
class Smoothing(Objective):
  """The loss on data with Gaussian noise, for randomised smoothing.

  Cohen et al. 2019, arXiv 1902.02918; certify with `robustness.smoothed`.

  Attributes:
    sigma: The noise's standard deviation, in units of the inputs.
  """

  sigma: Number

  def __post_init__(self):
    check_number(self.sigma, 'sigma')

  def loss(
    self, trainee: Trainee, x: tf.Tensor, y: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """The compiled loss on noisy inputs, which may leave the range."""
    sigma = tf.cast(value_at(self.sigma, trainee.step), x.dtype)
    noisy = x + sigma * tf.random.normal(tf.shape(x), dtype=x.dtype)
    outputs = trainee.run(noisy, True)
    return trainee.loss_of(y, outputs), outputs


@dataclasses.dataclass(frozen=True)
class StabilityRegularizer:
  """Makes ReLUs stable: mean of -tanh(1 + l u / gamma^2), weighted.

  l and u are a neuron's bounds by intervals, gamma the scale of the batch
  normalization before it (without gradient), 1 where there is none. Xiao et
  al. 2019, arXiv 1809.03008; Li et al. 2022, arXiv 2206.07311.

  Attributes:
    epsilon: The balls' radius, in units of the inputs.
    weight: The weight in the loss.
  """

  epsilon: Number
  weight: float = 0.001

  def __post_init__(self):
    check_number(self.epsilon, 'epsilon')
    check_number(self.weight, 'weight')

  def __call__(self, trainee: Trainee, x: tf.Tensor) -> tf.Tensor:
    """The weighted term of a batch, a scalar."""
    box = trainee.ball(x, value_at(self.epsilon, trainee.step))
    live, params, bounds = trainee.bounds(box, x)
    total, count = tf.constant(0.0), 0.0
    for value, _, gamma in live.activations():
      low, high = bounds[value]
      square = 1.0
      if gamma is not None:
        square = tf.stop_gradient(tf.square(params[gamma])) + 1e-12
      term = -tf.tanh(1.0 + low * high / square)
      total += tf.reduce_sum(tf.reduce_mean(term, 0))
      count += float(term.shape[1:].num_elements())
    return self.weight * total / max(count, 1.0)


def _plain(value: Any) -> Any:
  """What JSON can hold of a setting."""
  if isinstance(value, Ramp):
    fields = dataclasses.asdict(value)
    return {name: _plain(own) for name, own in fields.items()}
  return value.item() if isinstance(value, np.generic) else value


def _cross_entropy(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
  return tf.reduce_mean(
    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
  )


def divergence(probabilities: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
  """The mean Kullback-Leibler divergence of softmax(scores) from these."""
  logs = tf.math.log(tf.maximum(probabilities, 1e-12))
  gap = logs - tf.nn.log_softmax(scores)
  return tf.reduce_mean(tf.reduce_sum(probabilities * gap, -1))
