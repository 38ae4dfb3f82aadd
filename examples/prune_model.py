"""Prunes a trained Keras model without data and exports it.

  python examples/prune_model.py --model=in.h5 --sparsity=0.5 \
      --method=reconstruction --input_range=0,1 --output=out.tflite

For a microcontroller, with the model as C++ source and a report to look at:

  python examples/prune_model.py --model=in.h5 --sparsity=0.5 \
      --method=reconstruction --input_range=0,1 --quantization=int8 \
      --output=out.tflite --c_array=model --report=report

The model file is an .h5 or .keras file of either Keras generation, or a
SavedModel of tf_keras. Nothing in it runs as code unless --allow_code says so.
"""

from __future__ import annotations

import math
import re

import command_line
from absl import flags

import tfmot_paoding as paoding
from tfmot_paoding.bounds.deviation import largest_deviation
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.network.input_shapes import open_inputs
from tfmot_paoding.report.page import require_matplotlib

_SPARSITY = flags.DEFINE_float(
  'sparsity', 0.5, 'Fraction of units to remove; of what, --scope says.'
)
_STEP = flags.DEFINE_float(
  'step_sparsity', 0.025, 'Fraction removed between two refreshes of bounds.'
)
_SCOPE = flags.DEFINE_enum(
  'scope',
  'local',
  ['local', 'global'],
  'local: the same fraction of every layer; global: the fraction of all units, '
  'those first that the outputs feel least for what they cost.',
)
_COST = flags.DEFINE_enum(
  'cost', 'parameters', ['parameters', 'macs'], 'What --scope=global saves.'
)
_FLOOR = flags.DEFINE_float(
  'floor', 0.1, 'Fraction of every layer that --scope=global leaves.'
)
_QUANTIZATION = flags.DEFINE_enum(
  'quantization',
  'none',
  ['none', 'dynamic', 'float16', 'int8', 'int16x8'],
  'none: float32; dynamic: int8 weights; float16: float16 weights; int8: '
  'integers throughout, for microcontrollers; int16x8: int16 activations.',
)
_FLOAT_IO = flags.DEFINE_bool(
  'float_io', False, 'Real inputs and outputs for int8 and int16x8.'
)
_CURVE = flags.DEFINE_list(
  'curve', [], "Further sparsities for the report's trade-off curve."
)
flags.register_validator(
  'sparsity',
  lambda value: 0 <= value < 1,
  message='--sparsity must lie in [0, 1); for 50 %% pass 0.5.',
)


def pruned(
  model: keras.Model, sparsity: float, input_range: InputRange
) -> keras.Model:
  """The compact model at a sparsity."""
  return paoding.prune(
    model,
    sparsity,
    command_line.METHOD.value,
    input_range,
    command_line.SEED.value,
    _STEP.value,
    scope=_SCOPE.value,
    cost=_COST.value,
    floor=_FLOOR.value,
    calibration_data=command_line.calibration(),
  )


def converted(model: keras.Model, input_range: InputRange) -> bytes:
  """The .tflite of a model."""
  quantization = None if _QUANTIZATION.value == 'none' else _QUANTIZATION.value
  return paoding.convert_to_tflite(
    model,
    quantization,
    input_range,
    command_line.SEED.value,
    command_line.calibration(),
    _FLOAT_IO.value,
    verbose=1,
  )


def curve(
  model: keras.Model, input_range: InputRange
) -> list[paoding.report.CurvePoint]:
  """The points of --curve."""
  if not _CURVE.value:
    return []
  samples = paoding.inputs.draw_samples(
    model,
    input_range,
    256,
    command_line.SEED.value,
    command_line.calibration(),
  )
  test = command_line.load_arrays(command_line.TEST.value, 'x', 'y')
  found = []
  for sparsity in sorted({0.0, *map(float, _CURVE.value)}):
    small = pruned(model, sparsity, input_range) if sparsity else model
    data = converted(small, input_range)
    found.append(
      paoding.report.curve_point(model, small, data, sparsity, samples, test)
    )
  return found


def check_curve() -> None:
  """Raises unless the points of --curve can be measured and drawn.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there is no report to draw them in, or a point is no sparsity.
  """
  if not _CURVE.value:
    return
  if not command_line.REPORT.value:
    raise ValueError('--curve is drawn in the report: give --report as well.')
  for text in _CURVE.value:
    if not re.fullmatch(r'0?\.\d+|0', text.strip()):
      raise ValueError(
        f'--curve takes sparsities in [0, 1) such as .25,.5, but got {text!r}.'
      )
  require_matplotlib()


def run() -> None:
  """Loads, prunes, reports and writes.

  Raises:
    ImportError: a flag needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: a flag or the model does not fit; see `paoding.prune`.
  """
  check_curve()
  model = command_line.load()
  input_range = command_line.input_range(model)
  if command_line.DRY_RUN.value:
    known = _SPARSITY.value if _SCOPE.value == 'local' else None
    command_line.print_plan(model, known)
    return
  before = converted(model, input_range)
  command_line.check_device(before)
  small = pruned(model, _SPARSITY.value, input_range)
  after = converted(small, input_range)
  points = curve(model, input_range)
  paoding.files.write_file(command_line.OUTPUT.value, after)
  report(model, small, before, after, input_range)
  print(f'wrote {command_line.OUTPUT.value}')
  command_line.write_extras(model, small, (before, after), input_range, points)


def report(
  model: keras.Model,
  small: keras.Model,
  before: bytes,
  after: bytes,
  input_range: InputRange,
) -> None:
  """Prints what the pruning saved and what it may have changed."""
  units = [command_line.count_units(form) for form in (model, small)]
  if open_inputs(model):
    macs = ['depends on sizes that are open'] * 2  # --input_shape fixes them
  else:
    macs = [paoding.report.count_macs(form) for form in (model, small)]
  command_line.print_left_alone(command_line.left_alone(model))
  print(f'units:        {units[0]} -> {units[1]}')
  print(f'parameters:   {model.count_params()} -> {small.count_params()}')
  print(f'tflite bytes: {len(before)} -> {len(after)}')
  print(f'MACs:         {macs[0]} -> {macs[1]}')
  bound = largest_deviation(model, small, input_range)
  if math.isnan(bound):
    print('how far outputs moved is not bounded: a layer has no known bounds')
  else:
    print(f'no output moves by more than {bound:.6g} in the input range')


if __name__ == '__main__':
  command_line.start(run)
