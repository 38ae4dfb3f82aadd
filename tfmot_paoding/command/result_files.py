"""Writes what a run made: .tflite, C++ source, Keras model and report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from absl import flags

from tfmot_paoding import extras
from tfmot_paoding.command.model_files import (
  check_paths,
  read_arrays,
  saved_bytes,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_files
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.report import CurvePoint, make_report, write_report
from tfmot_paoding.report.writing import report_paths
from tfmot_paoding.tflite import write_c_array
from tfmot_paoding.tflite.c_array import array_name
from tfmot_paoding.tflite.micro import check_micro


def check_results(given: flags.FlagValues) -> None:
  """Raises what would keep the files from being written in the end.

  Raises:
    ImportError: an extra is not installed.
    OSError: a file cannot be written.
    ValueError: a path is no good.
  """
  paths = [given.output, given.save]
  if given.c_array:
    extras.MICRO.require()
    stem, _ = array_name(given.c_array)
    paths += [f'{stem}.cc', f'{stem}.h']
  if given.report:
    paths += report_paths(given.report)
  if given.npu:
    extras.NPU.require()
  check_paths(paths, given)


def check_device(data: bytes | None, given: flags.FlagValues) -> None:
  """Raises where --c_array asks for what tflite-micro would not run.

  Args:
    data: The unpruned model's .tflite, of the same operators; None without
      --output, which --c_array needs.
    given: The flags.

  Raises:
    ValueError: it does not run there.
  """
  if given.c_array:
    check_micro(data)


@dataclasses.dataclass(frozen=True)
class Results:
  """What a run made, and how it compares.

  Attributes:
    model: The original.
    small: The compact model.
    files: The .tflite of each, if any is made.
    settled: The range of the inputs.
    verdict: How answers compare.
    samples: On these inputs, one array an input.
    curve: Points of the report's curve.
    limits: Of the budget, if there is one.
  """

  model: keras.Model
  small: keras.Model
  files: tuple[bytes | None, bytes | None]
  settled: InputRange
  verdict: Verdict
  samples: Sequence
  curve: Sequence[CurvePoint] = ()
  limits: Mapping[str, float] | None = None


def write_results(results: Results, given: flags.FlagValues) -> None:
  """Writes all that the flags ask for, and says so.

  Raises:
    OSError: a file cannot be written.
  """
  write_models(results.files[1], results.small, given)
  if given.c_array:
    source, header = write_c_array(
      results.files[1], given.c_array, model=results.small
    )
    print(f'wrote {source} and {header}')
  if given.report:
    write_page(given.report, results, given)


def write_models(
  data: bytes | None, small: keras.Model, given: flags.FlagValues
) -> None:
  """Writes the pruned model as --output and --save say, and says so.

  Args:
    data: Its .tflite, if one is made.
    small: The model.
    given: The flags.

  Raises:
    OSError: a file cannot be written.
  """
  whole = {} if data is None else {given.output: data}
  if given.save:
    whole[given.save] = saved_bytes(small, given.save)
  write_files(whole)
  for path in whole:
    print(f'wrote {path}')


def write_page(path: str, results: Results, given: flags.FlagValues) -> None:
  """Writes a report, and says so.

  Args:
    path: Where to, without .html and .json.
    results: What it tells of.
    given: The flags.

  Raises:
    OSError: a file cannot be written.
  """
  if not extras.MICRO.is_installed:
    print(f'the report leaves out the arena: {extras.MICRO.error()}')
  report = make_report(
    results.model,
    results.small,
    results.files,
    input_range=results.settled,
    test_data=read_arrays(given.test_data, 'x', 'y'),
    data=results.samples,
    seed=given.seed,
    micro=extras.MICRO.is_installed,
    title=os.path.basename(given.model.rstrip('/')),
    curve=results.curve,
    verdict=results.verdict,
    limits=results.limits,
    npu=given.npu,
  )
  page, data = write_report(report, path)
  print(f'wrote {page} and {data}')
