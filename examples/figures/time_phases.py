"""Where the time of the default method goes, and what it was before.

  python examples/figures/time_phases.py --network=cnn.h5,0,1 \
      --network=kws.h5,-124,26

A `--network` is a model file and the range of its inputs. Half of its units
leave, or --sparsity. A row is the CPU time of one `prune`, on all threads, and
the share of each phase, in a process that was warmed up on a small network. The
phase of a part is its own time, without that of the phases that it calls.

Beside it stands the same by the form before, as far as today's parts make it
up: steps of .025; fits on the smooth prior and lessons on the varied one, or
both on recalled inputs, where batch normalization tells these; squares of
logits in place of their divergence; shorter lessons.

With `--against` it is another version of the package, as it stood in a checkout
of an earlier commit. Both run in processes of their own that take turns, so
that what else the machine does falls on both, and rows are means over
`--rounds`. What each process takes before (to import, and to warm up) stands in
columns of its own.
"""

from __future__ import annotations

import collections
import functools
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import samples, source
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning import driver, pruned
from tfmot_paoding.training import DistillSettings

_NETWORKS = flags.DEFINE_multi_string(
  'network', None, 'A model, the low and the high end of its range, by commas.'
)
_SPARSITY = flags.DEFINE_float('sparsity', 0.5, 'The fraction that leaves.')
_BEFORE = flags.DEFINE_bool('before', True, 'Time the form before as well.')

_AGAINST = flags.DEFINE_string(
  'against', None, 'A folder with another version of the package.'
)
_AS_JSON = flags.DEFINE_bool('as_json', False, 'For `--against` alone.')
_ROUNDS = flags.DEFINE_integer('rounds', 2, 'Turns of each with --against.')

# What is timed, where it is called from, and the phase that it is.
_PARTS = (
  (source, 'knows_leaves', 'which inputs'),
  (source, 'told_priors', 'which inputs'),
  (samples, 'recalled', 'recall'),
  (source, 'of_prior', 'drawing'),
  (samples, 'of_prior', 'drawing'),
  (Simulation, 'run', 'simulation'),
  (Simulation, 'statistics', 'simulation'),
  (Simulation, 'stand_before', 'simulation'),
  (driver, 'make_plan', 'selection, refits'),
  (pruned, 'taught', 'distillation'),
  (pruned, 'verdict_of', 'verdict'),
)
_REST = 'the rest'
# What a process does once.
_ONCE = ('import', 'warm-up')
PHASES = (*dict.fromkeys(phase for *_, phase in _PARTS), _REST)


class Phases:
  """CPU time by phase; a phase stands still while another one runs in it.

  Attributes:
    seconds: By phase.
  """

  def __init__(self):
    self.seconds = collections.Counter()
    self._running = [_REST]
    self._since = time.process_time()

  def timed(self, function: Callable, phase: str) -> Callable:
    """The function, which tells the time that it takes."""

    @functools.wraps(function)
    def found(*args: Any, **kwargs: Any) -> Any:
      self._turn()
      self._running.append(phase)
      try:
        return function(*args, **kwargs)
      finally:
        self._turn()
        self._running.pop()

    return found

  def _turn(self) -> None:
    """Books what has passed since the last turn."""
    now = time.process_time()
    self.seconds[self._running[-1]] += now - self._since
    self._since = now

  def of(self, function: Callable[[], Any]) -> collections.Counter:
    """Seconds by phase of one call."""
    wholes = [(place, name, getattr(place, name)) for place, name, _ in _PARTS]
    for (place, name, whole), (*_, phase) in zip(wholes, _PARTS, strict=True):
      setattr(place, name, self.timed(whole, phase))
    self._turn()
    self.seconds.clear()
    try:
      function()
    finally:
      for place, name, whole in wholes:
        setattr(place, name, whole)
    self._turn()
    return self.seconds


def today(model: keras.Model, box: tuple[float, float]) -> None:
  """The default method."""
  paoding.prune(model, _SPARSITY.value, input_range=box, verbose=0)


def before(model: keras.Model, box: tuple[float, float]) -> None:
  """The form before."""
  network = Network.of(model)
  macs, tells = max(network.macs, 1), network.has_statistics
  lesson = DistillSettings(
    steps=int(np.clip(3e9 / macs, 100, 2000)),
    samples=int(np.clip(1e10 / macs, 256, 8192)),
    learning_rate=3e-4 if tells else 1e-3,
    loss='squares',
  )
  given = {'input_range': box, 'verbose': 0}
  if tells:
    # Recalled once, for both.
    paoding.prune(
      model,
      _SPARSITY.value,
      step_sparsity=0.025,
      prior='recalled',
      distillation=lesson,
      **given,
    )
    return
  small = paoding.prune(
    model,
    _SPARSITY.value,
    step_sparsity=0.025,
    prior='smooth',
    distillation=False,
    **given,
  )
  # By its place in the package, where it is timed.
  reads = source.InputSource.of(network, box, prior='varied', verbose=0)
  pruned.taught(network, small, reads, lesson)


