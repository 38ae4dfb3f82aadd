"""Compares methods on trained networks: accuracy, agreement, robustness, size.

  python examples/figures/compare_networks.py \
      --network=resnet.h5,cifar10.npz,1,0,0,255 \
      --network=kws.h5,kws.npz,0.5847029,-48.53034,-124,26

Each `--network` is a model file, an .npz with test data (x_test and y_test, or
x and y), a scale and an offset that make the model's inputs from it, and the
range of these inputs. In place of the .npz, `batchnorm` stands for an
autoencoder without data: its inputs are drawn so that the first batch
normalization sees just the means and variances that it has stored, and what is
shown is the reconstruction error as a multiple of the original's.

Every figure is measured on test data that no method sees; no label and no
training sample is used but by two methods, to see what the lack of data costs:
`ceiling` is `reconstruction` fitted and distilled on real inputs (x_train of
the .npz), `scratch` a network of the same widths, trained anew for `--epochs`
on all of x_train and y_train. Methods that draw at random run once for each of
`--seeds`, and the mean and the standard deviation are shown; these two run
once. Rivals prune in one step, as they were published. With `--output` the rows
are written as JSON after every measurement; called again with the same file, an
interrupted run goes on from there. `--plot` draws accuracy over sparsity, of
the methods of `--plotted`.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
import panels
import tensorflow as tf
from absl import app, flags, logging
from kept_rows import keep_rows, load_rows

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_NETWORKS = flags.DEFINE_multi_string(
  'network', None, 'Model, data, scale, offset, low and high, with commas.'
)
_SPARSITIES = flags.DEFINE_list(
  'sparsities', ['0.1', '0.25', '0.5'], 'Fractions of units to remove.'
)
_METHODS = flags.DEFINE_list(
  'methods',
  ['l1', 'saliency', 'impact', 'stochastic', 'saliency/global'],
  "Methods to run; '/global' and '/global/macs' choose a scope and a cost, "
  "'+plain' leaves out distillation, '+named:x' has the units of a layer x "
  'leave that leave only where it is named.',
)
_SEEDS = flags.DEFINE_integer(
  'seeds', 1, 'Seeds to average over where a method draws at random.'
)
_EPOCHS = flags.DEFINE_integer(
  'epochs', 5, 'How often `scratch` sees the training data.'
)
_ATTACKED = flags.DEFINE_integer(
  'attacked', 0, 'Test inputs to attack with FGSM; 0 for none.'
)
_EPSILONS = flags.DEFINE_list(
  'epsilons', ['0.01', '0.05'], 'FGSM steps, as fractions of the input range.'
)
_OUTPUT = flags.DEFINE_string('output', None, 'Where to write JSON rows.')
_PLOT = flags.DEFINE_string('plot', None, 'Where to draw a .png.')
_PLOTTED = flags.DEFINE_list(
  'plotted', ['ceiling', 'reconstruction', 'l1'], 'Methods that --plot shows.'
)
_STEP = flags.DEFINE_float(
  'step_sparsity',
  None,
  'The fraction removed between two refreshes; as `prune` has it if left out.',
)


# Methods that draw at random, and rivals that are published in one step.
_DRAWING = ('stochastic', 'reconstruction')
RIVALS = ('neuron_merging', 'lbyl', 'folding')
# What stands before the name of a layer in a setting.
_NAMED = 'named:'
# The most inputs that a lesson draws where there are none.
_REAL = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """A trained model, and what to measure it on.

  Attributes:
    name: The model file's base name.
    model: The model.
    x: Inputs as the model takes them.
    y: Labels; None for an autoencoder.
    input_range: The range of the inputs.
    train: Real inputs for the ceiling and `scratch`, if there are any.
    labels: Theirs.
  """

  name: str
  model: keras.Model
  x: np.ndarray
  y: np.ndarray | None
  input_range: tuple[float, float]
  train: np.ndarray | None = None
  labels: np.ndarray | None = None

  def agreement(self, model: keras.Model) -> float:
    """The fraction of test inputs with the original's answer."""
    if self.y is None:
      return float('nan')
    ours, theirs = (
      one.predict(self.x, batch_size=256, verbose=0).argmax(-1)
      for one in (model, self.model)
    )
    return float((ours == theirs).mean())

  def attacked(self, model: keras.Model, epsilon: float) -> float:
    """Accuracy on FGSM examples that are made on the model itself."""
    if self.y is None:
      return float('nan')
    low, high = self.input_range
    x = tf.constant(self.x[: _ATTACKED.value])
    y = self.y[: _ATTACKED.value]
    last = getattr(model.layers[-1], 'activation', None)
    logits = last is not keras.activations.softmax
    with tf.GradientTape() as tape:
      tape.watch(x)
      loss = keras.losses.sparse_categorical_crossentropy(
        y, model(x, training=False), from_logits=logits
      )
    step = epsilon * (high - low) * tf.sign(tape.gradient(loss, x))
    answers = model(tf.clip_by_value(x + step, low, high), training=False)
    return float((answers.numpy().argmax(-1) == y).mean())

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
  """One network pruned one way; figures are means over seeds.

  Attributes:
    network: The model file's base name.
    method: The setting.
    sparsity: The fraction removed.
    score: Accuracy, or an autoencoder's error.
    spread: The standard deviation of the score over seeds.
    agreement: The fraction of test inputs with the original's answer.
    fgsm: Accuracy under attack, by epsilon.
    parameters: Of the compact model.
    macs: Of the compact model.
    bytes: Of its .tflite.
    seconds: Of all the pruning.
  """

  network: str
  method: str
  sparsity: float
  score: float
  spread: float
  agreement: float
  fgsm: dict[str, float]
  parameters: int
  macs: int
  bytes: int
  seconds: float = 0.0


