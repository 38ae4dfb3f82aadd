"""Where inputs come from: data, recalled ones, priors by name."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import samples
from tfmot_paoding.inputs import source as lib
from tfmot_paoding.inputs.leaves import LeavesPrior
from tfmot_paoding.inputs.prior import Prior, VariedPrior
from tfmot_paoding.network.network import Network


def two_inputs():
  a, b = keras.Input((3,), name='a'), keras.Input((4, 4, 1), name='b')
  flat = keras.layers.Flatten()(b)
  x = keras.layers.Concatenate()([a, flat])
  x = keras.layers.Dense(5, activation='relu')(x)
  return testing.fill(keras.Model([a, b], keras.layers.Dense(2)(x)))


def test_data_come_first():
  data = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
  (found,) = lib.draw_samples(
    testing.with_batch_norm(), (0, 1), 4, data=data, prior='smooth'
  )
  np.testing.assert_array_equal(found, data[:4])


@pytest.mark.parametrize(
  ('name', 'prior'), [('smooth', Prior()), ('varied', VariedPrior())]
)
def test_names_stand_for_priors(name, prior):
  model = testing.mlp()
  (found,) = lib.draw_samples(model, (0, 1), 50, seed=3, prior=name)
  (wanted,) = lib.draw_samples(model, (0, 1), 50, seed=3, prior=prior)
  np.testing.assert_array_equal(found, wanted)
  assert found.shape == (50, 5)
  assert found.dtype == np.float32


def test_the_default_is_smooth_or_what_the_caller_says():
  model = testing.mlp()
  default = lib.draw_samples(model, (0, 1), 50)
  smooth = lib.draw_samples(model, (0, 1), 50, prior='smooth')
  varied = lib.draw_samples(model, (0, 1), 50, prior='varied')
  other = lib.draw_samples(model, (0, 1), 50, otherwise='varied')
  np.testing.assert_array_equal(default[0], smooth[0])
  np.testing.assert_array_equal(other[0], varied[0])
  assert not np.array_equal(smooth[0], varied[0])


@pytest.mark.parametrize(
  ('macs', 'count', 'steps'),
  [
    (0, 768, 200),
    (6_500_000, 768, 200),
    (9_000_000, 512, 200),
    (12_500_000, 256, 200),
    (26_000_000, 256, 150),
    (60_000_000, 256, 120),
    (300_000_000, 256, 120),
  ],
)
def test_large_networks_recall_less(macs, count, steps, monkeypatch):
  asked = []

  def recalled(network, box, count, seed, verbose, told, settings):
    asked.append((count, settings.steps))
    return [np.zeros((count, 5), np.float32)]

  monkeypatch.setattr(samples, 'recalled', recalled)
  network = Network.of(testing.with_batch_norm())
  monkeypatch.setattr(type(network), 'macs', macs)
  samples.recalled_samples(network, None, 0, 0, [None])
  samples.recalled_samples(network, None, 0, 0, [None], 100)
  assert asked == [(count, steps), (100, steps)]


def test_models_with_batch_norm_are_asked_first():
  model = testing.with_batch_norm()
  found = lib.draw_samples(model, (-1, 1), 20, seed=5)
  wanted = paoding.recall_inputs(model, 20, (-1, 1), 5, verbose=0)
  np.testing.assert_array_equal(found[0], wanted)
  network = Network.of(testing.mlp())
  source = lib.InputSource.of(network, (0, 1))
  settled = source.settled(network)
  assert settled.prior is None
  assert settled.recollection is None
  asked = source.like(prior='recalled').samples(network, 6)
  assert asked[0].shape == (6, 5)


def test_each_input_may_have_a_prior_of_its_own():
  model = two_inputs()
  own = paoding.inputs.GaussianPrior(mean=5.0, covariance=np.full(3, 1e-12))
  found = lib.draw_samples(model, (0, 1), 30, prior={'b': 'smooth', 'a': own})
  assert [x.shape for x in found] == [(30, 3), (30, 4, 4, 1)]
  np.testing.assert_allclose(found[0], 5.0, atol=1e-4)
  assert found[1].std() > 0.1


@pytest.mark.parametrize(
  ('prior', 'message'),
  [
    ('rough', "`prior` must be 'recalled', one of smooth, varied"),
    (3, '`prior` must be'),
    ({'a': 'smooth'}, r"names the inputs \['a'\], but the model has"),
    ({'a': 'smooth', 'b': None}, '`prior` must be'),
  ],
)
def test_bad_priors_are_refused(prior, message):
  with pytest.raises(ValueError, match=message):
    lib.draw_samples(two_inputs(), (0, 1), 5, prior=prior)


@pytest.mark.parametrize('prior', ['varied', Prior(deviation=1.0)])
def test_schedules_take_a_prior(prior):
  def pruned(**settings):
    wrapped = paoding.prune_low_saliency(
      testing.mlp((6, 20, 3)),
      paoding.ProgressiveSparsity(0.5, 0.5),
      'reconstruction',
    )
    paoding.run_schedule(wrapped, verbose=0, **settings)
    return wrapped.get_weights()

  one, two, other = pruned(prior=prior), pruned(prior=prior), pruned()
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a, b)
  assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_indices_are_whole_numbers_of_the_whole_range():
  x = inputs = keras.Input((5,), dtype='int32')
  x = keras.layers.Embedding(9, 4)(x)
  x = keras.layers.BatchNormalization()(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  for prior in (None, 'varied'):
    (drawn,) = lib.draw_samples(model, (2, 8), 400, seed=1, prior=prior)
    assert drawn.shape == (400, 5)
    assert sorted(set(drawn.ravel())) == list(range(2, 9))
    share = np.bincount(drawn.ravel().astype(int))[2:] / drawn.size
    np.testing.assert_allclose(share, 1 / 7, atol=0.03)
  with pytest.raises(ValueError, match='whole numbers'):
    lib.draw_samples(model, (2, 8), 4, prior='recalled')


@pytest.mark.parametrize('prior', [None, 'smooth'])
def test_rows_of_a_table_are_whole_numbers_whatever_their_type(prior):
  inputs = keras.Input((6,))
  x = keras.layers.Embedding(50, 3)(keras.layers.Reshape((2, 3))(inputs))
  x = keras.layers.BatchNormalization()(keras.layers.Flatten()(x))
  model = keras.Model(inputs, keras.layers.Dense(2)(x))
  (x,) = lib.draw_samples(model, (0, 49), 200, prior=prior)
  np.testing.assert_array_equal(x, np.rint(x))
  assert set(np.unique(x)) == set(range(50))


def test_a_classifier_chooses_among_leaves():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(4, 3, activation='relu'),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
      ]
    )
  )
  (chosen,) = lib.draw_samples(model, (0, 1), 60, prior='leaves')
  assert chosen.shape == (60, 8, 8, 1)
  (again,) = lib.draw_samples(model, (0, 1), 60, prior='leaves')
  np.testing.assert_array_equal(chosen, again)
  (drawn,) = lib.draw_samples(model, (0, 1), 240, prior=_AllLeaves())
  gaps = [
    np.ptp(np.sort(model(x).numpy())[:, -2:], 1).mean() for x in (drawn, chosen)
  ]
  assert gaps[1] > gaps[0]


class _AllLeaves(LeavesPrior):
  """Leaves that nobody chooses among."""

  is_chosen = False


def test_an_unknown_prior_is_told_what_there_is():
  with pytest.raises(ValueError, match=r"'recalled', one of .*leaves"):
    lib.draw_samples(testing.mlp((5, 8, 3)), (0, 1), 4, prior='nonsense')
