"""The same models for the attacks of other libraries, (extra `attacks`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import extras
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, input_boxes, resolve_range
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.robustness.scores import scores_model, scores_of


def as_art(model: keras.Model, input_range: RangeLike = None) -> Any:
  """The model for the Adversarial Robustness Toolbox.

  Args:
    model: A classifier with one input and one output of two or more scores.
    input_range: (low, high), numbers or arrays, where examples are clipped.
      None: what the first layers say.

  Returns:
    An `art.estimators.classification.TensorFlowV2Classifier` on the scores in
    front of softmax.

  Raises:
    ImportError: the library is missing; the extra to install is named.
    TypeError: `model` is no tf_keras model.
    ValueError: it is no classifier of this kind.
  """
  extras.ART.require()
  from art.estimators.classification import TensorFlowV2Classifier

  model, classes, shape, (low, high) = _parts(model, input_range)
  return TensorFlowV2Classifier(
    model=model,
    nb_classes=classes,
    input_shape=shape,
    loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    clip_values=(low, high),
  )


def as_foolbox(model: keras.Model, input_range: RangeLike = None) -> Any:
  """The model for Foolbox.

  Args:
    model: A classifier with one input and one output of two or more scores.
    input_range: (low, high), the same numbers for every entry. None: what
      the first layers say.

  Returns:
    A `foolbox.TensorFlowModel` on the scores in front of softmax.

  Raises:
    ImportError: the library is missing; the extra to install is named.
    TypeError: `model` is no tf_keras model.
    ValueError: it is no classifier of this kind, or the range is not the same
      for every entry.
  """
  extras.FOOLBOX.require()
  import foolbox

  model, _, _, (low, high) = _parts(model, input_range)
  if low.min() != low.max() or high.min() != high.max():
    raise ValueError(
      'Foolbox knows one lowest and one highest value for all entries, but '
      '`input_range` differs between them. Rescale inside the model.'
    )
  device = (
    '/device:CPU:0' if not tf.config.list_physical_devices('GPU') else None
  )
  return foolbox.TensorFlowModel(
    model, bounds=(float(low.min()), float(high.max())), device=device
  )


def _parts(
  model: Any, input_range: Any
) -> tuple[keras.Model, int, tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
  """The scores' model, its classes, its input's shape and its range."""
  model = as_tf_keras(model)
  scores = scores_of(model)
  shape = scores.only_input
  if scores.is_binary:
    raise ValueError(
      f'The model {model.name!r} has one sigmoid for two classes; these '
      'libraries want a score for each. Use robustness.fgsm or pgd.'
    )
  input_range = resolve_range(model, input_range)
  (box,) = input_boxes(model, input_range, [shape])
  ends = box.low.astype(np.float32), box.high.astype(np.float32)
  return scores_model(model), scores.classes, shape, ends
