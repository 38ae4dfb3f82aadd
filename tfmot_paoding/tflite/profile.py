"""What a .tflite costs: bytes, multiply-accumulates, memory, time."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.accelerators import check_npu
from tfmot_paoding.arguments import warn_idle
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import check_runs, load_interpreter
from tfmot_paoding.tflite.micro import (
  MicroError,
  measure_arena,
  missing_operators,
)
from tfmot_paoding.tflite.npu import NpuProfile, profile_npu
from tfmot_paoding.tflite.refusals import refusals


@dataclasses.dataclass(frozen=True)
class Latency:
  """Times of single inferences on one thread.

  Attributes:
    median: Seconds.
    spread: Seconds from the first to the third quartile.
    runs: How many were timed.
  """

  median: float
  spread: float
  runs: int


@dataclasses.dataclass(frozen=True)
class TFLiteProfile:
  """What a .tflite costs on a device.

  Attributes:
    bytes: Of the file: what it takes of flash.
    weight_bytes: Of the contents of its tensors.
    macs: Multiply-accumulates of one sample. What operators do that run others
      (`WHILE`: recurrent layers but for LSTM) is not counted.
    macs_by_operator: The same by operator.
    operators: How often each operator is used.
    peak_activation_bytes: The most bytes of activations alive at once, those
      within loops left out, before an interpreter adds its own.
    arena_bytes: The tensor arena that tflite-micro needs; None where it was
      not measured or tflite-micro does not run the model.
    micro_error: Why tflite-micro does not run it; '' if it does.
    missing_operators: The operators that tflite-micro does not have.
    latency: Of the interpreter on one thread; None if it was not measured.
    latency_ratio: Its median over that of the reference, from runs that took
      turns; None without a reference.
    npu: What it costs on an NPU; None if it was not asked for.
  """

  bytes: int
  weight_bytes: int
  macs: int
  macs_by_operator: dict[str, int]
  operators: dict[str, int]
  peak_activation_bytes: int
  arena_bytes: int | None = None
  micro_error: str = ''
  missing_operators: tuple[str, ...] = ()
  latency: Latency | None = None
  latency_ratio: float | None = None
  npu: NpuProfile | None = None


def profile_tflite(
  data: bytes,
  reference: bytes | None = None,
  *,
  micro: bool = True,
  latency: bool = True,
  seconds: float = 0.5,
  npu: str | None = None,
) -> TFLiteProfile:
  """Measures what a .tflite costs.

  Args:
    data: The flatbuffer.
    reference: The flatbuffer that latency is compared with, such as that of
      the unpruned model.
    micro: Whether to run tflite-micro (the extra `[micro]`).
    latency: Whether to time the interpreter.
    seconds: For how long to time each file.
    npu: An NPU to count cycles of, such as 'ethos-u55-128' (the extra `[npu]`,
      Arm's compiler Vela). It takes files of integers throughout.

  Raises:
    ImportError: `micro` without tflite-micro, or `npu` without Vela.
    NpuError: the NPU runs no operator of the file.
    ValueError: a file is no .tflite, leaves sizes of its inputs open, or the
      interpreter would not run it; or there is no such NPU.
  """
  if npu is not None:
    check_npu(npu)
    extras.NPU.require()
  file = TFLiteFile(data)
  other = None if reference is None else TFLiteFile(reference, '`reference`')
  for one in (file, other):
    if one is not None:
      _check_sizes(one)
  if not latency:
    warn_idle(
      {'reference': reference},
      'since `latency` is False: times alone are compared with its',
      'Leave one of the two out.',
    )
  found: dict[str, Any] = {}
  if npu is not None:
    found['npu'] = profile_npu(data, npu)
  if micro:
    found.update(_on_micro(data))
  if latency:
    for one in (file, other):
      if one is not None:
        check_runs(one)
    files = [data] if reference is None else [data, reference]
    times = _times(files, seconds)
    found['latency'] = _summary(times[0])
    if reference is not None:
      median = float(np.median(times[1]))
      found['latency_ratio'] = found['latency'].median / median
  return TFLiteProfile(
    bytes=len(data),
    weight_bytes=file.weight_bytes,
    macs=sum(file.macs.values()),
    macs_by_operator=file.macs,
    operators=file.operator_counts,
    peak_activation_bytes=file.peak_activation_bytes,
    **found,
  )


def _check_sizes(file: TFLiteFile) -> None:
  """Raises where what a file costs depends on sizes that it leaves open."""
  for name, place in file.signature(of_inputs=True).items():
    if file.tensors[file.inputs[place]].is_open:
      raise ValueError(
        f'The input {name!r} of the file leaves sizes open, and what it costs '
        'depends on them. Convert the model for the sizes that it will be used '
        'with: convert_to_tflite(..., input_shape=(96, 96, 3)).'
      )


def _on_micro(data: bytes) -> dict[str, Any]:
  try:
    return {'arena_bytes': measure_arena(data)}
  except MicroError as error:
    missing = missing_operators(data) if error.missing else []
    return {'micro_error': str(error), 'missing_operators': tuple(missing)}


def _times(files: list[bytes], seconds: float) -> list[np.ndarray]:
  """Seconds of single runs, in turns, so that all see the same machine.

  Raises:
    ValueError: the interpreter refuses a file.
  """
  interpreters = []
  for name, data in zip(('', '`reference`'), files, strict=False):
    with refusals(name):
      interpreters.append(_ready(data))
  found: list[list[float]] = [[] for _ in interpreters]
  end = time.perf_counter() + seconds * len(interpreters)
  while time.perf_counter() < end or len(found[0]) < 10:
    for interpreter, own in zip(interpreters, found, strict=True):
      began = time.perf_counter()
      interpreter.invoke()
      own.append(time.perf_counter() - began)
  return [np.array(own) for own in found]


def _ready(data: bytes) -> Any:
  """An interpreter that has run a few times."""
  interpreter = load_interpreter(data, 1)
  interpreter.allocate_tensors()
  for detail in interpreter.get_input_details():
    # What stands for 0: an index of 0 is one of any table.
    _, zero = detail['quantization']
    resting = np.full(detail['shape'], zero, detail['dtype'])
    interpreter.set_tensor(detail['index'], resting)
  for _ in range(3):
    interpreter.invoke()
  return interpreter


def _summary(times: np.ndarray) -> Latency:
  low, median, high = np.percentile(times, [25, 50, 75])
  return Latency(float(median), float(high - low), len(times))
