"""Scores of weights or units that train while all weights stay as they are.

What has the highest scores stays in the network, the rest is masked. A mask has
no gradient: it is taken for the score itself (straight through), so that a
score moves as the loss would if its part of the network came or went. Sehwag et
al. 2020, arXiv 2002.10509 (HYDRA); Ramanujan et al. 2020, arXiv 1911.13299.

The model's own weights hold what the masks leave of them. So attacks, bounds
and metrics see the pruned network, and need know nothing of scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.network.sound_convolutions import sound_convolutions

Array = np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Gate:
  """One weight that scores mask.

  Attributes:
    weight: The variable.
    axis: The axis that scored units run along; None where each entry has a
      score of its own.
    units: The unit of each entry along it, -1 for none.
  """

  weight: Any
  axis: int | None = None
  units: Array | None = None

  def mask(self, kept: tf.Tensor) -> tf.Tensor:
    """What stays of the weight, broadcasting to it; `kept` has 1 or 0 each."""
    if self.axis is None:
      return kept
    units = np.where(self.units < 0, kept.shape[0], self.units)
    found = tf.gather(tf.concat([kept, [1.0]], 0), units)
    shape = [1] * len(self.weight.shape)
    shape[self.axis] = -1
    return tf.reshape(found, shape)

  def collect(self, slopes: tf.Tensor, count: int) -> tf.Tensor:
    """What the entries of the weight give to the scores that mask them."""
    if self.axis is None:
      return slopes
    others = [k for k in range(len(slopes.shape)) if k != self.axis]
    rows = tf.reduce_sum(slopes, others)
    # What belongs to no unit goes to a last one, and is left out.
    return tf.math.unsorted_segment_sum(
      rows, np.where(self.units < 0, count, self.units), count + 1
    )[:count]


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
  """Scores that compete with one another.

  Attributes:
    initial: What they begin at.
    kept: How many of the highest magnitudes stay.
    gates: What they mask.
  """

  initial: Array
  kept: int
  gates: tuple[Gate, ...]


class MaskLearner(tf.Module):
  """The scores of a model, and what they leave of its weights.

  A model that holds it tracks and saves its variables; it is no layer, since it
  is none of the network's.

  Args:
    scored: The scores, and what each masks; the weights are masked at once.
    ramp_steps: In how many steps what is kept falls from all to `kept`, as in
      TFMOT's `PolynomialDecay`; 0 for `kept` from the start.
  """

  # The weights are the model's.
  _TF_MODULE_IGNORED_PROPERTIES = frozenset({'_masked', '_place', '_watched'})

  def __init__(self, scored: Sequence[Scored], ramp_steps: int = 0):
    super().__init__(name='mask_learner')
    self._masked = tuple(scored)
    self._ramp_steps = ramp_steps
    self.step = tf.Variable(0, False, name='step', dtype=tf.int64)
    gates = {
      id(gate.weight): gate.weight for one in scored for gate in one.gates
    }
    self._watched = tuple(gates.values())
    self._place = {name: k for k, name in enumerate(gates)}
    self.scores = [
      tf.Variable(np.float32(one.initial), name=f'scores_{k}')
      for k, one in enumerate(scored)
    ]
    self.origins = [
      tf.Variable(keras.backend.get_value(weight), False, name=f'origin_{k}')
      for k, weight in enumerate(self._watched)
    ]
    self.update()

  @property
  def weights_read(self) -> tuple:
    """The model's weights that scores mask."""
    return self._watched

  def gradients(self, gradients: Sequence[Any]) -> list[tf.Tensor]:
    """The loss's gradient by the scores, masks taken for their magnitudes.

    Args:
      gradients: By each of `weights_read`; None where the loss has none.
    """
    slopes = [
      tf.zeros_like(origin)
      if gradient is None
      else tf.cast(tf.convert_to_tensor(gradient), origin.dtype) * origin
      for gradient, origin in zip(gradients, self.origins, strict=True)
    ]
    found = []
    for one, scores in zip(self._masked, self.scores, strict=True):
      count = int(np.prod(scores.shape))
      total = tf.add_n(
        [
          gate.collect(slopes[self._place[id(gate.weight)]], count)
          for gate in one.gates
        ]
      )
      found.append(total * tf.sign(scores))
    return found

  def masks(self) -> list[tf.Tensor]:
    """Ones where scores stay, zeros elsewhere; one for each set of scores."""
    return [
      highest(tf.abs(scores), self._kept(one))
      for one, scores in zip(self._masked, self.scores, strict=True)
    ]

  def _kept(self, one: Scored) -> int | tf.Tensor:
    """How many of a set of scores stay at this step."""
    if not self._ramp_steps:
      return one.kept
    left = 1.0 - tf.cast(self.step, tf.float32) / self._ramp_steps
    more = (np.size(one.initial) - one.kept) * tf.maximum(left, 0.0) ** 3
    return one.kept + tf.cast(more, tf.int32)

  def update(self) -> None:
    """Masks the weights by the scores as they are."""
    values = [tf.convert_to_tensor(origin) for origin in self.origins]
    for one, kept in zip(self._masked, self.masks(), strict=True):
      for gate in one.gates:
        values[self._place[id(gate.weight)]] *= gate.mask(kept)
    replicas.assign(self._watched, values)

  def descend(self, model: keras.Model, loss: tf.Tensor, tape: Any) -> None:
    """One step of a model's optimizer, on scores in place of weights.

    Args:
      model: The model that trains; what it has beside the weights that scores
        mask trains as ever.
      loss: Its loss.
      tape: The tape that saw it.

    Raises:
      ValueError: the optimizer is one of `keras.optimizers.legacy`.
    """
    optimizer = model.optimizer
    if not hasattr(optimizer, 'compute_gradients'):
      raise ValueError(
        f'Scores are trained by the optimizers of tf_keras, but got '
        f'{type(optimizer).__name__} of keras.optimizers.legacy. Compile with '
        'the one of that name in keras.optimizers.'
      )
    mine = {id(scores) for scores in self.scores}
    others = [v for v in model.trainable_variables if id(v) not in mine]
    pairs = optimizer.compute_gradients(loss, [*self._watched, *others], tape)
    found = [gradient for gradient, _ in pairs]
    count = len(self._watched)
    optimizer.apply_gradients(
      [
        *zip(self.gradients(found[:count]), self.scores, strict=True),
        *zip(found[count:], others, strict=True),
      ]
    )
    if self._ramp_steps:
      replicas.assign([self.step], [self.step + 1])
    self.update()


class ScoredModel(keras.Model):
  """A model whose `fit` trains the scores of a `MaskLearner`.

  `robust_model` takes it as any other, and trains them under an objective.
  """

  learner: MaskLearner

  def train_step(self, data: Any) -> dict[str, tf.Tensor]:
    """One step on the compiled loss."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    with sound_convolutions(self), tf.GradientTape() as tape:
      outputs = self(x, training=True)
      loss = self.compute_loss(x, y, outputs, weight)
    self.learner.descend(self, loss, tape)
    return self.compute_metrics(x, y, outputs, weight)


def highest(scores: tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
  """Ones at the `count` highest of all entries, of which the first at ties."""
  flat = tf.reshape(scores, [-1])
  places = tf.math.top_k(flat, count, sorted=False).indices
  ones = tf.ones_like(places, tf.float32)
  found = tf.scatter_nd(places[:, None], ones, tf.shape(flat))
  return tf.reshape(found, tf.shape(scores))


def scaled(values: Array, fan_in: float) -> Array:
  """HYDRA's scores to begin at: sqrt(6 / fan-in) values / max|values|."""
  largest = np.abs(values).max(initial=0.0)
  return np.sqrt(6.0 / fan_in) * values / (largest or 1.0)
