"""What a lesson without data does to networks that give numbers.

  python examples/figures/compare_regressors.py --output=rows.json \
      --sparsities=.5,.75

Small networks are trained on tables that scikit-learn has or makes, on
forecasts of a chaotic series (Mackey and Glass 1977), on waves and on its
digits. Each is pruned without data: undistilled, distilled, and as `prune`
decides where nobody says. The share of variance explained is of test data that
neither training nor pruning has seen: of what is to be told, and of what the
original answers. Interrupted, it goes on from --output.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Sequence

import compare_networks
import numpy as np
from absl import app, flags, logging
from kept_rows import keep_rows, load_rows

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_ONLY = flags.DEFINE_list(
  'cases', [], 'Which networks, by name; all if left out.'
)
_FORMS = {'undistilled': False, 'distilled': True, 'default': None}
_SEED = 0
Array = np.ndarray
layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Data:
  """Inputs and what is to be told of them, in two parts.

  Attributes:
    x: To train on, and to test on.
    y: Likewise, in deviations.
  """

  x: tuple[Array, Array]
  y: tuple[Array, Array]

  def standardized(self) -> Data:
    """With the columns of a table scaled by those to train on."""
    mean, deviation = self.x[0].mean(0), self.x[0].std(0)
    return Data(tuple((x - mean) / deviation for x in self.x), self.y)


@dataclasses.dataclass
class Row:
  """One network in one form.

  Attributes:
    case: Its name.
    entries: Of an input.
    sparsity: The fraction of every layer's units that went.
    form: 'undistilled', 'distilled' or 'default'.
    before: The share of variance that the original explains.
    after: That of what is left.
    same: The share of the original's answers' variance that is left.
  """

  case: str
  entries: int
  sparsity: float
  form: str
  before: float
  after: float
  same: float


def key(row: Row) -> tuple[str, float, str]:
  """What tells a row from others."""
  return row.case, row.sparsity, row.form


def split(x: Array, y: Array, ordered: bool = False) -> Data:
  """Parts of 3 to 2; of a series the later is tested on."""
  y = np.reshape(y, (len(y), -1))
  y = (y - y.mean(0)) / np.where(y.std(0) > 0, y.std(0), 1)
  order = np.arange(len(x))
  if not ordered:
    order = np.random.default_rng(_SEED).permutation(order)
  x, y, border = np.float32(x)[order], np.float32(y)[order], len(x) * 3 // 5
  return Data((x[:border], x[border:]), (y[:border], y[border:]))


def scikit_datasets() -> types.ModuleType:
  """What tables and digits come from.

  Raises:
    ImportError: it is not installed; the extra is named.
  """
  try:
    from sklearn import datasets
  except ImportError:
    raise ImportError(
      'Tables and digits ship with scikit-learn: '
      "pip install 'tfmot_paoding[examples]'."
    ) from None
  return datasets


def friedman() -> Data:
  """Ten columns, five of which matter (Friedman 1991)."""
  make = scikit_datasets().make_friedman1
  return split(*make(3000, noise=0.3, random_state=_SEED))


def diabetes() -> Data:
  """442 patients, and how their illness goes on."""
  return split(*scikit_datasets().load_diabetes(return_X_y=True))


def correlated(columns: int) -> Data:
  """Columns that eight hidden numbers stand behind, each of its own scale."""
  rng = np.random.default_rng(_SEED)
  z = rng.normal(size=(3000, 8))
  x = 2 * np.tanh(z @ rng.normal(size=(8, columns)) / np.sqrt(8))
  x += 0.15 * rng.normal(size=x.shape)
  x = x * np.exp(rng.normal(size=columns)) + 2 * rng.normal(size=columns)
  y = np.sin(2 * z[:, 0]) + z[:, 1] * z[:, 2] + z[:, 3] ** 2 / 2 - z[:, 4]
  return split(x, y)


def series(length: int) -> Data:
  """Windows of the series, and what it is seven steps later."""
  values = np.full(6000, 0.8)
  values[:20] += 0.5 * np.random.default_rng(_SEED).random(20)
  for k in range(20, 5999):
    late = values[k - 17]
    values[k + 1] = 0.9 * values[k] + 0.2 * late / (1 + late**10)
  values = (values - values.mean()) / values.std()
  starts = range(500, 5900 - length)
  x = np.stack([values[k : k + length] for k in starts])[..., None]
  return split(x, [values[k + length + 6] for k in starts], ordered=True)


def waves() -> Data:
  """Three channels of a noisy wave; its frequency and its mean amplitude."""
  rng = np.random.default_rng(_SEED)
  times = np.arange(64) / 64
  frequency, size = rng.uniform(1, 8, 3000), 0.4 + rng.random((3000, 3))
  phase = 2 * np.pi * rng.random((3000, 1, 3))
  turns = 2 * np.pi * frequency[:, None, None] * times[:, None] + phase
  x = size[:, None] * np.sin(turns) + 0.2 * rng.normal(size=turns.shape)
  return split(x, np.stack([frequency, size.mean(1)], 1))


def centres() -> Data:
  """Digits, where their ink is, and how much."""
  x = scikit_datasets().load_digits().images / 16.0
  ink, places = x.sum((1, 2)), np.arange(8)
  down, right = (x.sum(2) @ places / ink, x.sum(1) @ places / ink)
  return split(x[..., None], np.stack([down, right, ink], 1))


def pictures() -> Data:
  """Digits, and the same again."""
  x = scikit_datasets().load_digits().data / 16.0
  return split(x, x)


def normalized(data: Data) -> keras.layers.Layer:
  """A layer that knows the columns' statistics."""
  layer = layers.Normalization()
  layer.adapt(data.x[0])
  return layer


