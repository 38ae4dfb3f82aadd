"""Files of integers throughout: ranges from inputs, looked at, then steps.

TensorFlow's converter does all of that at once, and what it takes from inputs
that overflow ends the process. Here the file with the ranges written in it is
looked at before anything is quantized; and what takes ranges and writes
integers runs in processes of its own, for what no look foresees. Their start
would take .1 and .4 seconds of a processor, as much as all the rest, and so
they are forks of one that is kept.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as lite
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.quantization import Quantization
from tfmot_paoding.tflite.end_types import EndTypes
from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed
from tfmot_paoding.tflite.processes import checked_script
from tfmot_paoding.tflite.serving import OnceConverter

Array = np.ndarray

_WORKER = os.path.join(os.path.dirname(__file__), 'integers_worker.py')
# Beyond this the quantizer's own sums overflow, and it ends the process.
_LARGEST = 1e30


class PlainConverter(OnceConverter):
  """TensorFlow's converter up to where it would take ranges from inputs."""

  def _quantize(self, result: bytes, *_: Any, **__: Any) -> bytes:
    return result


def plain_file(converter: PlainConverter, mode: Quantization) -> bytes:
  """A model's file of real numbers, of operators that have integers.

  Args:
    converter: Of the model.
    mode: What integers are to come.
  """
  converter.optimizations = [tf.lite.Optimize.DEFAULT]
  converter.representative_dataset = _not_here
  converter.target_spec.supported_ops = [
    getattr(tf.lite.OpsSet, mode.operators)
  ]
  return converter.convert()


def ranged_file(plain: bytes, drawn: Mapping[str, Array]) -> bytes:
  """The file with the range of every activation in it.

  Args:
    plain: What `plain_file` gave.
    drawn: The inputs that ranges are taken from, by input name.

  Raises:
    EndedError: the calibrator ended with its process.
    RuntimeError: it refuses them.
  """
  places = TFLiteFile(plain).signature(of_inputs=True)
  batches = {str(places[name]): x for name, x in drawn.items()}
  with tempfile.TemporaryDirectory() as folder:
    given = os.path.join(folder, 'in.npz')
    np.savez(given, **batches)
    return _work('range', plain, given, folder)


def quantized_file(
  ranged: bytes, mode: Quantization, ends: EndTypes, real: Sequence[str] = ()
) -> bytes:
  """The file of integers for ranges that are known.

  Args:
    ranged: What `ranged_file` gave.
    mode: What integers.
    ends: What it takes and gives.
    real: The nodes that stay in real numbers, by the names of what they make;
      for modes that `keeps_real` alone.

  Raises:
    EndedError: the quantizer ended with its process.
    RuntimeError: it refuses the file.
  """
  kinds = [tf.dtypes.as_dtype(end) for end in (ends.input, ends.output)]
  job = {
    'quantizer': mode.quantizer,
    'arguments': _ARGUMENTS[mode.quantizer](mode, kinds, real),
  }
  with tempfile.TemporaryDirectory() as folder:
    given = os.path.join(folder, 'job.json')
    with open(given, 'w', encoding='utf-8') as file:
      json.dump(job, file)
    data = _work('quantize', ranged, given, folder)
  return bytes(lite.deduplicate_readonly_buffers(data))


def _of_mlir(
  mode: Quantization, ends: Sequence[tf.DType], real: Sequence[str]
) -> list[Any]:
  """Arguments of the converter's own pass, as `lite.mlir_quantize` gives."""
  number = lite.convert_tensor_tf_type_to_tflite_type
  steps = number(tf.dtypes.as_dtype(mode.activations))
  kinds = [steps, *map(number, ends)]
  nodes = list(real) or None
  return [False, False, *kinds, False, False, None, nodes, False, False, '']


def _of_calibrator(
  mode: Quantization, ends: Sequence[tf.DType], real: Sequence[str]
) -> list[Any]:
  """Arguments of the older quantizer: types by NumPy's numbers."""
  del real  # it knows no such nodes
  kinds = *(end.as_numpy_dtype for end in ends), mode.activations, mode.biases
  taken, given, steps, biases = (np.dtype(kind).num for kind in kinds)
  return [taken, given, False, steps, biases, False, False]


_ARGUMENTS = {'mlir': _of_mlir, 'calibrator': _of_calibrator}


def _work(job: str, data: bytes, given: str, folder: str) -> bytes:
  """Runs the worker on a file.

  Raises:
    EndedError: its process was ended.
    RuntimeError: it raised.
  """
  model, output = (os.path.join(folder, name) for name in ('in', 'out'))
  with open(model, 'wb') as file:
    file.write(data)
  checked_script(_WORKER, [job, model, given, output])
  with open(output, 'rb') as file:
    return file.read()


def _not_here() -> Any:
  """Raises: the ranges are taken elsewhere.

  Raises:
    RuntimeError: always.
  """
  raise RuntimeError('The converter takes ranges, which it was not to.')


def check_ranges(ranged: bytes) -> None:
  """Raises where the ranges are such that the quantizer would break down.

  Raises:
    ValueError: an activation overflows, or a weight nearly does.
  """
  file = TFLiteFile(ranged)
  made = [index for op in file.operators for index in op.outputs]
  for index in [*file.inputs, *made]:
    tensor = file.object.subgraphs[0].tensors[index]
    ends = ends_of(tensor)
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


def check_weights(data: bytes, mode: Quantization) -> None:
  """Raises where a real weight of a file was cut to what its type holds.

  Args:
    data: The file.
    mode: Of its weights.

  Raises:
    ValueError: one did.
  """
  file, kind = TFLiteFile(data).object, mode.weights
  number = getattr(schema.TensorType, kind.upper())
  for tensor in file.subgraphs[0].tensors:
    stored = file.buffers[tensor.buffer].data
    if stored is None or tensor.type != number:
      continue
    weights = np.abs(np.frombuffer(bytes(stored), kind))
    if not np.all(weights < np.finfo(kind).max):
      raise ValueError(
        f'A weight of {_last_name(tensor)!r} is beyond what {kind} holds '
        f'({np.finfo(kind).max:g}). Use another `quantization`, or scale '
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
    ends = ends_of(tensor)
    if name in reach and ends is not None:
      tensor.quantization.min = [ends[0] * reach[name]]
      tensor.quantization.max = [ends[1] * reach[name]]
  return packed(file.object)


def ends_of(tensor: Any) -> tuple[float, float] | None:
  """The range that a tensor took, None where none was taken."""
  found = tensor.quantization
  if found is None or found.min is None or found.max is None:
    return None
  return float(np.min(found.min)), float(np.max(found.max))


def _last_name(tensor: Any) -> str:
  """What the last operation that made a tensor was called."""
  return (tensor.name or b'').decode().split(';')[-1]
