"""To .tflite, checked by running it in the interpreter."""

from __future__ import annotations

import os
import tempfile
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import check_model
from tfmot_paoding.keras3 import as_tf_keras
from tfmot_paoding.ranges import input_boxes

Array = np.ndarray

# What the check takes for a size that the model leaves open.
_OPEN_SIZE = 32
# The largest difference from the Keras model that a conversion may show, as
# a fraction of the outputs' spread.
_TOLERANCE = {None: 1e-4, 'dynamic': 0.1, 'float16': 0.02}


def convert_to_tflite(
  model: keras.Model,
  quantization: str | None = None,
  input_range: Any = (0.0, 1.0),
  seed: int = 0,
) -> bytes:
  """Converts a model to TFLite and checks the result by running it.

  Args:
    model: A tf_keras model; pruning wrappers are stripped off. Only a compact
      model gives a smaller file.
    quantization: None for float32; 'dynamic' for int8 weights and float
      activations (dynamic range); 'float16' for float16 weights.
    input_range: The range that the inputs for the check are drawn from, as in
      `prune_low_saliency`.
    seed: Of these inputs.

  Returns:
    The flatbuffer.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: `quantization` is unknown, or the converted model's outputs
      differ from the Keras model's by more than quantization explains.
  """
  if quantization not in _TOLERANCE:
    raise ValueError(
      "`quantization` must be None, 'dynamic' or 'float16', but got "
      f'{quantization!r}.'
    )
  model = as_tf_keras(model)
  check_model(model)
  if compat.collect_prunable_layers(model):
    model = compat.strip_pruning(model)
  data = _convert(model, quantization)
  _check(model, data, quantization, input_range, seed)
  return data


def write_file(path: str, data: bytes) -> None:
  """Writes a file whole or not at all.

  Args:
    path: Where to; an existing file is replaced.
    data: What to write.

  Raises:
    OSError: the folder does not exist or cannot be written to.
  """
  folder = os.path.dirname(os.path.abspath(path))
  handle, temporary = tempfile.mkstemp(dir=folder, prefix='.', suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    if os.path.exists(temporary):  # it did not come to the replacing
      os.unlink(temporary)


def run_tflite(
  data: bytes, inputs: dict[str, Array], outputs: list[str]
) -> list[Array]:
  """Runs a flatbuffer in the TFLite interpreter.

  Args:
    data: The flatbuffer.
    inputs: One array with its batch axis for each of the model's input names.
    outputs: The model's output names.

  Returns:
    The outputs, in the order of `outputs`.
  """
  with warnings.catch_warnings():
    # TensorFlow announces the interpreter's move to another package.
    warnings.filterwarnings('ignore', message='.*tf.lite.Interpreter is depr')
    interpreter = tf.lite.Interpreter(model_content=data)
  runner = interpreter.get_signature_runner()
  found = runner(**inputs)
  return [found[name] for name in outputs]


def _convert(model: keras.Model, quantization: str | None) -> bytes:
  converter = tf.lite.TFLiteConverter.from_keras_model(model)
  if quantization is not None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if quantization == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  return converter.convert()


def _check(
  model: keras.Model,
  data: bytes,
  quantization: str | None,
  input_range: Any,
  seed: int,
) -> None:
  """Raises unless the flatbuffer gives what the Keras model gives."""
  inputs = _samples(model, input_range, seed)
  expected = model([tf.constant(x) for x in inputs.values()], training=False)
  expected = expected if isinstance(expected, (list, tuple)) else [expected]
  found = run_tflite(data, inputs, model.output_names)
  for name, want, got in zip(model.output_names, expected, found, strict=True):
    want = np.asarray(want, np.float64)
    spread = max(np.ptp(want), np.abs(want).max(), 1e-6)
    gap = float(np.abs(want - got).max() / spread)
    if not gap <= _TOLERANCE[quantization]:
      raise ValueError(
        f'The converted model differs from the Keras model: output {name!r} '
        f'by {gap:.3g} of its spread, where {quantization or "float32"} '
        f'explains {_TOLERANCE[quantization]:g}. Try another `quantization`, '
        'and see that `input_range` is the range the model was trained on.'
      )


def _samples(
  model: keras.Model, input_range: Any, seed: int
) -> dict[str, Array]:
  """Random inputs in the box, a batch of one by input name."""
  rng = np.random.default_rng(seed)
  shapes = [
    tuple(size or _OPEN_SIZE for size in tensor.shape[1:])
    for tensor in model.inputs
  ]
  boxes = input_boxes(model, input_range, shapes)
  return {
    name: rng.uniform(box.low, box.high)[None].astype(tensor.dtype.name)
    for name, box, tensor in zip(
      model.input_names, boxes, model.inputs, strict=True
    )
  }
