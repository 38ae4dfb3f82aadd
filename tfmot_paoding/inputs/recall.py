"""Inputs recalled from a trained model, where there is not one sample.

Samples of a prior are moved until the model takes them for its own: until
every batch normalization sees the statistics that training stored in it (Yin
et al. 2020, arXiv 1912.08795), and until a classifier gives them the labels
that were drawn for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat, replicas
from tfmot_paoding.arguments import check_whole
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.inputs.prior import Prior, prior_samples
from tfmot_paoding.inputs.ranges import (
  InputRange,
  RangeLike,
  input_boxes,
  resolve_range,
)
from tfmot_paoding.inputs.recall_terms import (
  EntryMoments,
  mismatch,
  total_variation,
)
from tfmot_paoding.inputs.statistics_fit import explaining_priors
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior
from tfmot_paoding.inputs.watched import Watched
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.input_shapes import check_sizes
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.registry import Configurable
from tfmot_paoding.replicas import Part

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class RecallSettings(Configurable):
  """How inputs are recalled.

  Attributes:
    steps: Of the optimizer, for every batch.
    batch_size: How many inputs are recalled together. Statistics are matched
      over a batch, so that small ones make inputs too much alike.
    learning_rate: Adam's at the start, as a fraction of the range; it falls
      to 0 by a cosine.
    labels: Weight of the cross-entropy beside the match of statistics.
    moments: Weight of the match with the prior that explains the statistics of
      the first normalization (see `fit_statistics`), entry by entry; inputs
      also start from it. 0, or statistics that it does not explain: they start
      from a smooth prior.
    variation: Weight of the total variation along positions.
    anchor: Weight of the pull back to the prior's samples, for models without
      batch normalization, where nothing else keeps inputs plausible.
  """

  steps: int = 200
  batch_size: int = 256
  learning_rate: float = 0.04
  labels: float = 0.1
  moments: float = 1.0
  variation: float = 0.0
  anchor: float = 30.0

  def __post_init__(self):
    for name in ('steps', 'batch_size'):
      check_whole(name, getattr(self, name), 1)
    if not self.learning_rate > 0:
      raise ValueError(
        f'`learning_rate` must be positive, but got {self.learning_rate!r}.'
      )
    for name in ('labels', 'moments', 'variation', 'anchor'):
      if not getattr(self, name) >= 0:
        raise ValueError(
          f'`{name}` must be at least 0, but got {getattr(self, name)!r}.'
        )


@takes_old_calls()
def recall_inputs(
  model: keras.Model,
  count: int,
  input_range: RangeLike = None,
  seed: int = 0,
  *,
  task: str | None = None,
  settings: RecallSettings | None = None,
  verbose: int | str = 'auto',
) -> Array | list[Array]:
  """Inputs that a trained model takes for its own, without any data.

  They serve as representative data for quantization, to fit on, and to compare
  answers on. With batch normalization its stored statistics are matched; a
  classifier's answers go to labels that are drawn evenly. A model with neither
  gives samples of the prior, clipped to the range. In the scope of a
  `tf.distribute` strategy its replicas share each batch.

  Args:
    model: A model that `prune_low_saliency` takes, of tf_keras or Keras 3; it
      is not changed.
    count: How many inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    seed: Of starts and labels: same seed, same inputs.
    task: 'classification', 'regression', or None to tell by the model: outputs
      behind a softmax or sigmoid are classes, and so are vectors of two or
      more linear outputs that are not shaped like an input.
    settings: Of the optimization.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    Shape (count, ...), float32, inside the range; a list of these, in the
    order of the model's inputs, where it has several. Inputs that an embedding
    looks up are whole numbers.

  Raises:
    TypeError: `model` is not a Keras model.
    ValueError: another argument is not as described, the model is subclassed
      or not built, or an input's size is not known.

  Reference: Yin et al. 2020, arXiv 1912.08795; class impressions without batch
  normalization: Nayak et al. 2019, arXiv 1905.08114.
  """
  check_whole('count', count, 1)
  check_whole('seed', seed, 0)
  network = Network.of(as_tf_keras(model))
  settings = RecallSettings() if settings is None else settings
  if not isinstance(settings, RecallSettings):
    raise ValueError(
      f'`settings` must be None or a RecallSettings, but got {settings!r}.'
    )
  input_range = resolve_range(network, input_range)
  told = [None] * len(network.input_names)
  if settings.moments:
    told = explaining_priors(network)
  recall = _Recall(network, input_range, seed, task, settings, told)
  found = recall.inputs(count, verbose)
  return found if len(found) > 1 else found[0]


def recalled(
  network: Network,
  input_range: InputRange,
  count: int,
  seed: int,
  verbose: int | str,
  told: Sequence[StatisticsPrior | None],
  settings: RecallSettings | None = None,
) -> list[Array]:
  """`recall_inputs` of a network that was read, one array an input.

  Args:
    network: The model.
    input_range: The range of its inputs.
    count: How many.
    seed: The only source of chance.
    verbose: Whether to show a progress bar.
    told: What `explaining_priors` has found; it takes seconds.
    settings: Of the optimization; None for the usual ones.
  """
  settings = RecallSettings() if settings is None else settings
  recall = _Recall(network, input_range, seed, None, settings, told)
  return recall.inputs(count, verbose)


class _Recall:
  """Starts and targets from one seed, and a private copy to descend on."""

  def __init__(
    self,
    network: Network,
    input_range: InputRange,
    seed: int,
    task: str | None,
    settings: RecallSettings,
    told: Sequence[StatisticsPrior | None],
  ):
    self._settings = settings
    self._rng = np.random.default_rng(seed)
    self._heads = network.heads(task)
    check_sizes(network.model, 'inputs cannot be recalled without them')
    self._shapes = network.input_shapes
    self._boxes = [
      Interval(box.low.astype(np.float32), box.high.astype(np.float32))
      for box in input_boxes(network, input_range, self._shapes)
    ]
    self._middles = input_range.middles(network.input_names)
    self._masks = whole_entries(network.model, network.graph)
    self._whole = [bool(mask.all()) for mask in self._masks]
    told = [
      None if mask.any() else prior
      for prior, mask in zip(told, self._masks, strict=True)
    ]
    self._priors = [prior or Prior() for prior in told]
    self._judge = _Judge(
      Watched(network),
      self._heads,
      settings,
      [prior and EntryMoments.of(prior) for prior in told],
    )

  def inputs(self, count: int, verbose: int | str) -> list[Array]:
    """So many inputs, one array an input of the model."""
    classes = any(head.is_classes for head in self._heads)
    if all(self._whole) or not (self._judge.norms or classes):
      return [
        np.clip(x, box.low, box.high)
        for x, box in zip(self._start(count), self._boxes, strict=True)
      ]
    size = min(self._settings.batch_size, max(count, 64))
    batches = -(-count // size)
    bar = progress_bar(batches * self._settings.steps, verbose, 'step')
    descent = _Descent(self._judge, self._boxes, self._whole, size)
    found = []
    for _ in range(batches):
      targets = [head.draw(size, self._rng) for head in self._heads]
      x = descent.run(self._start(size), targets, bar)
      found.append(
        [
          np.where(mask, np.rint(part), part)
          for mask, part in zip(self._masks, x, strict=True)
        ]
      )
    return [np.concatenate(parts)[:count] for parts in zip(*found, strict=True)]

  def _start(self, count: int) -> list[Array]:
    """Samples of the priors; whole numbers evenly from the range."""
    drawn = []
    for k, box in enumerate(self._boxes):
      drawn += prior_samples(
        self._priors[k],
        [box],
        [self._shapes[k]],
        count,
        self._rng,
        [self._middles[k]],
      )
    for k, box in enumerate(self._boxes):
      mask = self._masks[k]
      if mask.any():
        low = np.ceil(np.where(mask, box.low, 0)).astype(int)
        high = np.floor(np.where(mask, box.high, 0)).astype(int)
        whole = self._rng.integers(low, high + 1, drawn[k].shape)
        drawn[k] = np.where(mask, whole, drawn[k]).astype(np.float32)
    return drawn


class _Judge:
  """How far inputs are from what a model takes for its own.

  Args:
    watched: The model.
    heads: Its heads.
    settings: The weights of the terms.
    moments: Those that each input shall have; None for any.
  """

  def __init__(
    self,
    watched: Watched,
    heads: list,
    settings: RecallSettings,
    moments: list[EntryMoments | None],
  ):
    self._watched = watched
    self._heads = heads
    self.settings = settings
    self._moments = moments
    self.norms = watched.norms
    self._stored = {id(norm): EntryMoments.stored(norm) for norm in self.norms}

  def loss(
    self, x: list[tf.Tensor], targets: list[tf.Tensor], part: Part
  ) -> tf.Tensor:
    """Unlike statistics, and answers other than the drawn ones.

    Args:
      x: The part of the batch.
      targets: The answers that were drawn for it.
      part: What of the batch it is; statistics are always the whole batch's.
    """
    outputs, seen = self._watched(x)
    stored = [self._stored[id(layer)] for layer, _ in seen]
    loss = part.once(mismatch(stored, [values for _, values in seen], part))
    told = [
      (moments, values)
      for moments, values in zip(self._moments, x, strict=True)
      if moments is not None
    ]
    if told:
      of_inputs = mismatch(*zip(*told, strict=True), part)
      loss += self.settings.moments * part.once(of_inputs)
    weight = self.settings.labels if self.norms else 1.0
    for head, target, output in zip(self._heads, targets, outputs, strict=True):
      if head.is_classes:
        loss += weight * part.mean(head.loss(target, output))
    return loss

  @property
  def may_branch(self) -> bool:
    """Whether the model has layers of a user's, which may branch."""
    return compat.may_branch(self._watched.model)


