"""Runs tflite-micro in a process of its own.

Started by `micro` as a script: it imports nothing of the package, so that it
starts at once, and a model that brings tflite-micro down ends this process
alone. Arguments: 'run', the .tflite, the arena's bytes, an .npz with one array
an input (a whole tensor for each sample), and where to write the outputs' .npz;
or 'search', the .tflite, an arena to begin with, the .npz, and a file of the
arenas that were tried. Running, it prints a word to its standard output when
memory is allocated, so that whoever started it can tell a failure before that
from one after it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable

import numpy as np

ALLOCATED = 'allocated'
ALIGNMENT = 16  # bytes, of which an arena is a multiple


def prepare() -> None:
  """Imports what it needs."""
  importlib.import_module('tflite_micro.runtime')


def run(model: str, arena: str, inputs: str, outputs: str) -> None:
  """Runs every sample and prints the arena's use."""
  from tflite_micro import runtime

  interpreter = runtime.Interpreter.from_file(model, arena_size=int(arena))
  print(ALLOCATED, flush=True)
  found = [_answers(interpreter, sample) for sample in _samples(inputs)]
  interpreter.print_allocations()
  stacked = [np.concatenate(parts) for parts in zip(*found, strict=True)]
  with open(outputs, 'wb') as file:
    np.savez(file, **{str(k): value for k, value in enumerate(stacked)})


def search(model: str, first: str, inputs: str, tried: str) -> None:
  """Finds the least arena that a model runs in.

  Args:
    model: The .tflite, which runs in a large one.
    first: The arena that is tried first.
    inputs: The samples.
    tried: A file that every arena is written to before it is tried, and whether
      it does afterwards, each on a line: what ended an earlier process is not
      tried again. What it says at its end is what was found.
  """
  from tflite_micro import runtime

  samples, known = _samples(inputs), arenas(tried)

  def runs(steps: int) -> bool:
    arena = steps * ALIGNMENT
    if arena not in known:
      _write(tried, [arena])
      try:
        interpreter = runtime.Interpreter.from_file(model, arena_size=arena)
        for sample in samples:
          _answers(interpreter, sample)
        known[arena] = True
      except RuntimeError:
        known[arena] = False
      _write(tried, [arena, known[arena]])
    return known[arena]

  found = least(runs, -(-int(first) // ALIGNMENT)) * ALIGNMENT
  _write(tried, [found, True])


def least(runs: Callable[[int], bool], steps: int) -> int:
  """The least number with which something runs, near a first guess.

  It is asked of no number twice.

  Args:
    runs: Whether it does with a number.
    steps: The guess.
  """
  # What is kept is not all: planning takes some memory for a while. And it is
  # sometimes a step too much: how much goes to alignment depends on the arena.
  if runs(steps):
    fails, works = steps - 1, steps
    while runs(fails):
      fails, works = fails - 1, fails
    return works
  fails, works = steps, steps + 2
  while not runs(works):
    fails, works = works, works + 2 * (works - fails)
  while works - fails > 1:
    middle = (fails + works) // 2
    if runs(middle):
      works = middle
    else:
      fails = middle
  return works


def arenas(tried: str) -> dict[int, bool]:
  """Which arenas of a search's file do, in its order; what ended it does not.

  Args:
    tried: The file, which need not be there.
  """
  found: dict[int, bool] = {}
  if os.path.exists(tried):
    with open(tried, encoding='utf-8') as file:
      for line in file:
        arena, *does = json.loads(line)
        found.pop(arena, None)
        found[arena] = does == [True]
  return found


def _write(tried: str, line: list) -> None:
  """Adds a line to a search's file, at once."""
  with open(tried, 'a', encoding='utf-8') as file:
    file.write(json.dumps(line) + '\n')


def _samples(inputs: str) -> list[tuple[np.ndarray, ...]]:
  """The inputs of each run, in the model's order."""
  with np.load(inputs) as file:
    batches = [file[name] for name in sorted(file, key=int)]
  return list(zip(*batches, strict=True)) if batches else [()]


def _answers(interpreter, sample: tuple[np.ndarray, ...]) -> list[np.ndarray]:
  """The outputs for a sample."""
  interpreter.reset()  # what recurrent layers remember
  for index, value in enumerate(sample):
    interpreter.set_input(value, index)
  interpreter.invoke()
  return _outputs(interpreter)


def _outputs(interpreter) -> list[np.ndarray]:
  found = []
  while True:
    try:
      found.append(np.array(interpreter.get_output(len(found))))
    except (ValueError, RuntimeError, IndexError):
      return found


if __name__ == '__main__':
  {'run': run, 'search': search}[sys.argv[1]](*sys.argv[2:])
