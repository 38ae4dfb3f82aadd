"""How far a model's answers are from another's, on inputs without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.cloning import has_state, plain_copy
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.outputs import heads_of

Array = np.ndarray

_BATCH = 128


@dataclasses.dataclass(frozen=True)
class Verdict:
  """How alike two models answer.

  Attributes:
    distance: Mean squared distance of logits, in units of the first model's
      variance, summed over outputs; column by column for numbers, which may be
      of different units.
    agreement: The fraction of inputs with the same answers; NaN for outputs
      that are no classes.
  """

  distance: float
  agreement: float


def judge(
  original: keras.Model, other: keras.Model, samples: Sequence[Array]
) -> Verdict:
  """Runs two models on the same inputs.

  Args:
    original: The model to be like.
    other: A model with the same inputs and outputs.
    samples: One array an input of the model, with a batch axis.
  """
  heads = heads_of(build_graph(original))
  ours, theirs = (_outputs(model, samples) for model in (original, other))
  distance, alike = 0.0, []
  for head, a, b in zip(heads, ours, theirs, strict=True):
    distance += head.distance(head.logits(a), head.logits(b))
    if head.is_classes:
      alike.append(np.mean(head.answers(a) == head.answers(b)))
  return Verdict(distance, float(np.mean(alike)) if alike else float('nan'))


def outputs_of(model: keras.Model, x: Sequence[Array]) -> list[tf.Tensor]:
  """Every output for one batch, at inference."""
  x = [tf.convert_to_tensor(a) for a in x]
  made = model(x if len(x) > 1 else x[0], training=False)
  return tf.nest.flatten(made)


def _outputs(model: keras.Model, samples: Sequence[Array]) -> list[Array]:
  if has_state(model):
    model = plain_copy(model)
  found = []
  for start in range(0, len(samples[0]), _BATCH):
    x = [a[start : start + _BATCH] for a in samples]
    found.append([np.asarray(a) for a in outputs_of(model, x)])
  return [np.concatenate(parts) for parts in zip(*found, strict=True)]
