"""How a .tflite answers beside its Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.network.answering import outputs_of
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.tflite.litert import run_tflite

Array = np.ndarray

# Deviations below this fraction of the values are rounding.
_CONSTANT = 1e-5
# Scores of classes are compared with each other: one that moves as the others
# do may be coarse; one that moves so little beside them is something else.
_BESIDE = 0.05
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
      model's own answers, where that is largest: at 1 a file says nothing.
      Each column of an output is taken by itself, unless the output has the
      shape of an input; scores of classes only where one hardly moves beside
      the others, and probabilities, which have a scale of their own, not at
      all.
    where: Where `apart` is that large.
    is_part: Whether that is one column of several.
    is_number: Whether that is a column of numbers, or a whole output of them
      that moves by more than a small part of its size: no score of a class.
    cut: The fraction of numbers that lie beyond all that the file ever says.
  """

  largest: float
  mean: float
  agreement: float
  count: int
  apart: float = 0.0
  where: str = ''
  is_part: bool = False
  is_number: bool = False
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
  *,
  inputs: Array | Mapping[str, Array],
  run: Callable[..., list[Array]] = run_tflite,
) -> Comparison:
  """Runs a .tflite beside its Keras model.

  Args:
    model: The Keras model.
    data: The flatbuffer.
    inputs: One array with a batch axis by input name, in real numbers; of a
      model with one input the array alone will do.
    run: What runs it: `run_tflite`, or another of its signature.

  Returns:
    How far apart their answers are.

  Raises:
    ValueError: the inputs are not the model's, the outputs have other shapes,
      or the model's are NaN or infinite.
  """
  inputs = _by_name(model, inputs)
  expected = _answers(model, inputs)
  found = run(data, inputs, outputs=model.output_names)
  graph = build_graph(model)
  input_shapes = [graph.shapes[value] for value in graph.inputs]
  largest, mean, cut, alike = 0.0, 0.0, 0.0, []
  apart = (0.0, '', False, False)
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
    else:
      cut = max(cut, _cut(want, got))
    if head.kind in ('values', 'logits'):
      by_column = head.shape[-1:] > (1,) and head.shape not in input_shapes
      moves = want.std() > _BESIDE * np.abs(want).max()
      is_number = not head.is_classes and bool(by_column or moves)
      beside = _BESIDE if head.is_classes else 1.0
      worst = _worst(name, want, got, by_column, beside)
      apart = max(apart, (*worst, by_column, is_number))
  agreement = float(np.mean(alike)) if alike else float('nan')
  return Comparison(largest, mean, agreement, len(expected[0]), *apart, cut)


def _by_name(
  model: keras.Model, inputs: Array | Mapping[str, Array]
) -> Mapping[str, Array]:
  """Inputs by name, of what a user passed.

  Raises:
    ValueError: they are not the model's.
  """
  names = list(model.input_names)
  if not isinstance(inputs, Mapping) and len(names) == 1:
    return {names[0]: np.asarray(inputs)}
  if not isinstance(inputs, Mapping) or set(inputs) != set(names):
    found = list(inputs) if isinstance(inputs, Mapping) else type(inputs)
    raise ValueError(
      f'`inputs` must be a dict of an array for each of the inputs {names}, '
      f'but got {found}.'
    )
  return inputs


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
  name: str, want: Array, got: Array, by_column: bool, beside: float
) -> tuple[float, str]:
  """How far apart, and where.

  Of columns, those whose deviation is at most `beside` of the largest.
  """
  if not by_column:
    return float(_apart(want, got, None)), f'output {name!r}'
  axes = tuple(range(want.ndim - 1))
  apart, deviation = _apart(want, got, axes), want.std(axes)
  apart = np.where(deviation <= beside * deviation.max(), apart, 0.0)
  column = int(np.argmax(apart))
  return float(apart[column]), f'column {column} of output {name!r}'


def _cut(want: Array, got: Array) -> float:
  """The fraction that is clearly beyond the largest and smallest found.

  Where answers are cut off, many of them stand at that end; else the ends are
  those of one sample, and nothing but the difference of two files.
  """
  spread, size = np.ptp(want), np.abs(want).max()
  slack = _BEYOND * (spread if spread > _CONSTANT * size else size)
  high, low = got == got.max(), got == got.min()
  beyond = (high & (want > got + slack)) | (low & (want < got - slack))
  return float(np.mean(beyond)) if beyond.sum() > 1 else 0.0


def _answers(model: keras.Model, inputs: dict[str, Array]) -> list[Array]:
  answers = outputs_of(model, [inputs[name] for name in model.input_names])
  return [np.asarray(answer, np.float64) for answer in answers]
