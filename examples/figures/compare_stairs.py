"""What widths in multiples keep at equal cycles of an NPU.

  python examples/figures/compare_stairs.py --output=stairs.json \
      --npus=ethos-u55-128,ethos-u85-256 --sparsities=.25,.35,.5 \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is as in compare_networks.py. Every network is pruned by the
same fraction of each layer, to whatever width that comes to; then to multiples
of what the NPU works in, by the least fraction that takes no more cycles (but
for `--slack`), from which layers climb and descend stairs as `prune_to_budget`
lets them, to what is nearest to one fraction. Both are fitted on the same
inputs, which are drawn once from what the model knows, and neither is distilled
unless `--distilled`. Cycles are those that Vela counts for the int8 file, and
so is the accuracy of that file.

  python examples/figures/compare_stairs.py --widths=8,12,16,20,24,28,32

shows the stairs themselves: the cycles of a network of separable convolutions,
like that for keywords, of so many channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import compare_networks
import numpy as np
from absl import app, flags, logging
from compare_devices import score
from kept_rows import keep_rows, load_rows

import tfmot_paoding as paoding
from tfmot_paoding import extras
from tfmot_paoding.accelerators import check_npu
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable
from tfmot_paoding.methods.stairs import group_multiples, units_to_stair
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.pruning.stair_exchange import (
  Exchange,
  Gone,
  exchanged,
  stairs_of,
  unevenness,
)

_NPUS = flags.DEFINE_list('npus', ['ethos-u55-128'], 'Which NPUs.')
_SLACK = flags.DEFINE_float(
  'slack', 0.01, 'By how much cycles may differ that count as equal.'
)
_INPUTS = flags.DEFINE_integer('inputs', 1024, 'Inputs that are fitted on.')
_DISTILLED = flags.DEFINE_bool('distilled', False, 'Whether to distill.')

_WIDTHS = flags.DEFINE_list('widths', [], 'Show cycles by width instead.')

_HALVINGS = 7
_RANGING = 64  # inputs that ranges of integers are taken from
_MOST = 0.95

# Of every layer, or by layer name.
Sparsity = float | dict[str, float]


@dataclasses.dataclass
class Row:
  """One network in one form.

  Attributes:
    network: The model file's base name.
    npu: What cycles are of.
    asked: The fraction that any width was pruned by.
    form: 'original', 'any width' or 'multiples'.
    widths: The units of each group.
    cycles: Of the NPU.
    macs: Multiply-accumulates.
    flash: Bytes of the .tflite.
    score: Accuracy of the .tflite, or an autoencoder's error.
  """

  network: str
  npu: str
  asked: float
  form: str
  widths: list[int]
  cycles: int
  macs: int
  flash: int
  score: float


def key(row: Row) -> tuple[str, str, float, str]:
  """What tells a row from others."""
  return row.network, row.npu, row.asked, row.form


class Bench:
  """One network, the inputs that it is fitted on, and what was pruned."""

  def __init__(self, text: str):
    self.network = compare_networks.load_network(text)
    model, self._range = self.network.model, self.network.input_range
    samples = paoding.inputs.draw_samples(
      model, self._range, _INPUTS.value, verbose=0
    )
    low, high = self._range
    self._x = np.clip(samples[0], low, high).astype(np.float32)
    self._files: dict[tuple[int, ...], bytes] = {}
    self._quick: dict[tuple, int] = {}

  def pruned(
    self, sparsity: Sparsity, multiple_of: str | None, method: str
  ) -> keras.Model:
    """The model at a sparsity, of all layers or by layer name."""
    careful = method == 'reconstruction'
    return paoding.prune(
      self.network.model,
      sparsity,
      method=method,
      input_range=self._range,
      # Otherwise what is left is judged on inputs that take seconds to recall.
      data=self._x,
      step_sparsity=None if careful else 1.0,
      distillation=_DISTILLED.value and careful,
      multiple_of=multiple_of,
      verbose=0,
    )

  def file(self, model: keras.Model) -> bytes:
    """The model in integers."""
    return paoding.convert_to_tflite(
      model,
      'int8',
      input_range=self._range,
      representative_data=self._x[:_RANGING],
    )

  def cycles_at(
    self, sparsity: Sparsity, npu: str, multiple_of: str | None
  ) -> int:
    """What a sparsity costs, by its widths; weights may stream otherwise."""
    small = self.pruned(sparsity, multiple_of, 'l1')
    key = (npu, *widths(small))
    if key not in self._quick:
      self._quick[key] = profile(self.file(small), npu).npu.cycles
    return self._quick[key]

  def least(self, most: float, npu: str) -> float | None:
    """The least fraction at which multiples cost no more.

    None where no fraction does.

    Args:
      most: Cycles.
      npu: What cycles are of.
    """
    low, high = 0.0, _MOST
    if self.cycles_at(high, npu, npu) > most:
      return None
    for _ in range(_HALVINGS):
      middle = (low + high) / 2
      if self.cycles_at(middle, npu, npu) <= most:
        high = middle
      else:
        low = middle
    return high

  def stairs(self, sparsity: float, npu: str) -> Sparsity | None:
    """The multiples that cost no more than any width; None where none do.

    Args:
      sparsity: What any width is pruned by.
      npu: What cycles are of.
    """
    most = self.cycles_at(sparsity, npu, None) * (1 + _SLACK.value)
    least = self.least(most, npu)
    if least is None:
      return None
    groups = find_groups(build_graph(self.network.model)).groups
    names = ['/'.join(group.layer) for group in groups]
    multiples = group_multiples(groups, npu).values()

    def named(gone: Gone) -> Sparsity:
      return dict(zip(names, gone, strict=True))

    start = (
      units_to_stair(group.size, multiple, least) / group.size
      for group, multiple in zip(groups, multiples, strict=True)
    )
    exchange = Exchange(
      [
        stairs_of(group.size, multiple, _MOST)
        for group, multiple in zip(groups, multiples, strict=True)
      ],
      unevenness,
      lambda gone: {'cycles': self.cycles_at(named(gone), npu, npu) / most},
    )
    return named(exchanged(tuple(start), exchange))

  def row(self, sparsity: Sparsity, npu: str, asked: float, form: str) -> Row:
    """One form, measured; models of the same widths are pruned once."""
    multiple_of = npu if form == 'multiples' else None
    model = self.network.model
    if form != 'original':
      model = self.pruned(sparsity, multiple_of, 'l1')
    key = tuple(widths(model))
    if key not in self._files:
      if form != 'original':
        model = self.pruned(sparsity, multiple_of, 'reconstruction')
      self._files[key] = self.file(model)
    data = self._files[key]
    found = profile(data, npu)
    return Row(
      self.network.name,
      npu,
      asked,
      form,
      list(key),
      found.npu.cycles,
      found.macs,
      found.bytes,
      score(self.network, data, model),
    )


def widths(model: keras.Model) -> list[int]:
  """The units of each group."""
  return [group.size for group in find_groups(build_graph(model)).groups]


def profile(data: bytes, npu: str) -> paoding.tflite.TFLiteProfile:
  """What a file costs."""
  return paoding.profile_tflite(data, micro=False, latency=False, npu=npu)


def rows_of(text: str, known: dict) -> Iterator[Row]:
  """All rows of one network; known ones are not measured again."""
  bench, name = None, compare_networks.name_of(text)
  for npu in _NPUS.value:
    for asked in (0.0, *map(float, flags.FLAGS.sparsities)):
      forms = ('any width', 'multiples') if asked else ('original',)
      for form in forms:
        row = known.get((name, npu, asked, form))
        if row is None:
          bench = bench or Bench(text)
          sparsity = asked
          if form == 'multiples':
            sparsity = bench.stairs(asked, npu)
          if sparsity is None:
            logging.error(
              '%s: no multiples are as fast on %s as %s less: left out.',
              name,
              npu,
              asked,
            )
            continue
          row = bench.row(sparsity, npu, asked, form)
        yield row


def table(rows: list[Row]) -> str:
  """All rows as a Markdown table."""
  lines = [
    [
      row.network,
      row.npu,
      f'{row.asked:.0%}' if row.asked else '',
      row.form,
      ' '.join(map(str, row.widths)),
      str(row.cycles),
      str(row.macs),
      str(row.flash),
      f'{row.score:.3f}',
    ]
    for row in rows
  ]
  heads = ['network', 'NPU', 'asked', 'form', 'widths', 'cycles', 'MACs']
  return compare_networks.table([*heads, 'flash', 'int8'], lines)


def separable(width: int) -> keras.Model:
  """A network of separable convolutions of so many channels."""
  layers = keras.layers
  same = {'padding': 'same', 'activation': 'relu'}
  x = inputs = keras.Input((25, 5, 1))
  x = layers.Conv2D(width, (5, 4), **same)(x)
  for _ in range(3):
    x = layers.DepthwiseConv2D(3, **same)(x)
    x = layers.Conv2D(width, 1, activation='relu')(x)
  x = layers.Flatten()(layers.AveragePooling2D((25, 5))(x))
  return keras.Model(inputs, layers.Dense(12)(x))


def by_width() -> str:
  """Cycles by width and NPU, as a Markdown table."""
  keras.utils.set_random_seed(0)
  x = np.random.default_rng(0).random((8, 25, 5, 1)).astype(np.float32)
  lines = []
  for width in map(int, _WIDTHS.value):
    data = paoding.convert_to_tflite(
      separable(width), 'int8', input_range=(0, 1), representative_data=x
    )
    cycles = [profile(data, npu).npu.cycles for npu in _NPUS.value]
    lines.append([str(width), *map(str, cycles)])
  return compare_networks.table(['channels', *_NPUS.value], lines)


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  output = flags.FLAGS.output
  check_writable(filter(None, [output]))
  extras.NPU.require()
  for npu in _NPUS.value:
    check_npu(npu)
  if _WIDTHS.value:
    print(by_width())
    return
  compare_networks.check_networks(flags.FLAGS.network)
  known = {key(row): row for row in load_rows(output, Row)}
  rows = keep_rows(
    output,
    (row for text in flags.FLAGS.network for row in rows_of(text, known)),
    known.values(),
    key,
  )
  print('\n' + table(rows))


if __name__ == '__main__':
  flags.register_multi_flags_validator(
    ['network', 'widths'],
    lambda given: bool(given['network']) != bool(given['widths']),
    message='Give either --network or --widths.',
  )
  app.run(script(main))