def key(row: Row) -> tuple[str, str, float]:
  """What tells a row from others."""
  return row.network, row.method, row.sparsity


def check_call(*outputs: str | None) -> None:
  """Raises unless a script that compares networks is called as it should be.

  From then on nothing but errors is logged.

  Args:
    *outputs: The files that it writes; None for one that it does not.

  Raises:
    OSError: a file cannot be written, or one of a network does not exist.
    ValueError: a network has not six parts.
  """
  logging.set_verbosity(logging.ERROR)
  check_writable(filter(None, outputs))
  check_networks(flags.FLAGS.network)


def check_networks(texts: Sequence[str]) -> None:
  """Raises for a network that could not be loaded when its turn comes.

  Raises:
    OSError: a file does not exist.
    ValueError: a flag has not six parts.
  """
  for text in texts:
    path, data, _ = parts_of(text)
    for name in (path, data):
      if name != 'batchnorm' and not os.path.exists(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def parts_of(text: str) -> tuple[str, str, list[float]]:
  """A network's model, its data, and scale, offset, low and high.

  Raises:
    ValueError: the flag has not six parts.
  """
  parts = text.split(',')
  try:
    path, data, scale, offset, low, high = parts
    return path, data, [float(part) for part in (scale, offset, low, high)]
  except ValueError:
    raise ValueError(
      '--network takes a model, data, scale, offset, low and high, separated '
      f'by commas, but got {text!r}.'
    ) from None


def name_of(text: str) -> str:
  """The model file's base name of a network.

  Raises:
    ValueError: the flag has not six parts.
  """
  return os.path.splitext(os.path.basename(parts_of(text)[0]))[0]


def load_network(text: str) -> Network:
  """The network that a flag describes.

  Raises:
    ValueError: the flag has not six parts.
  """
  path, data, (scale, offset, low, high) = parts_of(text)
  model = paoding.load_model(path)
  name = name_of(text)
  if data == 'batchnorm':
    return Network(
      name, model, inputs_like_batch_norm(model), None, (low, high)
    )
  shape = (-1, *model.input_shape[1:])
  with np.load(data) as file:
    test = 'x_test' in file
    x = file['x_test' if test else 'x'].astype(np.float32) * scale + offset
    y = file['y_test' if test else 'y'].ravel()
    train = labels = None
    if 'x_train' in file:
      train = file['x_train'].astype(np.float32) * scale + offset
      train = train.reshape(shape)
    if 'y_train' in file:
      labels = file['y_train'].ravel()
  x = x.reshape(shape)
  return Network(name, model, x, y, (low, high), train, labels)


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
  models: list[keras.Model],
  seconds: float = 0.0,
) -> Row:
  """The row of finished models, one a seed."""
  scores = [network.score(model) for model in models]
  fgsm = {
    e: float(np.mean([network.attacked(m, float(e)) for m in models]))
    for e in (_EPSILONS.value if _ATTACKED.value else ())
  }
  return Row(
    network.name,
    method,
    sparsity,
    float(np.mean(scores)),
    float(np.std(scores)),
    float(np.mean([network.agreement(model) for model in models])),
    fgsm,
    models[0].count_params(),
    paoding.report.count_macs(models[0]),
    len(
      paoding.convert_to_tflite(
        models[0], None, input_range=network.input_range
      )
    ),
    seconds,
  )


