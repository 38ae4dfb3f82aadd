"""Runs the phone's interpreter, here or in a process of its own.

As a script it imports nothing of the package, so that it starts at once, and a
file that brings the interpreter down ends that process alone. Arguments: the
.tflite, an .npz with one array an input (samples first, in real numbers) by
its `labelled` name, and where to write the outputs' .npz.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray


def prepare() -> None:
  """Imports what it needs."""
  try:
    importlib.import_module('ai_edge_litert.interpreter')
  except ImportError:
    importlib.import_module('tensorflow')


def load_interpreter(
  data: bytes, threads: int | None = None, keeps_all: bool = False
) -> Any:
  """An interpreter for a flatbuffer, its tensors not allocated.

  LiteRT's (the extra `[micro]` installs it), else TensorFlow's own.

  Args:
    data: The flatbuffer.
    threads: How many to run on; None for as many as it likes.
    keeps_all: Whether every tensor can be read after a run; operators are not
      handed to delegates then, which take more time.
  """
  settings: dict[str, Any] = {'model_content': data, 'num_threads': threads}
  try:
    from ai_edge_litert import interpreter as litert
  except ImportError:
    import tensorflow as tf

    litert = tf.lite.experimental
    make = tf.lite.Interpreter
  else:
    make = litert.Interpreter
  if keeps_all:
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    settings['experimental_op_resolver_type'] = plain
    settings['experimental_preserve_all_tensors'] = True
  with warnings.catch_warnings():
    # TensorFlow announces the interpreter's move to another package.
    warnings.filterwarnings('ignore', message='.*tf.lite.Interpreter is depr')
    return make(**settings)


def run(data: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
  """Runs a flatbuffer sample by sample, from and to real numbers.

  What recurrent layers remember is forgotten before each.

  Args:
    data: The flatbuffer.
    inputs: One array with its batch axis by input name.

  Returns:
    The outputs by name.
  """
  interpreter = load_interpreter(data)
  runner = interpreter.get_signature_runner()
  details = runner.get_input_details()
  made = runner.get_output_details()
  inputs = {
    name: quantized(x, details[name]['quantization'], details[name]['dtype'])
    for name, x in inputs.items()
  }
  rows = []
  for k in range(len(next(iter(inputs.values())))):
    if k:
      interpreter.reset_all_variables()
    rows.append(runner(**{name: x[k : k + 1] for name, x in inputs.items()}))
  return {
    name: dequantized(
      np.concatenate([row[name] for row in rows]), detail['quantization']
    )
    for name, detail in made.items()
  }


def quantized(x: Array, scale: tuple[float, int], dtype: Any) -> Array:
  """Real numbers as a tensor holds them.

  Args:
    x: The numbers.
    scale: What one step is worth, and which integer is 0; 0 for real tensors.
    dtype: The tensor's.
  """
  step, zero = scale
  if not step:
    return np.asarray(x, dtype)
  limits = np.iinfo(dtype)
  steps = np.round(np.asarray(x, np.float64) / step) + zero
  return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantized(x: Array, scale: tuple[float, int]) -> Array:
  """The reverse of `quantized`."""
  step, zero = scale
  return (x.astype(np.float64) - zero) * step if step else x


def labelled(arrays: Mapping[str, Array]) -> dict[str, Array]:
  """Arrays by names that are no argument of `np.savez`."""
  return {f'={name}': x for name, x in arrays.items()}


def main(model: str, inputs: str, outputs: str) -> None:
  """Runs every sample."""
  with open(model, 'rb') as file:
    data = file.read()
  with np.load(inputs) as file:
    made = run(data, {key[1:]: file[key] for key in file})
  with open(outputs, 'wb') as file:
    np.savez(file, **labelled(made))


if __name__ == '__main__':
  main(*sys.argv[1:])
