"""Trains a small network on digits, prunes it without data, exports it.

The data are the 8 x 8 digits that ship with scikit-learn. Only training and
what is measured see them; no method does.

  python examples/quickstart.py --sparsity=0.5 --output=digits.tflite
"""

from __future__ import annotations

import os
import sys
import time
import typing
import warnings

from absl import app, flags, logging

if typing.TYPE_CHECKING:
  import numpy as np

  from tfmot_paoding.compat import keras

_SPARSITY = flags.DEFINE_float(
  'sparsity',
  0.5,
  'Fraction of units to remove from every hidden layer.',
  lower_bound=0.0,
  upper_bound=0.99,
)
_OUTPUT = flags.DEFINE_string(
  'output', 'digits.tflite', 'Where to write the most accurate pruned model.'
)
_EPOCHS = flags.DEFINE_integer('epochs', 30, 'Epochs of training.')
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of training and pruning.')

_ROW = '{:<15}{:>9}{:>7}{:>9}{:>10}{:>14}{:>8}'


def load_digits() -> tuple[np.ndarray, ...]:
  """Digits scaled to [0, 1], split into training and test halves.

  Raises:
    ImportError: scikit-learn is not installed.
  """
  try:
    from sklearn import datasets, model_selection
  except ImportError as error:
    raise ImportError(
      'The quickstart needs scikit-learn: pip install scikit-learn'
    ) from error
  digits = datasets.load_digits()
  images = (digits.data / 16.0).astype('float32')
  return model_selection.train_test_split(
    images, digits.target, test_size=0.5, random_state=0
  )


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
  """A 64-64-32-10 network, trained for a few seconds."""
  from tfmot_paoding.compat import keras

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


def answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
  """The class that a model gives each image."""
  return model.predict(images, verbose=0).argmax(1)


def hidden_units(model: keras.Model) -> int:
  """Units of all Dense layers but the last, which are the classes."""
  return sum(layer.units for layer in model.layers[:-1])


def compare() -> None:
  """Prints one row a method and writes the most accurate one's .tflite.

  Raises:
    ImportError: scikit-learn is not installed.
    OSError: the file cannot be written.
    ValueError: the sparsity is none.
  """
  import tfmot_paoding as paoding

  paoding.files.check_writable([_OUTPUT.value])
  train_x, test_x, train_y, test_y = load_digits()
  print('Training on digits ...')
  model = train(train_x, train_y)
  original = answers(model, test_x)
  print(f'Removing {_SPARSITY.value:.0%} of the hidden units without data.\n')
  columns = ('accuracy', 'units', 'params', 'tflite B', 'same answers', 's')
  print(_ROW.format('method', *columns))

  def report(name, candidate, seconds):
    data = paoding.convert_to_tflite(candidate)
    given = answers(candidate, test_x)
    score = (given == test_y).mean()
    print(
      _ROW.format(
        name,
        f'{score:.3f}',
        hidden_units(candidate),
        candidate.count_params(),
        len(data),
        f'{(given == original).mean():.3f}',
        f'{seconds:.2f}',
      )
    )
    return score, name, data

  report('original', model, 0.0)
  # The table says for every method how many answers are left.
  warnings.simplefilter('ignore', paoding.pruning.FewAnswersWarning)
  rows = []
  for method in paoding.methods.method_names():
    began = time.perf_counter()
    small = paoding.prune(
      model,
      _SPARSITY.value,
      method=method,
      input_range=(0.0, 1.0),
      seed=_SEED.value,
    )
    rows.append(report(method, small, time.perf_counter() - began))
  _, method, data = max(rows, key=lambda row: row[0])
  paoding.files.write_file(_OUTPUT.value, data)
  print(
    f'\nAccuracy and same answers are of {len(test_x)} test images that no '
    f'method has seen.\nWrote {_OUTPUT.value} ({method}, {len(data)} bytes).'
  )


def main(argv: list[str]) -> int:
  """The program; its exit code."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.ERROR)
  # The package is imported when flags have been read, since it takes seconds,
  # and hides TensorFlow's log where that is asked for.
  os.environ.setdefault('TFMOT_PAODING_QUIET', '1')
  try:
    compare()
  except (ImportError, OSError, ValueError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  app.run(main)
