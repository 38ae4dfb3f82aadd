"""Trains a small network on digits, prunes it without data, exports it.

The data are the 8 x 8 digits that ship with scikit-learn. Only training and
the accuracy column see them; no method does.

  python examples/quickstart.py --sparsity=0.5 --output=digits.tflite
"""

from __future__ import annotations

import time

import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_SPARSITY = flags.DEFINE_float(
  'sparsity', 0.5, 'Fraction of units to remove from every hidden layer.'
)
_OUTPUT = flags.DEFINE_string(
  'output', 'digits.tflite', 'Where to write the most accurate pruned model.'
)
_EPOCHS = flags.DEFINE_integer('epochs', 30, 'Epochs of training.')
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of training and pruning.')

_ROW = '{:<12}{:>9}{:>7}{:>9}{:>10}{:>14}{:>9}'


def load_digits() -> tuple[np.ndarray, ...]:
  """Digits scaled to [0, 1], split into training and test halves."""
  try:
    from sklearn import datasets, model_selection
  except ImportError as error:
    raise ImportError(
      "The quickstart needs scikit-learn: pip install -e '.[examples]'"
    ) from error
  digits = datasets.load_digits()
  images = (digits.data / 16.0).astype(np.float32)
  return model_selection.train_test_split(
    images, digits.target, test_size=0.5, random_state=0
  )


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
  """A 64-64-32-10 network, trained for a few seconds."""
  keras.utils.set_random_seed(_SEED.value)
  model = keras.Sequential(
    [
      keras.layers.Dense(64, activation='relu', input_shape=(64,)),
      keras.layers.Dense(32, activation='relu'),
      keras.layers.Dense(10),
    ]
  )
  model.compile(
    'adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  )
  model.fit(images, labels, epochs=_EPOCHS.value, batch_size=32, verbose=0)
  return model


def accuracy(
  model: keras.Model, images: np.ndarray, labels: np.ndarray
) -> float:
  """Fraction of images classified right."""
  answers = model.predict(images, verbose=0).argmax(1)
  return float((answers == labels).mean())


def hidden_units(model: keras.Model) -> int:
  """Units of all Dense layers but the last."""
  layers = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
  return sum(layer.units for layer in layers[:-1])


def main(argv: list[str]) -> None:
  """Prints one row a method and writes the most accurate one's .tflite."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.ERROR)
  check_writable([_OUTPUT.value])
  train_x, test_x, train_y, test_y = load_digits()
  print('Training on digits ...')
  model = train(train_x, train_y)
  columns = ('accuracy', 'units', 'params', 'tflite B', 'output bound', 's')
  print(f'Removing {_SPARSITY.value:.0%} of the hidden units without data.\n')
  print(_ROW.format('method', *columns))

  def report(name, candidate, bound, seconds):
    data = paoding.convert_to_tflite(candidate)
    score = accuracy(candidate, test_x, test_y)
    print(
      _ROW.format(
        name,
        f'{score:.3f}',
        hidden_units(candidate),
        candidate.count_params(),
        len(data),
        f'{bound:.1f}',
        f'{seconds:.2f}',
      )
    )
    return score, data

  report('original', model, 0.0, 0.0)
  best = None
  for method in paoding.methods.method_names():
    began = time.perf_counter()
    small = paoding.prune(
      model, _SPARSITY.value, method=method, seed=_SEED.value, verbose=0
    )
    seconds = time.perf_counter() - began
    bound = float(np.max(paoding.deviation_bound(model, small)))
    score, data = report(method, small, bound, seconds)
    if best is None or score > best[0]:
      best = score, method, data
  paoding.files.write_file(_OUTPUT.value, best[2])
  print(f'\nWrote {_OUTPUT.value} ({best[1]}, {len(best[2])} bytes).')


if __name__ == '__main__':
  app.run(main)
