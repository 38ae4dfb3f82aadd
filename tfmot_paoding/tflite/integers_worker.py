"""Takes ranges for a file of integers, or writes it, in a process of its own.

What an activation that overflows or an operator without integers does to
TensorFlow's calibrator and quantizers may end the process, and here it ends
this one alone. As a script it imports nothing of the package, and of TensorFlow
the one compiled module that it needs. Arguments: 'range', a .tflite, an .npz of
an array an input (samples first) by its place, and where to write the file with
ranges; or 'quantize', that file, the .json of a quantizer and its arguments,
and where to write the file of integers.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import types
from typing import Any

import numpy as np

_CALIBRATION = (
  'tensorflow.lite.python.optimize._pywrap_tensorflow_lite_calibration_wrapper'
)
_CONVERTER = 'tensorflow.compiler.mlir.lite.python._pywrap_converter_api'


def compiled(name: str) -> Any:
  """A compiled module of TensorFlow without the rest of it.

  TensorFlow takes four seconds of a processor to import, and these modules, of
  which a conversion needs two, .1 and .4: empty packages stand in for those
  that they lie in. A TensorFlow that is laid out otherwise is imported whole.

  Args:
    name: The module.
  """
  if name in sys.modules:
    return sys.modules[name]
  packages = name.split('.')[:-1]
  packages = ['.'.join(packages[: k + 1]) for k in range(len(packages))]
  # Where compiled modules look for what they have in common.
  packages.append('tensorflow.python')
  root = _root()
  for package in packages:
    if package in sys.modules:
      continue
    stand_in = types.ModuleType(package)
    stand_in.__path__ = [os.path.join(root, *package.split('.')[1:])]
    sys.modules[package] = stand_in
  try:
    return importlib.import_module(name)
  except (ImportError, AttributeError, RuntimeError):
    for module in [m for m in sys.modules if m.split('.')[0] == 'tensorflow']:
      del sys.modules[module]
    return importlib.import_module(name)


def _root() -> str:
  """TensorFlow's folder."""
  if 'tensorflow' in sys.modules:
    return sys.modules['tensorflow'].__path__[0]
  return os.path.dirname(importlib.util.find_spec('tensorflow').origin)


def prepare() -> None:
  """Imports what it needs."""
  compiled(_CALIBRATION)
  compiled(_CONVERTER)


def calibrator(data: bytes) -> Any:
  """TensorFlow's calibrator of a flatbuffer, without operators of users."""
  return compiled(_CALIBRATION).CalibrationWrapper(data, [], [])


def ranged(data: bytes, batches: list[np.ndarray]) -> bytes:
  """A flatbuffer with the range of every activation in it.

  Args:
    data: A file of real numbers.
    batches: The samples, one array an input by its place.
  """
  data = compiled(_CALIBRATION).AddIntermediateTensors(data)
  made = calibrator(data)
  for k in range(len(batches[0])):
    sample = [x[k : k + 1] for x in batches]
    if not k:
      made.Prepare([list(x.shape) for x in sample])
    made.FeedTensor(sample)
  return made.Calibrate()


def quantized(data: bytes, quantizer: str, arguments: list[Any]) -> bytes:
  """The file of integers for ranges that stand in a flatbuffer.

  Args:
    data: What `ranged` gave.
    quantizer: 'mlir' or 'calibrator'.
    arguments: What it takes beside the file.
  """
  if quantizer == 'mlir':
    made = compiled(_CONVERTER).ExperimentalMlirQuantizeModel(data, *arguments)
  else:
    made = calibrator(data).QuantizeModel(*arguments)
  return bytes(made)


def main(job: str, model: str, given: str, output: str) -> None:
  """Does one of the two."""
  with open(model, 'rb') as file:
    data = file.read()
  if job == 'range':
    with np.load(given) as file:
      made = ranged(data, [file[name] for name in sorted(file, key=int)])
  else:
    with open(given, encoding='utf-8') as file:
      made = quantized(data, **json.load(file))
  with open(output, 'wb') as file:
    file.write(made)


if __name__ == '__main__':
  main(*sys.argv[1:])
