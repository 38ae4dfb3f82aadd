"""Warnings of models that are not smaller than they were, though they could be.

Removed units leave a file only by `compact`; wrappers that never ran a schedule
have removed none. Each step that meets such a model says so.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras

# Of weights that are zero: more are no accident of training.
_PRUNED = 0.1


def warn_if_whole(model: keras.Model, dead: int) -> None:
  """Warns that `compact` removes nothing from a model.

  Args:
    model: The model that it was given.
    dead: How many units it removes.
  """
  if dead:
    return
  zeros = _zeros(model)
  if any(getattr(x, 'removes_units', False) for x in _wrappers(model)):
    why = (
      'its wrappers have removed no unit yet. Call run_schedule first, or fit '
      'with the callback UpdatePruningStep.'
    )
  elif zeros > _PRUNED:
    why = (
      f'{zeros:.0%} of its weights are zero, but they are no whole units, as '
      "TFMOT's prune_low_magnitude leaves them. Wrap the model by "
      'prune_low_saliency, which removes whole units.'
    )
  else:
    why = (
      'it has no unit without effect. Prune it first: run_schedule or fit on '
      'what prune_low_saliency returns, then strip_pruning; or call prune.'
    )
  warnings.warn(
    f'compact removes nothing from {model.name!r}: {why}',
    stacklevel=callers.level(),
  )


def warn_of_full_size(model: keras.Model, dead: int) -> None:
  """Warns that a file will be as large as if nothing had been pruned.

  Args:
    model: The model that is converted.
    dead: How many units `compact` would remove.
  """
  wrapped = bool(_wrappers(model))
  if not wrapped and not dead:
    return
  what = 'is still wrapped for pruning, and ' if wrapped else ''
  last = ', or run the schedule first.' if wrapped and not dead else '.'
  warnings.warn(
    f'The model {model.name!r} {what}has {dead} units without effect, which '
    'take their place in the file all the same. Convert '
    f'compact(strip_pruning(model)) for a smaller one{last}',
    stacklevel=callers.level(),
  )


def warn_of_same_widths(before: int, after: int) -> None:
  """Warns that a report compares two models of the same width.

  Args:
    before: The units of all layers of the one.
    after: The units of all layers of the other.
  """
  if before == after:
    warnings.warn(
      f'The report is of a model that has all {before} units of the original: '
      'nothing was removed from it. Pass compact(strip_pruning(wrapped)) after '
      'run_schedule or fit, or what prune returned.',
      stacklevel=callers.level(),
    )


def check_unwrapped(model: keras.Model, name: str, advice: str) -> None:
  """Raises where a model is wrapped.

  Args:
    model: The model.
    name: What the caller's argument is called.
    advice: What to pass.

  Raises:
    ValueError: it is wrapped, by this package or by TFMOT.
  """
  wrappers = _wrappers(model)
  if wrappers:
    raise ValueError(
      f'`{name}` is wrapped for pruning ({wrappers[0].name!r}), with masks '
      f'among its weights. Pass {advice}.'
    )


def _wrappers(model: keras.Model) -> list[Any]:
  return compat.collect_prunable_layers(model)


def _zeros(model: keras.Model) -> float:
  """The fraction of zeros in all kernels."""
  kernels = [w.numpy() for w in model.trainable_weights if len(w.shape) > 1]
  sizes = sum(kernel.size for kernel in kernels)
  return sum(int(np.sum(kernel == 0)) for kernel in kernels) / max(sizes, 1)
