"""Compares ways of spreading a cut over layers, at equal parameters.

  python examples/figures/compare_spreads.py \
      --network=vgg.h5,cifar10.npz,0.00392156863,0,0,1

Each `--network` is given as to `compare_networks.py`. It is pruned with
`scope='global'` to each of `--sparsities`, a fraction of all units, and then by
one fraction of every layer: the largest that leaves at least as many
parameters. Both run on the same inputs, which are made without data; the
accuracy is on test data that nothing else sees, or with `--train` on the first
training images, to choose by. `--plain` leaves out distillation. With
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

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.methods.allocation import Allocation
from tfmot_paoding.methods.named import get_method
from tfmot_paoding.network import network as networks
from tfmot_paoding.pruning.pruned import pruned
from tfmot_paoding.pruning.schedule import FIT_STEP_SPARSITY
from tfmot_paoding.pruning.wrap import Manner

_PLAIN = flags.DEFINE_bool('plain', False, 'Whether to leave out distillation.')
_TRAIN = flags.DEFINE_bool('train', False, 'Whether to score training images.')
_STEP_OF_ALL = flags.DEFINE_float(
  'step', FIT_STEP_SPARSITY, 'The fraction removed between two refreshes.'
)
_COST = flags.DEFINE_string(
  'cost', 'parameters', "What scope='global' weighs errors against."
)
# Bisections of the fraction that leaves as many parameters.
_HALVINGS, _AROUND = 7, 0.05


@dataclasses.dataclass
class Row:
  """One network at one size.

  Attributes:
    network: The model file's base name.
    sparsity: The fraction of all units that went by the global scope.
    distilled: Whether both were taught.
    original: The accuracy before.
    parameters: By scope.
    accuracy: By scope.
    widths: The fraction of units that each layer lost by the global scope.
  """

  network: str
  sparsity: float
  distilled: bool
  original: float
  parameters: dict[str, int]
  accuracy: dict[str, float]
  widths: list[float]


def key(row: Row) -> tuple[str, float, bool]:
  """What tells a row from others."""
  return row.network, row.sparsity, row.distilled


class Spreads:
  """A network pruned in both ways, on inputs that are made once.

  Args:
    given: The network, and what to measure it on.
  """

  def __init__(self, given: Network):
    self._given = given
    self._network = networks.Network.of(given.model)
    source = InputSource.of(self._network, given.input_range)
    self._source = source.settled(self._network)

  def row(self, sparsity: float) -> Row:
    """Both ways at one size."""
    wide = self._pruned(sparsity, Allocation('global', cost=_COST.value))
    count = wide.count_params()
    fraction = self._fraction(count)
    even = self._pruned(fraction, Allocation())
    models = {'uniform': even, 'global': wide}
    return Row(
      self._given.name,
      sparsity,
      not _PLAIN.value,
      self._given.score(self._given.model),
      {name: model.count_params() for name, model in models.items()},
      {name: self._given.score(model) for name, model in models.items()},
      self._lost(wide),
    )

  def _pruned(self, sparsity: float, allocation: Allocation):
    manner = Manner(get_method('reconstruction'), allocation)
    return pruned(
      self._network,
      sparsity,
      manner,
      _STEP_OF_ALL.value,
      not _PLAIN.value,
      self._source,
    ).model

  def _lost(self, small) -> list[float]:
    """What share of its units each layer of weights has lost."""
    found = []
    for group in self._network.groups.groups:
      (name, *_) = group.layer
      sizes = [
        model.get_layer(name).get_weights()[0].shape[-1]
        for model in (self._given.model, small)
      ]
      found.append(round(1 - sizes[1] / sizes[0], 3))
    return found

  def _fraction(self, count: int) -> float:
    """The largest fraction of every layer that leaves so many parameters."""
    # Weights between two layers shrink with both, others with one.
    left = count / self._given.model.count_params()
    low, high = max(0.0, 1 - np.sqrt(left) - _AROUND), 1 - left
    for _ in range(_HALVINGS):
      middle = (low + high) / 2
      small = paoding.prune(
        self._given.model,
        middle,
        method='l1',
        input_range=self._given.input_range,
        step_sparsity=1.0,
        verbose=0,
      )
      if small.count_params() >= count:
        low = middle
      else:
        high = middle
    return low


def all_rows(known: Sequence[Row]) -> Iterator[Row]:
  """Every row; known ones are not measured again."""
  found = {key(row): row for row in known}
  for text in flags.FLAGS.network:
    given = load_network(text)
    if _TRAIN.value:
      given = on_training_images(given, text)
    spreads = None
    for sparsity in map(float, flags.FLAGS.sparsities):
      row = found.get((given.name, sparsity, not _PLAIN.value))
      if row is None:
        spreads = spreads or Spreads(given)
        row = spreads.row(sparsity)
      yield row


def on_training_images(given: Network, text: str) -> Network:
  """The network, to be measured on its first training images.

  Raises:
    ValueError: the data hold none.
  """
  if given.train is None:
    raise ValueError(f'The data of {given.name} hold no x_train.')
  with np.load(text.split(',')[1]) as file:
    labels = file['y_train'].ravel()[: len(given.train)]
  return dataclasses.replace(given, x=given.train, y=labels)


def lines(rows: Sequence[Row]) -> str:
  """The table."""
  heads = [
    'network',
    'original',
    'units removed',
    'distilled',
    'parameters, uniform',
    'parameters, global',
    'accuracy, uniform',
    'accuracy, global',
    'gain',
  ]
  return table(
    heads,
    [
      [
        row.network,
        f'{row.original:.3f}',
        f'{row.sparsity:.0%}',
        'yes' if row.distilled else 'no',
        f'{row.parameters["uniform"]}',
        f'{row.parameters["global"]}',
        f'{row.accuracy["uniform"]:.3f}',
        f'{row.accuracy["global"]:.3f}',
        f'{row.accuracy["global"] - row.accuracy["uniform"]:+.3f}',
      ]
      for row in rows
    ],
  )


def main() -> None:
  """Prints the table."""
  path = flags.FLAGS.output
  check_call(path)
  known = load_rows(path, Row)
  rows = keep_rows(path, all_rows(known), known, key)
  print('\n' + lines(rows))


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
