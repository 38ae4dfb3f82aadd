"""How a .tflite answers beside its Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.graph import build_graph
from tfmot_paoding.heads import heads_of
from tfmot_paoding.intervals import Interval
from tfmot_paoding.judge import outputs_of
from tfmot_paoding.tflite.litert import run_tflite

Array = np.ndarray

# Deviations below this fraction of the values are rounding.
_CONSTANT = 1e-5
# How far beyond what a file says, as a fraction of the spread.
_BEYOND = 0.02


@dataclasses.dataclass(frozen=True)
class Comparison:
  """How a .tflite answers beside its Keras model.

  Attributes:
    largest: The largest difference of any output, as a fraction of the spread
      of that output's values.
    mean: The mean difference, likewise, of the output where it is largest.
    agreement: The fraction of inputs with the same answers; NaN for outputs
      that are no classes.
    count: How many inputs were compared.
    apart: The root mean square difference, in units of the deviation of the
      model's own answers, where that is largest: at 1 a file says nothing. Of
      outputs that are numbers each column is taken by itself, unless they
      have the shape of an input.
    where: Where `apart` is that large.
    cut: The fraction of numbers that lie beyond all that the file ever says.
  """

  largest: float
  mean: float
  agreement: float
  count: int
  apart: float = 0.0
  where: str = ''
  cut: float = 0.0


def clipped(samples: Sequence[Array], boxes: Sequence[Interval]) -> list[Array]:
  """Inputs cut to the declared range, as devices see them."""
  return [
    np.clip(x, box.low, box.high).astype(np.float32)
    for x, box in zip(samples, boxes, strict=True)
  ]


def compare_tflite(
  model: keras.Model,
  data: bytes,
  inputs: dict[str, Array],
  run: Callable[..., list[Array]] = run_tflite,
) -> Comparison:
  """Runs a .tflite beside its Keras model.

  Args:
    model: The Keras model.
    data: The flatbuffer.
    inputs: One array with a batch axis by input name, in real numbers.
    run: What runs it: `run_tflite`, or another of its signature.

  Returns:
    How far apart their answers are.

  Raises:
    ValueError: the outputs have other shapes, or the model's are NaN or
      infinite.
  """
  expected = _answers(model, inputs)
  found = run(data, inputs, model.output_names)
  graph = build_graph(model)
  input_shapes = [graph.shapes[value] for value in graph.inputs]
  largest, mean, apart, cut, alike = 0.0, 0.0, (0.0, ''), 0.0, []
  for name, head, want, got in zip(
    model.output_names, heads_of(graph), expected, found, strict=True
  ):
    _check_output(name, want, got)
    spread = max(np.ptp(want), np.abs(want).max(), 1e-6)
    gap = np.abs(want - got) / spread
    # A NaN is no small difference.
    largest = max(largest, float(np.nan_to_num(gap, nan=np.inf).max()))
    mean = max(mean, float(np.nan_to_num(gap.mean(), nan=np.inf)))
    if head.is_classes:
      alike.append(np.mean(head.answers(want) == head.answers(got)))
      apart = max(apart, (float(_apart(want, got, None)), f'output {name!r}'))
      continue
    cut = max(cut, _cut(want, got))
    by_column = head.shape[-1:] > (1,) and head.shape not in input_shapes
    apart = max(apart, _worst(name, want, got, by_column))
  agreement = float(np.mean(alike)) if alike else float('nan')
  return Comparison(largest, mean, agreement, len(expected[0]), *apart, cut)


def _check_output(name: str, want: Array, got: Array) -> None:
  """Raises where two outputs cannot be compared."""
  if want.shape != got.shape:
    raise ValueError(
      f'The converted model gives an output of shape {got.shape}, the Keras '
      f'model of {want.shape}: TFLite does not compute some layer rightly.'
    )
  if not np.all(np.isfinite(want)):
    raise ValueError(
      f'The Keras model itself gives NaN or infinite values for output '
      f'{name!r} on inputs within `input_range`. See that this is the range '
      'the model was trained on.'
    )


def _apart(want: Array, got: Array, axis: Any) -> Array:
  """Root mean square differences in units of the wanted deviations.

  0 where what is wanted is the same all over, but for rounding.
  """
  deviation = want.std(axis)
  varies = deviation > _CONSTANT * np.abs(want).max(axis)
  rms = np.sqrt(np.mean(np.square(want - got), axis))
  rms = np.nan_to_num(rms, nan=np.inf)
  return np.where(varies, rms / np.where(varies, deviation, 1.0), 0.0)


def _worst(
  name: str, want: Array, got: Array, by_column: bool
) -> tuple[float, str]:
  """How far apart, and where."""
  if not by_column:
    return float(_apart(want, got, None)), f'output {name!r}'
  apart = _apart(want, got, tuple(range(want.ndim - 1)))
  column = int(np.argmax(apart))
  return float(apart[column]), f'column {column} of output {name!r}'


def _cut(want: Array, got: Array) -> float:
  """The fraction that is clearly beyond the largest and smallest found."""
  slack = _BEYOND * np.ptp(want)
  beyond = (want > got.max() + slack) | (want < got.min() - slack)
  return float(np.mean(beyond))


def _answers(model: keras.Model, inputs: dict[str, Array]) -> list[Array]:
  answers = outputs_of(model, [inputs[name] for name in model.input_names])
  return [np.asarray(answer, np.float64) for answer in answers]
