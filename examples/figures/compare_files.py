"""Compares what a network can be converted to: bytes, answers, time, devices.

  python examples/figures/compare_files.py --output=files.json \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is as in compare_networks.py. Every file is made without data
but `int8, real data`, whose ranges come from test inputs: what no data cost, in
accuracy and in time of a processor. `int8, recipe` is the same integers by
ai-edge-quantizer in place of TensorFlow's converter.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator

import compare_networks
import numpy as np
from absl import app, flags, logging
from kept_rows import keep_rows, load_rows

import tfmot_paoding as paoding
from tfmot_paoding import extras
from tfmot_paoding.command.one_line import script
from tfmot_paoding.files import check_writable
from tfmot_paoding.quantization import QUANTIZATIONS
from tfmot_paoding.tflite.recipes import require_recipes

_ITEMS = flags.DEFINE_integer('items', 2000, 'Test items to score on, at most.')
_REPEATS = flags.DEFINE_integer(
  'repeats', 1, 'Conversions to a form, whose median time counts.', 1
)
_RECIPE = 'int8, recipe'
_DATA = 'int8, real data'
_GIVEN = 176  # test inputs that ranges are taken from, as many as are drawn


@dataclasses.dataclass
class Row:
  """One network in one form.

  Attributes:
    network: The model file's base name.
    form: What it was converted to.
    bytes: Of the file.
    score: Accuracy, or an autoencoder's error over the original's.
    operators: How many there are.
    kinds: How many kinds of operator.
    arena: Bytes that tflite-micro takes to run it; None where it does not.
    seconds: Of a processor, all processes together, of one conversion.
  """

  network: str
  form: str
  bytes: int
  score: float
  operators: int
  kinds: int
  arena: int | None
  seconds: float


def key(row: Row) -> tuple[str, str]:
  """What tells a row from others."""
  return row.network, row.form


def processor_seconds() -> float:
  """What this process and those that it started have taken so far."""
  return sum(os.times()[:4])


def score(network: compare_networks.Network, data: bytes) -> float:
  """Accuracy of a file, or an autoencoder's error over the original's."""
  model, x = network.model, network.x[: _ITEMS.value]
  (answers,) = paoding.tflite.run_tflite(
    data, {model.input_names[0]: x}, outputs=model.output_names
  )
  if network.y is not None:
    return float((answers.argmax(-1) == network.y[: _ITEMS.value]).mean())
  before = model.predict(x, batch_size=256, verbose=0)
  error, own = (np.square(y - x).mean() for y in (answers, before))
  return float(error / own)


def row(network: compare_networks.Network, form: str) -> Row:
  """Converts and measures one form."""
  mode, given = form.split(',')[0], {}
  if form == _RECIPE:
    mode = form
  if form == _DATA:
    order = np.random.default_rng(0).permutation(len(network.x))
    # Those that are made up for an autoencoder reach beyond its range.
    x = np.clip(network.x[order[:_GIVEN]], *network.input_range)
    given = {'representative_data': x}
  seconds = []
  for _ in range(_REPEATS.value):
    began = processor_seconds()
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      data = paoding.convert_to_tflite(
        network.model,
        None if mode == 'none' else mode,
        input_range=network.input_range,
        **given,
      )
    seconds.append(processor_seconds() - began)
  profile = paoding.profile_tflite(data, latency=False)
  return Row(
    network.name,
    form,
    profile.bytes,
    score(network, data),
    sum(profile.operators.values()),
    len(profile.operators),
    profile.arena_bytes,
    float(np.median(seconds)),
  )


def table(rows: list[Row]) -> str:
  """All rows as a Markdown table."""
  eight = {one.network: one for one in rows if one.form == 'int8'}
  given = {one.network: one for one in rows if one.form == _DATA}
  heads = ['network', 'form', 'bytes', 'of int8', 'score', 'operators']
  heads += ['arena', 'seconds', 'of real data']
  lines = [
    [
      one.network,
      one.form,
      str(one.bytes),
      f'{one.bytes / eight[one.network].bytes:.0%}',
      f'{one.score:.3f}',
      f'{one.operators} of {one.kinds} kinds',
      'no' if one.arena is None else str(one.arena),
      f'{one.seconds:.1f}',
      f'{one.seconds / given[one.network].seconds:.1f}',
    ]
    for one in rows
  ]
  return compare_networks.table(heads, lines)


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  output = flags.FLAGS.output
  check_writable(filter(None, [output]))
  extras.MICRO.require()
  require_recipes(QUANTIZATIONS['int4'])
  compare_networks.check_networks(flags.FLAGS.network)
  QUANTIZATIONS[_RECIPE] = dataclasses.replace(
    QUANTIZATIONS['int8'], name=_RECIPE, quantizer='', recipe='static'
  )
  forms = ['none', _DATA, 'int8', _RECIPE, 'int4', 'int4_weights', 'int4x8']
  known = {key(one): one for one in load_rows(output, Row)}

  def all_rows() -> Iterator[Row]:
    for text in flags.FLAGS.network:
      network = compare_networks.load_network(text)
      # The first conversion of a process loads what all others find loaded.
      if any((network.name, form) not in known for form in forms):
        row(network, _DATA)
      for form in forms:
        yield known.get((network.name, form)) or row(network, form)

  rows = keep_rows(output, all_rows(), known.values(), key)
  print('\n' + table(rows))


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