class _Descent:
  """Moves a batch of inputs down a judge's loss, inside their box.

  Inputs move as fractions of their range. The graph is traced once and serves
  every batch.
  """

  def __init__(
    self, judge: _Judge, boxes: list[Interval], whole: list[bool], size: int
  ):
    self._judge = judge
    self._settings = judge.settings
    self._boxes = boxes
    self._whole = whole
    self._size = size
    self._x = [tf.Variable(tf.zeros([size, *box.low.shape])) for box in boxes]
    self._origin = [tf.Variable(x) for x in self._x]
    self._targets: list[tf.Variable] = []
    self._free = [
      x for x, fixed in zip(self._x, whole, strict=True) if not fixed
    ]
    self._optimizer = keras.optimizers.Adam(
      keras.optimizers.schedules.CosineDecay(
        self._settings.learning_rate, self._settings.steps
      ),
      jit_compile=False,
    )
    self._optimizer.build(self._free)
    self._step = tf.function(self._one_step, autograph=judge.may_branch)

  def run(
    self, start: list[Array], targets: list[Array], bar: Any
  ) -> list[Array]:
    """One batch, from `start` to where the model takes it for its own."""
    for variable in self._optimizer.variables:
      variable.assign(tf.zeros_like(variable))
    self._targets = self._targets or [tf.Variable(t) for t in targets]
    for variable, target in zip(self._targets, targets, strict=True):
      variable.assign(target)
    for k, box in enumerate(self._boxes):
      at = start[k]
      if not self._whole[k]:
        width = np.where(box.width > 0, box.width, 1.0)
        at = np.clip((at - box.low) / width, 0.0, 1.0)
      self._x[k].assign(at)
      self._origin[k].assign(at)
    for _ in range(self._settings.steps):
      self._step()
      bar.add(1)
    return [
      np.clip(x.numpy(), box.low, box.high)
      for x, box in zip(self._inputs(), self._boxes, strict=True)
    ]

  def _inputs(self) -> list[tf.Tensor]:
    """The batch in the model's own units."""
    return [
      tf.convert_to_tensor(x) if fixed else box.low + box.width * x
      for x, box, fixed in zip(self._x, self._boxes, self._whole, strict=True)
    ]

  def _one_step(self) -> None:
    replicas.run(self._move)
    for x in self._free:
      x.assign(tf.clip_by_value(x, 0.0, 1.0))

  def _move(self) -> None:
    """A step of the whole batch, down the loss of a replica's part."""
    part = replicas.part_of(self._size)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._free)
      x, targets = part.take(self._inputs()), part.take(self._targets)
      loss = self._judge.loss(x, targets, part)
      loss += part.mean(self._plausibility(part))
    gradients = tape.gradient(loss, self._free)
    pairs = [
      (gradient, x)
      for gradient, x in zip(gradients, self._free, strict=True)
      if gradient is not None
    ]
    self._optimizer.apply_gradients(pairs)

  def _plausibility(self, part: Part) -> tf.Tensor:
    """Total variation, and the pull back to the prior."""
    loss = tf.zeros([])
    if self._settings.variation:
      for x in part.take(self._free):
        loss += self._settings.variation * total_variation(x)
    if not self._judge.norms:
      ends = part.take(self._x), part.take(self._origin)
      for x, origin in zip(*ends, strict=True):
        distance = tf.reduce_mean(tf.square(x - origin))
        loss += self._settings.anchor * distance
    return loss
