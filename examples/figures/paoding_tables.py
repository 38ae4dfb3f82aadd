"""Repeats the PAODING paper's protocol on MNIST, beside its published medians.

  python examples/figures/paoding_tables.py --data=mnist.npz --seeds=5

A 128-128-64 network, with ReLU and with sigmoid, is trained on the file's
training images (or on Keras's own copy, without `--data`); the method removes
two units of every hidden layer a step until a quarter, a half and three
quarters are gone, without data. Accuracy is that of all test images, robust
instances those of the first `--attacked`: answered right, and still so after
FGSM with epsilon .01 or .05 on the network itself: by `robustness.fgsm`, and in
the paper's own form, which follows the gradient through softmax, vanishing
where the network is sure, steps upwards where it is 0, and clips to [-1, 1].
Medians and ranges over seeds; the network is the same for all.

The published medians are those of the diagrams in the paper's repository (Meng
et al., arXiv 2204.00783; networks #3 and #4): their networks were trained
elsewhere, so that only the fall from a network's own start can be compared.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding import robustness
from tfmot_paoding.command.downloads import downloaded_images
from tfmot_paoding.command.model_files import read_arrays
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras

_DATA = flags.DEFINE_string(
  'data', None, "An .npz in Keras's MNIST layout; None to let Keras fetch it."
)
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Runs of methods that draw.')
_METHODS = flags.DEFINE_list(
  'methods', ['stochastic', 'reconstruction'], 'Methods to run.'
)
_ACTIVATIONS = flags.DEFINE_list(
  'activations', ['relu', 'sigmoid'], 'Networks to train.'
)
_EPOCHS = flags.DEFINE_integer('epochs', 10, 'Epochs of training.')
_ATTACKED = flags.DEFINE_integer('attacked', 1000, 'Test images to attack.')
_WIDTHS = flags.DEFINE_list('widths', ['128', '128', '64'], 'Hidden widths.')
_UNITS = flags.DEFINE_integer('units', 2, 'Units removed of a layer a step.')

_EPSILONS = ('0.01', '0.05')
_SPARSITIES = (0.0, 0.25, 0.5, 0.75)
# Median accuracy, and robust instances of 1000.
_PUBLISHED = {
  'relu': {
    'accuracy': (0.969, 0.949, 0.840, 0.342),
    "paper's FGSM 0.01": (945, 886, 634, 217),
    "paper's FGSM 0.05": (940, 873, 616, 171),
  },
  'sigmoid': {
    'accuracy': (0.969, 0.956, 0.865, 0.505),
    "paper's FGSM 0.01": (878, 861, 657, 309),
    "paper's FGSM 0.05": (322, 272, 174, 111),
  },
}


@dataclasses.dataclass(frozen=True)
class Images:
  """MNIST in [0, 1]."""

  x_train: np.ndarray
  y_train: np.ndarray
  x_test: np.ndarray
  y_test: np.ndarray


def load_images() -> Images:
  """The images of the file, or Keras's.

  Raises:
    OSError: the file cannot be read, or nothing can be downloaded.
    ValueError: the file holds no images.
  """
  names = ('x_train', 'y_train', 'x_test', 'y_test')
  parts = read_arrays(_DATA.value, *names) or downloaded_images('mnist')
  x_train, y_train, x_test, y_test = parts
  scaled = [x.astype(np.float32) / 255 for x in (x_train, x_test)]
  return Images(scaled[0], y_train, scaled[1], y_test)


def trained(activation: str, images: Images) -> keras.Model:
  """The paper's network."""
  keras.utils.set_random_seed(0)
  hidden = [
    keras.layers.Dense(int(width), activation) for width in _WIDTHS.value
  ]
  model = keras.Sequential(
    [
      keras.Input(images.x_train.shape[1:]),
      keras.layers.Flatten(),
      *hidden,
      keras.layers.Dense(10, 'softmax'),
    ]
  )
  model.compile('adam', 'sparse_categorical_crossentropy')
  model.fit(
    images.x_train,
    images.y_train,
    batch_size=128,
    epochs=_EPOCHS.value,
    verbose=2,
  )
  return model


def pruned(
  model: keras.Model, method: str, sparsity: float, seed: int
) -> keras.Model:
  """Some units of every hidden layer a step, until the fraction is gone."""
  schedule = {
    layer.name: paoding.ProgressiveSparsity(
      sparsity, min(_UNITS.value / layer.units, sparsity)
    )
    for layer in model.layers
    if isinstance(layer, keras.layers.Dense) and layer is not model.layers[-1]
  }
  wrapped = paoding.prune_low_saliency(
    model, schedule, method, (0.0, 1.0), seed=seed
  )
  paoding.run_schedule(wrapped, verbose=0)
  return wrapped


def paper_fgsm(
  model: keras.Model,
  x: np.ndarray,
  y: np.ndarray,
  epsilon: float,
  input_range: tuple[float, float],
) -> np.ndarray:
  """FGSM as the paper's repository has it."""
  del input_range
  x = tf.constant(x)
  with tf.GradientTape() as tape:
    tape.watch(x)
    loss = keras.losses.sparse_categorical_crossentropy(y, model(x))
  up = tape.gradient(loss, x) >= 0
  return tf.clip_by_value(x + tf.where(up, epsilon, -epsilon), -1, 1).numpy()


def measured(model: keras.Model, images: Images) -> dict[str, float]:
  """Accuracy, and robust instances by epsilon."""
  right = robustness.answered_right(model, images.x_test, images.y_test)
  found = {'accuracy': float(right.mean())}
  x, y = images.x_test[: _ATTACKED.value], images.y_test[: _ATTACKED.value]
  for epsilon in _EPSILONS:
    for kind, attack in _ATTACKS.items():
      robust = robustness.robust_instances(
        model, x, y, float(epsilon), attack=attack
      )
      found[f'{kind} {epsilon}'] = int(robust.sum())
  return found


_ATTACKS = {'FGSM': robustness.fgsm, "paper's FGSM": paper_fgsm}


def lines(activation: str, images: Images) -> Iterator[list[str]]:
  """The table's lines of one network."""
  model = trained(activation, images)
  start = measured(model, images)
  for method in _METHODS.value:
    columns = [[start]]
    for sparsity in _SPARSITIES[1:]:
      runs = [
        measured(pruned(model, method, sparsity, seed), images)
        for seed in range(_SEEDS.value)
      ]
      logging.info('%s %s %s: %s', activation, method, sparsity, runs)
      columns.append(runs)
    for key in start:
      cells = [shown([run[key] for run in runs]) for runs in columns]
      yield [activation, method, key, *cells]
  published = _PUBLISHED.get(activation, {})
  for key, values in published.items():
    cells = [shown([v]) for v in values]
    yield [activation, 'published', key, *cells]


def shown(values: list[float]) -> str:
  """The median, and the range where values differ."""
  style = '{:.3f}' if isinstance(values[0], float) else '{:.0f}'
  middle = style.format(statistics.median(values))
  if min(values) == max(values):
    return middle
  ends = ' to '.join(style.format(v) for v in (min(values), max(values)))
  return f'{middle} ({ends})'


def main() -> None:
  """Prints the table."""
  images = load_images()
  heads = [
    'network',
    'method',
    'accuracy, or robust instances',
    *(f'{s:.0%}' for s in _SPARSITIES),
  ]
  rows = [heads, ['---'] * len(heads)]
  for activation in _ACTIVATIONS.value:
    rows += lines(activation, images)
  print('\n'.join('| ' + ' | '.join(row) + ' |' for row in rows))


if __name__ == '__main__':
  app.run(script(main))
