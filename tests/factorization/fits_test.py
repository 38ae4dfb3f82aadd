"""Fits of chains: what is promised of them, and slow references."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.candidates import find_candidates
from tfmot_paoding.factorization.fits import ChainFits
from tfmot_paoding.factorization.forms import Form
from tfmot_paoding.factorization.splitting import with_chains
from tfmot_paoding.network.network import Network

_layers = keras.layers


def fits_of(model, count=300):
  network = Network.of(model)
  shapes = network.input_shapes
  samples, apart = (
    [testing.samples(s, count, seed=k).astype(np.float32) for s in shapes]
    for k in (0, 1)
  )
  found = find_candidates(network)
  return ChainFits(network, found.layers, samples, apart), found, samples


def product_of(params, name):
  return next(v for ref, v in params.items() if ref == ((name,), 'kernel'))


def test_full_ranks_change_nothing():
  model = testing.mlp((6, 6, 6, 3))
  fits, found, _ = fits_of(model)
  made = fits.fitted({one.path: Form(None, 3) for one in found.layers[2:]})
  (chain, _) = made.chains[('logits',)]
  np.testing.assert_allclose(
    chain.matrix(), model.layers[2].kernel.numpy(), atol=1e-5
  )
  assert fits.gap(made) < 1e-8


def test_what_a_layer_never_sees_is_dropped_first():
  """Rank 1 is enough where all inputs lie on a line."""
  model = testing.mlp((6, 8, 3))
  network = Network.of(model)
  rng = np.random.default_rng(0)
  line = rng.normal(size=(300, 1)) * np.arange(1.0, 7.0)
  samples = [line.astype(np.float32)]
  fits = ChainFits(network, find_candidates(network).layers, samples, samples)
  made = fits.fitted({('hidden_0',): Form(None, 1)})
  assert fits.gap(made) < 1e-5


def test_gradients_tell_which_columns_count():
  """A hidden unit that nothing reads is not worth a rank."""
  model = testing.mlp((6, 8, 3), hidden='linear')
  model.layers[0].kernel.assign(np.eye(6, 8) * [9, 1, 1, 9, 9, 9, 0, 0])
  reads = np.zeros((8, 3), np.float32)
  reads[1, 0] = reads[2, 1] = 1.0
  model.layers[1].kernel.assign(reads)
  fits, _, _ = fits_of(model)
  made = fits.fitted({('hidden_0',): Form(None, 2)})
  kernel = product_of(made.params, 'hidden_0')
  np.testing.assert_allclose(kernel[1, 1], 1.0, atol=1e-2)
  np.testing.assert_allclose(kernel[2, 2], 1.0, atol=1e-2)
  assert fits.gap(made) < 1e-4


def test_losses_are_what_outputs_move_by():
  """Of a linear network the second order is all there is."""
  model = testing.mlp((6, 8, 7), hidden='linear')
  fits, found, (x,) = fits_of(model, 2000)
  layer = found.layers[0]
  options = fits.options(layer, 'parameters')
  before = model(x).numpy()
  before -= before.mean(-1, keepdims=True)
  scale = before.std()
  for form, said in zip(options.forms[:-1], options.losses, strict=False):
    made = fits.fitted({layer.path: form})
    kernel = product_of(made.params, 'hidden_0')
    bias = made.params[(layer.path, 'bias')]
    hidden = x @ kernel + bias
    after = hidden @ model.layers[1].kernel.numpy()
    after += model.layers[1].bias.numpy()
    after -= after.mean(-1, keepdims=True)
    moved = np.square((after - before) / scale).sum(-1).mean()
    # A ridge of 1 % on both sides.
    np.testing.assert_allclose(moved, said, rtol=0.05, atol=0.02)


@pytest.mark.parametrize('use_bias', [True, False])
def test_a_bias_takes_the_means(use_bias):
  """No column's mean moves where there is a bias."""
  model = testing.mlp((6, 8, 3), use_bias=use_bias)
  fits, _, (x,) = fits_of(model)
  made = fits.fitted({('hidden_0',): Form(None, 2)})
  old = model.layers[0].kernel.numpy()
  kernel = product_of(made.params, 'hidden_0')
  bias = made.params.get((('hidden_0',), 'bias'), 0.0)
  before = x @ old + (model.layers[0].bias.numpy() if use_bias else 0.0)
  after = x @ kernel + bias
  moved = np.abs(before.mean(0) - after.mean(0)).max()
  assert (moved < 1e-5) == use_bias


