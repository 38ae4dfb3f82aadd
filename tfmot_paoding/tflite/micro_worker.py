"""Runs tflite-micro in a process of its own.

Started by `micro` as a script: it imports nothing of the package, so that it
starts at once, and a model that brings tflite-micro down ends this process
alone. Arguments: the .tflite, the arena's bytes, an .npz with one array an
input (a whole tensor for each sample), and where to write the outputs' .npz. It
prints a word to its standard output when memory is allocated, so that whoever
started it can tell a failure before that from one after it.
"""

from __future__ import annotations

import sys

import numpy as np

ALLOCATED = 'allocated'


def main(model: str, arena: str, inputs: str, outputs: str) -> None:
  """Runs every sample and prints the arena's use."""
  from tflite_micro import runtime

  interpreter = runtime.Interpreter.from_file(model, arena_size=int(arena))
  print(ALLOCATED, flush=True)
  with np.load(inputs) as file:
    batches = [file[name] for name in sorted(file, key=int)]
  found: list[list[np.ndarray]] = []
  for sample in zip(*batches, strict=True) if batches else [()]:
    interpreter.reset()  # what recurrent layers remember
    for index, value in enumerate(sample):
      interpreter.set_input(value, index)
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
