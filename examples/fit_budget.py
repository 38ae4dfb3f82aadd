"""Prunes a trained Keras model until it fits a device, without data.

  python examples/fit_budget.py --model=kws.h5 --input_range=-124,26 \
      --method=reconstruction --flash_bytes=32768 --arena_bytes=16384 \
      --output=kws.tflite --c_array=kws --report=kws_report

Give the limits that you have; each is measured on the converted file itself,
the arena by tflite-micro. The least pruning that meets all of them is searched
for. If there is none, the binary says how near it came, writes nothing and
exits with 1.
"""

from __future__ import annotations

import command_line
from absl import flags

import tfmot_paoding as paoding

_FLASH = flags.DEFINE_integer(
  'flash_bytes', None, 'The most bytes that the .tflite may have.'
)
_ARENA = flags.DEFINE_integer(
  'arena_bytes', None, "The most bytes of tflite-micro's tensor arena."
)
_MACS = flags.DEFINE_integer(
  'macs', None, 'The most multiply-accumulates of one inference.'
)
_LATENCY = flags.DEFINE_float(
  'latency_ratio',
  None,
  'The longest inference on one thread, as a fraction of that of the unpruned '
  'model, timed on this machine.',
)
_QUANTIZATION = flags.DEFINE_enum(
  'quantization',
  'int8',
  ['none', 'dynamic', 'float16', 'int8', 'int16x8'],
  'How the file is converted; see prune_model.py.',
)
_STEP = flags.DEFINE_float(
  'step_sparsity', 0.1, 'Fraction removed between two refreshes.'
)


def run() -> None:
  """Loads, fits and writes.

  Raises:
    ImportError: a limit needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: the budget cannot be met, or a flag or the model does not fit.
  """
  quantization = None if _QUANTIZATION.value == 'none' else _QUANTIZATION.value
  budget = paoding.Budget(
    _FLASH.value, _ARENA.value, _MACS.value, _LATENCY.value, quantization
  )
  budget.check_extras()
  model = command_line.load(needs_sizes=True)
  input_range = command_line.input_range(model)
  before = paoding.convert_to_tflite(
    model,
    quantization,
    input_range,
    command_line.SEED.value,
    command_line.calibration(),
    verbose=1,
  )
  command_line.check_device(before)
  if command_line.DRY_RUN.value:
    command_line.print_plan(model, None)
    print_shares(
      budget,
      paoding.profile_tflite(
        before, before, _ARENA.value is not None, _LATENCY.value is not None
      ),
    )
    return
  fitted = paoding.prune_to_budget(
    model,
    budget,
    command_line.METHOD.value,
    input_range,
    command_line.SEED.value,
    _STEP.value,
    calibration_data=command_line.calibration(),
  )
  paoding.files.write_file(command_line.OUTPUT.value, fitted.data)
  command_line.print_left_alone(command_line.left_alone(model))
  for layer, sparsity in fitted.sparsity.items():
    print(f'pruned: {layer}: {sparsity:.1%}')
  print(f'the cut is spread over layers by: {fitted.spread}')
  print_shares(budget, fitted.profile)
  print(f'tflite bytes: {len(before)} -> {len(fitted.data)}')
  print(f'same answers as the original on drawn inputs: {agreement(fitted)}')
  print(f'wrote {command_line.OUTPUT.value}')
  files = before, fitted.data
  command_line.write_extras(
    model, fitted.model, files, input_range, verdict=fitted.verdict
  )


def agreement(fitted: paoding.pruning.Fitted) -> str:
  """How often the fitted model answers as the original."""
  value = fitted.verdict.agreement
  return f'{value:.3f}' if value == value else 'it has no classes'


def print_shares(
  budget: paoding.Budget, profile: paoding.tflite.TFLiteProfile
) -> None:
  """Prints what a file takes of each limit."""
  for name, share in budget.taken(profile).items():
    print(f'{name}: {share:.1%} of {budget.limits[name]:g}')


if __name__ == '__main__':
  command_line.start(run)
