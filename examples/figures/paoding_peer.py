"""Runs the rival package paoding-dl 1.0.0.post3 on a model, to compare with.

Its metadata is refused by newer versions of pip, so an older one installs it,
without the dependencies that it pins, into a folder of its own (it would put a
package named `tests` beside it):

  python -m venv old_pip && old_pip/bin/pip install 'pip<24.1'
  old_pip/bin/pip install --no-deps --target=peer paoding-dl==1.0.0.post3
  pip install pandas scikit-learn opencv-python-headless tabulate pydot \
      importlib_metadata
  export PYTHONPATH=$PWD/peer TF_USE_LEGACY_KERAS=1

The variable is needed since it takes `tf.keras` for Keras 2.

What runs is its own pruning of dense layers, with its evaluation turned off.
The result keeps the original's shape, with merged rows and zeros for removed
units: its surgery is not used, since it misses merges and crashes on
duplicates. Every step removes ceil(step * n) units of each hidden layer, so
that a step of .125 meets 25, 50 and 75 % exactly where n is a multiple of 8.
BASELINE stops at 50 %, and without recursive pruning it runs out of pairs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
import random
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras

MODES = ('baseline', 'baseline_recursive', 'impact', 'stochastic')


@dataclasses.dataclass(frozen=True)
class PeerResult:
  """What paoding-dl made of a model.

  Attributes:
    mode: One of `MODES`.
    model: The pruned network in the original's shape.
    units_removed: By layer, the units whose outgoing weights are all zero.
    seconds: Wall time of the pruning alone.
  """

  mode: str
  model: keras.Model
  units_removed: dict[str, int]
  seconds: float


def run(
  model_path: str,
  sparsity: float,
  mode: str,
  step: float = 0.125,
  input_range: tuple[float, float] = (0.0, 1.0),
  seed: int = 0,
) -> PeerResult:
  """Prunes a model file with paoding-dl.

  Args:
    model_path: A Sequential tf_keras model whose layers are named 'dense...';
      it is not changed.
    sparsity: Its target, the fraction of each hidden layer's units.
    mode: One of `MODES`.
    step: The fraction removed by each of its steps.
    input_range: Its input interval.
    seed: Of the global generators that it draws from, which are put back
      afterwards.

  Returns:
    The pruned network, and how many units it has really lost.

  Raises:
    ImportError: paoding-dl is not installed.
    ValueError: the mode is unknown.
  """
  if mode not in MODES:
    raise ValueError(f'`mode` must be one of {MODES}, but got {mode!r}.')
  pruner_class, sampler = _import(mode)
  path = os.path.abspath(model_path)
  with _scratch_folder(), contextlib.redirect_stdout(io.StringIO()):
    pruner = pruner_class(
      path,
      target=sparsity,
      step=step,
      sample_strategy=sampler,
      input_interval=input_range,
      seed_val=seed,
    )
    pruner.load_model()
    with _seeded(seed):  # after loading, which draws from `random` as well
      began = time.perf_counter()
      pruner.prune_fc()
      seconds = time.perf_counter() - began
  return PeerResult(mode, pruner.model, _removed(pruner.model), seconds)


def _import(mode: str):
  """The peer's Pruner class and a sampler set to a mode."""
  try:
    from paoding.pruner import Pruner
    from paoding.sampler import Sampler
    from paoding.utility.option import SamplingMode
  except ImportError as error:
    raise ImportError(
      f'paoding-dl cannot be imported ({error}). Install it as the first '
      'lines of examples/figures/paoding_peer.py say.'
    ) from error
  if os.environ.get('TF_USE_LEGACY_KERAS') != '1' or (
    tf.keras.Sequential is not keras.Sequential
  ):
    raise ImportError(
      'paoding-dl takes tf.keras for Keras 2: set TF_USE_LEGACY_KERAS=1 in the '
      'environment before Python starts.'
    )
  sampler = Sampler()
  kind = SamplingMode[mode.split('_')[0].upper()]
  sampler.set_strategy(kind, recursive_pruning=mode != 'baseline')
  return Pruner, sampler


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
  """A working folder with the log folder that the peer writes to."""
  before = os.getcwd()
  with tempfile.TemporaryDirectory() as folder:
    os.makedirs(os.path.join(folder, 'paoding', 'logs'))
    os.chdir(folder)
    try:
      yield
    finally:
      os.chdir(before)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
  """Seeds the global generators, and puts their states back."""
  states = random.getstate(), np.random.get_state()
  random.seed(seed)
  np.random.seed(seed)
  try:
    yield
  finally:
    random.setstate(states[0])
    np.random.set_state(states[1])


def _removed(model: keras.Model) -> dict[str, int]:
  dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
  return {
    layer.name: int((~following.get_weights()[0].any(axis=1)).sum())
    for layer, following in itertools.pairwise(dense)
  }
