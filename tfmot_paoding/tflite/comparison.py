"""How a .tflite answers beside its Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.graph import build_graph
from tfmot_paoding.heads import heads_of
from tfmot_paoding.intervals import Interval
from tfmot_paoding.judge import outputs_of
from tfmot_paoding.tflite.litert import run_tflite

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
  """How a .tflite answers beside its Keras model.

  Attributes:
    largest: The largest difference of any output, as a fraction of the spread
      of that output's values.
    mean: The mean difference, likewise.
    agreement: The fraction of inputs with the same answers; NaN for outputs
      that are no classes.
    count: How many inputs were compared.
  """

  largest: float
  mean: float
  agreement: float
  count: int


def clipped(samples: Sequence[Array], boxes: Sequence[Interval]) -> list[Array]:
  """Inputs cut to the declared range, as devices see them."""
  return [
    np.clip(x, box.low, box.high).astype(np.float32)
    for x, box in zip(samples, boxes, strict=True)
  ]


def compare_tflite(
  model: keras.Model, data: bytes, inputs: dict[str, Array]
) -> Comparison:
  """Runs a .tflite beside its Keras model.

  Args:
    model: The Keras model.
    data: The flatbuffer.
    inputs: One array with a batch axis by input name, in real numbers.

  Returns:
    How far apart their answers are.

  Raises:
    ValueError: the outputs have other shapes.
  """
  expected = _answers(model, inputs)
  found = run_tflite(data, inputs, model.output_names)
  largest, total, alike = 0.0, 0.0, []
  for head, want, got in zip(
    heads_of(build_graph(model)), expected, found, strict=True
  ):
    spread = max(np.ptp(want), np.abs(want).max(), 1e-6)
    if want.shape != got.shape:
      raise ValueError(
        f'The converted model gives an output of shape {got.shape}, the Keras '
        f'model of {want.shape}: TFLite does not compute some layer rightly.'
      )
    gap = np.abs(want - got) / spread
    # A NaN is no small difference.
    largest = max(largest, float(np.nan_to_num(gap, nan=np.inf).max()))
    total += float(gap.mean()) / len(expected)
    if head.is_classes:
      alike.append(np.mean(head.answers(want) == head.answers(got)))
  agreement = float(np.mean(alike)) if alike else float('nan')
  return Comparison(largest, total, agreement, len(expected[0]))


def _answers(model: keras.Model, inputs: dict[str, Array]) -> list[Array]:
  answers = outputs_of(model, [inputs[name] for name in model.input_names])
  return [np.asarray(answer, np.float64) for answer in answers]
