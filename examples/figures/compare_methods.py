"""Compares methods on trained models: accuracy, robustness, bytes, seconds.

  TF_USE_LEGACY_KERAS=1 python examples/figures/compare_methods.py \
      --models=a.h5,b.h5 --data=mnist.npz --peer

`--data` is an .npz in Keras's MNIST layout (x_train, y_train, x_test, y_test;
bytes 0..255, scaled to 0..1 here). Every figure is measured on the test set,
which no method sees; units are removed from every hidden layer, without
fine-tuning. With `--peer` the rival package paoding-dl runs on the same
models in the same process; `paoding_peer.py` says how to install it. Every row
is printed as it is measured, then a summary by model. With `--output` the rows
are written as JSON after every measurement; called again with the same file, an
interrupted run goes on from there.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from kept_rows import load_rows, save_rows

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.files import check_writable

_MODELS = flags.DEFINE_list('models', None, 'Trained models, .h5 or .keras.')
_DATA = flags.DEFINE_string('data', None, 'An .npz in the MNIST layout.')
_SPARSITIES = flags.DEFINE_list(
  'sparsities', ['0.25', '0.5', '0.75'], 'Fractions of units to remove.'
)
_METHODS = flags.DEFINE_list(
  'methods', ['l1', 'saliency', 'impact', 'stochastic'], 'Methods to run.'
)
_SEEDS = flags.DEFINE_integer(
  'seeds', 3, 'Seeds to average over where the method draws at random.'
)
_ATTACKED = flags.DEFINE_integer(
  'attacked', 1000, 'Test images to attack with FGSM; 0 for none.'
)
_PEER = flags.DEFINE_bool('peer', False, 'Run paoding-dl as well.')
_OUTPUT = flags.DEFINE_string('output', None, 'Where to write JSON rows.')

_EPSILONS = (0.01, 0.05)


@dataclasses.dataclass
class Row:
  """One model pruned one way; figures are means over seeds.

  Attributes:
    model: The model file's base name.
    sparsity: The fraction asked for.
    method: The method, or the peer's mode.
    removed: The fraction of hidden units really removed.
    accuracy: On the test set.
    spread: Largest minus smallest accuracy over seeds.
    fgsm: By epsilon, the fraction of FGSM examples still classified right.
    seconds: Of the pruning alone, without loading, stripping or compaction.
    sizes: .tflite bytes of the stripped and the compact model.
  """

  model: str
  sparsity: float
  method: str
  removed: float
  accuracy: float
  spread: float = 0.0
  fgsm: dict[str, float] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0
  sizes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Samples:
  """Test images in [0, 1], shaped for the model, and their labels."""

  images: np.ndarray
  labels: np.ndarray


def load_samples(path: str, model: keras.Model) -> Samples:
  """The test set of an .npz, shaped for a model."""
  with np.load(path) as data:
    images = data['x_test'].astype(np.float32) / 255.0
    return Samples(
      images.reshape(-1, *model.input_shape[1:]),
      data['y_test'].astype(np.int64),
    )


def accuracy(model: keras.Model, samples: Samples) -> float:
  """Fraction classified right."""
  answers = model.predict(samples.images, batch_size=512, verbose=0)
  return float((answers.argmax(1) == samples.labels).mean())


def fgsm_accuracy(
  model: keras.Model, samples: Samples, epsilon: float
) -> float:
  """Fraction of FGSM examples, made on the model itself, classified right."""
  count = _ATTACKED.value
  images = tf.constant(samples.images[:count])
  labels = samples.labels[:count]
  with tf.GradientTape() as tape:
    tape.watch(images)
    loss = keras.losses.sparse_categorical_crossentropy(
      labels, model(images, training=False), from_logits=True
    )
  step = epsilon * tf.sign(tape.gradient(loss, images))
  attacked = tf.clip_by_value(images + step, 0.0, 1.0)
  answers = model(attacked, training=False).numpy().argmax(1)
  return float((answers == labels).mean())


def robustness(model: keras.Model, samples: Samples) -> dict[str, float]:
  """FGSM accuracy by epsilon."""
  if not _ATTACKED.value:
    return {}
  return {str(e): fgsm_accuracy(model, samples, e) for e in _EPSILONS}


def measure_original(name: str, model: keras.Model, samples: Samples) -> Row:
  """The unpruned model."""
  return Row(
    name,
    0.0,
    'original',
    0.0,
    accuracy(model, samples),
    fgsm=robustness(model, samples),
    sizes=(len(paoding.convert_to_tflite(model)),),
  )


def measure(
  name: str, model: keras.Model, samples: Samples, sparsity: float, method: str
) -> Row:
  """One method of this package."""
  seeds = range(_SEEDS.value if method == 'stochastic' else 1)
  scores, attacks, seconds = [], [], []
  for seed in seeds:
    wrapped = paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(sparsity), method, seed=seed
    )
    began = time.perf_counter()
    history = paoding.run_schedule(wrapped, verbose=0)
    seconds.append(time.perf_counter() - began)
    stripped = strip_pruning(wrapped)
    small = paoding.compact(stripped)
    scores.append(accuracy(small, samples))
    attacks.append(robustness(small, samples))
  return Row(
    name,
    sparsity,
    method,
    history.sparsity[-1],
    float(np.mean(scores)),
    float(np.ptp(scores)),
    _mean_by_epsilon(attacks),
    float(np.mean(seconds)),
    tuple(len(paoding.convert_to_tflite(x)) for x in (stripped, small)),
  )


def measure_peer(
  path: str, name: str, samples: Samples, sparsity: float, mode: str
) -> Row:
  """One mode of paoding-dl."""
  import paoding_peer

  seeds = range(_SEEDS.value if mode == 'stochastic' else 1)
  scores, attacks, seconds = [], [], []
  for seed in seeds:
    result = paoding_peer.run(path, sparsity, mode, seed=seed)
    scores.append(accuracy(result.model, samples))
    attacks.append(robustness(result.model, samples))
    seconds.append(result.seconds)
  layers = [x for x in result.model.layers if hasattr(x, 'units')][:-1]
  units = sum(layer.units for layer in layers)
  return Row(
    name,
    sparsity,
    f'paoding-dl {mode}',
    sum(result.units_removed.values()) / units,
    float(np.mean(scores)),
    float(np.ptp(scores)),
    _mean_by_epsilon(attacks),
    float(np.mean(seconds)),
  )


def _mean_by_epsilon(attacks: list[dict[str, float]]) -> dict[str, float]:
  """The mean over seeds of each epsilon's figure."""
  return {e: float(np.mean([a[e] for a in attacks])) for e in attacks[0]}


