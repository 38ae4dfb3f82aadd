"""What is proved of a pruned model's deviation, beside what two bounds give.

  python examples/figures/certify_deviation.py \
      --network=a.h5,mnist.npz,.00392156863,0,0,1 --epsilons=.001,.01 \
      --methods=saliency,reconstruction --sparsities=.25,.5 --samples=100

For every pruned form, epsilon and kind of bound, over the first `--samples`
test samples: the mean bound on the largest change of a class score in the ball
(`apart`: from one bound of each model; `joint`: from the two networks'
difference; `found`: the largest change that random points show, below either),
and the share of samples whose answer provably is the same in the whole ball,
apart and jointly. `--network` is as in `compare_networks.py`; without it a
network is trained on digits.
"""

from __future__ import annotations

import compare_networks
import evaluate_robustness
import numpy as np
from absl import app, flags

import tfmot_paoding as paoding
from tfmot_paoding import robustness
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras

_SAMPLES = flags.DEFINE_integer('samples', 100, 'Test samples to look at.')
_DRAWN = flags.DEFINE_integer('drawn', 50, 'Random points of each ball.')
_BOUNDS = flags.DEFINE_list('bounds', ['ibp', 'crown'], 'Kinds of bounds.')
flags.FLAGS.set_default('methods', ['saliency', 'reconstruction'])


def found(
  models: list[keras.Model],
  x: np.ndarray,
  epsilon: float,
  input_range: tuple[float, float],
) -> float:
  """The mean over samples of the largest change that random points show."""
  rng = np.random.default_rng(0)
  most = np.zeros(len(x))
  for _ in range(_DRAWN.value):
    z = x + epsilon * rng.choice([-1.0, 1.0], x.shape)
    z = np.clip(z, *input_range).astype(np.float32)
    a, b = (model(z, training=False).numpy() for model in models)
    most = np.maximum(most, np.abs(a - b).max(1))
  return float(most.mean())


def line(
  network: compare_networks.Network,
  small: keras.Model,
  epsilon: str,
  method: str,
) -> list[str]:
  """The cells of one form, epsilon and kind of bound."""
  low, high = network.input_range
  radius = float(epsilon) * (high - low)
  x = np.clip(network.x[: _SAMPLES.value], low, high)
  models = [robustness.scores_model(one) for one in (network.model, small)]
  (a, b), (c, d) = (
    robustness.output_bounds(one, x, radius, network.input_range, method)
    for one in models
  )
  apart = np.maximum(d - a, b - c).max(1)
  joint = paoding.deviation_bound(
    *models, network.input_range, x=x, epsilon=radius, method=method
  ).max(1)
  same = robustness.certified_agreement(
    network.model, small, x, radius, network.input_range, method
  )
  return [
    epsilon,
    method,
    f'{found(models, x, radius, network.input_range):.3g}',
    f'{joint.mean():.3g}',
    f'{apart.mean():.3g}',
    f'{same.same.mean():.2f}',
    f'{same.apart.mean():.2f}',
  ]


def main() -> None:
  """Prints the table."""
  heads = ['network', 'form', 'epsilon', 'bounds', 'found', 'joint', 'apart']
  heads += ['same, joint', 'same, apart']
  rows = []
  compare_networks.check_networks(flags.FLAGS.network or ())
  for text in flags.FLAGS.network or [None]:
    network = (
      compare_networks.load_network(text)
      if text
      else evaluate_robustness.digits()
    )
    path = text.split(',')[0] if text else None
    for form, make in evaluate_robustness.forms(network, path):
      if form == 'original':
        continue
      small = make()
      for epsilon in flags.FLAGS.epsilons:
        for method in _BOUNDS.value:
          rows.append(
            [network.name, form, *line(network, small, epsilon, method)]
          )
  print(compare_networks.table(heads, rows))


if __name__ == '__main__':
  app.run(script(main))
