"""What belongs to a model's training alone, and does not come along in copies.

Pruning takes a model for what it answers. A `train_step` of its own, and losses
that were added to it, are no part of that.
"""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_paoding import callers, compat
from tfmot_paoding.functional.tracing import is_of_a_library

_STEPS = ('train_step', 'compute_loss')


def warn_of_own_training(model: Any) -> None:
  """Warns of a class's own training, and of losses added to the model.

  Args:
    model: A model of either Keras, of which a copy is made.
  """
  own = [
    name
    for name in _STEPS
    if not is_of_a_library(getattr(type(model), name, None))
  ]
  if own:
    warnings.warn(
      f'{type(model).__name__} {model.name!r} has a {" and a ".join(own)} of '
      'its own. A pruned copy is a plain model, which trains by compile and '
      'fit alone. To train it by that step, call it in a model of your class: '
      'the callback UpdatePruningStep finds the wrapped model inside.',
      stacklevel=callers.level(),
    )
  added = compat.added_to_training(model)
  if added:
    warnings.warn(
      f'Losses or metrics were added to the model {model.name!r} '
      f'({", ".join(added)}), outside of its layers: a copy is without them, '
      'since strip_pruning fails on models that have any. For them to count, '
      'call add_loss on what is wrapped, or use a layer such as '
      'ActivityRegularization, which comes along.',
      stacklevel=callers.level(),
    )
