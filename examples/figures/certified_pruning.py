"""Can pruning improve certified robustness? Methods side by side.

  python examples/figures/certified_pruning.py --rounds=8
  python examples/figures/certified_pruning.py --data=mnist --epsilon=.02 \
      --objective=natural,adversarial --regularized=0,.01 --verified=50

After Li et al. 2022 (arXiv 2206.07311): the dense network; tickets of iterative
magnitude pruning with rewinding, every few rounds; as many weights gone at
once after training by magnitude (and fine-tuned) and before it by SNIP; and
whole units removed without data by this package's methods until as few weights
are left, fine-tuned. Each with and without the term that makes ReLUs stable
(`--regularized`: its weights; every cell has a number for each). Shown:
accuracy, accuracy under PGD, certified accuracy by CROWN, the median `gap`
between the least lead that PGD meets and what CROWN proves of it, as a share of
the lead at the sample itself, and the share of unstable neurons by intervals.

Of the first `--verified` samples, by branch and bound: the shares `proved`
robust and left `open` after `--most_subdomains` (or `--seconds`) each, and of
those that no attack breaks at once the mean number of neurons `to split`, the
mean number of `subdomains`, and the share of them that were `split` at all.

Means over `--seeds`. With `--directory` every round, network and row is kept: a
run that is killed goes on from its last epoch. `--forms` leaves forms out. The
other flags are those of `robust_training.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import robust_training
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding import robustness, training
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras, strip_pruning

_ROUNDS = flags.DEFINE_integer('rounds', 8, 'Rounds of magnitude pruning.')
_RATE = flags.DEFINE_float('rate', 0.25, 'The fraction removed each round.')
_SHOWN = flags.DEFINE_integer('every', 4, 'Rounds from one shown to the next.')
_REGULARIZED = flags.DEFINE_list(
  'regularized', ['0', '0.01'], "Weights of the stability term; '0': without."
)
_UNITS = flags.DEFINE_list('units', ['impact'], 'Methods that remove units.')
_FORMS = flags.DEFINE_list(
  'forms',
  ['magnitude', 'SNIP', 'units'],
  'What stands beside the dense network and the tickets.',
)
flags.register_validator(
  'forms',
  lambda names: set(names) <= {'magnitude', 'SNIP', 'units'},
  message='--forms takes magnitude, SNIP, units, with commas in between.',
)
_VERIFIED = flags.DEFINE_integer(
  'verified', 0, 'Samples to decide by branch and bound.'
)
_MOST = flags.DEFINE_integer(
  'most_subdomains', 4000, 'After how many subdomains one is left open.'
)
_SECONDS = flags.DEFINE_float('seconds', 60.0, 'And after what time.')
flags.FLAGS.set_default('objective', ['natural', 'adversarial'])

# Of robust_training.py alone.
_IDLE = ('prune', 'compression', 'gradual', 'score_epochs', 'stability')
_IDLE += ('bound_starts', 'radius')

Build = Callable[[], keras.Model]


@dataclasses.dataclass(frozen=True)
class Run:
  """One objective, weight of the stability term, and seed.

  Attributes:
    objective: Its name.
    seed: Every training begins with it, so that it ends alike whether or not
      those before it were read from disk.
    images: What to train on.
    folder: Where what is done is kept, if anywhere.
  """

  objective: str
  seed: int
  images: robust_training.Images
  folder: str | None

  def forms(self) -> Iterator[tuple[str, Build]]:
    """Every network by name, and what trains it."""
    keras.utils.set_random_seed(self.seed)
    shape, classes = self.images.x.shape[1:], int(self.images.y.max()) + 1
    start = robust_training.network(shape, classes)
    dense, shown = None, []
    for ticket in training.find_tickets(
      start, self.train, _ROUNDS.value, _RATE.value, self.inside('tickets')
    ):
      if ticket.round == 0:
        dense = ticket.model
        yield 'dense', functools.partial(_as_it_is, dense)
      elif ticket.round % _SHOWN.value == 0:
        shown.append(ticket.sparsity)
        name = f'ticket {percent(ticket.sparsity)}'
        yield name, functools.partial(_as_it_is, ticket.model)
    for sparsity in shown:
      for name, build in self.beside(start, dense, sparsity).items():
        yield f'{name} {percent(sparsity)}', build

  def beside(
    self, start: keras.Model, dense: keras.Model, sparsity: float
  ) -> dict[str, Build]:
    """The forms of `--forms`, of as many weights as a ticket."""
    kinds = {
      'magnitude': {
        'magnitude, once': functools.partial(self.once, dense, sparsity)
      },
      'SNIP': {'SNIP': functools.partial(self.snip, start, sparsity)},
      'units': {
        f'{method}, units': functools.partial(
          self.units, dense, sparsity, method
        )
        for method in _UNITS.value
      },
    }
    return {
      name: build
      for kind in _FORMS.value
      for name, build in kinds[kind].items()
    }

  def once(self, dense: keras.Model, sparsity: float) -> keras.Model:
    """The smallest weights removed at once, and fine-tuned."""
    wrapped = training.with_fixed_masks(dense)
    training.set_masks(wrapped, training.magnitude_masks(wrapped, sparsity))
    self.tune(wrapped, f'magnitude {percent(sparsity)}')
    return strip_pruning(wrapped)

  def snip(self, start: keras.Model, sparsity: float) -> keras.Model:
    """Weights removed before training by what the loss feels of them."""
    wrapped = training.with_fixed_masks(start)
    wrapped.compile(
      'sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x, y = self.images.x[:512], self.images.y[:512]
    masks = training.snip_masks(wrapped, x, y, sparsity)
    training.set_masks(wrapped, masks)
    self.train(wrapped, 'SNIP')
    return strip_pruning(wrapped)

  def units(
    self, dense: keras.Model, sparsity: float, method: str
  ) -> keras.Model:
    """Units removed without data until as few weights are left; fine-tuned."""
    wrapped = robust_training.without_units(dense, 1.0 - sparsity, method)
    self.tune(wrapped, f'{method} {percent(sparsity)}')
    return paoding.compact(strip_pruning(wrapped))

  def train(self, wrapped: keras.Model, name: str = 'ticket') -> None:
    """Trains from the beginning, ramps and all."""
    left = sum(int(mask.sum()) for mask in training.masks_of(wrapped))
    steps = -(-len(self.images.x) // flags.FLAGS.batch_size)
    objective = robust_training.objective_of(
      self.objective, flags.FLAGS.epochs * steps
    )
    self.fit(wrapped, objective, flags.FLAGS.epochs, f'{name} {left}')

  def tune(self, wrapped: keras.Model, name: str) -> None:
    """Fine-tunes under the objective as it is at its end."""
    end = robust_training.settled(
      robust_training.objective_of(self.objective, 100)
    )
    self.fit(wrapped, end, flags.FLAGS.finetune_epochs, name)

  def fit(
    self,
    wrapped: keras.Model,
    objective: training.Objective,
    epochs: int,
    name: str,
  ) -> None:
    """Trains in a folder of its own."""
    keras.utils.set_random_seed(self.seed)
    folder = self.inside(name)
    callbacks = robust_training.pruning_callbacks(folder)
    robust_training.fit(
      wrapped, objective, self.images, epochs, callbacks, folder
    )

  def inside(self, name: str) -> str | None:
    """A path in the folder."""
    name = re.sub(r'\W+', '_', name).strip('_')
    return self.folder and os.path.join(self.folder, name)

  def results(self) -> Iterator[tuple[str, dict[str, float]]]:
    """The columns of every network, by name; from disk where they are."""
    for name, build in self.forms():
      path = self.folder and f'{self.inside(name)}.json'
      if path and os.path.exists(path):
        with open(path, encoding='utf-8') as file:
          yield name, json.load(file)
        continue
      found = measured(build(), self.images)
      if path:
        paoding.files.write_file(path, json.dumps(found).encode())
      yield name, found


def percent(sparsity: float) -> str:
  """A sparsity with as many digits as tell the rounds shown apart."""
  left = 1.0 - _RATE.value
  last = _ROUNDS.value // _SHOWN.value * _SHOWN.value
  gap = left ** (last - _SHOWN.value) - left**last
  # Of half the gap, since what is left is a whole number of weights.
  digits = max(0, math.ceil(-math.log10(0.5 * gap)) - 2)
  return f'{sparsity:.{digits}%}'


def _as_it_is(model: keras.Model) -> keras.Model:
  return model


def measured(
  model: keras.Model, images: robust_training.Images
) -> dict[str, float]:
  """The columns of one network."""
  x, y, radius = images.x_test, images.y_test, flags.FLAGS.epsilon
  attacked = robustness.pgd(model, x, y, radius, restarts=2)
  held = robustness.answered_right(model, attacked, y)
  count = flags.FLAGS.certified or len(x)
  some = slice(0, count)
  least = robustness.margins(model, x[some], y[some], radius, everywhere=True)
  sure = least > 0
  if np.any(sure & ~held[some]):
    raise AssertionError('CROWN certified what PGD broke.')
  layers = robustness.neuron_stability(model, x[:100], radius)
  neurons = sum(layer.neurons for layer in layers)
  found = {
    'weights': float(robust_training.weights_left(model)),
    'benign': float(robustness.answered_right(model, x, y).mean()),
    'PGD': float(held.mean()),
    'certified': float(sure.mean()),
    'gap': gap(model, x[some], attacked[some], y[some], least),
    'unstable': sum(layer.unstable for layer in layers) / neurons,
  }
  if _VERIFIED.value:
    some = slice(0, _VERIFIED.value)
    found |= decided(model, x[some], y[some], held[some], sure[some])
  return found


def gap(
  model: keras.Model,
  x: np.ndarray,
  attacked: np.ndarray,
  y: np.ndarray,
  least: np.ndarray,
) -> float:
  """How far what is proved is from what was seen, in leads at the samples.

  Args:
    model: The network.
    x: Samples.
    attacked: What PGD made of them.
    y: Their classes.
    least: The least leads that are proved.
  """
  before, seen = leads(model, x, y), leads(model, attacked, y)
  right = before > 0
  if not right.any():
    return float('nan')
  return float(np.median((seen - least)[right] / before[right]))


def leads(model: keras.Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """The label's score less the highest other, (batch,)."""
  scores = robustness.scores_model(model).predict(x, verbose=0)
  own = np.arange(scores.shape[1]) == y[:, None]
  return scores[own] - np.where(own, -np.inf, scores).max(1)


