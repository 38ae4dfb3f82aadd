"""Files of integers throughout: ranges from inputs, looked at, then steps.

TensorFlow's converter does all of that at once, and what it takes from inputs
that overflow ends the process. Here the file with the ranges written in it is
looked at before anything is quantized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as lite
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.optimize import calibrator

from tfmot_paoding.tflite.flatbuffer import TFLiteFile

Array = np.ndarray

TYPES = {'int8': tf.int8, 'int16x8': tf.int16}
# Beyond this the quantizer's own sums overflow, and it ends the process.
_LARGEST = 1e30


def ranged_file(
  converter: tf.lite.TFLiteConverter,
  quantization: str,
  drawn: Mapping[str, Array],
) -> bytes:
  """A model's float32 file with the range of every activation in it.

  Args:
    converter: Of the model.
    quantization: 'int8' or 'int16x8'.
    drawn: The inputs that ranges are taken from, by input name.

  Raises:
    ValueError: an activation overflows on them.
  """
  ops = tf.lite.OpsSet
  converter.optimizations = [tf.lite.Optimize.DEFAULT]
  converter.representative_dataset = lambda: _one_by_one(drawn)
  converter.target_spec.supported_ops = [
    ops.TFLITE_BUILTINS_INT8
    if quantization == 'int8'
    else ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
  ]
  converter._experimental_calibrate_only = True
  return converter.convert()


def quantized_file(ranged: bytes, quantization: str, float_io: bool) -> bytes:
  """The file of integers for ranges that are known.

  Args:
    ranged: What `ranged_file` gave.
    quantization: 'int8' or 'int16x8'.
    float_io: Whether it takes and gives real numbers all the same.
  """
  kind = tf.float32 if float_io else TYPES[quantization]
  if quantization == 'int8':
    data = lite.mlir_quantize(
      ranged, input_data_type=kind, output_data_type=kind
    )
  else:
    numbers = [
      np.dtype(t.as_numpy_dtype).num for t in (kind, tf.int16, tf.int64)
    ]
    # No sample is run: the ranges are those that stand in the file.
    made = calibrator.Calibrator(ranged)._calibrator
    data = made.QuantizeModel(
      numbers[0], numbers[0], False, *numbers[1:], False, False
    )
  return bytes(lite.deduplicate_readonly_buffers(data))


def check_ranges(ranged: bytes) -> None:
  """Raises where the ranges are such that the quantizer would break down.

  Raises:
    ValueError: an activation overflows, or a weight nearly does.
  """
  file = TFLiteFile(ranged)
  made = [index for op in file.operators for index in op.outputs]
  for index in [*file.inputs, *made]:
    tensor = file.object.subgraphs[0].tensors[index]
    ends = _ends(tensor)
    # A NaN is not below anything.
    if ends is not None and not np.ptp(ends) < _LARGEST:
      raise ValueError(
        f'What comes out of {_last_name(tensor)!r} overflows: it reaches from '
        f'{ends[0]:g} to {ends[1]:g} for inputs within `input_range`. See that '
        'this is the range the model was trained on; a layer whose values grow '
        'so large (an exponential, a huge kernel) has no integers.'
      )
  for tensor in file.object.subgraphs[0].tensors:
    data = file.object.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.FLOAT32:
      continue
    weights = np.frombuffer(bytes(data), np.float32)
    if weights.size and not np.abs(weights).max() < _LARGEST:
      raise ValueError(
        f'The weights of {_last_name(tensor)!r} reach '
        f'{np.abs(weights).max():g}, for which there are no integers. Scale '
        'the model down.'
      )


def check_half(data: bytes) -> None:
  """Raises where a weight of a float16 file was cut to what that holds.

  Raises:
    ValueError: one did.
  """
  file = TFLiteFile(data).object
  for tensor in file.subgraphs[0].tensors:
    stored = file.buffers[tensor.buffer].data
    if stored is None or tensor.type != schema.TensorType.FLOAT16:
      continue
    weights = np.abs(np.frombuffer(bytes(stored), np.float16))
    if not np.all(weights < np.finfo(np.float16).max):
      raise ValueError(
        f'A weight of {_last_name(tensor)!r} is beyond what float16 holds '
        f'({np.finfo(np.float16).max:g}). Use another `quantization`, or scale '
        'the model down.'
      )


def with_reach(ranged: bytes, reach: Mapping[str, float]) -> bytes:
  """The file with wider ranges of some outputs.

  Args:
    ranged: What `ranged_file` gave.
    reach: What both ends are multiplied by, by output name.
  """
  if not reach:
    return ranged
  file = TFLiteFile(ranged)
  tensors = file.object.subgraphs[0].tensors
  for name, place in file.signature(of_inputs=False).items():
    tensor = tensors[file.outputs[place]]
    ends = _ends(tensor)
    if name in reach and ends is not None:
      tensor.quantization.min = [ends[0] * reach[name]]
      tensor.quantization.max = [ends[1] * reach[name]]
  builder = flatbuffers.Builder(len(ranged))
  builder.Finish(file.object.Pack(builder), b'TFL3')
  return bytes(builder.Output())


def _one_by_one(drawn: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
  for k in range(len(next(iter(drawn.values())))):
    yield {name: x[k : k + 1] for name, x in drawn.items()}


def _ends(tensor: Any) -> tuple[float, float] | None:
  """The range that a tensor took, None where none was taken."""
  found = tensor.quantization
  if found is None or found.min is None or found.max is None:
    return None
  return float(np.min(found.min)), float(np.max(found.max))


def _last_name(tensor: Any) -> str:
  """What the last operation that made a tensor was called."""
  return (tensor.name or b'').decode().split(';')[-1]
