"""Samples, labels, and the balls around samples, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import RangeLike, input_boxes, resolve_range
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# Samples may lie this far outside the range, relative to its width: float32.
TOLERANCE = 1e-5


def check_epsilon(epsilon: Any) -> float:
  """The radius of a ball in the L-infinity norm.

  Raises:
    ValueError: it is no number, negative, NaN or infinite.
  """
  try:
    value = float(epsilon)
  except (TypeError, ValueError):
    value = np.nan
  if not (np.isfinite(value) and value >= 0):
    raise ValueError(
      f'`epsilon` must be a finite number of at least 0, but got {epsilon!r}. '
      'It is in units of the inputs: 8/255 for images in [0, 1], 8 for images '
      'in [0, 255].'
    )
  return value


def as_inputs(x: Any, shapes: Sequence[Shape]) -> list[Array]:
  """Samples as one float64 array an input.

  Args:
    x: An array with a batch axis, or a list of them, one an input.
    shapes: The model's input shapes without the batch axis.

  Raises:
    ValueError: their number, shapes or lengths do not fit, there are none, or
      they hold NaN.
  """
  parts = list(x) if isinstance(x, (list, tuple)) else [x]
  if len(shapes) == 1 and np.ndim(parts[0]) == len(shapes[0]):
    parts = [x]  # nested lists of numbers
  if len(parts) != len(shapes):
    raise ValueError(
      f'The model has {len(shapes)} input(s), but got {len(parts)} array(s) of '
      'samples. Pass one array an input, each with a batch axis.'
    )
  parts = [np.asarray(part, np.float64) for part in parts]
  for part, shape in zip(parts, shapes, strict=True):
    if part.ndim != len(shape) + 1 or part.shape[1:] != tuple(shape):
      raise ValueError(
        f'Samples must have shape (batch, {", ".join(map(str, shape))}), but '
        f'got {part.shape}. Of a model that leaves sizes open, fix them first: '
        'tfmot_paoding.inputs.with_input_shape(model, shape of a sample).'
      )
    if not np.all(np.isfinite(part)):
      raise ValueError('Samples hold NaN or infinite values.')
  counts = {len(part) for part in parts}
  if len(counts) > 1 or not counts - {0}:
    raise ValueError(
      'Expected the same number of samples for every input and at least one, '
      f'but got {sorted(counts)}.'
    )
  return parts


def check_inside(x: Sequence[Array], boxes: Sequence[Interval]) -> None:
  """Raises unless samples lie in the model's range.

  Raises:
    ValueError: a sample lies outside.
  """
  for part, box in zip(x, boxes, strict=True):
    room = TOLERANCE * box.width.max()
    out = (part < box.low - room) | (part > box.high + room)
    if out.any():
      at = np.flatnonzero(out.reshape(len(part), -1).any(1))
      raise ValueError(
        f'{len(at)} of {len(part)} samples lie outside `input_range`, first '
        f'number {at[0]}: its values run from {part[at[0]].min():.6g} to '
        f'{part[at[0]].max():.6g}, the range from {box.low.min():.6g} to '
        f'{box.high.max():.6g}. Scale the samples as the model expects them, '
        'or pass the range that they have.'
      )


def balls(
  model: keras.Model,
  x: Any,
  epsilon: float,
  input_range: RangeLike,
  shapes: Sequence[Shape],
) -> list[Interval]:
  """The part of each sample's ball that lies in the input range.

  Args:
    model: The model, for the names of its inputs.
    x: Samples.
    epsilon: The radius.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    shapes: The model's input shapes without the batch axis.

  Returns:
    One interval an input, (batch, *shape).

  Raises:
    ValueError: any of them is bad; see `as_inputs` and `check_inside`.
  """
  epsilon = check_epsilon(epsilon)
  parts = as_inputs(x, shapes)
  input_range = resolve_range(model, input_range, parts)
  boxes = input_boxes(model, input_range, shapes)
  check_inside(parts, boxes)
  found = []
  for part, box in zip(parts, boxes, strict=True):
    part = np.clip(part, box.low, box.high)
    found.append(
      Interval(
        np.maximum(part - epsilon, box.low),
        np.minimum(part + epsilon, box.high),
      )
    )
  return found


def check_labels(y: Any, count: int, classes: int) -> Array:
  """Labels as integers.

  Args:
    y: One label a sample.
    count: How many samples there are.
    classes: How many classes there are.

  Raises:
    ValueError: they are no integers, not as many as samples, or out of range.
  """
  labels = np.asarray(y)
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.shape != (count,):
    raise ValueError(
      f'Expected one label for each of {count} samples, shape ({count},), but '
      f'got shape {labels.shape}. Turn one-hot labels into integers with '
      'y.argmax(-1).'
    )
  if labels.dtype.kind not in 'iubf' or not np.all(np.isfinite(labels)):
    raise ValueError(f'Labels must be integers, but got {labels!r:.200}.')
  whole = labels.astype(np.int64)
  if np.any(whole != labels):
    raise ValueError(f'Labels must be integers, but got {labels.dtype}.')
  if whole.min() < 0 or whole.max() >= classes:
    raise ValueError(
      f'Labels must lie in [0, {classes - 1}] for {classes} classes, but run '
      f'from {whole.min()} to {whole.max()}.'
    )
  return whole