def decided(
  model: keras.Model,
  x: np.ndarray,
  y: np.ndarray,
  held: np.ndarray,
  sure: np.ndarray,
) -> dict[str, float]:
  """The columns of branch and bound.

  Args:
    model: The network.
    x: Samples.
    y: Their classes.
    held: Which PGD does not break.
    sure: Which CROWN certifies, of the first ones.
  """
  answers = robustness.verify(
    model,
    x,
    y,
    flags.FLAGS.epsilon,
    seconds=_SECONDS.value,
    settings=robustness.BranchSettings(most_subdomains=_MOST.value),
  )
  verdicts = np.array([answer.verdict for answer in answers])
  if np.any((verdicts == 'robust') & ~held):
    raise AssertionError('Branch and bound proved what PGD broke.')
  if np.any((verdicts[: len(sure)] == 'broken') & sure):
    raise AssertionError('Branch and bound broke what CROWN certified.')
  left = [answer for answer in answers if answer.subdomains]
  classes = model.output_shape[-1]
  return {
    'proved': float(np.mean(verdicts == 'robust')),
    'open': float(np.mean(verdicts == 'unknown')),
    'to split': mean([answer.unstable for answer in left]),
    'subdomains': mean([answer.subdomains for answer in left]),
    # The box itself counts once for each other class.
    'split': mean([answer.subdomains >= classes for answer in left]),
  }


