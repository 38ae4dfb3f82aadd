"""Compares fewer units with thinner layers, and both, at equal parameters.

  python examples/figures/compare_ranks.py --kept=.5,.2 --distilled
  python examples/figures/compare_ranks.py \
      --network=mlp.h5,mnist.npz,.00392156863,0,0,1 --output=rows.json

A `--network` is as `compare_networks.py` takes it; without one, an MLP that is
trained on the digits that ship with scikit-learn. `--kept` are fractions of the
parameters that stay:

* `units`: `prune` by 'reconstruction', the same fraction of every layer, the
  least that leaves no more.
* `ranks`: `factorize` to as many.
* `both`: a half, or three quarters, of those units leave, and `factorize` saves
  the rest; of the two the one whose answers are nearer to the original's on
  drawn inputs that nothing was fitted on.

`--flash` are fractions of the bytes of the original's int8 file, into which
`prune_to_budget` fits the network, by units alone and with `low_rank=True`:
`budget` and `budget, ranks too`, both distilled by themselves.

Nothing but the drawn inputs is used; accuracy is that on the first `--test`
real test inputs, which no method sees, as fitted and, with `--distilled`, after
`distill`. Bytes and the arena (of tflite-micro, if it is installed) are of the
int8 file. With `--output` rows are kept as JSON, and an interrupted run goes on
from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator

import compare_networks
import numpy as np
from absl import app, flags, logging
from kept_rows import load_rows, save_rows

import tfmot_paoding as paoding
from tfmot_paoding import extras
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.network.network import Network

_KEPT = flags.DEFINE_list('kept', ['0.5', '0.3', '0.2', '0.1'], 'See above.')
_FLASH = flags.DEFINE_list('flash', [], 'See above.')
_DISTILLED = flags.DEFINE_bool('distilled', False, 'Whether to distill, too.')
_TEST = flags.DEFINE_integer('test', 10000, 'Test inputs.')

# Of the units that alone would be enough, before ranks save the rest.
_FIRST = (0.5, 0.75)
_JUDGED = 512


@dataclasses.dataclass(frozen=True)
class Row:
  """One network made smaller one way.

  Attributes:
    network: The model file's base name.
    kept: The fraction of parameters that was to stay; of a budget that of the
      bytes.
    form: 'original', 'units', 'ranks' or 'both'; or 'budget', with ranks or
      without.
    parameters: Of the model.
    accuracy: On real test inputs, as fitted; None of a budget.
    distilled: The same after distillation; None where it was not asked for.
    bytes: Of the int8 file of the last of the two.
    arena: What tflite-micro takes to run it; None where it is not installed.
  """

  network: str
  kept: float
  form: str
  parameters: int
  accuracy: float | None
  distilled: float | None
  bytes: int
  arena: int | None


def digits() -> compare_networks.Network:
  """An MLP for scikit-learn's digits."""
  from sklearn import datasets

  x, y = datasets.load_digits(return_X_y=True)
  x = (x / 16).astype(np.float32)
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input((64,)),
      keras.layers.Dense(96, activation='relu'),
      keras.layers.Dense(96, activation='relu'),
      keras.layers.Dense(10),
    ]
  )
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  model.compile('adam', loss)
  model.fit(x[:1300], y[:1300], epochs=40, batch_size=32, verbose=0)
  return compare_networks.Network(
    'digits', model, x[1300:], y[1300:], (0.0, 1.0)
  )


