"""What a model's loss says of its outputs: classes, or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmot_paoding.compat import keras

_REGRESSION = frozenset(
  (
    'huber',
    'log_cosh',
    'mean_absolute_error',
    'mean_absolute_percentage_error',
    'mean_squared_error',
    'mean_squared_logarithmic_error',
    'poisson',
  )
)
_CLASSIFICATION = frozenset(
  (
    'binary_crossentropy',
    'binary_focal_crossentropy',
    'categorical_crossentropy',
    'categorical_focal_crossentropy',
    'categorical_hinge',
    'hinge',
    'sparse_categorical_crossentropy',
    'squared_hinge',
  )
)


def told_tasks(model: keras.Model) -> list[str | None]:
  """'classification' or 'regression' for each output, by the loss it has.

  None where there is none, or where it is no loss of Keras's.

  Args:
    model: A model, compiled or not.
  """
  losses = getattr(model, 'loss', None)
  names = list(model.output_names)
  if isinstance(losses, Mapping):
    return [_task(losses.get(name)) for name in names]
  if isinstance(losses, (list, tuple)):
    if len(losses) != len(names):
      return [None] * len(names)
    return [_task(loss) for loss in losses]
  return [_task(losses)] * len(names)


def _task(loss: Any) -> str | None:
  """What one loss says."""
  name = _function_name(loss)
  if name in _REGRESSION:
    return 'regression'
  return 'classification' if name in _CLASSIFICATION else None


def _function_name(loss: Any) -> str | None:
  """The name of Keras's own function that a loss computes."""
  if isinstance(loss, str):
    try:
      loss = keras.losses.get(loss)
    except ValueError:
      return None
  function = getattr(loss, 'fn', loss)
  name = getattr(function, '__name__', None)
  known = {*_REGRESSION, *_CLASSIFICATION}
  if name in known and getattr(keras.losses, name, None) is function:
    return name
  return None