def all_rows(known: list[Row]) -> Iterator[Row]:
  """Every row, one after another; known ones are not measured again."""
  found = {(row.model, row.sparsity, row.method): row for row in known}
  methods = list(_METHODS.value)
  if _PEER.value:
    import paoding_peer

    methods += [f'paoding-dl {mode}' for mode in paoding_peer.MODES]
  for path in _MODELS.value:
    name = os.path.splitext(os.path.basename(path))[0]
    model = paoding.load_model(path)
    samples = load_samples(_DATA.value, model)
    yield found.get((name, 0.0, 'original')) or measure_original(
      name, model, samples
    )
    for sparsity in map(float, _SPARSITIES.value):
      for method in methods:
        row = found.get((name, sparsity, method))
        if row is None and method.startswith('paoding-dl '):
          mode = method.removeprefix('paoding-dl ')
          row = measure_peer(path, name, samples, sparsity, mode)
        yield row or measure(name, model, samples, sparsity, method)


def summary(rows: list[Row]) -> Iterator[str]:
  """A Markdown table: accuracy by model, method and sparsity.

  The peer stands as the best of its modes that removed what was asked for.
  """
  sparsities = sorted({row.sparsity for row in rows} - {0.0})
  middle = 0.5 if 0.5 in sparsities else sparsities[0]
  heads = ['model', 'method', *[f'{s:.0%} removed' for s in sparsities]]
  heads += [f'FGSM {e} at {middle:.0%}' for e in _EPSILONS]
  yield '| ' + ' | '.join(heads) + ' |'
  yield '|' + ' --- |' * len(heads)
  groups: dict[tuple[str, str], list[Row]] = {}
  for row in rows:
    groups.setdefault((row.model, row.method.split()[0]), []).append(row)
  for (model, method), own in sorted(groups.items(), key=_model_then_as_run):
    columns = [_best(own, sparsity) for sparsity in sparsities]
    attacks = _best(own, middle)
    cells = ['' if row is None else f'{row.accuracy:.3f}' for row in columns]
    for e in map(str, _EPSILONS):
      known = attacks is not None and e in attacks.fgsm
      cells.append(f'{attacks.fgsm[e]:.3f}' if known else '')
    yield '| ' + ' | '.join([model, method, *cells]) + ' |'


def _model_then_as_run(item: tuple[tuple[str, str], list[Row]]) -> tuple:
  """Sorts models by name and the peer behind our methods."""
  (model, method), _ = item
  return model, method == 'paoding-dl'


def _best(rows: list[Row], sparsity: float) -> Row | None:
  """The most accurate row that removed what was asked; the original's own."""
  fits = [
    row
    for row in rows
    if row.method == 'original'
    or (row.sparsity == sparsity and row.removed > sparsity - 0.01)
  ]
  return max(fits, key=lambda row: row.accuracy, default=None)


def markdown(row: Row) -> str:
  """The row of a Markdown table."""
  attacks = [f'{row.fgsm.get(str(e), float("nan")):.3f}' for e in _EPSILONS]
  spread = f' ±{row.spread / 2:.3f}' if row.spread else ''
  cells = [
    row.model,
    f'{row.sparsity:.0%}',
    row.method,
    f'{row.removed:.1%}',
    f'{row.accuracy:.3f}{spread}',
    *attacks,
    f'{row.seconds:.2f}',
    ' / '.join(map(str, row.sizes)),
  ]
  return '| ' + ' | '.join(cells) + ' |'


def main() -> None:
  """Prints the table row by row."""
  logging.set_verbosity(logging.ERROR)
  check_writable(filter(None, [_OUTPUT.value]))
  heads = ['model', 'asked', 'method', 'removed', 'accuracy']
  heads += [f'FGSM {e}' for e in _EPSILONS] + ['seconds', 'tflite bytes']
  print('| ' + ' | '.join(heads) + ' |')
  print('|' + ' --- |' * len(heads))
  rows, known = [], load_rows(_OUTPUT.value, Row)
  for row in all_rows(known):
    print(markdown(row), flush=True)
    rows.append(row)
    others = (other for other in known if other not in rows)
    save_rows(_OUTPUT.value, [*rows, *others])
  print('\n' + '\n'.join(summary(rows)))


if __name__ == '__main__':
  flags.mark_flags_as_required(['models', 'data'])
  app.run(script(main))
