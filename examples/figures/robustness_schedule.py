"""Robustness along the pruning schedule, step by step.

  python examples/figures/robustness_schedule.py \
      --network=a.h5,mnist.npz,.00392156863,0,0,1 --method=impact \
      --sparsity=.5 --step=.05 --epsilon=.01 --plot=schedule.png

After every step of the schedule: accuracy and robust instances of the first
`--attacked` test samples (answered right, and still so after FGSM), how many of
those that were robust at the start still are, also on the examples that were
made on the original, and for how many pruning provably has changed no answer
within epsilon (of `--agreed` samples, by linear bounds of the difference).
`--network` is as in `compare_networks.py`; without it a network is trained on
digits.
"""

from __future__ import annotations

import compare_networks
import evaluate_robustness
import numpy as np
import panels
from absl import app, flags

import tfmot_paoding as paoding
from tfmot_paoding import robustness
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable
from tfmot_paoding.methods.named import DEFAULT_METHOD
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.schedule import pruning_steps

_METHOD = flags.DEFINE_string('method', DEFAULT_METHOD, 'How units are chosen.')
_SPARSITY = flags.DEFINE_float('sparsity', 0.5, 'The fraction to end at.')
_STEP = flags.DEFINE_float('step', 0.05, 'The fraction removed a step.')
_EPSILON = flags.DEFINE_float(
  'epsilon', 0.01, 'The radius, as a fraction of the input range.'
)
_TOP = flags.DEFINE_integer('top_k', 1, 'How many of the highest scores count.')
_AGREED = flags.DEFINE_integer('agreed', 100, 'Samples to prove agreement of.')
_HEADS = (
  'removed',
  'accuracy',
  'robust',
  'kept',
  'transferred',
  'provably same',
)


def steps(network: compare_networks.Network) -> list[tuple[float, ...]]:
  """A line a step: the columns of the table."""
  wrapped = paoding.prune_low_saliency(
    network.model,
    paoding.ProgressiveSparsity(_SPARSITY.value, _STEP.value),
    _METHOD.value,
    network.input_range,
  )
  driver = Driver(wrapped)
  found = [measured(network, network.model, 0.0)]
  (schedule, *_) = driver.schedules
  bar = keras.utils.Progbar(
    len(list(pruning_steps(schedule, None))), unit_name='step'
  )
  for step in pruning_steps(schedule, None):
    driver.step(step)
    found.append(measured(network, wrapped, driver.history.sparsity[-1]))
    bar.add(1)
  return found


def measured(
  network: compare_networks.Network, model: keras.Model, removed: float
) -> tuple[float, ...]:
  """The columns of one form."""
  low, high = network.input_range
  epsilon = _EPSILON.value * (high - low)
  count = flags.FLAGS.attacked
  x, y = np.clip(network.x[:count], low, high), network.y[:count]
  found = robustness.preserved_robustness(
    network.model,
    model,
    x,
    y,
    epsilon,
    network.input_range,
    top_k=_TOP.value,
  )
  same = robustness.certified_agreement(
    network.model, model, x[: _AGREED.value], epsilon, network.input_range
  )
  return (
    removed,
    found.accuracy_after,
    found.after,
    found.kept,
    found.transferred,
    float(same.same.mean()),
  )


def plot(rows: list[tuple[float, ...]], total: int, path: str) -> None:
  """Draws accuracy and robustness, as fractions, over what is removed."""
  removed, accuracy, robust, _, _, same = np.array(rows).T
  lines = [
    panels.Line('right', removed, accuracy),
    panels.Line('right under attack', removed, robust / total),
    panels.Line('answer provably the same', removed, same),
  ]
  panels.draw(
    [panels.Panel('along the schedule', lines, 'share of the samples')],
    path,
    'units removed',
    percent=True,
  )


def main() -> None:
  """Prints the table, and draws it."""
  if flags.FLAGS.plot:
    panels.load_pyplot()
    check_writable([flags.FLAGS.plot])
  texts = flags.FLAGS.network
  network = (
    compare_networks.load_network(texts[0])
    if texts
    else evaluate_robustness.digits()
  )
  rows = steps(network)
  lines = [
    [
      f'{row[0]:.2f}',
      f'{row[1]:.3f}',
      *(f'{v:.0f}' for v in row[2:5]),
      f'{row[5]:.2f}',
    ]
    for row in rows
  ]
  print('\n' + compare_networks.table(list(_HEADS), lines))
  if flags.FLAGS.plot:
    plot(rows, min(flags.FLAGS.attacked, len(network.x)), flags.FLAGS.plot)


if __name__ == '__main__':
  app.run(script(main))
