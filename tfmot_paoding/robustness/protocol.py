"""PAODING's protocol: which instances are robust, before and after pruning.

An instance is robust if the network answers it right and still does on its
adversarial example (Meng et al., arXiv 2204.00783); top-k counts an answer as
right while the label is among the k highest scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_paoding.bounds.balls import as_inputs, check_labels
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange, RangeLike, resolve_range
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.robustness.attacks import fgsm
from tfmot_paoding.robustness.scores import scores_of

Array = np.ndarray
Attack = Callable[[keras.Model, Any, Array, float, Any], Any]


@dataclasses.dataclass(frozen=True)
class Preserved:
  """Robust instances of a model and of what pruning made of it.

  Attributes:
    total: Instances looked at.
    before: Robust in the original.
    after: Robust in the pruned model, under its own adversarial examples.
    kept: Robust in both: of `before`, how many pruning left robust.
    transferred: Right in the pruned model, and still so on the examples that
      were made on the original.
    accuracy_before: The original's accuracy on the instances.
    accuracy_after: The pruned model's.
  """

  total: int
  before: int
  after: int
  kept: int
  transferred: int
  accuracy_before: float
  accuracy_after: float


def robust_instances(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  *,
  attack: Attack = fgsm,
  top_k: int = 1,
  made_on: keras.Model | None = None,
) -> Array:
  """Which instances are answered right, also on their adversarial examples.

  Args:
    model: A classifier with one output.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The attack's radius, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    attack: Called as attack(model, x, y, epsilon, input_range); gives
      adversarial examples. `fgsm`, `pgd`, or a partial of these.
    top_k: How many of the highest scores count.
    made_on: The model that the examples are made on; None for `model` itself.

  Returns:
    Shape (batch,), bool.

  Raises:
    TypeError: a model is no tf_keras model.
    ValueError: an argument is bad; see `fgsm`.
  """
  input_range = _resolved(made_on or model, input_range, x)
  adversarial = attack(made_on or model, x, y, epsilon, input_range)
  clean = answered_right(model, x, y, top_k)
  return clean & answered_right(model, adversarial, y, top_k)


def _resolved(model: Any, input_range: Any, x: Any) -> InputRange:
  """One range for all attacks, and one warning."""
  model = as_tf_keras(model)
  graph = scores_of(model).graph
  parts = as_inputs(x, [graph.shapes[value] for value in graph.inputs])
  return resolve_range(model, input_range, parts)


def answered_right(model: keras.Model, x: Any, y: Any, top_k: int = 1) -> Array:
  """Which samples have their label among the highest scores, (batch,).

  Args:
    model: A classifier with one output.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    top_k: How many of the highest scores count.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: samples or labels do not fit the model, or `top_k` is no
      number of its classes.
  """
  model = as_tf_keras(model)
  scores = scores_of(model)
  graph = scores.graph
  parts = as_inputs(x, [graph.shapes[value] for value in graph.inputs])
  labels = check_labels(y, len(parts[0]), scores.classes)
  if not 1 <= top_k <= scores.classes:
    raise ValueError(
      f'`top_k` must lie in [1, {scores.classes}], the number of classes, but '
      f'got {top_k!r}.'
    )
  parts = [part.astype(np.float32) for part in parts]
  found = model.predict(
    parts if len(parts) > 1 else parts[0], batch_size=256, verbose=0
  )
  if scores.is_binary:
    if top_k == 2:
      return np.ones(len(labels), bool)
    return (found[:, 0] > 0.5) == labels
  own = np.take_along_axis(found, labels[:, None], 1)
  return (found > own).sum(1) < top_k


def preserved_robustness(
  original: keras.Model,
  pruned: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  input_range: RangeLike = None,
  *,
  attack: Attack = fgsm,
  top_k: int = 1,
) -> Preserved:
  """How many instances that were robust pruning has left robust.

  Args:
    original: The model before pruning.
    pruned: The wrapped, stripped or compact model.
    x: Samples, (batch, *input shape), or a list with one array an input.
    y: Labels, integers of shape (batch,).
    epsilon: The attack's radius, in units of the inputs.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    attack: Called as attack(model, x, y, epsilon, input_range); gives
      adversarial examples. `fgsm`, `pgd`, or a partial of these.
    top_k: How many of the highest scores count.

  Returns:
    The counts.

  Raises:
    TypeError: as `robust_instances`.
    ValueError: as `robust_instances`.
  """
  input_range = _resolved(original, input_range, x)
  first = attack(original, x, y, epsilon, input_range)
  second = attack(pruned, x, y, epsilon, input_range)
  right = [answered_right(model, x, y, top_k) for model in (original, pruned)]
  before = right[0] & answered_right(original, first, y, top_k)
  after = right[1] & answered_right(pruned, second, y, top_k)
  moved = right[1] & answered_right(pruned, first, y, top_k)
  return Preserved(
    len(before),
    int(before.sum()),
    int(after.sum()),
    int((before & after).sum()),
    int(moved.sum()),
    float(right[0].mean()),
    float(right[1].mean()),
  )
