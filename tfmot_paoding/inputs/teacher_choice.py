"""Which of many samples a network knows best, evenly over its classes.

A sample that a classifier puts far into one class looks more like what it was
trained on than one between classes, whatever family it was drawn from. That
makes a mixture of families usable without knowing which of them fits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.network.agreement import all_outputs
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import Head

Array = np.ndarray


def choose_samples(
  model: keras.Model | Network, samples: Sequence[Array], count: int
) -> list[Array]:
  """The samples that a classifier is surest of, evenly over its answers.

  Args:
    model: The trained model; the first of its outputs that stands for classes
      decides.
    samples: One array an input of the model, with a batch axis.
    count: How many to keep, at most as many as there are.

  Returns:
    One array an input, in the order they were in; the first `count` of a model
    whose outputs are no classes.

  Raises:
    ValueError: there are fewer samples than `count`.
  """
  if len(samples[0]) < count:
    raise ValueError(
      f'{count} samples are to be kept, but there are {len(samples[0])}.'
    )
  network = Network.of(model)
  heads = network.heads()
  known = [k for k, head in enumerate(heads) if _tells_classes(head)]
  if not known or len(samples[0]) == count:
    return [x[:count] for x in samples]
  head = heads[known[0]]
  outputs = all_outputs(network.model, samples)[known[0]]
  kept = evenly(*classes_and_margins(head, outputs), count)
  return [x[kept] for x in samples]


def _tells_classes(head: Head) -> bool:
  """Whether an output has two answers at least, each at every position."""
  return head.is_classes and (head.kind == 'sigmoid' or head.shape[-1] > 1)


def classes_and_margins(head: Head, outputs: Array) -> tuple[Array, Array]:
  """The class of each sample, and how far it is from the next one.

  With several positions, as in segmentation, the commonest class and the mean
  margin. Of several sigmoids the one that is nearest to its edge decides by
  how far, and the strongest is the class.

  Args:
    head: The output's.
    outputs: Shape (samples, *shape).

  Returns:
    Shapes (samples,): whole numbers, and margins of logits.
  """
  logits = np.asarray(head.logits(outputs), np.float64)
  logits = logits.reshape(len(logits), -1, logits.shape[-1])
  if head.kind == 'sigmoid':
    classes = np.where(logits.max(-1) > 0, logits.argmax(-1) + 1, 0)
    margins = np.abs(logits).min(-1)
  else:
    classes = logits.argmax(-1)
    first, second = -np.partition(-logits, 1, axis=-1)[..., :2].swapaxes(0, -1)
    margins = (first - second).T
  commonest = [np.bincount(row).argmax() for row in classes]
  return np.array(commonest), margins.mean(-1)


def evenly(classes: Array, margins: Array, count: int) -> Array:
  """Indices of the largest margins, as evenly over classes as there are any.

  Args:
    classes: Shape (samples,).
    margins: Shape (samples,).
    count: How many.

  Returns:
    Shape (count,), ascending.
  """
  order = np.argsort(-margins, kind='stable')
  rank = np.empty(len(order), int)
  for one in np.unique(classes):
    own = order[classes[order] == one]
    rank[own] = np.arange(len(own))
  # Rank by rank all classes take turns; within a rank the surest come first.
  return np.sort(order[np.argsort(rank[order], kind='stable')][:count])
