"""Prunes a trained Keras model without data and exports it.

  python examples/prune_model.py --model=in.h5 --sparsity=0.5 \
      --method=stochastic --input_range=0,1 --output=out.tflite

The model file is an .h5 or .keras file of either Keras generation, or a
SavedModel of tf_keras. Nothing in it runs as code unless --allow_code says so.
"""

from __future__ import annotations

import math
import sys

from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.compat import strip_pruning

_MODEL = flags.DEFINE_string('model', None, 'The trained model.')
_OUTPUT = flags.DEFINE_string('output', None, 'Where to write the .tflite.')
_SPARSITY = flags.DEFINE_float(
  'sparsity', 0.5, 'Fraction of units to remove; of what, --scope says.'
)
_STEP = flags.DEFINE_float(
  'step_sparsity', 0.025, 'Fraction removed between two refreshes of bounds.'
)
_METHOD = flags.DEFINE_enum(
  'method', 'impact', paoding.method_names(), 'How units are chosen.'
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
_ALLOW_CODE = flags.DEFINE_bool(
  'allow_code',
  False,
  'Load Lambda layers and pickled functions. Only for files that you trust: '
  'their code runs with your rights.',
)
_RANGE = flags.DEFINE_list(
  'input_range',
  ['0', '1'],
  'Lowest and highest value of the inputs the model was trained on.',
)
_QUANTIZATION = flags.DEFINE_enum(
  'quantization',
  'none',
  ['none', 'dynamic', 'float16'],
  'none: float32; dynamic: int8 weights; float16: float16 weights.',
)
flags.register_validator(
  'sparsity',
  lambda value: 0 <= value < 1,
  message='--sparsity must lie in [0, 1); for 50 %% pass 0.5.',
)
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the random choices.')


def parse_range(texts: list[str]) -> tuple[float, float]:
  """The two numbers of --input_range.

  Raises:
    ValueError: there are not two numbers.
  """
  try:
    low, high = (float(text) for text in texts)
  except ValueError:
    raise ValueError(
      f'--input_range must be two numbers such as 0,1, got {",".join(texts)}.'
    ) from None
  return low, high


def run() -> None:
  """Loads, prunes, reports and writes.

  Raises:
    OSError: a file cannot be read or written.
    ValueError: a flag or the model does not fit; see `paoding.prune`.
  """
  input_range = parse_range(_RANGE.value)
  model = paoding.load_model(_MODEL.value, _ALLOW_CODE.value)
  wrapped = paoding.prune_low_saliency(
    model,
    paoding.ProgressiveSparsity(_SPARSITY.value, _STEP.value),
    method=_METHOD.value,
    input_range=input_range,
    seed=_SEED.value,
    scope=_SCOPE.value,
    cost=_COST.value,
    floor=_FLOOR.value,
  )
  history = paoding.run_schedule(wrapped)
  small = paoding.compact(strip_pruning(wrapped))
  quantization = None if _QUANTIZATION.value == 'none' else _QUANTIZATION.value
  before = paoding.convert_to_tflite(model, quantization, input_range)
  after = paoding.convert_to_tflite(small, quantization, input_range)
  paoding.write_file(_OUTPUT.value, after)
  for layer, reason in history.left_alone.items():
    print(f'left alone: {layer}: {reason}')
  removed = history.units_removed[-1] if history.units_removed else 0
  bound = history.bound[-1] if history.bound else 0.0
  print(f'units:        {history.units} -> {history.units - removed}')
  print(f'parameters:   {model.count_params()} -> {small.count_params()}')
  print(f'tflite bytes: {len(before)} -> {len(after)}')
  macs = [paoding.count_macs(form) for form in (model, small)]
  print(f'MACs:         {macs[0]} -> {macs[1]}')
  if math.isnan(bound):
    print('how far outputs moved is not bounded: a layer has no known bounds')
  else:
    print(f'no output moves by more than {bound:.6g} in the input range')
  print(f'wrote {_OUTPUT.value}')


def main(argv: list[str]) -> int:
  """Exit code 0 when the file was written, 1 with a message when not."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.ERROR)
  try:
    run()
  except (OSError, TypeError, ValueError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  flags.mark_flags_as_required(['model', 'output'])
  app.run(main)