def from_scratch(network: Network, setting: str, sparsity: float) -> Row:
  """The row of a network of the pruned one's widths, trained anew.

  Raises:
    ValueError: the data hold no training images with labels.
  """
  if network.train is None or network.labels is None:
    raise ValueError(
      f'The data of {network.name} hold no x_train and y_train: leave '
      '"scratch" out.'
    )
  began = time.perf_counter()
  small = network.model
  if sparsity:
    small = paoding.prune(
      small,
      goal_of(setting, sparsity),
      method='l1',
      input_range=network.input_range,
      verbose=0,
    )
  keras.utils.set_random_seed(0)
  model = keras.models.clone_model(small)
  last = getattr(model.layers[-1], 'activation', None)
  model.compile(
    'adam',
    keras.losses.SparseCategoricalCrossentropy(
      from_logits=last is not keras.activations.softmax
    ),
  )
  model.fit(
    network.train,
    network.labels,
    batch_size=128,
    epochs=_EPOCHS.value,
    verbose=0,
  )
  seconds = time.perf_counter() - began
  return measure(network, setting, sparsity, [model], seconds)


def goal_of(setting: str, sparsity: float) -> float | dict[str, float]:
  """What a setting asks of `prune`: more than all, where it names a layer."""
  _, *more = setting.split('+')
  named = [one.removeprefix(_NAMED) for one in more if one.startswith(_NAMED)]
  if not named:
    return sparsity
  return {'*': sparsity, **dict.fromkeys(named, sparsity)}


def pruned(network: Network, setting: str, sparsity: float) -> Row:
  """The row of one method at one sparsity."""
  setting_, *more = setting.split('+')
  method, *scope = setting_.split('/')
  options = dict(zip(('scope', 'cost'), scope, strict=False))
  if 'plain' in more:
    options['distillation'] = False
  goal = goal_of(setting, sparsity)
  if method == 'ceiling':
    if network.train is None:
      raise ValueError(
        f'The data of {network.name} hold no x_train: leave "ceiling" out.'
      )
    method, options['data'] = 'reconstruction', network.train[:_REAL]
  step = 1.0 if method in RIVALS else _STEP.value
  draws = method in _DRAWING and 'data' not in options
  models, seconds = [], 0.0
  for seed in range(_SEEDS.value if draws else 1):
    began = time.perf_counter()
    models.append(
      paoding.prune(
        network.model,
        goal,
        method=method,
        input_range=network.input_range,
        seed=seed,
        step_sparsity=step,
        verbose=0,
        **options,
      )
    )
    seconds += time.perf_counter() - began
  return measure(network, setting, sparsity, models, seconds / len(models))