def warm_up() -> None:
  """Prunes a small network, with all that is done once in a process."""
  warmed = keras.Sequential(
    [
      keras.Input((8, 8, 1)),
      keras.layers.Conv2D(8, 3, activation='relu'),
      keras.layers.Flatten(),
      keras.layers.Dense(4),
    ]
  )
  today(warmed, (0.0, 1.0))


def measured(text: str, call: Callable) -> collections.Counter:
  """Seconds by phase of a call on a network."""
  path, low, high = text.split(',')
  given = paoding.load_model(path), (float(low), float(high))
  return Phases().of(functools.partial(call, *given))


def cells(
  text: str, form: str, seconds: collections.Counter, first: float
) -> list[str]:
  """A row of the table.

  Args:
    text: The network's flag.
    form: What was timed.
    seconds: By phase.
    first: All seconds of the form that this one is compared with.
  """
  name = os.path.splitext(os.path.basename(text.split(',')[0]))[0]
  total = sum(seconds[phase] for phase in PHASES)
  shares = [f'{seconds[phase] / total:.0%}' for phase in PHASES]
  once = [f'{seconds[part]:.1f}' for part in _ONCE if part in seconds]
  # Small networks take about a second: its tenths say little.
  said = f'{total:.1f}' if total >= 10 else f'{total:.2f}'
  return [name, form, *once, said, *shares, f'{total / first:.2f}']


def rows() -> Iterator[list[str]]:
  """The cells of each network's rows."""
  warm_up()
  forms = {'before': before} if _BEFORE.value else {}
  for text in _NETWORKS.value:
    first = None
    for form, call in {**forms, 'today': today}.items():
      seconds = measured(text, call)
      first = first or sum(seconds.values())
      yield cells(text, form, seconds, first)


def rows_in_turns(folder: str) -> Iterator[list[str]]:
  """The same of another version of the package, and of this one.

  Args:
    folder: Where the other one is.
  """
  own = str(pathlib.Path(paoding.__file__).parents[1])
  for text in _NETWORKS.value:
    sums = {form: collections.Counter() for form in ('before', 'today')}
    for _ in range(_ROUNDS.value):
      for form, where in (('before', folder), ('today', own)):
        sums[form].update(_in_a_process(text, where))
    first = sum(sums['before'][phase] for phase in PHASES)
    for form, total in sums.items():
      means = collections.Counter(
        {part: x / _ROUNDS.value for part, x in total.items()}
      )
      yield cells(text, form, means, first / _ROUNDS.value)


def _in_a_process(text: str, folder: str) -> dict[str, float]:
  """Seconds of `today`, by the package of a folder, and what comes before."""
  done = subprocess.run(
    [
      sys.executable,
      *('-W', 'ignore', __file__, '--as_json'),
      *(f'--network={text}', f'--sparsity={_SPARSITY.value}'),
    ],
    env={**os.environ, 'PYTHONPATH': folder},
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def print_json() -> None:
  """Prints what `rows_in_turns` asks a process for."""
  started = time.process_time()
  warm_up()
  warmed = time.process_time() - started
  once = dict(zip(_ONCE, (started, warmed), strict=True))
  (text,) = _NETWORKS.value
  print(json.dumps({**once, **measured(text, today)}))


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  for text in _NETWORKS.value:
    if text.count(',') != 2:
      raise ValueError(
        '--network takes a model, low and high, separated by commas, but got '
        f'{text!r}.'
      )
  warnings.simplefilter('ignore', paoding.pruning.FewAnswersWarning)
  if _AS_JSON.value:
    print_json()
    return
  turns = _AGAINST.value is not None
  once = tuple(f'CPU seconds: {part}' for part in _ONCE) if turns else ()
  heads = ('network', 'form', *once, 'CPU seconds', *PHASES, 'ratio')
  print('| ' + ' | '.join(heads) + ' |')
  print('|' + ' --- |' * len(heads))
  for row in rows_in_turns(_AGAINST.value) if turns else rows():
    print('| ' + ' | '.join(row) + ' |', flush=True)


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
