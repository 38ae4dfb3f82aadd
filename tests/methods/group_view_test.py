"""One group as arrays, against slow and obvious references."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras


def test_incoming_and_outgoing_of_a_plain_layer():
  model = testing.mlp((5, 8, 6, 3))
  view = testing.group_view(model)
  kernel, bias = model.get_layer('hidden_0').get_weights()
  np.testing.assert_array_equal(view.incoming, kernel)
  np.testing.assert_array_equal(view.biases, [bias])
  following = model.get_layer('hidden_1').get_weights()[0]
  np.testing.assert_array_equal(view.outgoing, following)


def test_batch_norm_is_folded_into_incoming():
  model = testing.with_batch_norm(before=True)
  view = testing.group_view(model)
  x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
  wanted = model.get_layer('norm_0')(model.get_layer('hidden_0')(x))
  np.testing.assert_allclose(
    x @ view.incoming + view.biases[0], wanted, rtol=1e-4, atol=1e-5
  )


def test_several_consumers_and_positions_lie_side_by_side():
  inputs = keras.Input((3, 5))
  x = keras.layers.Dense(4, name='a')(inputs)
  flat = keras.layers.Flatten()(x)
  one = keras.layers.Dense(2, name='one')(flat)
  model = testing.fill(
    keras.Model(inputs, [one, keras.layers.Dense(6, name='two')(x)])
  )
  edit = testing.group_edit(model)
  view = edit.view
  assert view.outgoing.shape == (4, 3 * 2 + 6)
  rows = model.get_layer('one').get_weights()[0].reshape(3, 4, 2)
  # The branch without Flatten is the shallower one, so it comes first.
  np.testing.assert_array_equal(view.outgoing[1, 6:], rows[:, 1].ravel())
  kernels = edit.consumer_kernels()
  for ref, kernel in kernels.items():
    layer = model.get_layer(ref.layer[-1])
    np.testing.assert_array_equal(kernel, layer.get_weights()[0])


@pytest.mark.parametrize('activation', ['relu', 'sigmoid', 'gelu'])
def test_remembered_differences_are_those_of_a_fresh_view(activation):
  model = testing.mlp((5, 8, 6, 3), activation)
  view = testing.group_view(model)
  rng = np.random.default_rng(0)
  for _ in range(20):
    left, right = rng.integers(0, 8, (2, 4))
    found = view.difference(left, right)
    wanted = testing.group_view(model).difference(left, right)
    np.testing.assert_array_equal(found.low, wanted.low)
    np.testing.assert_array_equal(found.high, wanted.high)


def test_without_bounds_it_says_so():
  inputs = keras.Input((4,))
  x = keras.layers.Lambda(lambda z: z * z)(inputs)
  x = keras.layers.Dense(5, 'relu')(x)
  view = testing.group_view(keras.Model(inputs, keras.layers.Dense(2)(x)))
  assert not view.has_bounds
  assert testing.group_view(testing.mlp()).has_bounds


@pytest.mark.parametrize('activation', ['relu', 'sigmoid'])
def test_differences_hold_at_every_position_and_consumer(activation):
  inputs = keras.Input((3, 5))
  x = keras.layers.Dense(4, activation, name='a')(inputs)
  each = keras.layers.Dense(2, name='each')(x)
  whole = keras.layers.Dense(2, name='whole')(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, [each, whole]))
  view = testing.group_view(model)
  left, right = testing.pairs(4)
  found = view.difference(left, right)
  assert found.low.shape == left.shape
  samples = testing.samples((3, 5)).astype(np.float32)
  seen = np.asarray(model.get_layer('a')(samples), np.float64)
  apart = (seen[..., left] - seen[..., right]).reshape(-1, len(left))
  # Keras rounds to float32.
  assert np.all(apart >= found.low - 1e-5)
  assert np.all(apart <= found.high + 1e-5)
  # A unit beside itself is nothing apart.
  same = view.difference(np.array([1]), np.array([1]))
  assert same.low[0] == same.high[0] == 0


@pytest.mark.parametrize('method', ['impact', 'stochastic'])
def test_bounds_that_overflow_are_no_bounds(method):
  model = testing.mlp((3, 8, 8, 6, 3), 'exponential')
  for layer in model.layers:
    layer.set_weights([20 * weight for weight in layer.get_weights()])
  view = testing.group_view(model, 0, -9.0, 9.0)
  paoding.prune(model, 0.5, method=method, input_range=(-9.0, 9.0), verbose=0)
  assert not view.has_bounds


@pytest.mark.parametrize(
  'name',
  ['alive', 'outgoing', 'masses', 'incoming', 'biases', 'pair_distances'],
)
def test_what_a_view_shows_cannot_be_written_to(name):
  edit = testing.group_edit(testing.mlp())
  for _ in range(2):
    with pytest.raises(ValueError, match='read-only'):
      getattr(edit.view, name)[:] = 0
    with pytest.raises(AttributeError):
      setattr(edit.view, name, np.zeros(8))
    edit.fold(3, 6)
    edit.remove(3)


def test_no_method_of_a_view_edits():
  """Whatever changes a group is asked of an edit."""
  verbs = ('absorb', 'fold', 'remove', 'eliminate', 'refit', 'changed_params')
  view = testing.group_view(testing.mlp())
  assert not [verb for verb in verbs if hasattr(view, verb)]
