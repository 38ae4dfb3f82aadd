"""Compares with Sony's Model Compression Toolkit at equal parameters.

  python examples/figures/compare_mct.py --python=mct/bin/python \
      --network=cifar_vgg_bn.h5,cifar10.npz,.00392156863,0,0,1 --kept=.5

MCT has an environment of its own; `mct_peer.py`, which runs there, says how to
make it. A `--network` is as `compare_networks.py` takes it, and `--kept` the
fraction of its parameters that stays, one for all or one a network. MCT prunes
channels by the sensitivity of the answers on `--images` images: `noise`, which
is uniform over the range; `own`, which it makes from what batch normalization
stored; `ours`, which this package draws where nobody says; and `real`, the
first of x_train. It does no more: what follows is training, which takes data.
`reconstruction` runs without data, with one fraction for all layers, as nearly
as whole units go: the least that leaves no more parameters than the smallest of
MCT's. The last row is the same after distillation, without data too.

Accuracy is that of the first `--test` real test inputs, which no method sees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator

import compare_networks
import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.network.network import Network

_PYTHON = flags.DEFINE_string('python', None, "MCT's Python.")
_KEPT = flags.DEFINE_list('kept', ['0.5'], 'Parameters that stay; see above.')
_SOURCES = flags.DEFINE_list(
  'sources', ['noise', 'own', 'ours', 'real'], "MCT's images; see above."
)
_IMAGES = flags.DEFINE_integer('images', 32, 'How many.')
_TEST = flags.DEFINE_integer('test', 10000, 'Test inputs.')
_SIMD = flags.DEFINE_integer(
  'simd', 1, 'Channels that MCT removes together; 32 for its default target.'
)

_PEER = os.path.join(os.path.dirname(__file__), 'mct_peer.py')
# What makes Python read another environment's packages, or Keras another.
_OURS = ('PYTHONPATH', 'PYTHONHOME', 'TF_USE_LEGACY_KERAS')


@dataclasses.dataclass(frozen=True)
class Row:
  """One network made smaller one way.

  Attributes:
    network: The model file's base name.
    form: 'original', or by whom and on what.
    parameters: Of the model.
    accuracy: On real test inputs; None where it was refused.
  """

  network: str
  form: str
  parameters: int
  accuracy: float | None


def row(
  network: compare_networks.Network, form: str, model: keras.Model
) -> Row:
  """The row of a finished model."""
  x, y = network.x[: _TEST.value], network.y[: _TEST.value]
  answers = model.predict(x, batch_size=256, verbose=0).argmax(-1)
  return Row(
    network.name, form, model.count_params(), float((answers == y).mean())
  )


def images_of(
  network: compare_networks.Network, source: str
) -> np.ndarray | None:
  """What MCT is shown; None for images that it makes itself.

  Raises:
    ValueError: the source is none, or there are no real inputs.
  """
  count, (low, high) = _IMAGES.value, network.input_range
  if source == 'own':
    return None
  if source == 'noise':
    rng = np.random.default_rng(0)
    return rng.uniform(low, high, (count, *network.x.shape[1:]))
  if source == 'ours':
    (x,) = paoding.inputs.draw_samples(
      network.model, network.input_range, count, verbose=0
    )
    return x
  if source != 'real' or network.train is None:
    raise ValueError(
      '--sources must be of noise, own, ours and, for data with x_train, real, '
      f'but got {source!r} for {network.name}.'
    )
  return network.train[:count]


def pruned_by_mct(
  network: compare_networks.Network, source: str, kept: float
) -> keras.Model | None:
  """The network by MCT; None where it refuses it."""
  images = images_of(network, source)
  with tempfile.TemporaryDirectory() as folder:
    paths = {
      name: os.path.join(folder, name)
      for name in ('model.h5', 'images.npz', 'pruned.h5')
    }
    network.model.save(paths['model.h5'])
    command = [
      _PYTHON.value,
      _PEER,
      f'--model={paths["model.h5"]}',
      f'--output={paths["pruned.h5"]}',
      f'--kept={kept}',
      f'--simd={_SIMD.value}',
      f'--count={_IMAGES.value}',
    ]
    if images is not None:
      np.savez(paths['images.npz'], x=images.astype(np.float32))
      command.append(f'--images={paths["images.npz"]}')
    own = {k: v for k, v in os.environ.items() if k not in _OURS}
    done = subprocess.run(
      command, env=own, capture_output=True, text=True, check=False
    )
    if done.returncode:
      why = done.stderr.strip().splitlines()[-1:]
      logging.error('MCT on %s, %s: %s', network.name, source, *why)
      return None
    return keras.models.load_model(paths['pruned.h5'], compile=False)


def fractions_for(
  network: compare_networks.Network, parameters: int
) -> dict[str, float]:
  """The least fraction for every layer that leaves no more parameters.

  Units are few, and several layers may lose their next one at the same
  fraction: layer after layer stays below it as long as that leaves no more. How
  many units leave does not depend on the method: it is found by the quickest.
  """
  groups = Network.of(network.model).groups.groups
  names = ['/'.join(group.layer) for group in groups]

  def fits(fractions: dict[str, float]) -> bool:
    small = _pruned(network, fractions, method='l1', step_sparsity=1.0)
    return small.count_params() <= parameters

  low, high = 0, 1000
  while high - low > 1:
    middle = (low + high) // 2
    if fits(dict.fromkeys(names, middle / 1000)):
      high = middle
    else:
      low = middle
  found = dict.fromkeys(names, high / 1000)
  for name in names:
    trial = {**found, name: low / 1000}
    if fits(trial):
      found = trial
  return found


def _pruned(
  network: compare_networks.Network,
  sparsity: dict[str, float],
  **options: object,
) -> keras.Model:
  """The network by this package, without a word on what is lost."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', paoding.pruning.FewAnswersWarning)
    return paoding.prune(
      network.model,
      sparsity,
      input_range=network.input_range,
      verbose=0,
      **options,
    )


