"""What a .tflite costs on an NPU of Arm's, as its compiler counts it.

Vela lays a file out for an Ethos-U and counts cycles as it goes: no device is
needed, and nothing is run. What the NPU does not take stays with the CPU.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import os
import re
import subprocess
import tempfile

from tfmot_paoding import extras
from tfmot_paoding.accelerators import check_npu
from tfmot_paoding.quantization import on_npu
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.processes import last_error, run_script, signal_name

_WORKER = os.path.join(os.path.dirname(__file__), 'npu_worker.py')
_SECONDS = 600
_KIB = 1024
# What the compiled file calls all that went to the NPU.
_COMPILED = 'ethos-u'
# What Vela says of an operator that it leaves to the CPU.
_REFUSED = re.compile(
  r'^Warning \(supported operators\) operator: (\w+)[^\n]*\nReason: ([^\n]+)',
  re.MULTILINE,
)


class NpuError(ValueError):
  """An NPU runs nothing of a model, or its compiler fails on it."""


@dataclasses.dataclass(frozen=True)
class NpuProfile:
  """What a .tflite costs on an NPU.

  Attributes:
    npu: Its name, such as 'ethos-u55-128'.
    system: The memories that Vela counts with, as it names them.
    cycles: Of one inference, those of the CPU's operators left out.
    seconds: The same at the clock of that system.
    sram_bytes: Of activations, and of weights on their way.
    flash_bytes: Of weights as the NPU reads them, in flash.
    dram_bytes: What lies in DRAM, where the system has one.
    operators: How many operators the file has.
    on_cpu: How many of which operators the CPU has to run, by name.
    reasons: Why, by operator, where Vela says.
  """

  npu: str
  system: str
  cycles: int
  seconds: float
  sram_bytes: int
  flash_bytes: int
  dram_bytes: int
  operators: int
  on_cpu: dict[str, int] = dataclasses.field(default_factory=dict)
  reasons: dict[str, str] = dataclasses.field(default_factory=dict)

  @property
  def cpu_share(self) -> float:
    """The fraction of the file's operators that the CPU has to run."""
    return sum(self.on_cpu.values()) / self.operators


def profile_npu(data: bytes, npu: str) -> NpuProfile:
  """Compiles a .tflite for an NPU.

  Args:
    data: The flatbuffer, of integers throughout.
    npu: The NPU, a name of `accelerators.NPUS`.

  Raises:
    ImportError: Vela is not installed.
    NpuError: the NPU runs no operator of it, or Vela fails on it.
    ValueError: `data` is no .tflite, or there is no such NPU.
  """
  check_npu(npu)
  extras.NPU.require()
  file = TFLiteFile(data)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'model.tflite')
    with open(path, 'wb') as target:
      target.write(data)
    said = _compile(path, npu, folder)
    (summary,) = glob.glob(os.path.join(folder, '*_summary_*.csv'))
    with open(summary, newline='', encoding='utf-8') as source:
      row = next(csv.DictReader(source))
    (compiled,) = glob.glob(os.path.join(folder, '*_vela.tflite'))
    with open(compiled, 'rb') as source:
      counts = TFLiteFile(source.read()).operator_counts
  reasons: dict[str, str] = {}
  for name, reason in _REFUSED.findall(said):
    reasons.setdefault(name, reason)
  if _COMPILED not in counts:
    raise NpuError(_nothing(file, npu, reasons))
  return NpuProfile(
    npu=npu,
    system=f'{row["system_config"]}, {row["memory_mode"]}',
    cycles=round(float(row['cycles_total'])),
    seconds=float(row['cycles_total']) / float(row['core_clock']),
    sram_bytes=_bytes(row, 'sram'),
    flash_bytes=_bytes(row, 'on_chip_flash') + _bytes(row, 'off_chip_flash'),
    dram_bytes=_bytes(row, 'dram'),
    operators=len(file.operators),
    on_cpu={n: count for n, count in counts.items() if n != _COMPILED},
    reasons=reasons,
  )


def _bytes(row: dict[str, str], memory: str) -> int:
  return round(float(row[f'{memory}_memory_used']) * _KIB)


def _compile(path: str, npu: str, folder: str) -> str:
  """Runs Vela; what it printed.

  Raises:
    NpuError: it fails.
  """
  arguments = [path, '--accelerator-config', npu, '--output-dir', folder]
  try:
    done = run_script(_WORKER, arguments, _SECONDS)
  except subprocess.TimeoutExpired:
    raise NpuError(
      f'Vela was not through with the model after {_SECONDS} seconds.'
    ) from None
  if done.returncode:
    if done.returncode < 0:
      why = f'its process ended with {signal_name(done.returncode)}.'
    else:
      why = last_error(done.stderr) or done.stdout.strip()[-300:]
    raise NpuError(
      f'Vela does not compile the model for {npu}: {why} Files of {on_npu()} '
      'are what it takes.'
    )
  return done.stdout + done.stderr


def _nothing(file: TFLiteFile, npu: str, reasons: dict[str, str]) -> str:
  """That no operator runs on the NPU, and why."""
  said = '; '.join(f'{name}: {reason}' for name, reason in reasons.items())
  named = ', '.join(file.operator_counts)
  return (
    f'No operator of the file ({named}) runs on {npu}, which takes integers '
    f'throughout: convert with quantization={on_npu()}.'
    + (f' Vela says: {said}.' if said else '')
  )
