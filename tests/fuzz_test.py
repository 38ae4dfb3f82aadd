"""Random dense networks: every form agrees, every bound is sound."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_layers = keras.layers
_NAMES = ['relu', 'tanh', 'sigmoid', 'gelu', 'elu', 'selu', 'silu', 'softplus']


def random_block(rng, x, nested=0):
  """A few random layers on a tensor of rank 2."""
  for _ in range(rng.integers(1, 4)):
    name = str(rng.choice(_NAMES))
    kind = rng.integers(0, 9)
    if kind <= 4:
      units, use_bias = int(rng.integers(1, 9)), bool(rng.random() < 0.8)
      x = _layers.Dense(units, name_or_none(rng, name), use_bias)(x)
    elif kind == 5:
      center, scale = bool(rng.random() < 0.8), bool(rng.random() < 0.8)
      x = _layers.BatchNormalization(center=center, scale=scale)(x)
    elif kind == 6:
      x = _layers.Activation(name)(x)
    elif kind == 7 or nested == 2:
      x = _layers.Flatten()(_layers.Reshape((1, -1))(_layers.Dropout(0.3)(x)))
    else:
      inside = keras.Input(x.shape[1:])
      x = keras.Model(inside, random_block(rng, inside, nested + 1))(x)
  return x


def name_or_none(rng, name):
  """The activation, or none so that a layer for it may follow."""
  return name if rng.random() < 0.7 else None


def random_model(rng) -> keras.Model:
  """Branches, several inputs and outputs, shared and unknown layers."""
  inputs = [keras.Input((4,)) for _ in range(rng.integers(1, 3))]
  tensors = [random_block(rng, x) for x in inputs]
  if len(tensors) > 1 and rng.random() < 0.4:
    tensors = [_layers.Concatenate()(tensors)]
  outputs = []
  for x in tensors:
    x = random_block(rng, x)
    for _ in range(rng.integers(1, 3)):
      ending = str(rng.choice(['linear', 'softmax', 'sigmoid']))
      branch = random_block(rng, x)
      outputs.append(_layers.Dense(int(rng.integers(1, 4)), ending)(branch))
  if rng.random() < 0.3:
    shared = _layers.Dense(4, 'relu')
    twice = shared(shared(_layers.Dense(4)(outputs[0])))
    outputs.append(_layers.Dense(2)(twice))
  return testing.fill(keras.Model(inputs, outputs), int(rng.integers(1e6)))


def answers(model, x) -> list[np.ndarray]:
  found = model(x, training=False)
  found = found if isinstance(found, (list, tuple)) else [found]
  return [np.asarray(y) for y in found]


@pytest.mark.parametrize('seed', range(24))
def test_random_networks(seed):
  rng = np.random.default_rng(seed)
  keras.backend.clear_session()
  model = random_model(rng)
  wrapped = paoding.prune_low_saliency(
    model,
    paoding.ProgressiveSparsity(float(rng.uniform(0.2, 0.95)), 0.5),
    str(rng.choice(paoding.method_names())),
    (-1.0, 1.0),
    seed,
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = [testing.samples((4,), 50, seed=seed).astype(np.float32)] * len(
    model.inputs
  )
  forms = [answers(form, x) for form in (model, wrapped, stripped, small)]
  for _, one, two, three in zip(*forms, strict=True):
    size = 1 + np.abs(one).max()
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(three, two, rtol=0, atol=1e-5 * size)
  bounds = paoding.deviation_bound(model, small, (-1.0, 1.0))
  bounds = bounds if isinstance(bounds, list) else [bounds]
  for bound, old, new in zip(bounds, forms[0], forms[3], strict=True):
    moved = np.abs(old - new).max(0)
    assert np.all(moved <= bound + 1e-4 * (1 + np.abs(old).max()))
