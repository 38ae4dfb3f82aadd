"""How much branch and bound decides in a time limit, beside other verifiers.

  python examples/figures/verify_networks.py \
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
`--network` is as in `compare_networks.py`; without it a network is trained on
digits.

`--instances` is a folder with an `instances.csv` as VNN-COMP has it, lines
"model.onnx, property.vnnlib, seconds"; each is read and decided.
"""

from __future__ import annotations

import collections
import csv
import os
from collections.abc import Sequence

import compare_networks
import evaluate_robustness
import numpy as np
from absl import app, flags, logging

from tfmot_paoding import loading, robustness
from tfmot_paoding.command.one_line import in_one_line

_SAMPLES = flags.DEFINE_integer('samples', 30, 'Test samples to look at.')
_SECONDS = flags.DEFINE_float('seconds', 60.0, 'The time for each.')
_MOST = flags.DEFINE_integer(
  'most_subdomains', 1_000_000, 'After how many subdomains one is left open.'
)
_VERIFIERS = flags.DEFINE_list('verifiers', ['bab'], 'Among bab, marabou.')
_INSTANCES = flags.DEFINE_string(
  'instances', None, 'A folder with ONNX and VNN-LIB files to decide instead.'
)


def line(answers: Sequence[robustness.Answer]) -> list[str]:
  """The cells of what one verifier said."""
  counts = collections.Counter(answer.verdict for answer in answers)
  seconds = [answer.seconds for answer in answers]
  split = [answer for answer in answers if answer.subdomains]
  return [
    *(str(counts[verdict]) for verdict in ('robust', 'broken', 'unknown')),
    f'{np.median(seconds):.2g} / {np.mean(seconds):.2g}',
    middle_and_most([answer.subdomains for answer in split]),
    f'{np.mean([answer.unstable for answer in split]):.0f}' if split else '-',
  ]


def middle_and_most(counts: Sequence[int]) -> str:
  """The median, and the largest."""
  return f'{np.median(counts):.0f} / {max(counts)}' if counts else '-'


def settings() -> robustness.BranchSettings:
  """Of branch and bound."""
  return robustness.BranchSettings(most_subdomains=_MOST.value)


def check_agreement(
  first: Sequence[robustness.Answer], second: Sequence[robustness.Answer]
) -> None:
  """Raises where one verifier proves what another breaks.

  Raises:
    AssertionError: they contradict each other.
  """
  for k, (one, other) in enumerate(zip(first, second, strict=True)):
    if {one.verdict, other.verdict} == {'robust', 'broken'}:
      raise AssertionError(f'Sample {k} is {one.verdict} and {other.verdict}.')


def lines(network: compare_networks.Network, epsilon: str) -> list[list[str]]:
  """A row for alpha-CROWN, and one for each verifier."""
  low, high = network.input_range
  radius = float(epsilon) * (high - low)
  some = slice(0, _SAMPLES.value)
  x, y = np.clip(network.x[some], low, high), network.y[some]
  ask = network.model, x, y, radius, network.input_range
  sure = robustness.certified(*ask, 'alpha-crown')
  found = [['alpha-CROWN', str(sure.sum()), *['-'] * 5]]
  before = None
  for verifier in _VERIFIERS.value:
    answers = robustness.verify(
      *ask,
      verifier,
      seconds=_SECONDS.value,
      settings=settings() if verifier == 'bab' else None,
    )
    found.append([verifier, *line(answers)])
    logging.info('%s, %s: %s', network.name, epsilon, found[-1])
    if any(
      answer.verdict == 'broken' and proved
      for answer, proved in zip(answers, sure, strict=True)
    ):
      raise AssertionError(f'{verifier} broke what alpha-CROWN proved.')
    if before is not None:
      check_agreement(before, answers)
    before = answers
  return found


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


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  if _INSTANCES.value:
    heads = ['model', 'property', 'answer', 'seconds', 'subdomains']
    print(compare_networks.table(heads, decide_instances(_INSTANCES.value)))
    return
  heads = ['network', 'epsilon', 'verifier', 'robust', 'broken', 'unknown']
  heads += ['seconds', 'subdomains', 'unstable']
  rows = []
  compare_networks.check_networks(flags.FLAGS.network or ())
  for text in flags.FLAGS.network or [None]:
    network = (
      compare_networks.load_network(text)
      if text
      else evaluate_robustness.digits()
    )
    for epsilon in flags.FLAGS.epsilons:
      for row in lines(network, epsilon):
        rows.append([network.name, epsilon, *row])
  print(compare_networks.table(heads, rows))


if __name__ == '__main__':
  app.run(in_one_line(main))
