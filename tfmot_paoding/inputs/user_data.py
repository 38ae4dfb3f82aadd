"""Unlabelled inputs that a user has, in place of a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras

Array = np.ndarray
# Unlabelled inputs as a user may have them; None for none.
Inputs = Array | Sequence[Array] | Mapping[str, Array] | tf.data.Dataset | None


def calibration_samples(
  model: keras.Model, data: Any, count: int
) -> list[Array]:
  """The first inputs of what a user gives, one array an input of the model.

  Args:
    model: The model.
    data: An array of shape (samples, ...), a list of arrays or a dict of input
      name to array for several inputs, or a batched `tf.data.Dataset` of any of
      these (of (inputs, labels) too; labels are not looked at).
    count: How many samples to take at most.

  Returns:
    Arrays with a batch axis, in the order of the model's inputs.

  Raises:
    ValueError: the data do not fit the model's inputs, hold too few samples, or
      hold NaN or infinite values.
  """
  if isinstance(data, tf.data.Dataset):
    found = _of_dataset(model, data, count)
  else:
    found = _by_input(model, data)
  found = [_first(x, count) for x in found]
  for x, tensor in zip(found, model.inputs, strict=True):
    _check(x, tensor)
  return found


def _first(x: Any, count: int) -> Array:
  """The first samples, real numbers."""
  x = np.asarray(x)
  if x.dtype.kind not in 'fiub' or not x.ndim:
    raise ValueError(
      '`data` must be an array of inputs, samples first, a list or '
      f'dict of such, or a tf.data.Dataset, but got {x.dtype} of shape '
      f'{x.shape}.'
    )
  return x[:count].astype(np.float32)


def _of_dataset(
  model: keras.Model, data: tf.data.Dataset, count: int
) -> list[Array]:
  batches: list[list[Array]] = []
  seen = 0
  for batch in data:
    if isinstance(batch, tuple) and len(batch) in (2, 3):
      batch = batch[0]
    batches.append([np.asarray(x) for x in _by_input(model, batch)])
    seen += len(batches[-1][0])
    if seen >= count:
      break
  if not batches:
    raise ValueError('`data` is an empty dataset.')
  return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _by_input(model: keras.Model, data: Any) -> list[Any]:
  """One array an input, in the model's order."""
  names = list(model.input_names)
  if isinstance(data, Mapping):
    if set(data) != set(names):
      raise ValueError(
        f'`data` names the inputs {sorted(data, key=str)}, but the '
        f'model has {sorted(names)}.'
      )
    return [data[name] for name in names]
  found = list(data) if isinstance(data, (list, tuple)) else [data]
  if len(found) != len(names):
    raise ValueError(
      f'The model has {len(names)} inputs ({", ".join(names)}), but '
      f'`data` holds {len(found)}.'
    )
  return found


def _check(x: Array, tensor: Any) -> None:
  wanted = tuple(tensor.shape[1:])
  fits = len(x.shape) == len(wanted) + 1 and all(
    size in (None, got) for size, got in zip(wanted, x.shape[1:], strict=True)
  )
  if not fits:
    raise ValueError(
      f'`data` for an input of shape {(None, *wanted)} must have '
      f'that shape, samples first, but got {x.shape}.'
    )
  if len(x) < 2:
    raise ValueError(f'`data` must hold at least 2 samples, but got {len(x)}.')
  if not np.all(np.isfinite(x)):
    raise ValueError('`data` holds NaN or infinite values.')