def rows_of(network: compare_networks.Network, kept: float) -> Iterator[Row]:
  """All rows of a network."""
  yield row(network, 'original', network.model)
  sizes = [int(kept * network.model.count_params())]
  for source in _SOURCES.value:
    if source == 'own' and not Network.of(network.model).has_statistics:
      continue  # there is nothing to make images from
    model = pruned_by_mct(network, source, kept)
    form = f'MCT, {source}'
    if model is None:
      yield Row(network.name, form, 0, None)
      continue
    found = row(network, form, model)
    sizes.append(found.parameters)
    yield found
  fractions = fractions_for(network, min(sizes))
  plain = _pruned(network, fractions, distillation=False)
  yield row(network, 'reconstruction, not distilled', plain)
  taught = paoding.training.distill(
    network.model, plain, input_range=network.input_range, verbose=0
  )
  yield row(network, 'reconstruction, distilled', taught)


def cells(found: Row) -> list[str]:
  """A row of the table."""
  if found.accuracy is None:
    return [found.network, found.form, '', 'refused']
  return [
    found.network,
    found.form,
    str(found.parameters),
    f'{found.accuracy:.3f}',
  ]


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  texts, kept = flags.FLAGS.network, [float(one) for one in _KEPT.value]
  if len(kept) not in (1, len(texts)):
    raise ValueError(
      f'--kept takes one fraction, or one for each of {len(texts)} networks, '
      f'but got {len(kept)}.'
    )
  compare_networks.check_networks(texts)
  lines = []
  with contextlib.suppress(KeyboardInterrupt):  # what there is, is shown
    for text, fraction in zip(texts, kept * len(texts), strict=False):
      for found in rows_of(compare_networks.load_network(text), fraction):
        print(found, flush=True)
        lines.append(cells(found))
  heads = ['network', 'form', 'parameters', 'accuracy']
  print('\n' + compare_networks.table(heads, lines))


if __name__ == '__main__':
  flags.mark_flags_as_required(['network', 'python'])
  app.run(script(main))
