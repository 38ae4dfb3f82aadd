"""What a model's loss says of its outputs: classes, or numbers.

A copy is not compiled, and neither is what a file was loaded to: what the
loss of the one, or the description of the other, has said goes along.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras

Tasks = Sequence[str | None]

_REGRESSION = (
  'huber',
  'log_cosh',
  'mean_absolute_error',
  'mean_absolute_percentage_error',
  'mean_squared_error',
  'mean_squared_logarithmic_error',
  'poisson',
)
_CLASSIFICATION = (
  'binary_crossentropy',
  'binary_focal_crossentropy',
  'categorical_crossentropy',
  'categorical_focal_crossentropy',
  'categorical_hinge',
  'hinge',
  'sparse_categorical_crossentropy',
  'squared_hinge',
)


def _aliases(name: str) -> set[str]:
  """What Keras calls a loss: its function, other names of that, its class."""
  function = getattr(keras.losses, name)
  short = {key for key, x in vars(keras.losses).items() if x is function}
  return {name, *short, ''.join(part.capitalize() for part in name.split('_'))}


_TASKS = {
  alias: task
  for task, names in (
    ('regression', _REGRESSION),
    ('classification', _CLASSIFICATION),
  )
  for name in names
  for alias in _aliases(name)
}
_LIBRARIES = ('keras', 'tf_keras')
# Of models that are not compiled. Keras would save an attribute with them.
_told: weakref.WeakKeyDictionary[Any, tuple[str | None, ...]] = (
  weakref.WeakKeyDictionary()
)


def told_tasks(model: Any) -> list[str | None]:
  """'classification' or 'regression' for each output, by the loss it has.

  Of a model that has none, what was said where it came from. None where that is
  nothing, or the loss is no loss of Keras's.

  Args:
    model: A model of either Keras, compiled or not.
  """
  found = tasks_of(getattr(model, 'loss', None), output_keys(model))
  said = _told.get(model, ())
  if len(said) != len(found):
    return found
  return [own or other for own, other in zip(found, said, strict=True)]


def tell(model: Any, tasks: Tasks) -> None:
  """Says what the outputs of a model that is not compiled are.

  Args:
    model: A model; nothing is said where it has another number of outputs.
    tasks: For each output 'classification', 'regression' or None.
  """
  if any(tasks) and len(tasks) == len(output_keys(model)):
    _told[model] = tuple(tasks)


def hand_on(model: Any, made: Any) -> None:
  """Says of a copy's outputs what is said of the model's.

  Args:
    model: A model of either Keras; of a subclassed one only its loss may be
      known, and not how many outputs it has.
    made: The copy, not compiled.
  """
  if made is model:
    return
  said, keys = told_tasks(model), output_keys(made)
  if len(said) != len(keys):
    said = tasks_of(getattr(model, 'loss', None), keys)
  tell(made, said)


def output_keys(model: Any) -> list[str]:
  """What losses call each output: by its key in a dict, else by its name.

  Args:
    model: A model of either Keras; a subclassed one that was never called is
      taken to have one output.
  """
  names = list(getattr(model, 'output_names', None) or ['output_1'])
  structure = _structure(model)
  if isinstance(structure, Mapping) and len(structure) == len(names):
    return sorted(structure)
  return names


def tasks_of(losses: Any, names: Sequence[str]) -> list[str | None]:
  """What losses say of outputs.

  Args:
    losses: As `compile` takes them, or as Keras writes them to files: one for
      all outputs, a list, or a dict by name.
    names: Of the outputs, in their order.
  """
  if isinstance(losses, Mapping) and 'class_name' not in losses:
    return [_task(losses.get(name)) for name in names]
  if isinstance(losses, (list, tuple)):
    if len(losses) != len(names):
      return [None] * len(names)
    return [_task(loss) for loss in losses]
  return [_task(losses)] * len(names)


def _structure(model: Any) -> Any:
  """A functional model's outputs in the structure that it gives, or None."""
  if compat.is_keras3(model):
    return getattr(model, '_outputs_struct', None)
  if compat.is_graph_model(model):
    return compat.output_structure(model)
  return None


def _task(loss: Any) -> str | None:
  """What one loss says."""
  if isinstance(loss, Mapping):
    return _task_of_config(loss)
  if isinstance(loss, str):
    return _TASKS.get(loss)
  function = getattr(loss, 'fn', loss)
  module = getattr(function, '__module__', None) or ''
  if module.split('.')[0] not in _LIBRARIES:
    return None
  return _TASKS.get(getattr(function, '__name__', ''))


def _task_of_config(config: Mapping) -> str | None:
  """What a loss says that Keras has written as an object or a function."""
  if '>' in str(config.get('registered_name')):  # somebody's own
    return None
  name = config.get('class_name')
  name = config.get('config') if name == 'function' else name
  return _TASKS.get(name) if isinstance(name, str) else None
