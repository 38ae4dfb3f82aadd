"""The phone's interpreter: LiteRT, or the one that TensorFlow brings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.refusals import check_names, refusals

Array = np.ndarray


def load_interpreter(data: bytes, threads: int | None = None) -> Any:
  """An interpreter for a flatbuffer, its tensors not allocated.

  LiteRT's (the extra `[micro]` installs it), else TensorFlow's own.

  Args:
    data: The flatbuffer.
    threads: How many to run on; None for as many as it likes.
  """
  try:
    from ai_edge_litert import interpreter as litert
  except ImportError:
    with warnings.catch_warnings():
      # TensorFlow announces the interpreter's move to another package.
      warnings.filterwarnings('ignore', message='.*tf.lite.Interpreter is depr')
      return tf.lite.Interpreter(model_content=data, num_threads=threads)
  return litert.Interpreter(model_content=data, num_threads=threads)


def check_runs(file: TFLiteFile) -> None:
  """Raises where the interpreter would refuse, or bring the process down.

  Raises:
    ValueError: the range of an operator's integers is next to nothing, or it
      has no kernel for 16 bits.
  """
  wide = {
    op.name
    for op in file.operators
    for index in op.outputs
    if file.tensors[index].bits == 16
  }
  if 'SQUARED_DIFFERENCE' in wide:
    raise ValueError(
      "The interpreter breaks down on 'SQUARED_DIFFERENCE' with 16-bit "
      'activations, which layer and group normalization are made of. Use '
      'another `quantization`.'
    )
  if file.too_fine:
    raise ValueError(
      f'Next to nothing comes out of {file.too_fine[0]!r} for any input that '
      "its range is taken from: phones' interpreters do not run integers of "
      'such a range. See that `input_range` is the range the model was trained '
      'on, or pass `representative_data`; a layer that is always 0 has to go.'
    )


def run_tflite(
  data: bytes, inputs: Mapping[str, Array], outputs: Sequence[str]
) -> list[Array]:
  """Runs a flatbuffer in the interpreter, sample by sample.

  What recurrent layers remember is forgotten before each, as Keras does it;
  on a device that is up to the program (`reset_all_variables`).

  Args:
    data: The flatbuffer.
    inputs: One array with its batch axis for each of the model's input names,
      in real numbers: integer inputs are quantized as the file says.
    outputs: The model's output names.

  Returns:
    The outputs in real numbers, in the order of `outputs`.

  Raises:
    ValueError: the interpreter does not run it (see `check_runs`), it is
      damaged, or a name is not one of its inputs and outputs.
  """
  file = TFLiteFile(data)
  check_runs(file)
  check_names(file, inputs, outputs)
  with refusals():
    return _run(data, inputs, outputs)


def _run(
  data: bytes, inputs: Mapping[str, Array], outputs: Sequence[str]
) -> list[Array]:
  interpreter = load_interpreter(data)
  runner = interpreter.get_signature_runner()
  details = runner.get_input_details()
  made = runner.get_output_details()
  inputs = {
    name: quantized(x, details[name]['quantization'], details[name]['dtype'])
    for name, x in inputs.items()
  }
  count = len(next(iter(inputs.values())))
  rows = []
  for k in range(count):
    if k:
      interpreter.reset_all_variables()
    rows.append(runner(**{name: x[k : k + 1] for name, x in inputs.items()}))
  return [
    dequantized(
      np.concatenate([row[name] for row in rows]), made[name]['quantization']
    )
    for name in outputs
  ]


def quantized(x: Array, scale: tuple[float, int], dtype: Any) -> Array:
  """Real numbers as a tensor holds them.

  Args:
    x: The numbers.
    scale: What one step is worth, and which integer is 0; 0 for real tensors.
    dtype: The tensor's.
  """
  step, zero = scale
  if not step:
    return np.asarray(x, dtype)
  limits = np.iinfo(dtype)
  steps = np.round(np.asarray(x, np.float64) / step) + zero
  return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantized(x: Array, scale: tuple[float, int]) -> Array:
  """The reverse of `quantized`."""
  step, zero = scale
  return (x.astype(np.float64) - zero) * step if step else x
