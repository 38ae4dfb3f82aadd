"""Flags and steps that the binaries which write model files share."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable
from tfmot_paoding.inputs.ranges import InputRange, resolve_with_data
from tfmot_paoding.inputs.user_data import calibration_samples
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.methods.named import DEFAULT_METHOD
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.input_shapes import open_inputs, with_input_shape
from tfmot_paoding.report.writing import report_paths
from tfmot_paoding.tflite.c_array import array_name
from tfmot_paoding.tflite.micro import check_micro, has_micro, require_micro

MODEL = flags.DEFINE_string('model', None, 'The trained model.')
OUTPUT = flags.DEFINE_string('output', None, 'Where to write the .tflite.')
METHOD = flags.DEFINE_enum(
  'method',
  DEFAULT_METHOD,
  paoding.methods.method_names(),
  'How units are chosen.',
)
RANGE = flags.DEFINE_list(
  'input_range',
  [],
  'Lowest and highest value of the inputs the model was trained on, such as '
  '0,255. Left out, what its first layers say (Rescaling, Normalization, '
  'Embedding, x / 255. and the like), and 0,1 where they say nothing.',
)
SEED = flags.DEFINE_integer('seed', 0, 'Seed of the random choices.')
ALLOW_CODE = flags.DEFINE_bool(
  'allow_code',
  False,
  'Load Lambda layers and pickled functions. Only for files that you trust: '
  'their code runs with your rights.',
)
C_ARRAY = flags.DEFINE_string(
  'c_array',
  None,
  'Also write the model as C++ source for tflite-micro: this path with .cc '
  'and .h at its end.',
)
REPORT = flags.DEFINE_string(
  'report',
  None,
  'Also write what pruning did: this path with .html and .json at its end.',
)
CALIBRATION = flags.DEFINE_string(
  'calibration_data',
  None,
  'An .npz with unlabelled inputs `x`, as the model takes them, to fit on in '
  'place of drawn ones.',
)
TEST = flags.DEFINE_string(
  'test_data',
  None,
  'An .npz with inputs `x`, as the model takes them, and classes `y` that the '
  "report's accuracy is measured on; nothing else looks at them.",
)
SHAPE = flags.DEFINE_list(
  'input_shape',
  None,
  'Sizes of the inputs, without the batch, where the model leaves them open: '
  'height,width,channels.',
)
DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Print which units would be pruned, and what is left alone and why; write '
  'nothing.',
)


def load(needs_sizes: bool = False) -> keras.Model:
  """Loads --model, when all that could fail at the end has been looked at.

  Args:
    needs_sizes: Whether a size that the model leaves open is an error.

  Raises:
    ImportError: a flag needs an extra that is not installed.
    OSError: a file cannot be read, or would not be written in the end.
    ValueError: a flag does not fit the model.
  """
  if not DRY_RUN.value:
    check_outputs()
  shape = SHAPE.value and [int(size) for size in SHAPE.value]
  model = paoding.load_model(MODEL.value, ALLOW_CODE.value)
  model = with_input_shape(as_tf_keras(model), shape)
  if needs_sizes or C_ARRAY.value or REPORT.value:
    for name, sizes in open_inputs(model).items():
      raise ValueError(
        f'The model leaves sizes of its input {name!r} open: {sizes}. Pass '
        'those that it will be used with, such as --input_shape=96,96,3.'
      )
  data, test = calibration(), load_arrays(TEST.value, 'x', 'y')
  if data is not None:
    calibration_samples(model, data, 2)
  if test is not None:
    check_test_data(model, *test)
  return model


def check_outputs() -> None:
  """Raises what would keep files from being written in the end.

  Raises:
    ImportError: an extra is not installed.
    OSError: a file cannot be written.
    ValueError: a path is no good.
  """
  paths = [OUTPUT.value]
  if C_ARRAY.value:
    require_micro()
    stem, _ = array_name(C_ARRAY.value)
    paths += [f'{stem}.cc', f'{stem}.h']
  if REPORT.value:
    paths += report_paths(REPORT.value)
  check_writable(paths)


def check_test_data(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
  """Raises unless --test_data fit the model.

  Raises:
    ValueError: they do not.
  """
  if len(model.inputs) > 1:
    raise ValueError(
      f'--test_data has one input `x`, but the model takes {model.input_names}.'
    )
  shape = (None, *model.inputs[0].shape[1:])
  fits = x.ndim == len(shape) and all(
    size in (None, got) for size, got in zip(shape, x.shape, strict=True)
  )
  if not fits or len(np.ravel(y)) != len(x):
    raise ValueError(
      f'--test_data must hold `x` of shape {shape} and a class `y` for each, '
      f'but got shapes {x.shape} and {y.shape}.'
    )


def input_range(model: keras.Model) -> InputRange:
  """The range of --input_range, or what the model says; printed.

  Raises:
    ValueError: the flag or --calibration_data do not fit the model.
  """
  given = parse_range(RANGE.value)
  settled = resolve_with_data(model, given, calibration())
  for name, text in settled.described().items():
    print(f'range of input {name!r}: {text}')
  return settled


def parse_range(texts: list[str]) -> tuple[float, float] | None:
  """The two numbers of --input_range; None where it is left out.

  Raises:
    ValueError: there are not two numbers.
  """
  if not texts:
    return None
  try:
    low, high = (float(text) for text in texts)
  except ValueError:
    raise ValueError(
      f'--input_range must be two numbers such as 0,1, got {",".join(texts)}.'
    ) from None
  return low, high


def load_arrays(path: str | None, *names: str) -> tuple[np.ndarray, ...] | None:
  """Arrays of an .npz; None without a path.

  Raises:
    OSError: the file cannot be read.
    ValueError: an array is missing.
  """
  if path is None:
    return None
  try:
    with np.load(path) as file:
      held = {name: file[name] for name in file}
  except (
    AttributeError,
    EOFError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
  ) as error:
    raise ValueError(
      f'{path} is no .npz of numbers that can be read. Write it with '
      'numpy.savez.'
    ) from error
  missing = [name for name in names if name not in held]
  if missing:
    raise ValueError(
      f'{path} has no array {missing[0]!r}; it holds {sorted(held)}.'
    )
  x, *others = (held[name] for name in names)
  return (x.astype(np.float32), *others)


def calibration() -> np.ndarray | None:
  """The inputs of --calibration_data."""
  found = load_arrays(CALIBRATION.value, 'x')
  return None if found is None else found[0]


def print_plan(model: keras.Model, sparsity: float | None) -> None:
  """Prints a model's groups and what is left alone.

  Args:
    model: The model.
    sparsity: The fraction of each group that would go; None if that is not
      known yet.
  """
  grouping = find_groups(build_graph(model))
  for group in grouping.groups:
    names = ['/'.join(member.node.path) for member in group.producers]
    tied = f', tied with {", ".join(names[1:])}' if names[1:] else ''
    after = ''
    if sparsity is not None:
      after = f' -> {group.size - int(group.size * sparsity + 1e-6)}'
    print(f'group: {names[0]}: {group.size}{after} units{tied}')
  print_left_alone(left_alone(model))


def print_left_alone(reasons: dict[str, str]) -> None:
  """Prints each layer whose units stay, and why."""
  for layer, reason in reasons.items():
    print(f'left alone: {layer}: {reason}')


def left_alone(model: keras.Model) -> dict[str, str]:
  """The reason for each layer whose units stay."""
  grouping = find_groups(build_graph(model))
  return {'/'.join(path): why for path, why in grouping.left_alone.items()}


def count_units(model: keras.Model) -> int:
  """The units of a model that can be pruned."""
  return sum(group.size for group in find_groups(build_graph(model)).groups)


def check_device(data: bytes) -> None:
  """Raises where --c_array asks for what tflite-micro would not run.

  Args:
    data: The unpruned model's .tflite, of the same operators.

  Raises:
    ValueError: it does not run there.
  """
  if C_ARRAY.value:
    check_micro(data)


def write_extras(
  model: keras.Model,
  small: keras.Model,
  files: tuple[bytes, bytes],
  settled: InputRange,
  curve: list[paoding.report.CurvePoint] | None = None,
  verdict: paoding.report.Verdict | None = None,
) -> None:
  """Writes what --c_array and --report ask for.

  Args:
    model: The original.
    small: The compact model.
    files: The .tflite of each.
    settled: The range of the inputs.
    curve: Points of the report's curve.
    verdict: How answers compare, if that has been measured already.
  """
  if C_ARRAY.value:
    source, header = paoding.write_c_array(files[1], C_ARRAY.value, model=small)
    print(f'wrote {source} and {header}')
  if REPORT.value:
    data = calibration()
    if not has_micro():
      print(
        'the report leaves out the arena: it takes tflite-micro, '
        "pip install 'tfmot_paoding[micro]'"
      )
    report = paoding.report.make_report(
      model,
      small,
      files,
      settled,
      load_arrays(TEST.value, 'x', 'y'),
      None if data is None else [data[:256]],
      SEED.value,
      has_micro(),
      os.path.basename(MODEL.value),
      curve or (),
      verdict,
    )
    page, data = paoding.report.write_report(report, REPORT.value)
    print(f'wrote {page} and {data}')


def start(run: Callable[[], None]) -> None:
  """Runs a binary: exit code 0 when all was written, 1 with a message if not.

  Args:
    run: What it does; raises what a user should read.
  """
  flags.mark_flag_as_required('model')
  flags.register_multi_flags_validator(
    ['output', 'dry_run'],
    lambda values: values['output'] or values['dry_run'],
    message='--output must be given, unless --dry_run is.',
  )

  def main(argv: list[str]) -> int:
    if len(argv) > 1:
      raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
    logging.set_verbosity(logging.ERROR)
    try:
      run()
    except (ImportError, OSError, TypeError, ValueError) as error:
      print(f'error: {error}', file=sys.stderr)
      return 1
    return 0

  app.run(main)
