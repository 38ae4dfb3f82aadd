"""The phone's interpreter: LiteRT, or the one that TensorFlow brings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.interpreter_worker import (
  dequantized,
  labelled,
  load_interpreter,
  quantized,
  run,
)
from tfmot_paoding.tflite.own_states import shares_states
from tfmot_paoding.tflite.processes import EndedError, checked_script
from tfmot_paoding.tflite.refusals import check_names, refusals

__all__ = [
  'check_runs',
  'dequantized',
  'load_interpreter',
  'quantized',
  'run_apart',
  'run_tflite',
]

Array = np.ndarray

_WORKER = os.path.join(os.path.dirname(__file__), 'interpreter_worker.py')


def check_runs(file: TFLiteFile) -> None:
  """Raises where the interpreter would refuse, or bring the process down.

  Raises:
    ValueError: the range of an operator's integers is next to nothing, it has
      no kernel for 16 bits, or a state of an LSTM is a weight as well.
  """
  if shares_states(file.object):
    raise ValueError(
      'A state of an LSTM is a weight of this .tflite as well, as TensorFlow '
      'makes them where both are zeros of one shape: the weight moves with the '
      'state, and integers bring the interpreter down. Convert the model by '
      '`convert_to_tflite`, which gives each a tensor of its own.'
    )
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
  data: bytes, inputs: Mapping[str, Array], *, outputs: Sequence[str]
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
    made = run(data, inputs)
  return [made[name] for name in outputs]


def run_apart(
  data: bytes, inputs: Mapping[str, Array], *, outputs: Sequence[str]
) -> list[Array]:
  """`run_tflite` in a process of its own, for files that nobody has run yet.

  What brings that process down would have ended this one, and all that the
  user has in it.

  Args:
    data: The flatbuffer.
    inputs: Samples by input name, in real numbers.
    outputs: The names of the outputs to give, in this order.

  Raises:
    ValueError: the interpreter would not run it, or ended with its process.
    RuntimeError: the interpreter refused it.
  """
  read = TFLiteFile(data)
  check_runs(read)
  with tempfile.TemporaryDirectory() as folder:
    model, given, made = (
      os.path.join(folder, name) for name in ('m.tflite', 'in.npz', 'out.npz')
    )
    with open(model, 'wb') as file:
      file.write(data)
    np.savez(given, **labelled(inputs))
    try:
      checked_script(_WORKER, [model, given, made])
    except EndedError as error:
      raise ValueError(_breakdown(error, read)) from error
    with np.load(made) as file:
      return [file[f'={name}'] for name in outputs]


def _breakdown(error: EndedError, file: TFLiteFile) -> str:
  """What to do where the interpreter's process did not survive a file."""
  text = (
    f'The interpreter ends with its process ({error.signal}) on the converted '
    'model, as it would on a phone: an operator of it breaks down. Use another '
    '`quantization`'
  )
  outputs = [index for op in file.operators for index in op.outputs]
  if any(file.tensors[index].step for index in outputs):
    text += (
      ', and see that `input_range`, which its integers reach over, is the '
      'range the model was trained on'
    )
  return f'{text}.'
