"""The microcontroller's interpreter, tflite-micro, and the memory it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import dequantized, load_interpreter, quantized
from tfmot_paoding.tflite.micro_process import (
  MicroError,
  run_in_arena,
  search_arena,
)
from tfmot_paoding.tflite.micro_worker import ALIGNMENT
from tfmot_paoding.tflite.refusals import check_names, refusals
from tfmot_paoding.tflite.single_operator import alone

Array = np.ndarray

_TOTAL = re.compile(r'Arena allocation total (\d+) bytes')
# Types of tensors that NumPy holds as they are.
_NUMBERS = frozenset(
  [
    'bool',
    'float16',
    'float32',
    'float64',
    'int8',
    'int16',
    'int32',
    'int64',
    'uint8',
    'uint16',
    'uint32',
    'uint64',
  ]
)


def run_micro(
  data: bytes,
  inputs: Mapping[str, Array],
  *,
  outputs: Sequence[str],
  arena_bytes: int | None = None,
) -> list[Array]:
  """Runs a flatbuffer in tflite-micro, sample by sample.

  Args:
    data: The flatbuffer.
    inputs: One array with its batch axis for each of the model's input names,
      in real numbers: integer inputs are quantized as the file says.
    outputs: The model's output names.
    arena_bytes: The tensor arena; None for more than enough.

  Returns:
    The outputs in real numbers, in the order of `outputs`.

  Raises:
    ImportError: tflite-micro is not installed.
    MicroError: the model does not run, in that arena or at all.
    ValueError: `data` is no .tflite, or a name is not one of its inputs and
      outputs.
  """
  extras.MICRO.require()
  file = TFLiteFile(data)
  _check_loops(file)
  check_names(file, inputs, outputs)
  with refusals():
    runner = load_interpreter(data).get_signature_runner()
    details, made = runner.get_input_details(), runner.get_output_details()
  places = file.signature(of_inputs=True)
  batches = {
    str(places[name]): quantized(
      x, details[name]['quantization'], details[name]['dtype']
    )[:, None]
    for name, x in inputs.items()
  }
  size = arena_bytes or _ample(file, data)
  _, found = run_in_arena(data, size, batches)
  places = file.signature(of_inputs=False)
  return [
    dequantized(found[places[name]], made[name]['quantization'])
    for name in outputs
  ]


def measure_arena(data: bytes) -> int:
  """The bytes of tensor arena that a model needs in tflite-micro.

  The least with which this machine's tflite-micro allocates and runs it, a
  multiple of 16, on inputs that stand for 0: an index of 0 is one of any table.
  Pointers take 4 bytes on most microcontrollers and 8 here, so that a device
  needs a little less.

  Args:
    data: The flatbuffer.

  Raises:
    ImportError: tflite-micro is not installed.
    MicroError: the model does not run.
    ValueError: `data` is no .tflite.
  """
  extras.MICRO.require()
  file = TFLiteFile(data)
  _check_loops(file)
  inputs = _resting(file)
  report, _ = run_in_arena(data, _ample(file, data), inputs)
  arena = search_arena(data, int(_TOTAL.search(report).group(1)), inputs)
  # As a device does: in memory that nothing else has been in.
  while not _runs(data, arena, inputs):
    arena += ALIGNMENT
  return arena


def check_micro(data: bytes) -> None:
  """Raises unless tflite-micro runs a model in an arena that is large enough.

  Args:
    data: The flatbuffer.

  Raises:
    ImportError: tflite-micro is not installed.
    MicroError: the model does not run.
    ValueError: `data` is no .tflite.
  """
  extras.MICRO.require()
  file = TFLiteFile(data)
  _check_loops(file)
  run_in_arena(data, _ample(file, data), _resting(file))


def _check_loops(file: TFLiteFile) -> None:
  """Raises where tflite-micro would answer wrong, or never end.

  It gives tensors their place before it runs, by a size that loops which
  collect a sequence do not keep to.
  """
  if file.has_open_loops:
    raise MicroError(
      'tflite-micro does not run the loop of a recurrent layer that returns '
      'sequences: what it collects grows from step to step. Convert the model '
      'with `micro=True`, or to a budget of `arena_bytes`: steps whose number '
      'is known are then written one by one, in a larger file.',
      stage='invoke',
    )


def _runs(data: bytes, arena_bytes: int, inputs: Mapping[str, Array]) -> bool:
  """Whether tflite-micro runs a model, that it can run, in an arena.

  Raises:
    MicroError: for another reason than the arena.
  """
  try:
    run_in_arena(data, arena_bytes, inputs)
  except MicroError as error:
    # These inputs have gone through in a large arena.
    if error.stage == 'time' or error.missing:
      raise
    return False
  return True


def _resting(file: TFLiteFile) -> dict[str, Array]:
  """An input that stands for 0 throughout, by its place."""
  found = {}
  for place, index in enumerate(file.inputs):
    tensor = file.tensors[index]
    kind = tensor.type if tensor.type in _NUMBERS else 'float32'
    found[str(place)] = np.full((1, *tensor.shape), tensor.zero_point, kind)
  return found


def missing_operators(data: bytes) -> list[str]:
  """The operators of a model that tflite-micro does not have, sorted.

  Raises:
    ImportError: tflite-micro is not installed.
  """
  extras.MICRO.require()
  file, found = TFLiteFile(data), set()
  first: dict[str, int] = {}
  for number, op in enumerate(file.operators):
    first.setdefault(op.name, number)
  for name, number in first.items():
    try:
      part = alone(file, number)
      run_in_arena(part, 1 << 20, _resting(TFLiteFile(part)))
    except MicroError as error:
      if error.missing or 'custom op' in str(error).lower():
        found.add(name)
  return sorted(found)


def _ample(file: TFLiteFile, data: bytes) -> int:
  """An arena that is large enough for anything the model may keep in it."""
  return (1 << 20) + 8 * file.peak_activation_bytes + 2 * len(data)