def test_channels_stand_for_all_taps_where_rows_are_many(monkeypatch):
  from tfmot_paoding.factorization import worth

  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 6, 4)),
        _layers.Conv2D(6, 3, name='a'),
        _layers.Flatten(),
        _layers.Dense(3),
      ]
    )
  )
  gaps = []
  for most in (2500, 8):
    monkeypatch.setattr(worth, 'MOST_ROWS', most)
    fits, found, _ = fits_of(model)
    forms = {('a',): Form(2, 3), ('dense',): Form(None, 2)}
    forms = {p.path: forms.get(p.path, Form(None, 1)) for p in found.layers}
    gaps.append(fits.gap(fits.fitted(forms)))
  assert np.all(np.isfinite(gaps))
  assert gaps[1] < 3 * gaps[0] + 0.1


def test_more_rows_than_samples_are_fitted_alike(monkeypatch):
  from tfmot_paoding.factorization import worth

  model = testing.mlp((12, 40, 30, 3))
  kernels = []
  for most in (2500, 8):
    monkeypatch.setattr(worth, 'MOST_ROWS', most)
    fits, found, _ = fits_of(model, 25)
    assert len(fits.options(found.layers[1], 'parameters').forms) > 3
    made = fits.fitted({one.path: Form(None, 2) for one in found.hidden()})
    kernels.append(product_of(made.params, 'hidden_1'))
  np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-4)


def test_least_squares_among_samples_are_those_among_rows():
  from tfmot_paoding.factorization.fits import RIDGE, _dual

  rng = np.random.default_rng(0)
  rows, missing = rng.normal(size=(7, 11)), rng.normal(size=(7, 3))
  gram = rows.T @ rows / 7
  gram += RIDGE * np.trace(gram) / 11 * np.eye(11)
  expected = np.linalg.solve(gram, rows.T @ missing / 7)
  np.testing.assert_allclose(_dual(rows, missing), expected, atol=1e-9)


def test_an_output_without_a_gradient_is_told_of():
  inputs = keras.Input((6,))
  x = _layers.Dense(8, name='hidden')(inputs)
  x = _layers.Lambda(lambda t: keras.backend.round(t))(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(3, name='last')(x)))
  fits, found, _ = fits_of(model)
  by_name = {one.name: one for one in found.layers}
  with pytest.warns(UserWarning, match="layer 'hidden' makes cannot be told"):
    options = fits.options(by_name['hidden'], 'parameters')
  assert options.losses[0] <= 1.0


def test_statistics_behind_chains_are_those_that_they_see():
  inputs = keras.Input((6,))
  x = _layers.Dense(8, use_bias=False, name='wide')(inputs)
  norm = _layers.BatchNormalization(name='norm', epsilon=1e-6)
  x = _layers.ReLU()(norm(x))
  model = testing.fill(keras.Model(inputs, _layers.Dense(3, name='out')(x)))
  samples = testing.samples((6,), 300, seed=0).astype(np.float32)

  def seen(kernel):
    made = samples @ kernel
    return made.mean(0), made.var(0)

  for weight, value in zip(
    (norm.moving_mean, norm.moving_variance),
    seen(model.get_layer('wide').kernel.numpy()),
    strict=True,
  ):
    weight.assign(value)
  network = Network.of(model)
  layers = find_candidates(network).layers
  fits = ChainFits(network, layers, [samples], [samples])
  made = fits.fitted({('wide',): Form(None, 2)})
  small = with_chains(model, made.chains, made.statistics)
  kernel = (
    small.get_layer('wide_low_rank').kernel @ small.get_layer('wide').kernel
  )
  mean, variance = seen(kernel.numpy())
  norm = small.get_layer('norm')
  np.testing.assert_allclose(norm.moving_mean, mean, atol=1e-4)
  np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-3)
  kept = model.get_layer('norm').moving_variance.numpy()
  assert np.abs(kept - variance).max() > 0.01
