"""Can pruning improve certified robustness? Methods side by side.

  python examples/certified_pruning.py --rounds=8
  python examples/certified_pruning.py --data=mnist --epsilon=.02 \
      --objective=natural,adversarial --regularized=0,.01 --verified=50

After Li et al. 2022 (arXiv 2206.07311): the dense network; tickets of iterative
magnitude pruning with rewinding, every few rounds; as many weights gone at
once after training by magnitude (and fine-tuned) and before it by SNIP; and
whole units removed without data by this package's methods until as few weights
are left, fine-tuned. Each with and without the term that makes ReLUs stable
(`--regularized`: its weights). Shown: accuracy, accuracy under PGD, certified
accuracy by CROWN, the share of unstable neurons, and of `--verified` samples
how many Marabou proves robust, breaks, or leaves open within `--seconds` each.
Means over `--seeds`. The other flags are those of `robust_training.py`.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

import numpy as np
import robust_training
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding import compat, robustness, training
from tfmot_paoding.compat import keras, strip_pruning

_ROUNDS = flags.DEFINE_integer('rounds', 8, 'Rounds of magnitude pruning.')
_RATE = flags.DEFINE_float('rate', 0.25, 'The fraction removed each round.')
_SHOWN = flags.DEFINE_integer('every', 4, 'Rounds from one shown to the next.')
_REGULARIZED = flags.DEFINE_list(
  'regularized', ['0', '0.01'], "Weights of the stability term; '0': without."
)
_UNITS = flags.DEFINE_list('units', ['impact'], 'Methods that remove units.')
_VERIFIED = flags.DEFINE_integer('verified', 0, 'Samples to ask Marabou of.')
_SECONDS = flags.DEFINE_float('seconds', 20.0, 'Its time for each.')
flags.FLAGS.set_default('objective', ['natural', 'adversarial'])

Form = tuple[str, keras.Model]


def forms(objective: str, images: robust_training.Images) -> Iterator[Form]:
  """Every trained network of one objective, by name."""
  shape, classes = images.x.shape[1:], int(images.y.max()) + 1
  start = robust_training.network(shape, classes)
  steps = flags.FLAGS.epochs * -(-len(images.x) // flags.FLAGS.batch_size)

  def train(model: keras.Model) -> None:
    robust_training.fit(
      model,
      robust_training.objective_of(objective, steps),
      images,
      flags.FLAGS.epochs,
      [compat.UpdatePruningStep()],
    )

  dense = None
  shown = []
  for ticket in training.find_tickets(start, train, _ROUNDS.value, _RATE.value):
    if ticket.round == 0:
      dense = ticket.model
      yield 'dense', dense
    elif ticket.round % _SHOWN.value == 0:
      shown.append(ticket.sparsity)
      yield f'ticket {ticket.sparsity:.0%}', ticket.model
  for sparsity in shown:
    yield (
      f'magnitude, once {sparsity:.0%}',
      once(dense, objective, images, sparsity),
    )
    yield f'SNIP {sparsity:.0%}', snip(start, train, images, sparsity)
    for method in _UNITS.value:
      yield (
        f'{method}, units {sparsity:.0%}',
        units(dense, objective, images, sparsity, method),
      )


def once(
  dense: keras.Model,
  objective: str,
  images: robust_training.Images,
  sparsity: float,
) -> keras.Model:
  """The smallest weights removed at once, and fine-tuned."""
  wrapped = training.with_fixed_masks(dense)
  training.set_masks(wrapped, training.magnitude_masks(wrapped, sparsity))
  tune(wrapped, objective, images)
  return strip_pruning(wrapped)


def snip(start, train, images, sparsity: float) -> keras.Model:
  """Weights removed before training by what the loss feels of them."""
  wrapped = training.with_fixed_masks(start)
  wrapped.compile(
    'sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  )
  masks = training.snip_masks(wrapped, images.x[:512], images.y[:512], sparsity)
  training.set_masks(wrapped, masks)
  train(wrapped)
  return strip_pruning(wrapped)


def units(
  dense: keras.Model,
  objective: str,
  images: robust_training.Images,
  sparsity: float,
  method: str,
) -> keras.Model:
  """Units removed without data until as few weights are left; fine-tuned."""
  wrapped = robust_training.without_units(dense, 1.0 - sparsity, method)
  tune(wrapped, objective, images)
  return paoding.compact(strip_pruning(wrapped))


def tune(
  wrapped: keras.Model, objective: str, images: robust_training.Images
) -> None:
  """Fine-tunes under the objective as it is at its end."""
  robust_training.fit(
    wrapped,
    robust_training.settled(robust_training.objective_of(objective, 100)),
    images,
    flags.FLAGS.finetune_epochs,
    [paoding.UpdatePruningStep()],
  )


def measured(
  model: keras.Model, images: robust_training.Images
) -> dict[str, float]:
  """The columns of one network."""
  x, y, radius = images.x_test, images.y_test, flags.FLAGS.epsilon
  attacked = robustness.pgd(model, x, y, radius, restarts=2)
  sure = robustness.certified(model, x, y, radius)
  layers = robustness.neuron_stability(model, x[:100], radius)
  neurons = sum(layer.neurons for layer in layers)
  found = {
    'weights': float(robust_training.weights_left(model)),
    'benign': float(robustness.answered_right(model, x, y).mean()),
    'PGD': float(robustness.answered_right(model, attacked, y).mean()),
    'certified': float(sure.mean()),
    'unstable': sum(layer.unstable for layer in layers) / neurons,
  }
  some = slice(0, _VERIFIED.value)
  if _VERIFIED.value:
    right = robustness.answered_right(model, x[some], y[some])
    answers = robustness.verify(
      model, x[some], y[some], radius, seconds=_SECONDS.value
    )
    verdicts = collections.Counter(
      answer.verdict if fine else 'broken'
      for answer, fine in zip(answers, right, strict=True)
    )
    for verdict in ('robust', 'broken', 'unknown'):
      found[verdict] = float(verdicts[verdict])
  return found


def shown(name: str, values: list[float]) -> str:
  """The mean, and the spread of accuracies over seeds."""
  mean = np.mean(values)
  if name == 'weights':
    return f'{mean:.0f}'
  if name in ('robust', 'broken', 'unknown'):
    return f'{mean:.1f}'
  spread = f' ±{np.std(values):.3f}' if len(values) > 1 else ''
  return f'{mean:.3f}{spread}'


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  images = robust_training.load_images()
  rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
  for objective in flags.FLAGS.objective:
    for weight in _REGULARIZED.value:
      flags.FLAGS.stability = float(weight)
      for seed in range(flags.FLAGS.seeds):
        keras.utils.set_random_seed(seed)
        for name, model in forms(objective, images):
          key = objective, weight, name
          rows.setdefault(key, []).append(measured(model, images))
          logging.info('%s, seed %d: %s', key, seed, rows[key][-1])
  names = list(next(iter(rows.values()))[0])
  heads = ['objective', 'stability', 'form', *names]
  lines = [heads, ['---'] * len(heads)]
  for key, runs in rows.items():
    lines.append(
      [*key, *(shown(name, [one[name] for one in runs]) for name in names)]
    )
  print('\n'.join('| ' + ' | '.join(line) + ' |' for line in lines))


if __name__ == '__main__':
  app.run(main)
