"""Entries that were always 0, told by weights that never moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import empty_entries as lib
from tfmot_paoding.inputs.prior import GaussianPrior
from tfmot_paoding.inputs.ranges import resolve_range
from tfmot_paoding.inputs.samples import of_prior
from tfmot_paoding.network.network import Network

layers = keras.layers
_EMPTY = np.zeros((8, 8, 1), bool)
_EMPTY[:2, :2] = _EMPTY[-1, -3:] = True


def _trained(*first, shape=(8, 8, 1), optimizer='adam', scale=1.0):
  """A classifier of pictures with empty corners, trained for some steps."""
  rng = np.random.default_rng(0)
  x = rng.uniform(size=(256, 8, 8, 1)) * ~_EMPTY
  y = (x.reshape(256, -1)[:, ::3].sum(1) > 8).astype(int)
  keras.utils.set_random_seed(1)
  model = keras.Sequential(
    [
      keras.Input(shape),
      *first,
      layers.Dense(32, activation='relu'),
      layers.Dense(2, activation='softmax'),
    ]
  )
  model.compile(optimizer, 'sparse_categorical_crossentropy')
  model.fit(scale * x.reshape(-1, *shape), y, 64, epochs=12, verbose=0)
  return model


@pytest.fixture(scope='module')
def network():
  adam = keras.optimizers.Adam(0.05)
  return Network.of(_trained(layers.Flatten(), optimizer=adam))


def _told(model):
  (empty,) = lib.empty_entries(Network.of(model).graph)
  return empty


@pytest.mark.parametrize(
  'optimizer', [keras.optimizers.Adam(0.05), keras.optimizers.SGD(2.0)]
)
def test_training_tells_what_was_always_empty(optimizer):
  model = _trained(layers.Flatten(), optimizer=optimizer)
  np.testing.assert_array_equal(_told(model), _EMPTY)


def test_through_what_moves_entries_and_scales_them():
  model = _trained(
    layers.Rescaling(1 / 255.0),
    layers.ZeroPadding2D(1),
    layers.Permute((2, 1, 3)),
    layers.Dropout(0.1),
    layers.Reshape((100,)),
    optimizer=keras.optimizers.Adam(0.05),
    scale=255.0,
  )
  np.testing.assert_array_equal(_told(model), _EMPTY)


def test_a_shift_makes_something_of_nothing():
  model = _trained(
    layers.Flatten(),
    layers.Rescaling(2.0, -1.0),
    optimizer=keras.optimizers.Adam(0.05),
  )
  assert not _told(model).any()


def test_a_cropped_entry_is_not_told_of():
  model = _trained(
    layers.Cropping2D(((1, 0), (0, 0))),
    layers.Flatten(),
    optimizer=keras.optimizers.Adam(0.05),
  )
  wanted = _EMPTY.copy()
  wanted[0] = False
  np.testing.assert_array_equal(_told(model), wanted)


def test_all_that_read_an_entry_have_to_say_so():
  x = keras.Input((64,))
  one, other = layers.Dense(32), layers.Dense(32)
  model = keras.Model(x, layers.add([one(x), other(x)]))
  rng = np.random.default_rng(2)
  trained = [rng.normal(0, 1, (64, 32)) for _ in range(2)]
  for layer, weights, empty in zip((one, other), trained, (8, 5), strict=True):
    weights[:empty] = layer.kernel.numpy()[:empty]
    layer.kernel.assign(weights)
  np.testing.assert_array_equal(_told(model), np.arange(64) < 5)


def test_an_untrained_network_tells_nothing():
  model = keras.Sequential([keras.Input((64,)), layers.Dense(32)])
  assert not _told(model).any()


def test_an_initializer_that_draws_nothing_tells_nothing():
  dense = layers.Dense(32, kernel_initializer='orthogonal')
  model = keras.Sequential([keras.Input((64,)), dense])
  kernel = dense.kernel.numpy()
  kernel[5:] = np.random.default_rng(0).normal(0, 1, (59, 32))
  dense.kernel.assign(kernel)
  assert not _told(model).any()


@pytest.mark.parametrize('kind', ['uniform', 'truncated'])
def test_rows_as_drawn(kind):
  rng = np.random.default_rng(3)

  def draw(rows):
    if kind == 'uniform':
      return rng.uniform(-0.1, 0.1, (rows, 64))
    x = rng.normal(0, 0.05, (20 * rows, 64))
    return x[np.abs(x) < 0.1][: rows * 64].reshape(rows, 64)

  kernel = draw(100)
  kernel[30:] += rng.normal(0, 0.05, (70, 64))
  kernel[99] = 0
  found = lib.untouched_rows(kernel, draw(100))
  np.testing.assert_array_equal(np.flatnonzero(found), [*range(30), 99])


def test_small_weights_are_not_untouched_ones():
  # Within what is drawn, but of another distribution: as decay leaves them.
  rng = np.random.default_rng(4)
  kernel = rng.normal(0, 0.2, (100, 64))
  kernel[:30] = rng.normal(0, 0.02, (30, 64))
  drawn = rng.uniform(-0.1, 0.1, kernel.shape)
  assert not lib.untouched_rows(kernel, drawn).any()


def test_few_columns_and_little_training_tell_nothing():
  # Each row has moved, and four in ten are within the bounds by chance.
  rng = np.random.default_rng(5)
  drawn, kernel = rng.uniform(-0.3, 0.3, (2, 200, 16))
  kernel += rng.normal(0, 0.03, kernel.shape)
  inside = (np.abs(kernel) <= 0.3).all(1)
  assert inside.mean() > 0.2
  assert not lib.untouched_rows(kernel, drawn).any()


@given(hnp.arrays(bool, st.tuples(*[st.integers(1, 7)] * 2)))
def test_fullness_by_distance(empty):
  found = lib.fullness(empty[..., None])[..., 0]
  assert np.all(found[empty] == 0)
  reach = min(empty.shape) / 4
  holes = np.argwhere(empty)
  for place in np.argwhere(~empty):
    gaps = np.linalg.norm(holes - place, axis=1)
    rim = [*(place + 1), *(empty.shape - place)]
    wanted = min([*gaps, *rim]) / reach if len(holes) else 1
    assert found[tuple(place)] == pytest.approx(min(wanted, 1))


def test_what_has_no_neighbours_is_full_or_empty():
  empty = np.array([True, False, False])
  np.testing.assert_array_equal(lib.fullness(empty), [0, 1, 1])


@pytest.mark.parametrize('prior', ['smooth', 'strokes'])
def test_samples_are_empty_where_training_was(network, prior):
  found = resolve_range(network, (0.0, 1.0))
  (x,) = of_prior(network, found, 64, 0, prior, ())
  assert not x[:, _EMPTY].any()
  sizes = np.abs(x).mean(0)
  assert sizes[0, 4, 0] < 0.7 * sizes[4, 4, 0]


def test_what_knows_its_places_is_drawn_as_it_says(network):
  found = resolve_range(network, (0.0, 1.0))
  (x,) = of_prior(network, found, 64, 0, GaussianPrior(), ())
  assert np.all(x.std(0) > 0.5)


def test_a_channel_that_was_always_empty():
  model = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.Conv2D(32, 3), layers.Flatten()]
  )
  kernel = model.layers[0].kernel.numpy()
  trained = np.random.default_rng(0).normal(0, 0.5, kernel.shape)
  trained[:, :, 1] = kernel[:, :, 1]
  model.layers[0].kernel.assign(trained)
  told = _told(model)
  np.testing.assert_array_equal(told, [[[False, True, False]] * 8] * 8)
  # Nothing lies at a rim, since no place is empty.
  np.testing.assert_array_equal(lib.fullness(told), np.where(told, 0, 1))


def test_a_range_without_nothing_is_believed(network):
  found = resolve_range(network, (1.0, 2.0))
  (x,) = of_prior(network, found, 64, 0, 'smooth', ())
  assert np.all(x.std(0) > 0)


def test_beside_statistics_nothing_is_taken_away():
  model = _trained(
    layers.Flatten(),
    layers.Dense(32, use_bias=False),
    layers.BatchNormalization(),
    optimizer=keras.optimizers.Adam(0.05),
  )
  assert _told(model).any()
  network = Network.of(model)
  found = resolve_range(network, (0.0, 1.0))
  (x,) = of_prior(network, found, 64, 0, 'smooth', ())
  assert np.all(x.std(0) > 0)