def mean(values: Sequence[float]) -> float:
  """Of none, 0."""
  return float(np.mean(values)) if len(values) else 0.0


def shown(name: str, values: list[float]) -> str:
  """The mean, and the spread of accuracies over seeds."""
  middle = np.mean(values)
  if name in ('weights', 'to split', 'subdomains'):
    return f'{middle:.0f}'
  if name in ('split', 'gap'):
    return f'{middle:.2f}'
  spread = f' ±{np.std(values):.3f}' if len(values) > 1 else ''
  return f'{middle:.3f}{spread}'


def check_flags() -> None:
  """Raises where a flag of `robust_training.py` is given that is not asked.

  Raises:
    ValueError: there is one.
  """
  idle = [f'--{name}' for name in _IDLE if flags.FLAGS[name].present]
  if idle:
    raise ValueError(
      f'{", ".join(idle)} have no effect here, but in robust_training.py. '
      'Leave them out: --units, --forms, --rounds and --rate say what is '
      'pruned, --regularized how much the term weighs.'
    )


def weights() -> list[str]:
  """Of the term, as folders are called by them: .01 and 0.01 are one."""
  return [f'{float(weight):g}' for weight in _REGULARIZED.value]


def main() -> None:
  """Prints the table."""
  check_flags()
  robust_training.check_settings(
    ('rate', 'every', 'verified', 'seconds', 'most_subdomains')
  )
  images = robust_training.load_images()
  rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
  for objective in flags.FLAGS.objective:
    for weight in weights():
      flags.FLAGS.stability = float(weight)
      for seed in range(flags.FLAGS.seeds):
        folder = flags.FLAGS.directory and os.path.join(
          flags.FLAGS.directory, f'{objective}_{weight}_{seed}'
        )
        for name, found in Run(objective, seed, images, folder).results():
          key = objective, weight, name
          rows.setdefault(key, []).append(found)
          logging.info('%s, seed %d: %s', key, seed, rows[key][-1])
  print(table(rows))


def table(rows: dict[tuple[str, str, str], list[dict[str, float]]]) -> str:
  """A line an objective and form; in a cell, every weight of the term."""
  names = list(next(iter(rows.values()))[0])
  heads = ['objective', 'form', *names]
  lines = {}
  for (objective, _, form), runs in rows.items():
    found = [shown(name, [one[name] for one in runs]) for name in names]
    lines.setdefault((objective, form), []).append(found)
  cells = [heads, ['---'] * len(heads)]
  for key, columns in lines.items():
    cells.append([*key, *map(' / '.join, zip(*columns, strict=True))])
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in cells)


if __name__ == '__main__':
  app.run(script(main))
