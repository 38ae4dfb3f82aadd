"""Masks from outside, iterative magnitude pruning, SNIP."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import training
from tfmot_paoding.compat import UpdatePruningStep, keras, strip_pruning
from tfmot_paoding.training import tickets as lib


def data():
  rng = np.random.default_rng(0)
  x = rng.uniform(0, 1, (200, 5)).astype(np.float32)
  return x, (x[:, 0] > x[:, 1]).astype(int)


def compiled(model):
  model.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
  )
  return model


def train(wrapped, epochs=3):
  x, y = data()
  compiled(wrapped).fit(
    x, y, epochs=epochs, verbose=0, callbacks=[UpdatePruningStep()]
  )


def model():
  return testing.mlp((5, 8, 6, 2))


def test_masks_stay_through_training():
  wrapped = training.with_fixed_masks(model())
  rng = np.random.default_rng(0)
  masks = [rng.random(mask.shape) < 0.5 for mask in training.masks_of(wrapped)]
  training.set_masks(wrapped, masks)
  train(wrapped)
  for found, mask in zip(training.masks_of(wrapped), masks, strict=True):
    np.testing.assert_array_equal(found, mask)
  stripped = strip_pruning(wrapped)
  for layer, mask in zip(stripped.layers, masks, strict=True):
    kernel = layer.get_weights()[0]
    assert not kernel[~mask].any()
    assert kernel[mask].all()


@pytest.mark.parametrize('kind', ['masking', 'embedding'])
def test_keras_masks_pass_through(kind):
  layers = keras.layers
  rng = np.random.default_rng(0)
  if kind == 'masking':
    inputs = keras.Input((5, 4))
    y = layers.Masking()(inputs)
    x = rng.normal(size=(6, 5, 4)).astype(np.float32)
  else:
    inputs = keras.Input((5,))
    y = layers.Embedding(9, 4, mask_zero=True)(inputs)
    x = rng.integers(1, 9, (6, 5))
  x[:, 3:] = 0
  y = layers.Dense(8, 'relu')(y)
  y = layers.LSTM(4, return_sequences=True)(y)
  y = layers.Dense(2)(layers.GlobalAveragePooling1D()(y))
  model = testing.fill(keras.Model(inputs, y))
  wrapped = training.with_fixed_masks(model)
  np.testing.assert_allclose(wrapped(x), model(x), rtol=1e-5, atol=1e-6)
  masks = training.masks_of(wrapped)
  # The table of the embedding, a kernel, two of the recurrence, a kernel.
  assert len(masks) == 4 + (kind == 'embedding')


def test_layers_that_are_not_masked_are_named():
  inputs = keras.Input((5,))
  x = keras.layers.PReLU(name='slope')(keras.layers.Dense(4)(inputs))
  model = keras.Model(inputs, 2.0 * keras.layers.Dense(2)(x))
  with pytest.warns(UserWarning, match="No weight of .*: 'slope'"):
    wrapped = training.with_fixed_masks(model)
  assert len(training.masks_of(wrapped)) == 2


def test_magnitude_masks_by_hand():
  wrapped = training.with_fixed_masks(testing.mlp((2, 2, 2)))
  values = [np.array([[1.0, -5], [2, 0.5]]), np.array([[-4.0, 3], [0.1, 6]])]
  for (weight, _), value in zip(
    lib.masked_weights(wrapped), values, strict=True
  ):
    keras.backend.set_value(weight, value)
  first, second = training.magnitude_masks(wrapped, 0.5)
  np.testing.assert_array_equal(first, [[False, True], [False, False]])
  np.testing.assert_array_equal(second, [[True, True], [False, True]])
  # What is gone stays gone, however large it would be.
  training.set_masks(wrapped, [~first, second])
  again = training.magnitude_masks(wrapped, 0.5)
  assert not again[0][0, 1]


def test_snip_is_gradient_times_weight():
  wrapped = compiled(training.with_fixed_masks(model()))
  x, y = data()
  scores = []
  pairs = lib.masked_weights(wrapped)
  for weight, _ in pairs:
    value = keras.backend.get_value(weight)
    score = np.zeros_like(value)
    for at in np.ndindex(value.shape):
      ends = []
      for sign in (1, -1):
        moved = value.copy()
        moved[at] += sign * 1e-2
        keras.backend.set_value(weight, moved)
        ends.append(float(wrapped.test_on_batch(x, y)))
      keras.backend.set_value(weight, value)
      score[at] = abs(value[at] * (ends[0] - ends[1]) / 2e-2)
    scores.append(score)
  expected = lib._largest(scores, training.masks_of(wrapped), 0.5)
  found = training.snip_masks(wrapped, x, y, 0.5)
  alike = np.mean(
    [np.mean(a == b) for a, b in zip(expected, found, strict=True)]
  )
  assert alike > 0.95


def test_tickets_thin_out_and_rewind():
  start = model()
  before = start.get_weights()
  seen = []

  def remember(wrapped):
    seen.append([w.copy() for w in _kernels(wrapped)])
    train(wrapped, 1)

  found = list(training.find_tickets(start, remember, rounds=3, rate=0.5))
  np.testing.assert_allclose(
    [ticket.sparsity for ticket in found], [0, 0.5, 0.75, 0.875], atol=0.01
  )
  kernels = before[::2]
  for ticket, kernel_seen in zip(found, seen, strict=True):
    for mask, old, new in zip(ticket.masks, kernels, kernel_seen, strict=True):
      np.testing.assert_allclose(new, old * mask, rtol=1e-6)
  for thin, thick in zip(found[1:], found[:-1], strict=True):
    for a, b in zip(thin.masks, thick.masks, strict=True):
      assert not (a & ~b).any()
    for layer, mask in zip(thin.model.layers, thin.masks, strict=True):
      assert not layer.get_weights()[0][~mask].any()
  for old, new in zip(before, start.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def _kernels(wrapped):
  return [
    keras.backend.get_value(weight) for weight, _ in lib.masked_weights(wrapped)
  ]


def test_tickets_are_kept_when_the_rest_is_broken_off():
  search = training.find_tickets(model(), lambda w: train(w, 1), rounds=5)
  first = next(search)
  weights = [w.copy() for w in first.model.get_weights()]
  next(search)
  search.close()
  for old, new in zip(weights, first.model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


class TestOnDisk:
  def test_a_killed_search_goes_on_and_ends_alike(self, tmp_path):
    whole = list(self.search(tmp_path / 'whole'))
    broken = self.search(tmp_path / 'broken')
    for _ in range(2):
      next(broken)
    broken.close()
    trained = []
    again = list(
      self.search(
        tmp_path / 'broken',
        lambda w: (trained.append(1), self.same(w)),
      )
    )
    assert len(trained) == 2
    for one, other in zip(whole, again, strict=True):
      assert (one.round, one.sparsity) == (other.round, other.sparsity)
      for a, b in zip(one.masks, other.masks, strict=True):
        np.testing.assert_array_equal(a, b)
      weights = one.model.get_weights(), other.model.get_weights()
      for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)

  def test_more_rounds_of_a_finished_search(self, tmp_path):
    list(self.search(tmp_path, rounds=1))
    trained = []
    found = list(
      self.search(
        tmp_path, lambda w: (trained.append(1), self.same(w)), rounds=2
      )
    )
    assert len(found) == 3
    assert len(trained) == 1

  @pytest.mark.parametrize(
    ('sizes', 'rate'), [((5, 8, 6, 2), 0.4), ((5, 7, 6, 2), 0.5)]
  )
  def test_another_search_is_refused_before_training(
    self, tmp_path, sizes, rate
  ):
    next(self.search(tmp_path))

    def never(wrapped):
      raise AssertionError('Trained.')

    search = training.find_tickets(
      testing.mlp(sizes), never, rate=rate, directory=str(tmp_path)
    )
    with pytest.raises(ValueError, match='another model'):
      next(search)

  def test_a_damaged_file_is_named(self, tmp_path):
    next(self.search(tmp_path))
    file = tmp_path / 'round_0.npz'
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r'round_0\.npz.*Remove it'):
      next(self.search(tmp_path))

  def search(self, directory, train_as=None, rounds=3):
    return training.find_tickets(
      model(), train_as or self.same, rounds, 0.5, str(directory)
    )

  def same(self, wrapped):
    keras.utils.set_random_seed(3)
    train(wrapped, 1)


class TestBadInput:
  @pytest.mark.parametrize(
    'settings',
    [{'rounds': -1}, {'rounds': 1.5}, {'rate': 1.0}, {'rate': '0.2'}],
  )
  def test_settings(self, settings):
    with pytest.raises(ValueError, match=f'`{next(iter(settings))}`'):
      next(training.find_tickets(model(), train, **settings))

  def test_masks_of_a_wrong_shape(self):
    wrapped = training.with_fixed_masks(model())
    with pytest.raises(ValueError, match='one a prunable weight'):
      training.set_masks(wrapped, training.masks_of(wrapped)[:-1])

  def test_models_without_wrappers(self):
    with pytest.raises(ValueError, match='with_fixed_masks'):
      training.masks_of(model())

  def test_snip_without_a_loss_or_a_gradient(self):
    wrapped = training.with_fixed_masks(model())
    x, y = np.zeros((4, *wrapped.input_shape[1:])), np.zeros(4, int)
    with pytest.raises(ValueError, match='not compiled'):
      training.snip_masks(wrapped, x, y, 0.5)
    wrapped.compile('sgd', keras.losses.SparseCategoricalCrossentropy(True))
    with pytest.raises(ValueError, match='no number'):
      training.snip_masks(wrapped, x + np.nan, y, 0.5)

  def test_sparsity(self):
    wrapped = training.with_fixed_masks(model())
    with pytest.raises(ValueError, match='`sparsity`'):
      training.magnitude_masks(wrapped, 1.0)
