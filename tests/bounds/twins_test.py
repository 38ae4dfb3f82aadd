"""The difference of two models: sound by sampling, tighter than apart."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tests.testing import conv_net, draw, pooled, sequence, squeezed
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras, strip_pruning

MODELS = {
  'mlp': lambda: testing.mlp((5, 12, 10, 3)),
  'sigmoid': lambda: testing.mlp((5, 12, 10, 3), 'sigmoid'),
  'softmax': lambda: testing.mlp((5, 12, 10, 3), activation='softmax'),
  'batch norm': testing.with_batch_norm,
  'conv net': conv_net,
  'pooled': pooled,
  'sequence': sequence,
  'squeezed': squeezed,
}
METHODS = ('ibp', 'crown-ibp', 'crown')


def pruned(model, noise=0.0):
  small = paoding.prune(
    model, 0.25, method='saliency', input_range=(-1.0, 1.0), verbose=0
  )
  rng = np.random.default_rng(0)
  small.set_weights(
    [w * (1 + noise * rng.normal(size=w.shape)) for w in small.get_weights()]
  )
  return small


@functools.cache
def pair(name, noise=0.0):
  """A model and what is left of it, for all tests that leave both alone."""
  model = MODELS[name]()
  return model, pruned(model, noise)


def around(x, epsilon, count=200, seed=0):
  rng = np.random.default_rng(seed)
  steps = rng.uniform(-epsilon, epsilon, (count, *x.shape))
  return np.clip(x + steps, -1, 1).astype(np.float32)


@pytest.mark.parametrize(
  ('name', 'method'),
  [
    *((name, 'crown') for name in MODELS),
    *testing.paired(MODELS, [m for m in METHODS if m != 'crown']),
  ],
)
def test_sound_by_sampling(name, method):
  model, small = pair(name, 0.02)
  x = draw(model.input_shape[1:], 2)
  bound = paoding.deviation_bound(
    model, small, (-1.0, 1.0), x=x, epsilon=0.05, method=method
  )
  assert bound.shape == (2, *model.output_shape[1:])
  for k, sample in enumerate(x):
    z = around(sample, 0.05)
    gap = np.abs(small(z).numpy() - model(z).numpy()).max(0)
    assert np.all(gap <= bound[k] + 1e-5)


@pytest.mark.parametrize('name', ['mlp', 'sigmoid', 'batch norm', 'conv net'])
def test_tighter_than_two_separate_bounds(name):
  model, small = pair(name)
  x = draw(model.input_shape[1:], 3)
  for method in METHODS:
    bound = paoding.deviation_bound(
      model, small, (-1.0, 1.0), x=x, epsilon=0.05, method=method
    )
    one, two = (
      robustness.output_bounds(m, x, 0.05, (-1.0, 1.0), method)
      for m in (model, small)
    )
    apart = np.maximum(two[1] - one[0], one[1] - two[0])
    assert np.all(bound <= apart + 1e-9)
    assert bound.mean() < 0.9 * apart.mean()


def test_linear_bounds_beat_intervals():
  model, small = pair('mlp')
  x = draw((5,), 4)
  ibp, crown = (
    paoding.deviation_bound(
      model, small, (-1.0, 1.0), x=x, epsilon=0.1, method=method
    )
    for method in ('ibp', 'crown')
  )
  assert np.all(crown <= ibp + 1e-12)
  assert crown.mean() < 0.9 * ibp.mean()


def test_at_a_point_the_bound_is_the_deviation():
  model, small = pair('conv net')
  x = draw(model.input_shape[1:], 3)
  bound = paoding.deviation_bound(
    model, small, (-1.0, 1.0), x=x, epsilon=0.0, method='crown'
  )
  z = x.astype(np.float32)
  gap = np.abs(small(z).numpy() - model(z).numpy())
  np.testing.assert_allclose(bound, gap, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['mlp', 'softmax', 'conv net'])
def test_equal_models_do_not_deviate(name):
  model = MODELS[name]()
  twin = keras.models.clone_model(model)
  twin.set_weights(model.get_weights())
  x = draw(model.input_shape[1:], 2)
  bound = paoding.deviation_bound(
    model, twin, (-1.0, 1.0), x=x, epsilon=0.1, method='crown'
  )
  np.testing.assert_allclose(bound, 0, atol=1e-12)


def test_the_whole_range_takes_linear_bounds_too():
  model, small = pair('mlp')
  ibp = paoding.deviation_bound(model, small, (-1.0, 1.0))
  crown = paoding.deviation_bound(model, small, (-1.0, 1.0), method='crown')
  assert crown.shape == ibp.shape == (3,)
  assert np.all(crown <= ibp)
  z = np.random.default_rng(0).uniform(-1, 1, (2000, 5)).astype(np.float32)
  gap = np.abs(small(z).numpy() - model(z).numpy()).max(0)
  assert np.all(gap <= crown + 1e-5)


def test_wrapped_and_stripped_models_have_the_compact_ones_bound():
  model = testing.mlp((5, 12, 10, 3))
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.25, 0.25), 'saliency', (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  x = draw((5,), 2)
  found = [
    paoding.deviation_bound(
      model, form, (-1.0, 1.0), x=x, epsilon=0.1, method='crown'
    )
    for form in (wrapped, stripped, paoding.compact(stripped))
  ]
  np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
  np.testing.assert_allclose(found[0], found[2], rtol=1e-5)


class TestCertifiedAgreement:
  def proved(self, model, small, x, epsilon, method='crown'):
    return robustness.certified_agreement(
      model, small, x, epsilon, (-1.0, 1.0), method
    )

  @pytest.mark.parametrize('name', ['mlp', 'softmax', 'conv net'])
  def test_never_proves_what_samples_break(self, name):
    model, small = pair(name)
    x = draw(model.input_shape[1:], 8)
    for epsilon in (0.0, 0.02, 0.1):
      found = self.proved(model, small, x, epsilon)
      for k, sample in enumerate(x):
        z = around(sample, epsilon, 300)
        ours, theirs = (m(z).numpy().argmax(-1) for m in (model, small))
        assert not found.original[k] or np.all(ours == found.answers[k])
        if found.same[k] or found.apart[k]:
          assert np.all(ours == found.answers[k])
          assert np.all(theirs == found.answers[k])

  def test_points_are_decided(self):
    model, small = pair('mlp')
    x = draw((5,), 50)
    found = self.proved(model, small, x, 0.0)
    ours, theirs = (
      m(x.astype(np.float32)).numpy().argmax(-1) for m in (model, small)
    )
    np.testing.assert_array_equal(found.answers, ours)
    np.testing.assert_array_equal(found.same, ours == theirs)

  def test_what_is_proved_apart_is_proved(self):
    model, small = pair('mlp')
    x = draw((5,), 50)
    found = self.proved(model, small, x, 0.1)
    assert np.all(found.same >= found.apart)
    assert 0 < found.same.sum() < 50

  def test_binary(self):
    model = testing.mlp((5, 12, 1), activation='sigmoid')
    small = pruned(model)
    x = draw((5,), 20)
    found = self.proved(model, small, x, 0.01)
    z = x.astype(np.float32)
    ours, theirs = (m(z).numpy()[:, 0] > 0.5 for m in (model, small))
    assert found.same.any()
    assert np.all(ours[found.same] == theirs[found.same])

  def test_answers_are_those_at_the_samples(self):
    """Also where the range cuts a ball, whose middle answers otherwise."""
    model = testing.mlp((1, 2))
    model.layers[0].set_weights([np.array([[0.0, 1.0]]), np.array([0, -0.004])])
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    found = robustness.certified_agreement(model, twin, [[0.0]], 0.01)
    np.testing.assert_array_equal(found.answers, [0])
    assert not found.same[0]
