"""Whether a .tflite answers as its Keras model does."""

from __future__ import annotations

import warnings

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange, input_boxes
from tfmot_paoding.network.agreement import IN_PLACE_OF_DRAWS, draws_at_random
from tfmot_paoding.quantization import Quantization
from tfmot_paoding.tflite.comparison import Comparison, compare_tflite
from tfmot_paoding.tflite.litert import run_apart, run_tflite

Array = np.ndarray

# What is taken for a size that the model leaves open.
_OPEN_SIZE = 32
_FEW = 4  # of real numbers, where one wrong operator shows at once
# The most that a file may be off in units of an output's own deviation (1 is
# to say nothing), and the most of its answers that may be cut off in silence.
_APART = 0.5
_CUT = 0.01
# Why answers are lost in steps of integers, and what to do.
_PART = (
  'One scale holds for a whole output, so that what is small beside the rest '
  'of it is lost: give that an output layer of its own, scale the outputs '
  'alike, or use another `quantization`.'
)
_WHOLE = (
  'They move by little beside the steps of integers here or in front: see that '
  '`input_range` is the range the model was trained on, prune less if units '
  'have left, or use another `quantization`.'
)


class AnswersError(ValueError):
  """A file answers otherwise than its Keras model, which may be for its own."""


def check_answers(
  model: keras.Model,
  data: bytes,
  mode: Quantization,
  inputs: dict[str, Array],
) -> None:
  """Raises unless the flatbuffer gives what the Keras model gives.

  Args:
    model: The Keras model.
    data: The flatbuffer.
    mode: What numbers it holds.
    inputs: What both are run on, by input name.

  Raises:
    AnswersError: it does not.
    ValueError: it does not run, or the model draws at random.
  """
  # Kernels of real numbers have brought no process down.
  run = run_apart if mode.has_steps else run_tflite
  try:
    found = compare_tflite(model, data, inputs=inputs, run=run)
  except RuntimeError as error:
    raise ValueError(
      f'The converted model does not run in the interpreter: {error}'
    ) from error
  gap = found.mean if mode.is_rough else found.largest
  if not gap <= mode.tolerance:
    if draws_at_random(model, [inputs[name] for name in model.input_names]):
      raise ValueError(
        f'The Keras model {model.name!r} draws at random and answers the same '
        'inputs otherwise each time, so that no file can be compared with it. '
        f'Convert one that gives {IN_PLACE_OF_DRAWS}.'
      )
    raise AnswersError(
      f'The converted model differs from the Keras model by {gap:.3g} of the '
      f"outputs' spread, more than the {mode.tolerance:g} that "
      f'{mode.name or "float32"} explains. Try another `quantization`, and '
      'see that `input_range` is the range the model was trained on.'
    )
  _check_parts(found, mode)


def _check_parts(found: Comparison, mode: Quantization) -> None:
  """Raises or warns of what is lost of single outputs, and of their ends.

  Raises:
    AnswersError: an output of numbers has become one and the same.
  """
  # Floats are as fine for what is small; steps of integers are not.
  if mode.has_steps and not found.apart <= _APART:
    text = (
      f'The converted model hardly tells the answers of {found.where} apart: '
      f"they differ from the Keras model's by {found.apart:.2g} of their own "
      f'deviation. {_PART if found.is_part else _WHOLE}'
    )
    if found.is_number and mode.is_calibrated:
      raise AnswersError(text)
    # Made-up inputs may all be one to a model whose real ones are not.
    warnings.warn(text, stacklevel=callers.level())
  if found.cut > _CUT:
    warnings.warn(
      f'{found.cut:.0%} of the answers lie beyond what the converted model can '
      'say: its ranges come from inputs that do not reach so far. Pass more of '
      'them as `representative_data`, or none.',
      stacklevel=callers.level(),
    )


def few_inputs(
  model: keras.Model, input_range: InputRange, seed: int
) -> dict[str, Array]:
  """A few random inputs in the box, by input name."""
  rng = np.random.default_rng(seed)
  shapes = [
    tuple(size or _OPEN_SIZE for size in tensor.shape[1:])
    for tensor in model.inputs
  ]
  boxes = input_boxes(model, input_range, shapes)
  return {
    name: rng.uniform(box.low, box.high, (_FEW, *shape)).astype(
      tensor.dtype.name
    )
    for name, box, shape, tensor in zip(
      model.input_names, boxes, shapes, model.inputs, strict=True
    )
  }
