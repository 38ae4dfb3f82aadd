"""What pruning saves on devices, measured on the files that run there.

  python examples/figures/compare_devices.py --output=devices.json \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is as in compare_networks.py. Every network is pruned without
data, converted to integers throughout without data, and run by LiteRT (on test
data, and timed on one thread beside the unpruned file) and by tflite-micro (its
arena). Then it is pruned to half of its flash, and to half of its arena; with
`--npu`, whose cycles Vela counts, to half of these too. `--plot` draws what is
kept over what each target takes: flash, arena, time here, and the NPU's cycles.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import compare_networks
import panels
from absl import app, flags, logging
from kept_rows import keep_rows, load_rows

import tfmot_paoding as paoding
from tfmot_paoding import extras
from tfmot_paoding.accelerators import NPUS
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_METHOD = flags.DEFINE_enum(
  'method',
  'reconstruction',
  paoding.methods.method_names(),
  'How units are chosen.',
)
_SHARE = flags.DEFINE_float(
  'share', 0.5, 'The share of the original flash or arena that a budget is.'
)
_NPU = flags.DEFINE_enum(
  'npu', None, list(NPUS), 'An NPU to count cycles of; takes the extra [npu].'
)
_SECONDS = flags.DEFINE_float(
  'seconds', 2.0, 'For how long to time each file.', lower_bound=0.0
)


@dataclasses.dataclass
class Row:
  """One network in one form.

  Attributes:
    network: The model file's base name.
    form: What was done to it.
    flash: Bytes of the .tflite.
    arena: Bytes of tflite-micro's arena.
    macs: Multiply-accumulates.
    latency: Over that of the unpruned file.
    float_score: Accuracy of the Keras model, or an autoencoder's error.
    score: The same of the .tflite.
    spread: How a budget's cut was spread over layers.
    seconds: Of pruning and converting.
    cycles: Of --npu; None without one.
    on_cpu: The fraction of operators that it leaves to the CPU.
  """

  network: str
  form: str
  flash: int
  arena: int
  macs: int
  latency: float
  float_score: float
  score: float
  spread: str
  seconds: float
  cycles: int | None = None
  on_cpu: float | None = None


def key(row: Row) -> tuple[str, str]:
  """What tells a row from others."""
  return row.network, row.form


def score(network: compare_networks.Network, data: bytes, model) -> float:
  """Accuracy of a file, or an autoencoder's error over the original's."""
  (answers,) = paoding.tflite.run_tflite(
    data, {model.input_names[0]: network.x}, outputs=model.output_names
  )
  if network.y is not None:
    return float((answers.argmax(-1) == network.y).mean())
  original = network.model.predict(network.x, batch_size=256, verbose=0)
  return network.error(answers) / network.error(original)


def row(
  network: compare_networks.Network,
  form: str,
  model: keras.Model,
  data: bytes,
  reference: bytes,
  seconds: float,
  spread: str = '',
) -> Row:
  """Measures one form."""
  profile = paoding.profile_tflite(
    data, reference, seconds=_SECONDS.value, npu=_NPU.value
  )
  return Row(
    network.name,
    form,
    profile.bytes,
    profile.arena_bytes,
    profile.macs,
    profile.latency_ratio,
    network.score(model),
    score(network, data, model),
    spread,
    seconds,
    profile.npu and profile.npu.cycles,
    profile.npu and profile.npu.cpu_share,
  )


def rows_of(text: str, known: dict) -> Iterator[Row]:
  """All rows of one network; known ones are not measured again."""
  network = compare_networks.load_network(text)

  def converted(model: keras.Model) -> bytes:
    return paoding.convert_to_tflite(
      model, 'int8', input_range=network.input_range
    )

  reference = converted(network.model)
  first = row(network, 'original', network.model, reference, reference, 0.0)
  yield first
  for sparsity in map(float, flags.FLAGS.sparsities):
    form = f'{sparsity:.0%} of units removed'
    if (network.name, form) in known:
      yield known[network.name, form]
      continue
    began = time.perf_counter()
    small = paoding.prune(
      network.model,
      sparsity,
      method=_METHOD.value,
      input_range=network.input_range,
      verbose=0,
    )
    data = converted(small)
    seconds = time.perf_counter() - began
    yield row(network, form, small, data, reference, seconds)
  for name, limit in limits_of(first):
    form = f'{_SHARE.value:.0%} of its {name}'
    if (network.name, form) in known:
      yield known[network.name, form]
      continue
    began = time.perf_counter()
    try:
      fitted = paoding.prune_to_budget(
        network.model,
        budget_of(name, int(limit * _SHARE.value)),
        method=_METHOD.value,
        input_range=network.input_range,
        verbose=0,
      )
    except paoding.pruning.BudgetError as error:
      logging.error('%s, %s: %s', network.name, form, error)
      continue
    seconds = time.perf_counter() - began
    yield row(
      network,
      form,
      fitted.model,
      fitted.data,
      reference,
      seconds,
      fitted.spread,
    )


def limits_of(first: Row) -> list[tuple[str, int]]:
  """What budgets are a share of, by name."""
  found = [('flash', first.flash), ('arena', first.arena)]
  return found + ([('cycles', first.cycles)] if first.cycles else [])


def budget_of(name: str, limit: int) -> paoding.Budget:
  """A budget of one limit."""
  if name == 'cycles':
    return paoding.Budget(npu_cycles=limit, npu=_NPU.value)
  return paoding.Budget(**{f'{name}_bytes': limit})


def table(rows: list[Row]) -> str:
  """All rows as a Markdown table."""
  has_cycles = all(one.cycles is not None for one in rows)
  heads = ['network', 'form', 'flash', 'arena', 'MACs', 'latency']
  lines = [
    [
      one.network,
      f'{one.form} ({one.spread})' if one.spread else one.form,
      str(one.flash),
      str(one.arena),
      str(one.macs),
      f'{one.latency:.2f}',
      f'{one.float_score:.3f}',
      f'{one.score:.3f}',
      f'{one.seconds:.0f}' if one.seconds else '',
      *([str(one.cycles), f'{one.on_cpu:.0%}'] if has_cycles else []),
    ]
    for one in rows
  ]
  heads += ['float32', 'int8', 'seconds']
  heads += ['cycles', 'on the CPU'] if has_cycles else []
  return compare_networks.table(heads, lines)


# What a target takes, by what the picture calls it.
_COSTS = {
  'flash': 'flash',
  'arena (Cortex-M)': 'arena',
  'latency (CPU here)': 'latency',
  'cycles (NPU)': 'cycles',
}


def panel(own: list[Row]) -> panels.Panel:
  """One network: what is kept over what each target takes of the original's."""
  first, lines = own[0], []
  for label, name in _COSTS.items():
    whole = getattr(first, name)
    taken = [getattr(one, name) for one in own]
    # tflite-micro may not run a model, and an NPU was perhaps not asked for.
    if not whole or None in taken:
      continue
    points = sorted(
      (cost / whole, one.score) for cost, one in zip(taken, own, strict=True)
    )
    lines.append(panels.Line(label, *zip(*points, strict=True)))
  # An autoencoder's error begins at that of its int8 file, which is above 1.
  is_error = first.score >= 1
  label = 'error over original' if is_error else 'accuracy of int8'
  return panels.Panel(first.network, lines, label)


def plot(rows: list[Row], path: str) -> None:
  """Draws what is kept over what each target takes, one panel a network.

  Raises:
    ImportError: matplotlib is missing.
  """
  found = [
    panel([row for row in rows if row.network == network])
    for network in dict.fromkeys(row.network for row in rows)
  ]
  panels.draw(found, path, 'of what the original takes', percent=True)


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  output = flags.FLAGS.output
  check_writable(filter(None, [output, flags.FLAGS.plot]))
  if flags.FLAGS.plot:
    panels.load_pyplot()
  extras.MICRO.require()
  if _NPU.value:
    extras.NPU.require()
  compare_networks.check_networks(flags.FLAGS.network)
  known = {
    key(one): one
    for one in load_rows(output, Row)
    # Rows of an earlier run without the NPU are measured again.
    if one.cycles is not None or not _NPU.value
  }
  rows = keep_rows(
    output,
    (one for text in flags.FLAGS.network for one in rows_of(text, known)),
    known.values(),
    key,
  )
  print('\n' + table(rows))
  if flags.FLAGS.plot:
    plot(rows, flags.FLAGS.plot)


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
