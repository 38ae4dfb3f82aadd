"""Trains a recurrent keyword spotter, for tables of what pruning leaves of it.

Two LSTMs read the frames of a word one by one. There are few recorded words, so
every other one is shown again and again, shifted in time, louder and softer and
noisier each time, with what a trained convolutional network answers to it; the
rest are for testing.

Example:
  python train_keywords.py --data=kws.npz --teacher=kws.h5 \
      --scale=0.5847029 --offset=-48.53034 --output=keywords_lstm
"""

from __future__ import annotations

import io

import numpy as np
from absl import app, flags

import tfmot_paoding as paoding
from tfmot_paoding.command.model_files import saved_bytes
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable, write_files

_DATA = flags.DEFINE_string('data', None, 'An .npz of x and y.', required=True)
_TEACHER = flags.DEFINE_string(
  'teacher', None, 'A trained model of the same inputs.', required=True
)
_SCALE = flags.DEFINE_float('scale', 1.0, 'What x is multiplied by.')
_OFFSET = flags.DEFINE_float('offset', 0.0, 'What is added to it then.')
_UNITS = flags.DEFINE_list('units', ['96', '64'], 'Of the LSTMs, in order.')
_EPOCHS = flags.DEFINE_integer('epochs', 150, 'How often each word is heard.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of weights and of what is changed.')
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Where to write the model (.h5) and the data (.npz).',
  required=True,
)  # fmt: skip

_SHIFT = 6  # frames
_NOISE = 0.15  # of each coefficient's deviation


def spotter(frames: int, coefficients: int, answers: int) -> keras.Model:
  """LSTMs one behind the other, and logits of the last step."""
  x = inputs = keras.Input((frames, coefficients))
  for k, units in enumerate(map(int, _UNITS.value)):
    more = k + 1 < len(_UNITS.value)
    x = keras.layers.LSTM(units, return_sequences=more)(x)
  return keras.Model(inputs, keras.layers.Dense(answers)(x))


def heard(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The words as they might have been recorded at another time.

  Args:
    x: Shape (words, frames, coefficients, 1).
    rng: What changes.
  """
  found = np.empty_like(x)
  for k, shift in enumerate(rng.integers(-_SHIFT, _SHIFT + 1, len(x))):
    rows = np.clip(np.arange(x.shape[1]) - shift, 0, x.shape[1] - 1)
    found[k] = x[k, rows]
  deviation = x.std((0, 1), keepdims=True)
  # The first coefficient is the loudness.
  found[:, :, 0] += rng.normal(0, 0.3, (len(x), 1, 1)) * deviation[:, :, 0]
  found += rng.normal(0, _NOISE, x.shape) * deviation
  return found.astype(np.float32)


def lesson(
  x: np.ndarray, y: np.ndarray, teacher: keras.Model
) -> tuple[np.ndarray, np.ndarray]:
  """All that is heard, and what to answer: half the teacher, half the label."""
  rng = np.random.default_rng(_SEED.value)
  rounds = [heard(x, rng) for _ in range(_EPOCHS.value)]
  said = [teacher.predict(one, batch_size=500, verbose=0) for one in rounds]
  labels = np.tile(np.eye(said[0].shape[-1])[y], (len(rounds), 1))
  wanted = 0.5 * np.concatenate(said) + 0.5 * labels
  return np.concatenate(rounds)[..., 0], wanted.astype(np.float32)


def main() -> None:
  """Trains it, and says how often it is right."""
  keras.utils.set_random_seed(_SEED.value)
  check_writable([f'{_OUTPUT.value}.h5', f'{_OUTPUT.value}.npz'])
  with np.load(_DATA.value) as file:
    raw, y = file['x'], file['y'].ravel()
  x = raw.astype(np.float32) * _SCALE.value + _OFFSET.value
  teacher = paoding.load_model(_TEACHER.value)
  shown, wanted = lesson(x[::2], y[::2], teacher)
  model = spotter(*x.shape[1:3], wanted.shape[-1])
  steps = len(shown) // 100
  rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
  model.compile(
    keras.optimizers.Adam(rate),
    keras.losses.CategoricalCrossentropy(from_logits=True),
  )
  model.fit(shown, wanted, batch_size=100, epochs=1, verbose=0)
  answers = model.predict(x[1::2, ..., 0], verbose=0).argmax(-1)
  print(f'accuracy: {(answers == y[1::2]).mean():.3f}')
  data = io.BytesIO()
  np.savez_compressed(
    data,
    x_train=raw[::2],
    y_train=y[::2],
    x_test=raw[1::2],
    y_test=y[1::2],
  )
  path = f'{_OUTPUT.value}.h5'
  write_files(
    {
      path: saved_bytes(model, path),
      f'{_OUTPUT.value}.npz': data.getvalue(),
    }
  )


if __name__ == '__main__':
  app.run(script(main))
