"""Compares what a verdict says without data with what real inputs say.

  python examples/figures/compare_verdicts.py \
      --network=cnn.h5,mnist.npz,0.00392156863,0,0,1

Each `--network` is given as to `compare_networks.py`. It is pruned by the
default method to each of `--sparsities`. `kept` is the share of test inputs,
which nothing else sees, that have the same answer as before; `verdict` what is
said of it without data, and `learned on` the same share of new inputs of the
kind that was fitted and taught on, by which alone none should go. With
`--output` the rows are written as JSON after every measurement; called again
with the same file, an interrupted run goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags
from compare_networks import Network, check_call, load_network, table
from kept_rows import keep_rows, load_rows

from tfmot_paoding.command.one_line import script
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.named import get_method
from tfmot_paoding.network import network as networks
from tfmot_paoding.network.agreement import judge
from tfmot_paoding.pruning.pruned import pruned
from tfmot_paoding.pruning.schedule import FIT_STEP_SPARSITY
from tfmot_paoding.pruning.wrap import Manner

_COUNT = 256  # as a verdict looks at, at most


@dataclasses.dataclass
class Row:
  """One network at one sparsity.

  Attributes:
    network: The model file's base name.
    sparsity: The fraction of every layer's units that went.
    before: The accuracy of the original.
    after: That of what is left.
    kept: The share of test inputs with the same answer.
    verdict: What was said of it without data.
    inputs: On whose inputs, in words.
    learned_on: The share on inputs of the kind that was learned on.
  """

  network: str
  sparsity: float
  before: float
  after: float
  kept: float
  verdict: float
  inputs: str
  learned_on: float


def key(row: Row) -> tuple[str, float]:
  """What tells a row from others."""
  return row.network, row.sparsity


def measured(given: Network, sparsity: float) -> Row:
  """A network pruned, and what is said of it."""
  network = networks.Network.of(given.model)
  source = InputSource.of(network, given.input_range)
  manner = Manner(get_method('reconstruction'), Allocation())
  found = pruned(network, sparsity, manner, FIT_STEP_SPARSITY, True, source)
  verdict = found.verdict()
  own = found.drawn.anew(network, _COUNT)
  return Row(
    given.name,
    sparsity,
    given.score(given.model),
    given.score(found.model),
    judge(network, found.model, [given.x]).agreement,
    verdict.kept,
    verdict.inputs,
    judge(network, found.model, own).kept,
  )


def all_rows(known: Sequence[Row]) -> Iterator[Row]:
  """Every row; known ones are not measured again."""
  found = {key(row): row for row in known}
  for text in flags.FLAGS.network:
    given = load_network(text)
    for sparsity in map(float, flags.FLAGS.sparsities):
      row = found.get((given.name, sparsity))
      yield measured(given, sparsity) if row is None else row


def lines(rows: Sequence[Row]) -> str:
  """The table."""
  heads = [
    'network',
    'units removed',
    'accuracy before',
    'accuracy after',
    'kept',
    'verdict',
    'on',
    'learned on',
  ]
  return table(
    heads,
    [
      [
        row.network,
        f'{row.sparsity:.0%}',
        f'{row.before:.3f}',
        f'{row.after:.3f}',
        f'{row.kept:.3f}',
        f'{row.verdict:.3f}',
        row.inputs,
        f'{row.learned_on:.3f}',
      ]
      for row in rows
    ],
  )


def summary(rows: Sequence[Row]) -> str:
  """How far either is from real inputs on average, and at most above them."""
  kept = np.array([row.kept for row in rows])
  found = []
  for name in ('verdict', 'learned_on'):
    gap = np.array([getattr(row, name) for row in rows]) - kept
    found.append(
      f'{name.replace("_", " ")}: off by {np.abs(gap).mean():.3f} on average, '
      f'at most {gap.max():.3f} too high'
    )
  return '\n'.join(found)


def main() -> None:
  """Prints the table."""
  path = flags.FLAGS.output
  check_call(path)
  known = load_rows(path, Row)
  rows = keep_rows(path, all_rows(known), known, key)
  print('\n' + lines(rows) + '\n')
  print(summary(rows))


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
