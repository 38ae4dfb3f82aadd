"""Compares ways of telling, without data, which of several fits is best.

  python examples/figures/judge_candidates.py \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is given as to `compare_networks.py`. It is pruned by
'reconstruction' in several ways: fitted on inputs of each of `--priors`, and by
elimination alone, by folding alone, or by what the method takes of the two on
each layer; with `--distilled` taught on these inputs as well. What comes out,
the candidates, is judged on inputs of each of `--judges`, and by its accuracy
on test data, which no judge sees.

Two choices are asked for: of candidates fitted on one source, which way is
best, and of those made in one way, which source (and, with `--distilled`,
whether to teach). For each judge the table says how often it takes the best
candidate or one within `--tie` of it, and how much accuracy is lost to the
best, on average and at most; `the network` is what the method fits on where
nobody says, by what the network tells apart. With `--output` rows are written
as JSON after every measurement; called again with the same file, an interrupted
run goes on from there.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import app, flags
from compare_networks import Network, check_call, load_network, table
from kept_rows import load_rows, save_rows

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import draw_samples
from tfmot_paoding.inputs.prior import parts_of
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.network import Network as ReadNetwork
from tfmot_paoding.report import judge

_PRIORS = flags.DEFINE_list(
  'priors',
  ['smooth', 'leaves', 'mixed', 'recalled', 'statistics'],
  'What candidates are fitted on; left out where a network refuses it.',
)
_JUDGES = flags.DEFINE_list(
  'judges',
  ['smooth', 'varied', 'leaves', 'blobs', 'mixed', 'recalled', 'statistics'],
  'What they are judged on; left out where a network refuses it.',
)
_DISTILLED = flags.DEFINE_bool(
  'distilled', False, 'Whether to teach each candidate as well.'
)
_STEP = flags.DEFINE_float(
  'step', 0.25, 'The fraction removed between two refreshes.'
)
_JUDGED = flags.DEFINE_integer('judged', 512, 'Inputs that a judge looks at.')
_TIE = flags.DEFINE_float('tie', 0.003, 'Accuracies this near are alike.')

# How many inputs a fit takes at most; see `FitSettings`.
_FITTED = 4096
_WAYS = {
  'eliminate': paoding.Method('reconstruction', 'greedy', 'least_squares'),
  'fold': paoding.Method('ward', 'greedy', 'fold_least_squares'),
  'choice': 'reconstruction',
}


@dataclasses.dataclass
class Candidate:
  """What one way of pruning has made.

  Attributes:
    network: The model file's base name.
    sparsity: The fraction removed.
    fitted_on: The source of the inputs that it was fitted on.
    way: How units went.
    distilled: Whether it was taught.
    accuracy: On test data.
    judged: By source: the squared distance, the divergence, the agreement.
    by_default: Whether the method takes this source where nobody says.
  """

  network: str
  sparsity: float
  fitted_on: str
  way: str
  distilled: bool
  accuracy: float
  judged: dict[str, list[float]]
  by_default: bool

  @property
  def key(self) -> tuple:
    """What tells it from others."""
    return self.network, self.sparsity, self.fitted_on, self.way, self.distilled


def sources(
  network: Network, names: Sequence[str], count: int, seed: int
) -> dict[str, list[np.ndarray]]:
  """Inputs by source, of those that the network has any of."""
  found = {}
  for name in names:
    try:
      found[name] = draw_samples(
        network.model,
        network.input_range,
        count,
        seed=seed,
        prior=name,
        verbose=0,
      )
    except ValueError:  # leaves for vectors, statistics where none are stored
      continue
  return found


def default_source(network: Network) -> str:
  """The source that most inputs of a fit are of where nobody says."""
  read = ReadNetwork.of(network.model)
  source = InputSource.of(read, network.input_range).settled(read)
  if source.mixes(read):
    return 'statistics'
  if source.prior is None and source.recalls(read):
    return 'recalled'
  if source.prior is None:
    return 'smooth'
  return (parts_of(source.prior) or [source.prior])[0]


def candidates(
  network: Network, known: Sequence[Candidate]
) -> Iterator[Candidate]:
  """The candidates of a network that are not known yet."""
  found = {(one.key[:-1], one.distilled) for one in known}
  fitted = sources(network, _PRIORS.value, _FITTED, 0)
  judges = sources(network, _JUDGES.value, _JUDGED.value, 1)
  usual = default_source(network)
  for sparsity, (name, samples), way in itertools.product(
    map(float, flags.FLAGS.sparsities), fitted.items(), _WAYS
  ):
    key = network.name, sparsity, name, way
    if (key, _DISTILLED.value) in found:
      continue
    plain = pruned(network, sparsity, way, samples)
    yield measured(network, plain, (*key, False), judges, name == usual)
    if _DISTILLED.value:
      taught = paoding.training.distill(
        network.model,
        plain,
        input_range=network.input_range,
        data=samples,
        verbose=0,
      )
      yield measured(network, taught, (*key, True), judges, name == usual)


def pruned(
  network: Network, sparsity: float, way: str, samples: list[np.ndarray]
) -> keras.Model:
  """The network pruned in one way."""
  return paoding.prune(
    network.model,
    sparsity,
    method=_WAYS[way],
    input_range=network.input_range,
    step_sparsity=_STEP.value,
    data=samples,
    distillation=False,
    verbose=0,
  )


def measured(
  network: Network,
  model: keras.Model,
  key: tuple,
  judges: dict,
  by_default: bool,
) -> Candidate:
  """A candidate with what all judges say of it."""
  verdicts = {
    name: judge(network.model, model, samples)
    for name, samples in judges.items()
  }
  return Candidate(
    *key,
    network.score(model),
    {
      name: [one.distance, one.divergence, one.agreement]
      for name, one in verdicts.items()
    },
    by_default,
  )


# What a judge measures, in the order in which a candidate has it.
_MEASURES = {'squares': 0, 'divergence': 1, 'agreement': 2}
_SAME, _OTHER = 'the same', 'another'


@dataclasses.dataclass(frozen=True)
class Choice:
  """Candidates of which one shall be taken.

  Attributes:
    task: What is asked for.
    candidates: At least two.
  """

  task: str
  candidates: tuple[Candidate, ...]

  def lost(self, judge_: str, source: str) -> float | None:
    """How much accuracy the candidate that a judge takes is below the best.

    Args:
      judge_: What it measures.
      source: The inputs that it looks at; `_SAME` for each candidate's own,
        `_OTHER` for the mean over all that no candidate was fitted on.

    Returns:
      None where it has no such inputs for one of them.
    """
    own = {one.fitted_on for one in self.candidates}
    values = []
    for one in self.candidates:
      names = [one.fitted_on if source == _SAME else source]
      if source == _OTHER:
        names = [name for name in one.judged if name not in own]
      said = [one.judged[name] for name in names if name in one.judged]
      if not said:
        return None
      value = np.mean([figures[_MEASURES[judge_]] for figures in said])
      values.append(-value if judge_ == 'agreement' else value)
    return self._lost_by(self.candidates[int(np.argmin(values))])

  def lost_by_default(self) -> float | None:
    """As `lost`, of what the method takes by itself, where that is one."""
    taken = [one for one in self.candidates if one.by_default]
    return self._lost_by(taken[0]) if len(taken) == 1 else None

  def _lost_by(self, taken: Candidate) -> float:
    return max(one.accuracy for one in self.candidates) - taken.accuracy


def choices(rows: Sequence[Candidate]) -> list[Choice]:
  """Every choice among rows."""
  tasks: dict[str, Callable[[Candidate], tuple | None]] = {
    'how': lambda one: (
      None if one.distilled or one.way == 'choice' else (one.fitted_on,)
    ),
    'on what': lambda one: (
      (one.way,) if one.way == 'choice' and not one.distilled else None
    ),
    'taught or not': lambda one: (one.fitted_on, one.way),
  }
  found = []
  for task, key_of in tasks.items():
    sets: dict[tuple, list[Candidate]] = {}
    for one in rows:
      key = key_of(one)
      if key is not None:
        sets.setdefault((one.network, one.sparsity, *key), []).append(one)
    found += [Choice(task, tuple(one)) for one in sets.values() if len(one) > 1]
  return found


def _line(said: list[str], lost: Sequence[float | None]) -> list[list[str]]:
  """A line of the table, or none where nothing was lost or won."""
  lost = [value for value in lost if value is not None]
  if not lost:
    return []
  hits = np.mean([value <= _TIE.value for value in lost])
  return [
    [
      *said,
      f'{hits:.0%} of {len(lost)}',
      f'{np.mean(lost):.4f}',
      f'{max(lost):.3f}',
    ]
  ]


def scores(rows: Sequence[Candidate]) -> str:
  """How good each judge is, by what is asked for."""
  lines, asked = [], choices(rows)
  names = dict.fromkeys(name for one in rows for name in one.judged)
  for task in dict.fromkeys(one.task for one in asked):
    those = [one for one in asked if one.task == task]
    for source, name in itertools.product((_SAME, _OTHER, *names), _MEASURES):
      lost = [one.lost(name, source) for one in those]
      lines += _line([task, source, name], lost)
    lost = [one.lost_by_default() for one in those]
    lines += _line([task, 'all', 'the network'], lost)
  heads = ['asked', 'inputs', 'judged by', 'best taken', 'lost', 'at most']
  return table(heads, lines)


def main() -> None:
  """Prints the table."""
  path = flags.FLAGS.output
  check_call(path)
  rows = load_rows(path, Candidate)
  for text in flags.FLAGS.network:
    for row in candidates(load_network(text), rows):
      rows.append(row)
      print(row, flush=True)
      save_rows(path, rows)
  print('\n' + scores(rows))


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