def dense(activation: str, *widths: int) -> list:
  """Hidden layers."""
  return [layers.Dense(width, activation) for width in widths]


def convolutions() -> list:
  """Over windows, and a hidden layer behind them."""
  return [
    layers.Conv1D(16, 5, activation='relu'),
    layers.MaxPooling1D(2),
    layers.Conv1D(32, 5, activation='relu'),
    layers.Flatten(),
    *dense('relu', 32),
  ]


def with_batch_norm(*widths: int) -> list:
  """Hidden layers behind batch normalization."""
  found = [layers.BatchNormalization()]
  for width in widths:
    found += [layers.Dense(width), layers.BatchNormalization(), layers.ReLU()]
  return found


# By name: the data, and the layers but for the last.
CASES: dict[str, tuple[Callable[[], Data], Callable[[Data], list]]] = {
  'normalized table': (
    friedman,
    lambda data: [normalized(data), *dense('relu', 64, 32)],
  ),
  'batch-normalized table': (friedman, lambda _: with_batch_norm(64, 32)),
  'standardized table': (
    lambda: friedman().standardized(),
    lambda _: dense('tanh', 64, 64, 32),
  ),
  'diabetes': (
    diabetes,
    lambda data: [normalized(data), *dense('relu', 64, 32)],
  ),
  'correlated columns': (
    lambda: correlated(40),
    lambda data: [normalized(data), *dense('relu', 64, 32)],
  ),
  'many columns': (
    lambda: correlated(100),
    lambda _: with_batch_norm(64, 32),
  ),
  'forecast by LSTM': (lambda: series(32), lambda _: [layers.LSTM(32)]),
  'forecast by MLP': (
    lambda: series(32),
    lambda _: [layers.Flatten(), *dense('relu', 64, 64)],
  ),
  'forecast by convolutions': (lambda: series(96), lambda _: convolutions()),
  'centres of digits': (
    centres,
    lambda _: [
      layers.Conv2D(16, 3, activation='relu'),
      layers.Conv2D(16, 3, activation='relu'),
      layers.Flatten(),
      *dense('relu', 32),
    ],
  ),
  'autoencoder of digits': (
    pictures,
    lambda _: dense('relu', 48, 12, 48),
  ),
  'waves by convolutions': (waves, lambda _: convolutions()),
}


def trained(data: Data, hidden: Sequence) -> keras.Model:
  """A network for the data, trained."""
  keras.utils.set_random_seed(_SEED)
  model = keras.Sequential(
    [
      keras.Input(data.x[0].shape[1:]),
      *hidden,
      layers.Dense(data.y[0].shape[1]),
    ]
  )
  model.compile('adam', 'mse')
  epochs = 60 if len(data.x[0]) < 1000 else 20
  model.fit(data.x[0], data.y[0], epochs=epochs, verbose=0)
  return model


def explained(wanted: Array, found: Array) -> float:
  """The share of variance."""
  error = np.square(wanted - found).mean(0).sum()
  return float(1 - error / wanted.var(0).sum())


def rows_of(name: str, known: dict[tuple, Row]) -> Iterator[Row]:
  """Every row of a network; known ones are not measured again."""
  asked = [
    (name, float(sparsity), form)
    for sparsity in flags.FLAGS.sparsities
    for form in _FORMS
  ]
  if all(one in known for one in asked):
    yield from (known[one] for one in asked)
    return
  make, hidden = CASES[name]
  data = make()
  model = trained(data, hidden(data))
  x, y = data.x[1], data.y[1]
  answers = model.predict(x, verbose=0)
  for one in asked:
    if one in known:
      yield known[one]
      continue
    _, sparsity, form = one
    small = paoding.prune(
      model, sparsity, distillation=_FORMS[form], seed=_SEED, verbose=0
    )
    found = small.predict(x, verbose=0)
    yield Row(
      name,
      x[0].size,
      sparsity,
      form,
      explained(y, answers),
      explained(y, found),
      explained(answers, found),
    )


def table(rows: Sequence[Row]) -> str:
  """A line a network and sparsity."""
  lines = {}
  for row in rows:
    line = lines.setdefault(
      (row.case, row.sparsity),
      [
        row.case,
        str(row.entries),
        f'{row.before:.3f}',
        f'{row.sparsity:.0%}',
      ],
    )
    line.append(f'{row.after:.3f} / {row.same:.3f}')
  heads = ['network', 'entries', 'original', 'units removed', *_FORMS]
  return compare_networks.table(heads, list(lines.values()))


def main() -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)
  output = flags.FLAGS.output
  check_writable(filter(None, [output]))
  unknown = set(_ONLY.value) - set(CASES)
  if unknown:
    raise ValueError(
      f'`--cases` must be among {", ".join(CASES)}, but got '
      f'{", ".join(sorted(unknown))}.'
    )
  known = {key(row): row for row in load_rows(output, Row)}
  rows = keep_rows(
    output,
    (row for name in _ONLY.value or CASES for row in rows_of(name, known)),
    known.values(),
    key,
  )
  print('\n' + table(rows))


if __name__ == '__main__':
  app.run(script(main))
