"""How robust one or more models are: attacks, and what is proved of them.

  python examples/figures/evaluate_robustness.py \
      --network=a.h5,mnist.npz,.00392156863,0,0,1 \
      --methods=impact,reconstruction --sparsities=.25,.5 --plot=robust.png

Each `--network` is a model file, an .npz with test data, a scale and an offset
that make the model's inputs from it, and the range of these inputs, as
`compare_networks.py` takes it; without one, a small network is trained on the
digits that ship with scikit-learn. With `--methods` each is pruned on the spot,
and every form has its row; nothing that is pruned sees the test data.
`paoding-dl:impact` and the like are modes of that package, which
`paoding_peer.py` says how to install.

For every epsilon (a fraction of the input range): accuracy under FGSM and PGD
on the first `--attacked` test samples; `kept`, how many of the instances that
were robust in the original (FGSM) still are; and the accuracy that is proved
on the first `--certified` of them, by each of `--by`, with seconds a sample.
`unstable` is the share of neurons with a kink inside their CROWN-IBP bounds.
With `--output` the rows are written as JSON after every measurement; called
again with the same file, an interrupted run goes on from there. `--plot` draws
clean, attacked and certified accuracy over epsilon.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import compare_networks
import numpy as np
import panels
from absl import app, flags, logging
from kept_rows import load_rows, save_rows

import tfmot_paoding as paoding
from tfmot_paoding import robustness
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_CERTIFIED = flags.DEFINE_integer('certified', 200, 'Test samples to certify.')
_BY = flags.DEFINE_list('by', ['ibp', 'crown-ibp', 'crown'], 'How to certify.')
_STEPS = flags.DEFINE_integer('pgd_steps', 40, 'Gradient steps of PGD.')
_RESTARTS = flags.DEFINE_integer('pgd_restarts', 2, 'Starts of PGD.')
_PEER = 'paoding-dl:'
# Shared with compare_networks.py, at other defaults.
flags.FLAGS.set_default('methods', [])
flags.FLAGS.set_default('sparsities', ['0.5'])
flags.FLAGS.set_default('attacked', 1000)


@dataclasses.dataclass
class Row:
  """One form of a network at one epsilon.

  Attributes:
    network: The model file's base name.
    form: 'original', or a method and the fraction removed.
    epsilon: As a fraction of the input range.
    clean: Accuracy on the attacked samples.
    fgsm: Accuracy under FGSM.
    pgd: Accuracy under PGD.
    robust: Instances robust under FGSM.
    kept: Of those of the original, how many still are.
    certified: Proved accuracy by method.
    seconds: A sample, by method.
    unstable: The share of neurons with a kink inside their bounds.
  """

  network: str
  form: str
  epsilon: str
  clean: float
  fgsm: float
  pgd: float
  robust: int
  kept: int
  certified: dict[str, float]
  seconds: dict[str, float]
  unstable: float


def digits() -> compare_networks.Network:
  """A network that is trained here, on 8x8 digits."""
  try:
    from sklearn import datasets
  except ImportError:
    raise ImportError(
      'The digits ship with scikit-learn: '
      "pip install 'tfmot_paoding[examples]'; or pass --network."
    ) from None
  x, y = datasets.load_digits(return_X_y=True)
  x = (x / 16).astype(np.float32)
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input((64,)),
      keras.layers.Dense(64, 'relu'),
      keras.layers.Dense(32, 'relu'),
      keras.layers.Dense(10, 'softmax'),
    ]
  )
  model.compile('adam', 'sparse_categorical_crossentropy')
  model.fit(x[:1297], y[:1297], epochs=40, verbose=0)
  return compare_networks.Network(
    'digits', model, x[1297:], y[1297:], (0.0, 1.0)
  )


def forms(
  network: compare_networks.Network, path: str | None
) -> Iterator[tuple[str, Callable[[], keras.Model]]]:
  """The network as it is, and what makes it pruned by each method."""
  yield 'original', lambda: network.model
  for method in flags.FLAGS.methods:
    for sparsity in map(float, flags.FLAGS.sparsities):
      name = f'{method} {sparsity:.0%}'
      yield name, functools.partial(pruned, network, path, method, sparsity)


def pruned(
  network: compare_networks.Network,
  path: str | None,
  method: str,
  sparsity: float,
) -> keras.Model:
  """The network by one method, ours or a mode of paoding-dl.

  Raises:
    ValueError: the peer is asked to prune a network that is in no file.
  """
  if not method.startswith(_PEER):
    one_step = method in compare_networks.RIVALS
    step = 1.0 if one_step else flags.FLAGS.step_sparsity
    return paoding.prune(
      network.model,
      sparsity,
      method=method,
      input_range=network.input_range,
      step_sparsity=step,
      verbose=0,
    )
  import paoding_peer

  if path is None:
    raise ValueError('paoding-dl prunes files: pass --network.')
  mode = method.removeprefix(_PEER)
  return paoding_peer.run(
    path, sparsity, mode, input_range=network.input_range
  ).model


def measure(
  network: compare_networks.Network,
  form: str,
  model: keras.Model,
  epsilon: str,
) -> Row:
  """The row of one form at one epsilon."""
  low, high = network.input_range
  radius = float(epsilon) * (high - low)
  count = flags.FLAGS.attacked
  x, y = np.clip(network.x[:count], low, high), network.y[:count]
  given = (x, y, radius, network.input_range)
  found = robustness.preserved_robustness(network.model, model, *given)
  fgsm = robustness.fgsm(model, *given)
  pgd = robustness.pgd(model, *given, _STEPS.value, _RESTARTS.value)
  broken = ~robustness.answered_right(model, pgd, y)
  some = slice(0, _CERTIFIED.value)
  proved, seconds = {}, {}
  for method in _BY.value:
    began = time.perf_counter()
    sure = robustness.certified(
      model, x[some], y[some], radius, network.input_range, method
    )
    seconds[method] = (time.perf_counter() - began) / len(sure)
    if np.any(sure & broken[some]):
      raise AssertionError(f'{method} certified what PGD broke.')
    proved[method] = float(sure.mean())
  layers = robustness.neuron_stability(
    model, x[some][:32], radius, network.input_range
  )
  neurons = sum(layer.neurons for layer in layers)
  return Row(
    network.name,
    form,
    epsilon,
    found.accuracy_after,
    float(robustness.answered_right(model, fgsm, y).mean()),
    float(1 - broken.mean()),
    found.after,
    found.kept,
    proved,
    seconds,
    sum(layer.unstable for layer in layers) / max(neurons, 1),
  )


def all_rows(known: list[Row]) -> Iterator[Row]:
  """Every row; known ones are not measured again."""
  done = {(row.network, row.form, row.epsilon): row for row in known}
  networks = flags.FLAGS.network or [None]
  for text in networks:
    network = compare_networks.load_network(text) if text else digits()
    path = text.split(',')[0] if text else None
    for form, make in forms(network, path):
      make = functools.cache(make)
      for epsilon in flags.FLAGS.epsilons:
        row = done.get((network.name, form, epsilon))
        yield row or measure(network, form, make(), epsilon)


def table(rows: list[Row]) -> str:
  """All rows as a Markdown table."""
  heads = ['network', 'form', 'epsilon', 'clean', 'FGSM', 'PGD', 'robust']
  heads += ['kept', *_BY.value, *(f'ms {by}' for by in _BY.value), 'unstable']
  return compare_networks.table(heads, [cells(row) for row in rows])


def cells(row: Row) -> list[str]:
  """A row's cells."""
  shown = [row.network, row.form, row.epsilon]
  shown += [f'{v:.3f}' for v in (row.clean, row.fgsm, row.pgd)]
  shown += [str(row.robust), str(row.kept)]
  shown += [
    f'{row.certified[by]:.3f}' if by in row.certified else ''
    for by in _BY.value
  ]
  shown += [
    f'{1000 * row.seconds[by]:.1f}' if by in row.seconds else ''
    for by in _BY.value
  ]
  return [*shown, f'{row.unstable:.2f}']