def all_rows(known: list[Row]) -> Iterator[Row]:
  """Every row, network after network; known ones are not measured again."""
  found = {key(row): row for row in known}
  for text in _NETWORKS.value:
    network = load_network(text)
    yield found.get((network.name, 'original', 0.0)) or measure(
      network, 'original', 0.0, [network.model]
    )
    for method in _METHODS.value:
      for sparsity in map(float, _SPARSITIES.value):
        row = found.get((network.name, method, sparsity))
        if row is None and method.split('+')[0] == 'scratch':
          row = from_scratch(network, method, sparsity)
        yield row or pruned(network, method, sparsity)


def table(heads: list[str], rows: list[list[str]]) -> str:
  """A Markdown table."""
  lines = [heads, ['---'] * len(heads), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def scores(rows: list[Row]) -> str:
  """Scores by network and method, one column a sparsity."""
  sparsities = sorted({row.sparsity for row in rows} - {0.0})
  found = {(row.network, row.method, row.sparsity): row for row in rows}
  lines = []
  for network in dict.fromkeys(row.network for row in rows):
    original = found[network, 'original', 0.0]
    for method in dict.fromkeys(row.method for row in rows):
      own = [found.get((network, method, s)) for s in sparsities]
      if any(own):
        cells = [_cell(row) for row in own]
        lines.append([network, f'{original.score:.3f}', method, *cells])
  heads = ['network', 'original', 'method', *[f'{s:.0%}' for s in sparsities]]
  return table(heads, lines)


def _cell(row: Row | None) -> str:
  if row is None:
    return ''
  return f'{row.score:.3f}' + (f' ±{row.spread:.3f}' if row.spread else '')


def robustness(rows: list[Row]) -> str:
  """Agreement and accuracy under attack, where both are known."""
  lines = [
    [
      row.network,
      f'{row.sparsity:.0%}',
      row.method,
      f'{row.agreement:.3f}',
      *[f'{value:.3f}' for value in row.fgsm.values()],
    ]
    for row in rows
    if row.fgsm
  ]
  heads = ['network', 'removed', 'method', 'agreement']
  return table([*heads, *[f'FGSM {e}' for e in _EPSILONS.value]], lines)


def plotted() -> list[str]:
  """The methods that `--plot` shows.

  Raises:
    ValueError: none of them runs.
  """
  found = [method for method in _PLOTTED.value if method in _METHODS.value]
  if not found:
    raise ValueError(
      f'None of --plotted={",".join(_PLOTTED.value)} is among --methods.'
    )
  return found


def plot(rows: list[Row], path: str) -> None:
  """Draws the score over the sparsity, one panel a network.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there are more methods than can be told apart.
  """
  drawn = plotted()
  found = [
    panel([row for row in rows if row.network == network], drawn)
    for network in dict.fromkeys(row.network for row in rows)
  ]
  panels.draw(found, path, 'units removed from every layer', percent=True)


def panel(own: list[Row], drawn: list[str]) -> panels.Panel:
  """A network's lines, each from the score before pruning."""
  original = next(row for row in own if row.method == 'original')
  lines = []
  for method in drawn:
    points = [original, *(row for row in own if row.method == method)]
    points.sort(key=lambda row: row.sparsity)
    x, y, spread = zip(
      *[(row.sparsity, row.score, row.spread) for row in points], strict=True
    )
    lines.append(panels.Line(method, x, y, spread))
  error = original.agreement != original.agreement  # NaN: an autoencoder
  y_label = 'error over original' if error else 'accuracy'
  return panels.Panel(original.network, lines, y_label)


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


def main() -> None:
  """Prints the tables."""
  check_call(_OUTPUT.value, _PLOT.value)
  if _PLOT.value:
    panels.check_labels(plotted())
  known = load_rows(_OUTPUT.value, Row)
  rows = keep_rows(_OUTPUT.value, all_rows(known), known, key)
  print('\n' + scores(rows) + '\n\n' + sizes(rows))
  if _ATTACKED.value:
    print('\n' + robustness(rows))
  if _PLOT.value:
    plot(rows, _PLOT.value)


if __name__ == '__main__':
  flags.mark_flag_as_required('network')
  app.run(script(main))
