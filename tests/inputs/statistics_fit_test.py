"""Inputs by first statistics: by hand, by loops, of Gaussians, by samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_statistics import first_statistics
from tfmot_paoding.inputs.moment_fits import fit_covariance, fit_mean
from tfmot_paoding.inputs.prior import Prior
from tfmot_paoding.inputs.recall import RecallSettings, recall_inputs
from tfmot_paoding.inputs.source import draw_samples
from tfmot_paoding.inputs.statistics_fit import (
  _form,
  explaining_priors,
  fit_statistics,
  statistics_prior,
  told_priors,
)
from tfmot_paoding.inputs.statistics_prior import (
  FieldPart,
  StatisticsPrior,
  roots,
)
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers
# Those of `RecallSettings`, with fewer steps.
QUICK = tuple(
  {'steps': 3, 'batch_size': 64}.get(field.name, field.default)
  for field in dataclasses.fields(RecallSettings)
)


def wide(shape):
  """A range that cuts nothing."""
  return Interval(np.full(shape, -1e6), np.full(shape, 1e6))


def model_of(shape, *front, head=3):
  return testing.fill(
    keras.Sequential(
      [
        keras.Input(shape),
        *front,
        L.BatchNormalization(epsilon=1e-9),
        L.ReLU(),
        L.Flatten(),
        L.Dense(head),
      ]
    ),
    5,
  )


def norm_of(model):
  (norm,) = (x for x in model.layers if isinstance(x, L.BatchNormalization))
  return norm


def told(model, mean, covariance):
  """Stores the statistics that inputs of these moments have, entry by entry."""
  (known,) = first_statistics(Network.of(model), 0)
  size = int(np.prod(known.shape))
  unit = np.eye(size).reshape(size, *known.shape)
  response = known.response(unit) - known.offset()
  each = known.response(np.reshape(mean, (1, *known.shape)))[0]
  variance = np.einsum(
    'apc,ab,bpc->pc', response, covariance, response, optimize=True
  )
  norm = norm_of(model)
  gamma, beta = norm.get_weights()[:2]
  norm.set_weights([gamma, beta, each.mean(0), variance.mean(0) + each.var(0)])
  return model


def test_one_unit_of_one_feature_by_hand():
  model = model_of((1,), L.Dense(1))
  model.layers[0].set_weights([np.array([[2.0]]), np.array([1.0])])
  norm_of(model).set_weights(np.array([[1.0], [0.0], [7.0], [36.0]]))
  prior = fit_statistics(model)
  # (7 - 1) / 2, and 36 / 2^2.
  np.testing.assert_allclose(prior.mean, [3.0], rtol=1e-3)
  np.testing.assert_allclose(prior.variance(), [9.0], rtol=1e-6)


def test_two_features_by_hand():
  # Units a, b, a + b, 2a + b, ...; a and b of means 3, -1 and variances 4, 1.
  rows = np.array([[1, 0], [0, 1], [1, 1], [2, 1], [1, 2], [1, -1.0], [1, -2]])
  means, variances = rows @ [3.0, -1.0], np.square(rows) @ [4.0, 1.0]
  ones = np.ones(len(rows))
  fit = fit_mean(rows, means, ones, np.ones(2), (0,))
  np.testing.assert_allclose(fit.mean, [3.0, -1.0], rtol=0.02)
  form = np.einsum('cf,cg->fgc', rows, rows)
  (part,) = fit_covariance({0.0: form}, variances, ones, 0).parts
  np.testing.assert_allclose(
    part.patterns @ part.patterns.T, np.diag([4, 1]), atol=1e-6
  )


@pytest.mark.parametrize('scale', [0.0, 1.5, np.inf])
@pytest.mark.parametrize('stationary', [(0,), (1,), (0, 1)])
def test_variances_are_those_of_the_whole_covariance(scale, stationary):
  shape = (6, 5, 2)
  model = model_of(shape, L.Conv2D(4, (3, 2), (2, 1), padding='same'))
  (known,) = first_statistics(Network.of(model), 0)
  form = _form(known, known.offset(), stationary, scale)
  pattern = np.random.default_rng(0).normal(size=len(form))
  prior = StatisticsPrior(
    np.zeros(shape), stationary, (FieldPart(scale, pattern[:, None]),)
  )
  # Position by position, entry by entry.
  entries = list(np.ndindex(*shape))
  others = [axis for axis in range(3) if axis not in stationary]
  sizes = [shape[axis] for axis in others]
  factor = np.array(
    [
      pattern[np.ravel_multi_index([at[k] for k in others], sizes)]
      for at in entries
    ]
  )
  covariance = np.outer(factor, factor)
  for i, one in enumerate(entries):
    for j, other in enumerate(entries):
      for axis in stationary:
        gap = one[axis] - other[axis]
        if scale == 0:
          covariance[i, j] *= gap == 0
        elif np.isfinite(scale):
          covariance[i, j] *= np.exp(-(gap**2) / (2 * scale**2))
  np.testing.assert_allclose(
    prior.variance(), np.diag(covariance).reshape(shape), rtol=1e-9
  )
  told(model, np.zeros(shape), covariance)
  predicted = np.einsum('f,g,fgc->c', pattern, pattern, form)
  np.testing.assert_allclose(
    predicted, norm_of(model).moving_variance.numpy(), rtol=2e-3
  )
  x = prior.sample(wide(shape), 4000, np.random.default_rng(1))
  np.testing.assert_allclose(
    np.cov(x.reshape(4000, -1).T), covariance, atol=0.15 * covariance.max()
  )


@given(
  means=st.lists(st.floats(-20, 20), min_size=2, max_size=2),
  deviations=st.lists(st.floats(0.5, 8), min_size=2, max_size=2),
)
@settings(max_examples=4, deadline=None)
def test_a_known_gaussian_of_channels_is_recovered(means, deviations):
  shape = (6, 5, 2)
  model = model_of(shape, L.Conv2D(24, 3, padding='same'))
  mean = np.broadcast_to(means, shape)
  variance = np.broadcast_to(np.square(deviations), shape)
  told(model, mean, np.diag(variance.ravel()))
  prior = fit_statistics(model)
  scale = np.abs(mean).max() + np.sqrt(variance.max())
  np.testing.assert_allclose(prior.mean, mean, atol=0.05 * scale)
  np.testing.assert_allclose(prior.variance(), variance, rtol=0.05)
  assert prior.mean_error < 0.05
  assert prior.variance_error < 0.05


def sounds():
  """Frames of coefficients of falling size, louder in the middle."""
  shape = (20, 4, 1)
  size = np.array([8.0, 4.0, 2.0, 1.0])
  time = np.arange(20)
  mean = np.zeros(shape)
  mean[:, 0, 0] = 10 * np.sin(np.pi * time / 19) - 15
  root = roots(20, 4.0)
  covariance = np.kron(root @ root.T, np.diag(np.square(size)))
  model = model_of(shape, L.Conv2D(48, (6, 3), 2, padding='same'))
  return told(model, mean, covariance), mean, size


def test_each_coefficient_and_the_way_along_time_are_recovered():
  model, mean, size = sounds()
  prior = fit_statistics(model)
  assert prior.stationary == (0,)
  deviations = np.sqrt(prior.variance()[0, :, 0])
  np.testing.assert_allclose(deviations, size, rtol=0.2, atol=1.0)
  np.testing.assert_allclose(prior.mean, mean, atol=1.5)
  # One level for all frames would be off by 3 on average.
  assert np.abs(prior.mean - mean)[:, 0].mean() < 0.5
  assert np.abs(mean - mean.mean(0))[:, 0].mean() > 2.5
  covariance = sum(
    np.square(part.patterns[0]).sum() * _correlation(part.scale, 4)
    for part in prior.parts
  )
  assert 0.4 < covariance / size[0] ** 2 < 0.8  # exp(-.5) is .61


def _correlation(scale, gap):
  return 0.0 if scale == 0 else np.exp(-(gap**2) / (2 * scale**2))


def test_samples_have_the_statistics_that_were_stored():
  model, _, _ = sounds()
  prior = fit_statistics(model)
  x = prior.sample(wide((20, 4, 1)), 3000, np.random.default_rng(0))
  (known,) = first_statistics(Network.of(model), 0)
  z = known.response(x)
  deviation = np.sqrt(known.variance)
  shift = (z.mean((0, 1)) - known.mean) / deviation
  assert np.abs(shift).max() < 0.1
  np.testing.assert_allclose(z.var((0, 1)), known.variance, rtol=0.35)


def test_channels_that_move_together_are_recovered():
  shape = (6, 6, 3)
  colours = np.array([[1.0, 0.9, 0.8], [0.9, 1.2, 1.0], [0.8, 1.0, 1.5]])
  model = model_of(shape, L.Conv2D(40, 3, padding='same'))
  told(model, np.zeros(shape), np.kron(np.eye(36), colours))
  prior = fit_statistics(model)
  found = sum(part.patterns @ part.patterns.T for part in prior.parts)
  np.testing.assert_allclose(found, colours, atol=0.15)


def test_a_vector_of_features():
  rng = np.random.default_rng(0)
  mean, deviation = rng.normal(size=6) * 3, rng.uniform(0.5, 4, 6)
  model = told(model_of((6,), L.Dense(40)), mean, np.diag(np.square(deviation)))
  prior = fit_statistics(model)
  np.testing.assert_allclose(prior.mean, mean, atol=0.1)
  np.testing.assert_allclose(
    np.sqrt(prior.variance()), deviation, rtol=0.1, atol=0.1
  )


def test_removed_filters_do_not_count():
  model, mean, _ = sounds()
  before = fit_statistics(model).mean
  conv = model.layers[0]
  kernel, bias = conv.get_weights()
  kernel[..., ::4] = 0
  conv.set_weights([kernel, bias])
  np.testing.assert_allclose(fit_statistics(model).mean, before, atol=1.5)
  np.testing.assert_allclose(fit_statistics(model).mean, mean, atol=2.0)


def test_the_name_stands_for_it():
  model, mean, _ = sounds()
  box = (-60.0, 40.0)
  one, two = (
    draw_samples(model, box, 600, prior='statistics', seed=3)[0]
    for _ in range(2)
  )
  np.testing.assert_array_equal(one, two)
  assert one.shape == (600, 20, 4, 1)
  assert one.dtype == np.float32
  assert one.min() >= box[0]
  assert one.max() <= box[1]
  np.testing.assert_allclose(one.mean(0), mean, atol=2.0)
  wrapped = draw_samples(model, box, 600, prior=fit_statistics(model), seed=3)[
    0
  ]
  np.testing.assert_array_equal(one, wrapped)


def test_recalled_inputs_keep_the_moments_that_are_told():
  model, mean, size = sounds()
  off = {}
  for weight in (0.0, 1.0):
    x = recall_inputs(
      model,
      64,
      (-60.0, 40.0),
      settings=RecallSettings(steps=40, batch_size=64, moments=weight),
      verbose=0,
    )
    shift = x.mean((0, 1))[:, 0] - mean.mean(0)[:, 0]
    spread = x.std((0, 1))[:, 0] / np.hypot(size, mean.std(0)[:, 0])
    off[weight] = np.abs(shift / size).max(), np.abs(np.log(spread)).max()
  assert off[1.0][0] < 0.3 < off[0.0][0]
  assert off[1.0][1] < 0.7 < off[0.0][1]


def test_well_explained_inputs_are_most_of_the_default(monkeypatch):
  monkeypatch.setattr(RecallSettings.__init__, '__defaults__', QUICK)
  model, _, _ = sounds()
  box = (-60.0, 40.0)
  default, recalled, told = (
    draw_samples(model, box, count, prior=prior, verbose=0)[0]
    for count, prior in [(31, None), (6, 'recalled'), (25, 'statistics')]
  )
  assert default.shape == (31, 20, 4, 1)
  rows = {x.tobytes() for x in default}
  assert rows == {x.tobytes() for x in (*recalled, *told)}


def test_what_is_not_explained_is_not_kept():
  model, _, _ = sounds()
  (prior,) = explaining_priors(Network.of(model))
  assert prior is not None
  norm = norm_of(model)
  gamma, beta, mean, variance = norm.get_weights()
  rng = np.random.default_rng(0)
  norm.set_weights([gamma, beta, rng.permutation(mean), variance])
  assert explaining_priors(Network.of(model)) == [None]
  assert explaining_priors(Network.of(testing.mlp())) == [None]


def test_each_of_several_inputs_has_its_own():
  left, right = keras.Input((4,), name='left'), keras.Input((6,), name='right')
  branches = [
    L.BatchNormalization()(L.Dense(12)(left)),
    L.Dense(12, 'relu')(right),
  ]
  model = testing.fill(keras.Model([left, right], L.Add()(branches)), 2)
  with pytest.raises(ValueError, match="behind the input 'right'"):
    draw_samples(model, (-50, 50), 5, prior='statistics')
  x = draw_samples(
    model, (-50, 50), 5, prior={'left': 'statistics', 'right': 'smooth'}
  )
  assert [part.shape for part in x] == [(5, 4), (5, 6)]


def test_without_statistics_the_reason_is_told():
  model = testing.mlp()
  with pytest.raises(ValueError, match="'smooth', a prior of your own"):
    draw_samples(model, (-50, 50), 5, prior='statistics')
  with pytest.raises(ValueError, match='batch normalization stored'):
    fit_statistics(model)


def test_a_prior_is_one_of_inputs_of_its_shape():
  model, _, _ = sounds()
  with pytest.raises(ValueError, match=r'fitted to inputs of shape \(20, 4, 1'):
    fit_statistics(model).sample(wide((4,)), 2, np.random.default_rng(0))
  assert Prior().suits((4,))


def test_units_that_read_nothing_tell_nothing():
  inputs = keras.Input((4,))
  norm = keras.layers.BatchNormalization()
  first = keras.layers.Dense(2)
  x = keras.layers.Dense(6, 'relu')(norm(first(inputs)))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  kernel, bias = first.get_weights()
  first.set_weights([0.0 * kernel, bias])
  assert told_priors(Network.of(model)) == [None]
  with pytest.raises(ValueError, match='none has a weight for it'):
    statistics_prior(Network.of(model), 0)
  small = paoding.prune(
    model, 0.5, method='reconstruction', input_range=(-1.0, 1.0), verbose=0
  )
  x = testing.samples((4,), 9).astype(np.float32)
  assert np.isfinite(np.asarray(small(x))).all()