class Comparison:
  """One network in all forms."""

  def __init__(self, network: compare_networks.Network):
    self.network, self.model = network, network.model
    self.found = paoding.inputs.find_inputs(
      self.model, network.input_range, verbose=0
    )
    read = Network.of(self.model)
    samples = self.found.another(read).samples(read, _JUDGED)
    self.nearness = Nearness(read, read.params(), samples)
    self.names = ['/'.join(group.layer) for group in read.groups.groups]

  def quietly(self, function: Callable, *args, **settings) -> keras.Model:
    """A call of the package, without a word on what is lost."""
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      return function(*args, verbose=0, **settings)

  def units(self, sparsity: float, **settings) -> keras.Model:
    """Units gone, and what is left fitted but not distilled."""
    return self.quietly(
      paoding.prune,
      self.model,
      sparsity,
      prior=self.found,
      distillation=False,
      **settings,
    )

  def fraction(self, parameters: float) -> float:
    """The least fraction of every layer's units that leaves so many."""
    low, high = 0, 200
    while high - low > 1:
      middle = (low + high) // 2
      cut = self.units(middle / 200, method='l1', step_sparsity=1.0)
      if cut.count_params() <= parameters:
        high = middle
      else:
        low = middle
    return high / 200

  def ranks(self, model: keras.Model, parameters: float) -> keras.Model | None:
    """Layers made thinner; None where so much cannot be saved."""
    share = 1 - parameters / model.count_params()
    if share <= 0:
      return None
    prior = self.found if model is self.model else None
    settings = {'prior': prior, 'distillation': False}
    if prior is None:
      settings['input_range'] = self.network.input_range
    try:
      return self.quietly(paoding.factorize, model, share, **settings)
    except ValueError as error:
      logging.info('%s', error)
      return None

  def models(self, kept: float) -> Iterator[tuple[str, keras.Model]]:
    """Each form of a size."""
    parameters = kept * self.model.count_params()
    fraction = self.fraction(parameters)
    yield 'units', self.units(fraction)
    thin = self.ranks(self.model, parameters)
    if thin is not None:
      yield 'ranks', thin
    both = [
      small
      for part in _FIRST
      if (small := self.ranks(self.units(part * fraction), parameters))
    ]
    if both:
      yield 'both', min(both, key=self.nearness.gap_of)

  def accuracy(self, model: keras.Model) -> float:
    """On real test inputs."""
    x, y = self.network.x[: _TEST.value], self.network.y[: _TEST.value]
    answers = model.predict(x, batch_size=256, verbose=0).argmax(-1)
    return float((answers == y).mean())

  def budgets(self, kept: float, whole: int) -> Iterator[Row]:
    """What fits into a fraction of a file of so many bytes."""
    budget = paoding.Budget(flash_bytes=int(kept * whole))
    for form, low_rank in (('budget', False), ('budget, ranks too', True)):
      found = self.quietly(
        paoding.prune_to_budget,
        self.model,
        budget,
        prior=self.found,
        low_rank=low_rank,
      )
      arena = None
      if extras.MICRO.is_installed:
        arena = paoding.profile_tflite(found.data, latency=False).arena_bytes
      yield Row(
        self.network.name,
        kept,
        form,
        found.model.count_params(),
        None,
        self.accuracy(found.model),
        found.profile.bytes,
        arena,
      )

  def row(self, kept: float, form: str, model: keras.Model) -> Row:
    """What a form is worth, and takes."""
    accuracy, distilled = self.accuracy(model), None
    if _DISTILLED.value and form != 'original':
      model = self.quietly(
        paoding.training.distill, self.model, model, prior=self.found
      )
      distilled = self.accuracy(model)
    data = paoding.convert_to_tflite(model, 'int8', prior=self.found)
    profile = paoding.profile_tflite(
      data, micro=extras.MICRO.is_installed, latency=False
    )
    return Row(
      self.network.name,
      kept,
      form,
      model.count_params(),
      accuracy,
      distilled,
      profile.bytes,
      profile.arena_bytes,
    )


def cells(row: Row) -> list[str]:
  """A row of the table."""
  return [
    row.network,
    f'{row.kept:.0%}',
    row.form,
    str(row.parameters),
    '' if row.accuracy is None else f'{row.accuracy:.3f}',
    '' if row.distilled is None else f'{row.distilled:.3f}',
    str(row.bytes),
    '' if row.arena is None else str(row.arena),
  ]


_HEADS = [
  'network',
  'kept',
  'form',
  'parameters',
  'as fitted',
  'distilled',
  'int8 bytes',
  'arena',
]


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  output, texts = flags.FLAGS.output, flags.FLAGS.network
  if texts:
    compare_networks.check_networks(texts)
  rows = load_rows(output, Row)
  done = {(row.network, row.kept, 'budget' in row.form) for row in rows}

  def note(*made: Row) -> None:
    rows.extend(made)
    save_rows(output, rows)
    for row in made:
      print(*cells(row), flush=True)

  networks = (
    map(compare_networks.load_network, texts) if texts else iter([digits()])
  )
  with contextlib.suppress(KeyboardInterrupt):  # what there is, is shown
    for network in networks:
      one = Comparison(network)
      if (network.name, 1.0, False) not in done:
        note(one.row(1.0, 'original', network.model))
      for kept in map(float, _KEPT.value):
        if (network.name, kept, False) not in done:
          note(*(one.row(kept, *made) for made in one.models(kept)))
      (whole,) = [
        row.bytes
        for row in rows
        if (row.network, row.form) == (network.name, 'original')
      ]
      for kept in map(float, _FLASH.value):
        if (network.name, kept, True) not in done:
          note(*one.budgets(kept, whole))
  print('\n' + compare_networks.table(_HEADS, [cells(row) for row in rows]))


if __name__ == '__main__':
  app.run(script(main))
