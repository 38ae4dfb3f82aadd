"""Runs tflite-micro in a process of its own.

Started by `micro` as a script: it imports nothing of the package, so that it
starts at once, and a model that brings tflite-micro down ends this process
alone. Arguments: the .tflite, the arena's bytes, an .npz with one array an
input (samples first) or '-', and where to write the outputs' .npz.
"""

from __future__ import annotations

import sys

import numpy as np


def main(model: str, arena: str, inputs: str, outputs: str) -> None:
  """Runs every sample, or one of zeros, and prints the arena's use."""
  from tflite_micro import runtime

  interpreter = runtime.Interpreter.from_file(model, arena_size=int(arena))
  if inputs == '-':
    # The bindings have no count of inputs: those that are not set are zeros.
    interpreter.invoke()
    interpreter.print_allocations()
    return
  with np.load(inputs) as file:
    batches = [file[name] for name in sorted(file, key=int)]
  found: list[list[np.ndarray]] = []
  for sample in zip(*batches, strict=True):
    interpreter.reset()  # what recurrent layers remember
    for index, value in enumerate(sample):
      interpreter.set_input(value[None], index)
    interpreter.invoke()
    found.append(_outputs(interpreter))
  interpreter.print_allocations()
  stacked = [np.concatenate(parts) for parts in zip(*found, strict=True)]
  with open(outputs, 'wb') as file:
    np.savez(file, **{str(k): value for k, value in enumerate(stacked)})


def _outputs(interpreter) -> list[np.ndarray]:
  found = []
  while True:
    try:
      found.append(np.array(interpreter.get_output(len(found))))
    except (ValueError, RuntimeError, IndexError):
      return found


if __name__ == '__main__':
  main(*sys.argv[1:])