def summary(rows: list[Row]) -> str:
  """A line a network and method: sparsities side by side, epsilons apart."""
  found = {(row.network, row.form, row.epsilon): row for row in rows}
  radii = list(dict.fromkeys(row.epsilon for row in rows))
  heads = ['network', 'form', 'clean']
  for name in ('FGSM', 'PGD', 'kept', *_BY.value):
    heads += [f'{name} {radius}' for radius in radii]
  lines = []
  for network in dict.fromkeys(row.network for row in rows):
    methods: dict[str, list[str]] = {}
    for row in rows:
      if row.network == network:
        forms_ = methods.setdefault(row.form.split()[0], [])
        forms_ += [row.form] * (row.form not in forms_)
    for method, names in methods.items():
      line = [network, method]
      own = [[found.get((network, n, r)) for n in names] for r in radii]
      if any(row is None for radius in own for row in radius):
        continue
      line.append(' / '.join(_short(row.clean) for row in own[0]))
      for pick in (
        lambda row: _short(row.fgsm),
        lambda row: _short(row.pgd),
        lambda row: str(row.kept),
        *(
          lambda row, by=by: _short(row.certified.get(by, np.nan))
          for by in _BY.value
        ),
      ):
        line += [' / '.join(map(pick, radius)) for radius in own]
      lines.append(line)
  return compare_networks.table(heads, lines)


def _short(value: float) -> str:
  return f'{value:.3f}'.removeprefix('0')


def plot(rows: list[Row], path: str) -> None:
  """Draws accuracy over epsilon, one panel a form.

  Raises:
    ImportError: matplotlib is missing.
  """
  found = []
  for kind in dict.fromkeys((row.network, row.form) for row in rows):
    own = [row for row in rows if (row.network, row.form) == kind]
    own.sort(key=lambda row: float(row.epsilon))
    radii = [float(row.epsilon) for row in own]
    by = _BY.value[-1]
    lines = [
      panels.Line('not attacked', radii, [row.clean for row in own]),
      panels.Line('attacked by PGD', radii, [row.pgd for row in own]),
      panels.Line(
        f'proved by {by}', radii, [row.certified.get(by, np.nan) for row in own]
      ),
    ]
    found.append(panels.Panel(' '.join(kind), lines))
  panels.draw(found, path, 'epsilon')


def main() -> None:
  """Measures, prints, and writes what was asked for."""
  output = flags.FLAGS.output
  check_writable(filter(None, [output, flags.FLAGS.plot]))
  compare_networks.check_networks(flags.FLAGS.network or ())
  if flags.FLAGS.plot:
    panels.load_pyplot()
  rows: list[Row] = []
  for row in all_rows(load_rows(output, Row)):
    rows.append(row)
    logging.info('%s', row)
    save_rows(output, rows)
  print(f'{table(rows)}\n\n{summary(rows)}')
  if flags.FLAGS.plot:
    plot(rows, flags.FLAGS.plot)


if __name__ == '__main__':
  app.run(script(main))
