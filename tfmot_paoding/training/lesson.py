"""What a student learns from: inputs, and a teacher's answers to them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfmot_paoding import replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.network.answering import Answering, outputs_of
from tfmot_paoding.network.outputs import Head, signed_sum
from tfmot_paoding.training.distill_settings import DistillSettings

Array = np.ndarray


def learned_from(count: int) -> int:
  """How many of so many inputs are not kept apart."""
  return count - max(1, count // 8)


class RowsError(ValueError):
  """A model does not give one row of answers for one input."""


class Lesson:
  """The inputs and the teacher's logits, a part of both kept apart.

  Args:
    teacher: The model that is learned from.
    samples: An array for each of its inputs.
    heads: Its heads.
    settings: How answers are compared.
    batch_size: Inputs a step, where there are as many.
    at_once: How many inputs are asked about in one call.

  Attributes:
    batch_rows: Inputs a step.
    size: How many inputs there are to learn from.
  """

  def __init__(
    self,
    teacher: keras.Model,
    samples: list[Array],
    heads: list[Head],
    settings: DistillSettings,
    batch_size: int,
    at_once: int,
  ):
    self._heads = heads
    self._at_once = at_once
    self._asked: dict[int, Answering] = {}  # these keep their models
    count = len(samples[0])
    if count < 2:
      raise ValueError(
        f'Distillation needs at least 2 inputs, but there is {count}.'
      )
    self.size = learned_from(count)
    self.batch_rows = min(batch_size, self.size)
    self._x = self._shown = samples
    self._logits = self._told = self._answers(teacher, samples)
    for logits in self._logits:
      if len(logits) != count:
        raise RowsError(
          f'The model {teacher.name!r} gives {len(logits)} rows of answers for '
          f'{count} inputs, so that nobody knows which answer is to which '
          'input: it cannot be distilled. Pass `distillation=False`, or let '
          'its outputs keep the batch axis of its inputs.'
        )
    self._scale = [
      head.variance(z).astype(np.float32)
      for head, z in zip(heads, self._logits, strict=True)
    ]
    # Classes beside numbers are measured as numbers are: one measure for all.
    alike = all(head.is_classes for head in heads)
    self._temperatures = [
      _temperature(settings, head, scale) if alike else None
      for head, scale in zip(heads, self._scale, strict=True)
    ]

  def batches(self, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """The inputs of so many steps: all in one order, then in another."""
    size = self.batch_rows
    order = np.zeros(0, int)
    for _ in range(count):
      if len(order) < size:
        order = rng.permutation(self.size)
      yield order[:size]
      order = order[size:]

  def batch(self, chosen: Array) -> tuple[list[Array], list[Array]]:
    """Inputs and the teacher's logits, for numbers of inputs of any shape."""
    return [x[chosen] for x in self._shown], [z[chosen] for z in self._told]

  def show(self, rows: Array, x: list[Array], logits: list[Array]) -> None:
    """Puts others in the place of some inputs, until it is called again.

    Args:
      rows: The numbers of the inputs in whose place they come.
      x: The others, an array for each input of the network; those that have no
        answer are left out.
      logits: The teacher's, of these.
    """
    axes = [tuple(range(1, z.ndim)) for z in logits]
    answered = np.all(
      [np.isfinite(z).all(a) for z, a in zip(logits, axes, strict=True)], 0
    )
    self._shown = _put(self._x, rows, x, answered)
    self._told = _put(self._logits, rows, logits, answered)

  def inputs(self, rows: Array | slice) -> list[Array]:
    """Inputs as they were drawn, by their numbers."""
    return [x[rows] for x in self._x]

  def logits(self, model: keras.Model, x: list) -> list[tf.Tensor]:
    """A model's logits, an output each."""
    return self._logits_of(outputs_of(model, x))

  def _logits_of(self, outputs: list) -> list[tf.Tensor]:
    return [
      head.logits(output)
      for head, output in zip(self._heads, outputs, strict=True)
    ]

  def loss(self, model: keras.Model, x: list, logits: list) -> tf.Tensor:
    """How far a model's outputs are from the teacher's logits, a scalar."""
    return self.gap(logits, outputs_of(model, x))

  def gap(self, logits: list, outputs: list) -> tf.Tensor:
    """`loss` of outputs that are there already."""
    return self._gap(logits, self._logits_of(outputs))

  def signed_sum(self, outputs: list, rng: np.random.Generator) -> tf.Tensor:
    """Logits with random signs, in units of their deviation, a scalar."""
    scales = [np.sqrt(scale) for scale in self._scale]
    return signed_sum(self._heads, outputs, scales, rng)

  def distance(self, model: keras.Model) -> float:
    """The loss on the inputs kept apart."""
    apart = slice(self.size, None)
    found = self._answers(model, [x[apart] for x in self._x])
    return float(self._gap([z[apart] for z in self._logits], found))

  def _gap(self, wanted: list, found: list) -> tf.Tensor:
    """Classes by their divergence, numbers by squares in their variance."""
    total = tf.zeros([])
    for head, goal, z, scale, temperature in zip(
      self._heads, wanted, found, self._scale, self._temperatures, strict=True
    ):
      if temperature is None:
        total += tf.reduce_mean(tf.square(z - goal) / scale)
      else:
        gap = head.divergence(goal, z, temperature)
        # Heads count alike, whatever their temperature.
        total += gap / np.mean(scale)
    return total

  def _answers(self, model: keras.Model, x: list[Array]) -> list[Array]:
    asked = self._asked.setdefault(id(model), Answering(model))
    return self.mapped(lambda part: self._logits_of(asked(part)), x)

  def mapped(
    self, function: Callable[[list], list[tf.Tensor]], x: list[Array]
  ) -> list[Array]:
    """What a function makes of inputs, batch by batch, on all replicas.

    Args:
      function: Gives tensors with a batch axis for a batch of inputs.
      x: An array for each input of the network.
    """

    def own(batch: list[Array]) -> dict[int, tf.Tensor]:
      part = replicas.part_of(len(batch[0]))
      return dict(enumerate(function(part.take(batch))))

    found = []
    for start in range(0, len(x[0]), self._at_once):
      batch = [a[start : start + self._at_once] for a in x]
      found.append(
        replicas.gathered(functools.partial(own, batch), len(batch[0])).values()
      )
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _put(
  arrays: list[Array], rows: Array, others: list[Array], which: Array
) -> list[Array]:
  """Arrays with others in the place of some rows."""
  found = [np.array(x) for x in arrays]
  for x, other in zip(found, others, strict=True):
    x[rows[which]] = other[which]
  return found


def _temperature(
  settings: DistillSettings, head: Head, variance: Array
) -> float | None:
  """Of the divergence of an output; None where squares are taken."""
  if settings.loss == 'squares':
    return None
  if settings.temperature is not None:
    return settings.temperature
  return head.temperature(variance)
