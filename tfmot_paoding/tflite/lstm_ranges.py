"""Ranges of LSTMs, for which TensorFlow's calibrator is no guide.

It carries states from one sample to the next, where Keras begins anew; it sees
cells at the end of a sequence alone; and what an LSTM gives has a range that
need not hold zero, though the integers that it is given in begin there. The
kernels of integers, too, take tanh of a cell only where its steps are between
2^-15 and 2^-9 (`tensor_utils::ApplyTanh`), and else none, in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed
from tfmot_paoding.tflite.interpreter_worker import load_interpreter

Array = np.ndarray

_LSTM = 'UNIDIRECTIONAL_SEQUENCE_LSTM'
# Places of what an LSTM reads, gates in the order input, forget, cell, output.
_KERNELS, _BACK, _BIASES = slice(1, 5), slice(5, 9), slice(12, 16)
_HIDDEN, _CELL = 18, 19
# Further inputs that are there have meanings that `cells` does not know.
_UNKNOWN = (9, 10, 11, 16, 17, 20, 21, 22, 23)
# What cells reach so that their steps are those of the kernels: 2^0 and 2^6.
_LEAST, _MOST = 1.0, 64.0


def with_lstm_ranges(ranged: bytes, drawn: Mapping[str, Array]) -> bytes:
  """A file with the ranges that its tensors have where LSTMs begin anew.

  Args:
    ranged: A file of real numbers with ranges.
    drawn: The inputs that they are taken from, by input name.

  Returns:
    It as it is, if it has no LSTM of steps.
  """
  file = TFLiteFile(ranged)
  if _LSTM not in file.operator_counts:
    return ranged
  graph = file.object.subgraphs[0]
  seen = _run(ranged, file, drawn)
  for index, (low, high) in seen.ends.items():
    _set(graph.tensors[index], low, high)
  for number, op in enumerate(graph.operators):
    if file.operators[number].name != _LSTM:
      continue
    low, high = seen.ends[int(op.outputs[0])]
    # One scale: the kernel copies from one to the other.
    inner = [] if op.intermediates is None else list(op.intermediates)
    made = [op.outputs[0], op.inputs[_HIDDEN], *inner[4:]]
    for index in made:
      _set(graph.tensors[index], min(low, 0.0), max(high, 0.0))
    reach = float(np.clip(seen.reach[number], _LEAST, _MOST))
    _set(graph.tensors[op.inputs[_CELL]], -reach, reach)
  return packed(file.object)


@dataclasses.dataclass
class _Seen:
  """What a run over samples found.

  Attributes:
    ends: The least and the largest number of each tensor with a range.
    reach: The largest cell of each LSTM, by its operator's number.
  """

  ends: dict[int, tuple[float, float]]
  reach: dict[int, float]


def _run(data: bytes, file: TFLiteFile, drawn: Mapping[str, Array]) -> _Seen:
  """Runs the file sample by sample, every one from the start."""
  interpreter = load_interpreter(data, keeps_all=True)
  interpreter.allocate_tensors()
  places = file.signature(of_inputs=True)
  graph = file.object.subgraphs[0]
  lstms = {
    number: op
    for number, op in enumerate(graph.operators)
    if file.operators[number].name == _LSTM
  }
  states = {
    int(op.inputs[k]) for op in lstms.values() for k in (_HIDDEN, _CELL)
  }
  watched = [
    index
    for index, tensor in enumerate(graph.tensors)
    if index not in states
    and tensor.quantization is not None
    and tensor.quantization.min is not None
    and np.prod(tensor.shape) > 0
  ]
  seen = _Seen({}, dict.fromkeys(lstms, 0.0))
  for k in range(len(next(iter(drawn.values())))):
    interpreter.reset_all_variables()
    for name, x in drawn.items():
      interpreter.set_tensor(file.inputs[places[name]], x[k : k + 1])
    interpreter.invoke()
    for index in watched:
      value = interpreter.get_tensor(index)
      low, high = seen.ends.get(index, (np.inf, -np.inf))
      seen.ends[index] = (
        min(low, float(value.min())),
        max(high, float(value.max())),
      )
    for number, op in lstms.items():
      reach = _reach(interpreter, op)
      seen.reach[number] = max(seen.reach[number], reach)
  return seen


def _reach(interpreter: Any, op: Any) -> float:
  """The largest cell of an LSTM's last run, in size."""
  if any(op.inputs[k] >= 0 for k in _UNKNOWN):
    return _MOST
  x = interpreter.get_tensor(op.inputs[0])
  if op.builtinOptions.timeMajor:
    x = x.swapaxes(0, 1)
  kernels, back, biases = (
    [interpreter.get_tensor(index) for index in op.inputs[part]]
    for part in (_KERNELS, _BACK, _BIASES)
  )
  return float(np.abs(cells(x, kernels, back, biases)).max())


def cells(
  x: Array, kernels: list[Array], back: list[Array], biases: list[Array]
) -> Array:
  """The cell of every step, (batch, steps, units).

  Args:
    x: What the LSTM reads, (batch, steps, features).
    kernels: Of the input, forget, cell and output gate, each
      (units, features).
    back: What hidden numbers are multiplied by, each (units, units).
    biases: Each (units,).
  """
  units = len(biases[0])
  driven = [
    x @ kernel.T + bias for kernel, bias in zip(kernels, biases, strict=True)
  ]
  hidden = cell = np.zeros((len(x), units), np.float32)
  found = []
  for step in range(x.shape[1]):
    write, keep, new, give = (
      one[:, step] + hidden @ matrix.T
      for one, matrix in zip(driven, back, strict=True)
    )
    cell = _gate(keep) * cell + _gate(write) * np.tanh(new)
    hidden = _gate(give) * np.tanh(cell)
    found.append(cell)
  return np.stack(found, 1)


def _gate(x: Array) -> Array:
  """The sigmoid, which tanh gives without overflow."""
  return (np.tanh(x / 2) + 1) / 2


def _set(tensor: Any, low: float, high: float) -> None:
  """Notes a tensor's range."""
  tensor.quantization.min, tensor.quantization.max = [low], [high]
