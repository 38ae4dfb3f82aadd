"""tflite-micro in processes of its own, and what it says of its failures."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfmot_paoding.tflite.micro_forms import with_forms
from tfmot_paoding.tflite.micro_worker import ALLOCATED, arenas
from tfmot_paoding.tflite.processes import run_script, signal_name

Array = np.ndarray

_WORKER = os.path.join(os.path.dirname(__file__), 'micro_worker.py')
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_SECONDS = 60  # for each sample
_TRIES = 30  # arenas in a search, at most about so many


class MicroError(ValueError):
  """tflite-micro does not run a model.

  Attributes:
    missing: The operators that it does not have.
    stage: Where it failed: 'allocate' (the arena is too small, or it refuses
      an operator), 'invoke' (memory is there, but a run fails) or 'time'.
  """

  def __init__(
    self, message: str, missing: Sequence[str] = (), stage: str = 'allocate'
  ):
    super().__init__(message)
    self.missing = tuple(missing)
    self.stage = stage


def run_in_arena(
  data: bytes, arena_bytes: int, batches: Mapping[str, Array]
) -> tuple[str, list[Array]]:
  """Runs the worker; what it printed, and the outputs.

  Args:
    data: The flatbuffer.
    arena_bytes: The arena.
    batches: By an input's place, a tensor for each sample.

  Raises:
    MicroError: it failed.
  """
  with _files(data, batches) as (model, inputs, outputs):
    count = len(next(iter(batches.values()))) if batches else 1
    arguments = ['run', model, str(arena_bytes), inputs, outputs]
    done = _run(arguments, _SECONDS * count)
    if done.returncode:
      raise _error(done, arena_bytes, data)
    with np.load(outputs) as file:
      return done.stderr, [file[name] for name in sorted(file, key=int)]


def search_arena(data: bytes, first: int, inputs: Mapping[str, Array]) -> int:
  """The least arena that a model runs in, after others in one process.

  Starting a process takes a hundred times what a small model takes to run. An
  arena that brings the process down is too small, and the search goes on in the
  next one.

  Args:
    data: The flatbuffer, which runs in a large arena.
    first: The arena to begin with.
    inputs: By an input's place, a tensor.

  Raises:
    MicroError: it takes too long, or ends for another reason than an arena.
  """
  with _files(data, inputs) as (model, given, tried):
    known, arguments = 0, ['search', model, str(first), given, tried]
    while True:
      done = _run(arguments, _SECONDS * _TRIES)
      found = arenas(tried)
      if not done.returncode:
        return list(found)[-1]
      if done.returncode > 0 or len(found) == known:
        raise _error(done, first, data)
      known = len(found)


@contextlib.contextmanager
def _files(data: bytes, batches: Mapping[str, Array]) -> Iterator[list[str]]:
  """Paths for a worker: of the flatbuffer, of its inputs, and of what it makes.

  Args:
    data: The flatbuffer.
    batches: By an input's place, a tensor for each sample.
  """
  with tempfile.TemporaryDirectory() as folder:
    names = ('m.tflite', 'in.npz', 'out')
    model, inputs, made = (os.path.join(folder, name) for name in names)
    with open(model, 'wb') as file:
      file.write(data)
    np.savez(inputs, **batches)
    yield [model, inputs, made]


def _run(
  arguments: Sequence[str], seconds: float
) -> subprocess.CompletedProcess:
  """Runs the worker, and what it prints as text.

  Raises:
    MicroError: it takes longer than so many seconds.
  """
  try:
    return run_script(_WORKER, arguments, seconds)
  except subprocess.TimeoutExpired:
    raise MicroError(
      f'tflite-micro was not through with the model after {seconds} seconds: '
      'some loops of recurrent layers never end there.',
      stage='time',
    ) from None


def _error(
  done: subprocess.CompletedProcess, arena_bytes: int, data: bytes
) -> MicroError:
  """What tflite-micro says of a failure, and what to do."""
  missing, written = _MISSING.findall(done.stderr), with_forms(data)
  advice = (
    f' Convert the model with `micro=True`, or to a budget of `arena_bytes`: '
    f'{" and ".join(written)} then come in operators that it has.'
    if written
    else ''
  )
  if missing:
    layer = '' if missing[0] in written else ' Replace the layer it comes from.'
    return MicroError(
      "tflite-micro does not have the operator (Didn't find op for builtin "
      f"opcode '{missing[0]}').{layer}{advice}",
      missing[:1],
    )
  lines = [
    line.strip()
    for line in done.stderr.splitlines()
    if line.strip() and not line.startswith(('  ', 'Traceback'))
  ]
  said = ' '.join(lines[-4:]) or 'it broke down.'
  if done.returncode < 0:
    said = f'{said} ({signal_name(done.returncode)})'
  if done.stdout.startswith(ALLOCATED):
    return MicroError(
      f'tflite-micro allocates the model in an arena of {arena_bytes} bytes, '
      f'but fails to run it on these inputs: {said}{advice}',
      stage='invoke',
    )
  return MicroError(
    'tflite-micro does not run the model in an arena of '
    f'{arena_bytes} bytes: {said}{advice}'
  )
