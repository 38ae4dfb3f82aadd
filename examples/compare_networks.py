"""Compares methods on trained convolutional networks: accuracy and size.

  python examples/compare_networks.py \
      --network=resnet.h5,cifar10.npz,1,0,0,255 \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is a model file, an .npz with test data (x_test and y_test, or
x and y), a scale and an offset that make the model's inputs from it, and the
range of these inputs. In place of the .npz, `batchnorm` stands for an
autoencoder without data: its inputs are drawn so that the first batch
normalization sees just the means and variances that it has stored, and what is
shown is the reconstruction error as a multiple of the original's.

Every figure is measured on data that no method sees, without fine-tuning.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator

import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras, strip_pruning

_NETWORKS = flags.DEFINE_multi_string(
  'network', None, 'Model, data, scale, offset, low and high, with commas.'
)
_SPARSITIES = flags.DEFINE_list(
  'sparsities', ['0.1', '0.25', '0.5'], 'Fractions of units to remove.'
)
_METHODS = flags.DEFINE_list(
  'methods',
  ['l1', 'saliency', 'impact', 'stochastic', 'saliency/global'],
  "Methods to run; '/global' and '/global/macs' choose a scope and a cost.",
)
_STEP = flags.DEFINE_float(
  'step_sparsity', 0.025, 'The fraction removed between two refreshes.'
)


@dataclasses.dataclass(frozen=True)
class Network:
  """A trained model, and what to measure it on.

  Attributes:
    name: The model file's base name.
    model: The model.
    x: Inputs as the model takes them.
    y: Labels; None for an autoencoder.
    input_range: The range of the inputs.
  """

  name: str
  model: keras.Model
  x: np.ndarray
  y: np.ndarray | None
  input_range: tuple[float, float]

  def score(self, model: keras.Model) -> float:
    """Accuracy, or the reconstruction error over the original's."""
    answers = model.predict(self.x, batch_size=256, verbose=0)
    if self.y is not None:
      return float((answers.argmax(-1) == self.y).mean())
    return self.error(answers) / self.error(
      self.model.predict(self.x, batch_size=256, verbose=0)
    )

  def error(self, answers: np.ndarray) -> float:
    """The mean squared error of a reconstruction."""
    return float(np.square(answers - self.x).mean())


@dataclasses.dataclass
class Row:
  """One network pruned one way."""

  network: str
  method: str
  sparsity: float
  score: float
  parameters: int
  macs: int
  bytes: int
  seconds: float = 0.0


def load_network(text: str) -> Network:
  """The network that a flag describes.

  Raises:
    ValueError: the flag has not six parts.
  """
  parts = text.split(',')
  if len(parts) != 6:
    raise ValueError(
      '--network takes a model, data, scale, offset, low and high, separated '
      f'by commas, but got {text!r}.'
    )
  path, data, *numbers = parts
  scale, offset, low, high = map(float, numbers)
  model = paoding.load_model(path)
  name = os.path.splitext(os.path.basename(path))[0]
  if data == 'batchnorm':
    return Network(
      name, model, inputs_like_batch_norm(model), None, (low, high)
    )
  with np.load(data) as file:
    test = 'x_test' in file
    x = file['x_test' if test else 'x'].astype(np.float32) * scale + offset
    y = file['y_test' if test else 'y'].ravel()
  x = x.reshape(-1, *model.input_shape[1:])
  return Network(name, model, x, y, (low, high))


def inputs_like_batch_norm(model: keras.Model, count: int = 1000) -> np.ndarray:
  """Inputs from which the first layer makes its batch norm's statistics.

  The shortest inputs x with x W + b = z, where z is drawn with the stored means
  and variances.
  """
  dense = next(x for x in model.layers if isinstance(x, keras.layers.Dense))
  norm = next(
    x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)
  )
  rng = np.random.default_rng(0)
  mean = norm.moving_mean.numpy()
  deviation = np.sqrt(norm.moving_variance.numpy())
  z = mean + deviation * rng.normal(size=(count, len(mean)))
  kernel, bias = dense.kernel.numpy(), dense.bias.numpy()
  return ((z - bias) @ np.linalg.pinv(kernel)).astype(np.float32)


def measure(
  network: Network,
  method: str,
  sparsity: float,
  model: keras.Model,
  seconds=0.0,
) -> Row:
  """The row of a finished model."""
  return Row(
    network.name,
    method,
    sparsity,
    network.score(model),
    model.count_params(),
    paoding.count_macs(model),
    len(paoding.convert_to_tflite(model, None, network.input_range)),
    seconds,
  )


def pruned(network: Network, setting: str, sparsity: float) -> Row:
  """The row of one method at one sparsity."""
  method, *scope = setting.split('/')
  options = dict(zip(('scope', 'cost'), scope, strict=False))
  began = time.perf_counter()
  wrapped = paoding.prune_low_saliency(
    network.model,
    paoding.ProgressiveSparsity(sparsity, _STEP.value),
    method,
    network.input_range,
    **options,
  )
  paoding.run_schedule(wrapped, verbose=0)
  seconds = time.perf_counter() - began
  small = paoding.compact(strip_pruning(wrapped))
  return measure(network, setting, sparsity, small, seconds)


def all_rows() -> Iterator[Row]:
  """Every row, network after network."""
  for text in _NETWORKS.value:
    network = load_network(text)
    yield measure(network, 'original', 0.0, network.model)
    for method in _METHODS.value:
      for sparsity in map(float, _SPARSITIES.value):
        yield pruned(network, method, sparsity)


def table(heads: list[str], rows: list[list[str]]) -> str:
  """A Markdown table."""
  lines = [heads, ['---'] * len(heads), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def scores(rows: list[Row]) -> str:
  """Scores by network and method, one column a sparsity."""
  sparsities = sorted({row.sparsity for row in rows} - {0.0})
  found = {(row.network, row.method, row.sparsity): row.score for row in rows}
  lines = []
  for network in dict.fromkeys(row.network for row in rows):
    original = found[network, 'original', 0.0]
    for method in _METHODS.value:
      cells = [f'{found[network, method, s]:.3f}' for s in sparsities]
      lines.append([network, f'{original:.3f}', method, *cells])
  heads = ['network', 'original', 'method', *[f'{s:.0%}' for s in sparsities]]
  return table(heads, lines)


def sizes(rows: list[Row]) -> str:
  """Sizes and seconds by network and sparsity, of each scope."""
  lines = []
  seen = set()
  for row in rows:
    scope = '/'.join(row.method.split('/')[1:])
    key = row.network, row.sparsity, scope
    if key in seen:
      continue
    seen.add(key)
    seconds = [
      other.seconds
      for other in rows
      if (other.network, other.sparsity) == (row.network, row.sparsity)
    ]
    lines.append(
      [
        row.network,
        f'{row.sparsity:.0%}',
        scope or 'local',
        str(row.parameters),
        str(row.macs),
        str(row.bytes),
        f'{min(seconds):.1f} to {max(seconds):.1f}' if row.sparsity else '',
      ]
    )
  heads = ['network', 'removed', 'scope', 'parameters', 'MACs', '.tflite bytes']
  return table([*heads, 'seconds'], lines)


def main(argv: list[str]) -> None:
  """Prints both tables."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.ERROR)
  rows = []
  for row in all_rows():
    rows.append(row)
    print(row, flush=True)
  print('\n' + scores(rows) + '\n\n' + sizes(rows))


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(main)
