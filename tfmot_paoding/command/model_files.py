"""Reads what flags name: models and arrays. Checks where files will go."""

from __future__ import annotations

import os
import tempfile
import zipfile

import numpy as np
from absl import flags

from tfmot_paoding.command.input_flags import ranges_of
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable
from tfmot_paoding.inputs.ranges import InputRange, resolve_with_data
from tfmot_paoding.inputs.user_data import calibration_samples
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.loading import load_model
from tfmot_paoding.methods.stairs import check_multiples
from tfmot_paoding.network.input_shapes import open_inputs, with_input_shape
from tfmot_paoding.pruning.wrap import network_of
from tfmot_paoding.quantization import QUANTIZATIONS, quantization_of_flag

Array = np.ndarray


def read_model(
  path: str, given: flags.FlagValues, needs_sizes: bool = False
) -> keras.Model:
  """A model of a file; --data and --test_data are held against it.

  Args:
    path: The file.
    given: The flags.
    needs_sizes: Whether a size that the model leaves open is an error.

  Raises:
    OSError: a file cannot be read.
    ValueError: a flag does not fit the model.
  """
  model = open_model(path, given, needs_sizes)
  data, test = read_data(given), read_arrays(given.test_data, 'x', 'y')
  if data is not None:
    calibration_samples(model, data, 2)
  if test is not None:
    check_test_data(model, *test)
  return model


def open_model(
  path: str, given: flags.FlagValues, needs_sizes: bool
) -> keras.Model:
  """A Keras model of a file, with the sizes of --input_shape.

  Args:
    path: The file.
    given: The flags.
    needs_sizes: Whether a size that the model leaves open is an error.

  Raises:
    OSError: the file cannot be read.
    ValueError: a flag does not fit the model.
  """
  shape = given.input_shape and [int(size) for size in given.input_shape]
  model = as_opened(load_model(path, given.allow_code))
  model = with_input_shape(model, shape)
  if needs_sizes:
    for name, sizes in open_inputs(model).items():
      raise ValueError(
        f'The model leaves sizes of its input {name!r} open: {sizes}. Pass '
        'those that it will be used with, such as --input_shape=96,96,3.'
      )
  return model


def read_range(model: keras.Model, given: flags.FlagValues) -> InputRange:
  """The range of --input_range, or what the model says; printed.

  Raises:
    ValueError: the flag or --data do not fit the model.
  """
  ranges = ranges_of(given.input_range)
  settled = resolve_with_data(model, ranges, read_data(given))
  for name, text in settled.described().items():
    print(f'range of input {name!r}: {text}')
  return settled


def read_data(given: flags.FlagValues) -> Array | None:
  """The inputs of --data.

  Raises:
    OSError: the file cannot be read.
    ValueError: it holds no inputs.
  """
  arrays = read_arrays(given.data, 'x')
  return None if arrays is None else arrays[0]


def ranging_data(given: flags.FlagValues) -> Array | None:
  """The inputs of --data, where --quantization takes ranges from any.

  Raises:
    OSError: the file cannot be read.
    ValueError: it holds no inputs.
  """
  reads = QUANTIZATIONS[quantization_of(given)].reads
  return read_data(given) if 'representative_data' in reads else None


def read_arrays(path: str | None, *names: str) -> tuple[Array, ...] | None:
  """Arrays of an .npz; None without a path.

  Raises:
    OSError: the file cannot be read.
    ValueError: an array is missing, or holds no real numbers.
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
  for name in names:
    if held[name].dtype.kind not in 'biuf':
      raise ValueError(
        f'{path} holds {name!r} of type {held[name].dtype}. Expected real '
        'numbers.'
      )
  x, *others = (held[name] for name in names)
  return (x.astype(np.float32), *others)


def quantization_of(given: flags.FlagValues) -> str | None:
  """--quantization as functions take it."""
  return quantization_of_flag(given.quantization)


def multiple_of(given: flags.FlagValues) -> int | str | None:
  """--multiple_of as functions take it."""
  text = given.multiple_of
  return int(text) if text is not None and text.isdecimal() else text


def check_multiple(
  model: keras.Model, said: int | str | None, attention: str
) -> None:
  """Raises before any work is done where widths cannot be such multiples.

  Args:
    model: The model.
    said: --multiple_of, or what it stands for.
    attention: What of attention's heads goes.

  Raises:
    ValueError: it is larger than a layer.
  """
  groups = network_of(model, None, attention).groups.offered
  check_multiples(groups, said)


def saved_bytes(model: keras.Model, path: str) -> bytes:
  """A model as a file of the kind that a path's end names."""
  with tempfile.TemporaryDirectory() as folder:
    inner = os.path.join(folder, 'model' + os.path.splitext(path)[1])
    model.save(inner)
    with open(inner, 'rb') as file:
      return file.read()


def check_paths(paths: list[str | None], given: flags.FlagValues) -> None:
  """Raises what would keep files from being written in the end.

  Args:
    paths: Where to; None for no file.
    given: The flags, whose inputs are not to be written over.

  Raises:
    OSError: a file cannot be written.
    ValueError: two of them are one file, or one is read.
  """
  paths = [path for path in paths if path]
  for name in ('model', 'pruned', 'data', 'test_data', 'property'):
    read = given[name].value if name in given else None
    several = [read] if isinstance(read, str) else read or []
    taken = {os.path.realpath(one) for one in several}
    for path in paths:
      if os.path.realpath(path) in taken:
        raise ValueError(
          f'{path!r} is what --{name} reads. Pass another path to write to.'
        )
  check_writable(paths)


def check_test_data(model: keras.Model, x: Array, y: Array) -> None:
  """Raises unless --test_data fit the model.

  Args:
    model: The model.
    x: Inputs.
    y: A class for each.

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
  if not fits or not len(x) or y.size != len(x):
    raise ValueError(
      f'--test_data must hold `x` of shape {shape} and a class `y` for each, '
      f'but got shapes {x.shape} and {y.shape}.'
    )
  if not np.isfinite(x).all():
    raise ValueError('--test_data hold NaN or infinite values.')
  classes = max(2, model.outputs[0].shape[-1] or 2)
  if not np.isin(y, np.arange(classes)).all():
    raise ValueError(
      f"--test_data must hold classes `y` from 0 to {classes - 1}, the model's "
      f'first output, but got values from {y.min()} to {y.max()}.'
    )
