"""How much branch and bound decides in a time limit, beside other verifiers.

  python examples/figures/verify_networks.py --output=rows.json \
      --network=a.h5,mnist.npz,.00392156862,0,0,1 --epsilons=.01,.02 \
      --samples=30 --seconds=60 --verifiers=bab,marabou
  python examples/figures/verify_networks.py --instances=benchmark

For every network, epsilon and verifier, over the first `--samples` test
samples: how many are proved robust, broken by an example, and left open in
`--seconds` each (or, by branch and bound, after `--most_subdomains`, which is
the same on any machine), and the median and mean time; of branch and bound how
many subdomains it took (the median and the most, of those that an attack did
not break), and how many neurons are unstable. Beside them what alpha-CROWN
proves without splits. Two verifiers that contradict each other are an error.
Interrupted, it goes on from --output, a row a sample.
`--network` is as in `compare_networks.py`; without it a network is trained on
digits.

`--instances` is a folder with an `instances.csv` as VNN-COMP has it, lines
"model.onnx, property.vnnlib, seconds"; each is read and decided.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence

import compare_networks
import evaluate_robustness
import numpy as np
from absl import app, flags
from kept_rows import keep_rows, load_rows

from tfmot_paoding import loading, robustness
from tfmot_paoding.command.one_line import script
from tfmot_paoding.files import check_writable

_SAMPLES = flags.DEFINE_integer('samples', 30, 'Test samples to look at.')
_SECONDS = flags.DEFINE_float('seconds', 60.0, 'The time for each.')
_MOST = flags.DEFINE_integer(
  'most_subdomains', 1_000_000, 'After how many subdomains one is left open.'
)
_VERIFIERS = flags.DEFINE_list('verifiers', ['bab'], 'Among bab, marabou.')
_INSTANCES = flags.DEFINE_string(
  'instances', None, 'A folder with ONNX and VNN-LIB files to decide instead.'
)

_OF_SAMPLES = (
  'network',
  'output',
  'epsilons',
  'samples',
  'seconds',
  'verifiers',
)
_BOUNDS = 'alpha-CROWN'
_TOGETHER = 10  # samples: what an interrupt loses at most


@dataclasses.dataclass
class Row:
  """What one verifier says of one sample.

  Attributes:
    network: The model file's base name.
    epsilon: The balls' radius, as it was given.
    verifier: 'alpha-CROWN', which splits nothing, or one of --verifiers.
    limits: How long it may take, and how many subdomains.
    sample: Which of the test samples.
    verdict: 'robust', 'broken' or 'unknown'.
    seconds: What it took; None where that is not told.
    subdomains: How many it worked on, likewise.
    unstable: How many neurons the ball leaves open, likewise.
  """

  network: str
  epsilon: str
  verifier: str
  limits: list[float]
  sample: int
  verdict: str
  seconds: float | None = None
  subdomains: int | None = None
  unstable: int | None = None


def key(row: Row) -> tuple:
  """What tells a row from others."""
  asked = row.network, row.epsilon, row.verifier
  return *asked, *row.limits, row.sample


def all_rows(known: Sequence[Row]) -> Iterator[Row]:
  """Every row; known ones are not decided again."""
  found = {key(row): row for row in known}
  for text in flags.FLAGS.network or [None]:
    network = (
      compare_networks.load_network(text)
      if text
      else evaluate_robustness.digits()
    )
    for epsilon in flags.FLAGS.epsilons:
      for verifier in (_BOUNDS, *_VERIFIERS.value):
        yield from rows_of(network, epsilon, verifier, found)


def rows_of(
  network: compare_networks.Network,
  epsilon: str,
  verifier: str,
  known: Mapping[tuple, Row],
) -> Iterator[Row]:
  """A row a sample, of one verifier, a few decided at a time."""
  for numbers in in_parts(min(_SAMPLES.value, len(network.x))):
    blank = [
      Row(network.name, epsilon, verifier, limits(verifier), number, '')
      for number in numbers
    ]
    rows = [known.get(key(row)) for row in blank]
    yield from rows if all(rows) else decided(network, blank)


def in_parts(count: int) -> Iterator[range]:
  """Numbers of samples that are decided together."""
  for start in range(0, count, _TOGETHER):
    yield range(start, min(start + _TOGETHER, count))


def limits(verifier: str) -> list[float]:
  """Seconds and subdomains that a verifier may take."""
  if verifier == _BOUNDS:
    return []
  most = [_MOST.value] if verifier == 'bab' else []
  return [_SECONDS.value, *most]


def decided(
  network: compare_networks.Network, blank: Sequence[Row]
) -> list[Row]:
  """Rows with their verdicts."""
  low, high = network.input_range
  radius = float(blank[0].epsilon) * (high - low)
  which = [row.sample for row in blank]
  x, y = np.clip(network.x[which], low, high), network.y[which]
  ask = network.model, x, y, radius, network.input_range
  verifier = blank[0].verifier
  if verifier == _BOUNDS:
    proved = robustness.certified(*ask, 'alpha-crown')
    return [
      dataclasses.replace(row, verdict='robust' if sure else 'unknown')
      for row, sure in zip(blank, proved, strict=True)
    ]
  with warnings.catch_warnings():
    # What an interrupt leaves unknown is no row.
    warnings.filterwarnings('error', 'Interrupted')
    answers = robustness.verify(
      *ask,
      verifier,
      seconds=_SECONDS.value,
      settings=settings() if verifier == 'bab' else None,
    )
  return [
    dataclasses.replace(
      row,
      verdict=answer.verdict,
      seconds=answer.seconds,
      subdomains=answer.subdomains,
      unstable=answer.unstable,
    )
    for row, answer in zip(blank, answers, strict=True)
  ]


def settings() -> robustness.BranchSettings:
  """Of branch and bound."""
  return robustness.BranchSettings(most_subdomains=_MOST.value)


def lines(rows: Sequence[Row]) -> list[list[str]]:
  """The cells of the table: a line a network, epsilon and verifier.

  Raises:
    AssertionError: two verifiers contradict each other.
  """
  check_agreement(rows)
  found = collections.defaultdict(list)
  for row in rows:
    found[row.network, row.epsilon, row.verifier].append(row)
  return [[*names, *cells(own)] for names, own in found.items()]


def cells(rows: Sequence[Row]) -> list[str]:
  """What one verifier said of all samples."""
  counts = collections.Counter(row.verdict for row in rows)
  seconds = [row.seconds for row in rows if row.seconds is not None]
  if not seconds:
    return [str(counts['robust']), *['-'] * 5]
  split = [row for row in rows if row.subdomains]
  return [
    *(str(counts[verdict]) for verdict in ('robust', 'broken', 'unknown')),
    f'{np.median(seconds):.2g} / {np.mean(seconds):.2g}',
    middle_and_most([row.subdomains for row in split]),
    f'{np.mean([row.unstable for row in split]):.0f}' if split else '-',
  ]


def middle_and_most(counts: Sequence[int]) -> str:
  """The median, and the largest."""
  return f'{np.median(counts):.0f} / {max(counts)}' if counts else '-'


def check_agreement(rows: Sequence[Row]) -> None:
  """Raises where one verifier proves what another breaks.

  Raises:
    AssertionError: they contradict each other.
  """
  verdicts = collections.defaultdict(set)
  for row in rows:
    verdicts[row.network, row.epsilon, row.sample].add(row.verdict)
  for (network, epsilon, sample), said in verdicts.items():
    if {'robust', 'broken'} <= said:
      raise AssertionError(
        f'{network}, epsilon {epsilon}: sample {sample} is proved robust and '
        'broken.'
      )


def decide_instances(folder: str) -> list[list[str]]:
  """A row for each line of `instances.csv`."""
  models, rows = {}, []
  path = os.path.join(folder, 'instances.csv')
  with open(path, newline='', encoding='utf-8') as file:
    asked = [row for row in csv.reader(file) if row]
  for number, row in enumerate(asked, 1):
    if len(row) != 3:
      raise ValueError(
        f'{path!r}, line {number}: expected "model, property, seconds", but '
        f'got {row}.'
      )
    model, property, seconds = (part.strip() for part in row)
    if model not in models:
      models[model] = loading.read_onnx(os.path.join(folder, model))
    answer = robustness.verify_property(
      models[model],
      robustness.read_property(os.path.join(folder, property)),
      seconds=float(seconds),
      settings=settings(),
    )
    rows.append(
      [
        model,
        property,
        {'robust': 'unsat', 'broken': 'sat'}.get(answer.verdict, 'unknown'),
        f'{answer.seconds:.2g}',
        str(answer.subdomains),
      ]
    )
  return rows


def check_used() -> None:
  """Raises for a flag that --instances leaves without effect.

  Raises:
    UsageError: there is one.
  """
  idle = [f'--{name}' for name in _OF_SAMPLES if flags.FLAGS[name].present]
  if idle:
    raise app.UsageError(
      f'{", ".join(idle)} without effect: --instances says what is decided, '
      'and for how long.'
    )


def main() -> None:
  """Prints the table."""
  if _INSTANCES.value:
    check_used()
    heads = ['model', 'property', 'answer', 'seconds', 'subdomains']
    print(compare_networks.table(heads, decide_instances(_INSTANCES.value)))
    return
  output = flags.FLAGS.output
  check_writable(filter(None, [output]))
  compare_networks.check_networks(flags.FLAGS.network or ())
  known = load_rows(output, Row)
  rows = keep_rows(output, all_rows(known), known, key)
  heads = ['network', 'epsilon', 'verifier', 'robust', 'broken', 'unknown']
  heads += ['seconds', 'subdomains', 'unstable']
  print('\n' + compare_networks.table(heads, lines(rows)))


if __name__ == '__main__':
  app.run(script(main))
