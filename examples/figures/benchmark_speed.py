"""Times pruning alone: against paoding-dl, and against its own products.

  TF_USE_LEGACY_KERAS=1 python examples/figures/benchmark_speed.py \
      --widths=128,512 --peer
  python examples/figures/benchmark_speed.py --widths=4096

A width w stands for a random w-w-w-10 ReLU network with w inputs. Every
method removes half of the units at --step_sparsity. Beside the seconds stand
the time of the matrix products that one look at all pairs of units takes (one
Gram matrix a layer) and the process's peak memory. With `--peer` paoding-dl's
modes run on the same network in the same process, and the last column is its
seconds over ours for the same kind of method.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time

import numpy as np
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras

_WIDTHS = flags.DEFINE_list('widths', ['128', '512'], 'Widths to time.')
_METHODS = flags.DEFINE_list(
  'methods', ['l1', 'saliency', 'impact', 'stochastic'], 'Methods to time.'
)
_STEP = flags.DEFINE_float('step_sparsity', 0.125, 'Fraction by step.')
_PEER = flags.DEFINE_bool('peer', False, 'Time paoding-dl as well.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Best of so many runs.')

_PEER_MODES = {
  'saliency': 'baseline',
  'impact': 'impact',
  'stochastic': 'stochastic',
}


def network(width: int) -> keras.Model:
  """A random w-w-w-10 ReLU network."""
  keras.utils.set_random_seed(0)
  dense = keras.layers.Dense
  return keras.Sequential(
    [
      dense(width, 'relu', input_shape=(width,), name='dense_1'),
      dense(width, 'relu', name='dense_2'),
      dense(10, name='dense_3'),
    ]
  )


def seconds_of(model: keras.Model, method: str) -> float:
  """Best time of the schedule alone, on a model wrapped anew each time."""
  times = []
  for _ in range(_REPEATS.value):
    wrapped = paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(0.5, _STEP.value), method
    )
    began = time.perf_counter()
    paoding.run_schedule(wrapped, verbose=0)
    times.append(time.perf_counter() - began)
  return min(times)


def seconds_of_products(width: int) -> float:
  """Best time of the two layers' Gram matrices in float64."""
  rng = np.random.default_rng(0)
  kernels = rng.standard_normal((2, width, width))
  times = []
  for _ in range(_REPEATS.value):
    began = time.perf_counter()
    for kernel in kernels:
      kernel.T @ kernel
    times.append(time.perf_counter() - began)
  return min(times)


def seconds_of_peer(model: keras.Model, mode: str) -> float:
  """Time of paoding-dl's pruning alone."""
  import paoding_peer

  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'model.h5')
    model.save(path)
    return paoding_peer.run(path, 0.5, mode, step=_STEP.value).seconds


def main() -> None:
  """Prints one row a width and method."""
  logging.set_verbosity(logging.ERROR)
  heads = ('width', 'method', 'seconds', '/ products', 'peak MiB', 'peer ratio')
  print('| ' + ' | '.join(heads) + ' |')
  print('|' + ' --- |' * len(heads))
  for width in map(int, _WIDTHS.value):
    model = network(width)
    products = seconds_of_products(width)
    for method in _METHODS.value:
      seconds = seconds_of(model, method)
      peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
      ratio = ''
      if _PEER.value and method in _PEER_MODES:
        peer = seconds_of_peer(model, _PEER_MODES[method])
        ratio = f'{peer / seconds:.0f} ({peer:.1f} s)'
      cells = (
        str(width),
        method,
        f'{seconds:.3f}',
        f'{seconds / products:.1f}',
        str(peak),
        ratio,
      )
      print('| ' + ' | '.join(cells) + ' |', flush=True)


if __name__ == '__main__':
  app.run(script(main))
