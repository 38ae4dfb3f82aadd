"""The declared range of a model's inputs, checked and made into boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.intervals import Interval
from tfmot_paoding.ops import Shape

_ADVICE = 'Pass the range your model was trained on, e.g. (0., 1.).'


def input_boxes(
  model: keras.Model, input_range: Any, shapes: Sequence[Shape]
) -> list[Interval]:
  """The box that each input of a model lies in.

  Args:
    model: The model, for the names of its inputs.
    input_range: `(low, high)`, each a number or an array that broadcasts to
      an input's shape; or a dict of input name to such a pair.
    shapes: The inputs' shapes without the batch axis.

  Returns:
    One box an input, of its shape.

  Raises:
    ValueError: a range is empty, reversed, NaN, infinite or of a wrong shape,
      or a name is unknown or missing.
  """
  names = list(model.input_names)
  if not isinstance(input_range, Mapping):
    return [_box(input_range, shape) for shape in shapes]
  if set(input_range) != set(names):
    raise ValueError(
      f'`input_range` names the inputs {sorted(input_range, key=str)}, but the '
      f'model has {sorted(names)}. Give every input a (low, high) pair.'
    )
  return [
    _box(input_range[name], shape)
    for name, shape in zip(names, shapes, strict=True)
  ]


def range_config(input_range: Any) -> Any:
  """An input range as plain numbers, lists and dicts, for a config."""
  if isinstance(input_range, Mapping):
    return {name: range_config(pair) for name, pair in input_range.items()}
  return [np.asarray(end, np.float64).tolist() for end in input_range]


def _box(pair: Any, shape: Shape) -> Interval:
  low, high = _ends(pair)
  for name, end in (('low', low), ('high', high)):
    try:
      np.broadcast_to(end, shape)
    except ValueError:
      raise ValueError(
        f'`input_range` has a {name} of shape {end.shape}, which does not '
        f'broadcast to the input shape {shape}. Pass numbers, or arrays with '
        'one entry a feature.'
      ) from None
  low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
  if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
    raise ValueError(
      f'`input_range` must be finite, but got {pair!r}. {_ADVICE}'
    )
  if np.any(low > high) or not np.any(low < high):
    raise ValueError(
      f'`input_range` must be (low, high) with low < high, but got {pair!r}. '
      f'{_ADVICE}'
    )
  return Interval(np.array(low), np.array(high))


def _ends(pair: Any) -> tuple[np.ndarray, np.ndarray]:
  try:
    low, high = None if isinstance(pair, str) else pair
    return np.asarray(low, np.float64), np.asarray(high, np.float64)
  except (TypeError, ValueError):
    raise ValueError(
      f'`input_range` must be a pair (low, high), but got {pair!r}. {_ADVICE}'
    ) from None
