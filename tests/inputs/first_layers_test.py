"""Ranges read off the layers that read a model's inputs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import resolve_range

L = keras.layers
BYTES = (0.0, 255.0)
pytestmark = pytest.mark.filterwarnings('ignore:.*input_range:UserWarning')


def net(*layers, shape=(8, 8, 3), dtype=None):
  return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def image(function, dtype=None):
  x = keras.Input((8, 8, 3), dtype=dtype, name='x')
  return keras.Model(x, L.Conv2D(2, 3)(function(x)))


def ends(model):
  return resolve_range(model).ends


def adapted(features=4, **settings):
  """Normalization of features of very unlike scales, and what it saw."""
  scales = np.array([1.0, 10.0, 100.0, 0.1])[:features]
  x = np.random.default_rng(0).normal(5, 2, (200, features)) * scales
  layer = L.Normalization(**settings)
  layer.adapt(x)
  return layer, x.astype(np.float32)


@pytest.mark.parametrize(
  'function',
  [
    L.Rescaling(1 / 255),
    L.Rescaling(1 / 127.5, -1),
    lambda x: x / 255.0,
    lambda x: x / 127.5 - 1,
    lambda x: (x - 127.5) / 127.5,
    lambda x: (x - 127.5) * (1 / 127.5),
    lambda x: 2 * (x / 255.0) - 1,
    lambda x: 1 - x / 255.0,
    lambda x: (x / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    lambda x: tf.cast(x, tf.float32) / 255.0,
    lambda x: L.Rescaling(2.0, -1.0)(L.Rescaling(1 / 255)(x)),
    lambda x: L.Rescaling(1 / 255)(L.Resizing(4, 4)(L.RandomFlip()(x))),
    lambda x: L.Rescaling(1 / 255)(L.ZeroPadding2D()(L.Dropout(0.1)(x))),
    lambda x: L.Rescaling(1 / 255)(L.Cropping2D(1)(x)),
    lambda x: L.Rescaling(1 / 255)(x[:, ::2, ::2, ::-1]),
    keras.applications.mobilenet_v2.preprocess_input,
    keras.applications.resnet50.preprocess_input,
    keras.applications.densenet.preprocess_input,
  ],
)
def test_images_of_bytes_are_told_by_what_they_are_scaled_with(function):
  model = image(function)
  found = ends(model)
  x = np.full((1, 8, 8, 3), found[1], np.float32)
  assert np.ravel(found[0])[0] == pytest.approx(0, abs=1e-9)
  assert np.ravel(found[1])[0] == pytest.approx(255)
  assert np.all(np.isfinite(model(x)))


def test_positions_that_are_cut_away_are_as_the_others():
  crop = L.Cropping2D(1)
  assert ends(image(lambda x: L.Rescaling(1 / 255)(crop(x)))) == BYTES
  layer = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])
  low, high = ends(image(lambda x: layer(crop(x))))
  assert low.tolist() == [-2, -4, -6]
  assert high.tolist() == [4, 8, 12]


def test_a_nested_model_of_preprocessing_is_looked_into():
  inner = net(L.RandomFlip(), L.Rescaling(1 / 255))
  assert ends(image(inner)) == BYTES
  outer = keras.Sequential([keras.Input((8, 8, 3)), inner, L.Conv2D(2, 3)])
  settled = resolve_range(outer)
  assert settled.ends == BYTES
  assert f"'{inner.name}/" in next(iter(settled.sources.values()))


def test_sizes_that_are_open_do_no_harm():
  model = net(L.Rescaling(1 / 255), L.Conv2D(2, 3), shape=(None, None, 3))
  assert ends(model) == BYTES
  model = net(L.Embedding(50, 3), L.GlobalMaxPooling1D(), shape=(None,))
  assert ends(model) == (0.0, 49.0)


def test_normalization_gives_each_feature_its_range():
  layer, x = adapted()
  settled = resolve_range(net(layer, L.Dense(2), shape=(4,)))
  assert settled.ends[0] == pytest.approx(x.mean(0) - 3 * x.std(0), rel=1e-3)
  assert settled.ends[1] == pytest.approx(x.mean(0) + 3 * x.std(0), rel=1e-3)
  assert list(settled.centred.values()) == [True]
  (middle,) = settled.middles(list(settled.sources))
  assert middle == pytest.approx(x.mean(0), rel=1e-3)
  given = L.Normalization(axis=None, mean=10.0, variance=4.0)
  assert ends(net(given, L.Conv2D(2, 3))) == pytest.approx((4.0, 16.0))


def test_normalization_of_several_inputs_side_by_side():
  a, b = keras.Input((3,), name='a'), keras.Input((1,), name='b')
  layer, x = adapted()
  model = keras.Model([a, b], L.Dense(2)(layer(L.Concatenate()([a, b]))))
  high = ends(model)['a'][1]
  assert high == pytest.approx((x.mean(0) + 3 * x.std(0))[:3], rel=1e-3)
  assert ends(model)['b'][0] == pytest.approx(
    (x.mean(0) - 3 * x.std(0))[3], rel=1e-3
  )
  # In a dict, too.
  model = keras.Model(
    {'b': b, 'a': a}, {'y': L.Dense(2)(layer(L.Concatenate()([a, b])))}
  )
  assert ends(model)['a'][1] == pytest.approx(high)


@pytest.mark.parametrize('axis', [-1, 1])
def test_batch_normalization_says_mean_and_deviations(axis):
  norm = L.BatchNormalization(axis=axis)
  model = net(norm, L.Flatten(), L.Dense(2), shape=(3, 5, 2))
  size = norm.moving_mean.shape[0]
  assert ends(model) == (0.0, 1.0)  # as it was built: nothing was learned
  mean, variance = np.arange(size) + 1.0, np.arange(size) + 4.0
  norm.set_weights([np.ones(size), np.zeros(size), mean, variance])
  low, high = (np.broadcast_to(end, (3, 5, 2)) for end in ends(model))
  wanted = mean + 3 * np.sqrt(variance)
  assert np.moveaxis(high, axis % 4 - 1, -1)[0, 0] == pytest.approx(wanted)
  wanted = mean - 3 * np.sqrt(variance)
  assert np.moveaxis(low, axis % 4 - 1, -1)[2, 1] == pytest.approx(wanted)


@pytest.mark.parametrize('front', ['', 'reshape', 'permute', 'pad', 'cast'])
def test_a_table_says_how_many_rows_it_has(front):
  x = keras.Input((6, 1) if front in ('reshape', 'pad') else (2, 3))
  y = {
    '': lambda x: x,
    'reshape': L.Reshape((6,)),
    'permute': L.Permute((2, 1)),
    'pad': lambda x: L.Flatten()(L.ZeroPadding1D(1)(x)),
    'cast': lambda x: tf.cast(x, tf.int32),
  }[front](x)
  model = keras.Model(x, L.Flatten()(L.Embedding(500, 4)(y)))
  assert ends(model) == (0.0, 499.0)
  wrapped = keras.models.clone_model(model)
  assert ends(wrapped) == (0.0, 499.0)


def test_columns_go_to_tables_of_their_own():
  x = keras.Input((5,), name='x')
  parts = [L.Flatten()(L.Embedding(10, 3)(x[:, 0:1]))]
  parts += [L.Flatten()(L.Embedding(20, 3)(x[:, 1:2]))]
  layer, seen = adapted(2)
  parts.append(layer(x[:, 2:4]))
  parts.append(x[:, 4:])
  settled = resolve_range(keras.Model(x, L.Concatenate()(parts)))
  low, high = settled.ends
  assert high[:2].tolist() == [9, 19]
  assert high[2:4] == pytest.approx(seen.mean(0) + 3 * seen.std(0), rel=1e-3)
  assert (low[4], high[4]) == (0, 1)
  assert settled.centred['x'].tolist() == [False, False, True, True, False]


def test_categories_and_one_hot():
  assert ends(net(L.CategoryEncoding(12), shape=(3,))) == (0.0, 11.0)
  x = keras.Input((3,), dtype='int32')
  assert ends(keras.Model(x, L.Flatten()(tf.one_hot(x, 9)))) == (0.0, 8.0)
  y = L.Flatten()(L.Embedding(10, 3)(x - 1))
  assert ends(keras.Model(x, y)) == (1.0, 10.0)


def test_readers_that_do_not_agree():
  x = keras.Input((4,), name='x')
  a = L.Flatten()(L.Embedding(10, 2)(x))
  b = L.Flatten()(L.Embedding(7, 2)(x))
  assert ends(keras.Model(x, [a, b])) == (0.0, 6.0)  # valid for both
  layer = L.Normalization(mean=[50.0] * 4, variance=[4.0] * 4)
  wide = keras.Model(x, [L.Rescaling(1 / 100)(x), layer(x)])
  assert ends(wide) == (0.0, 100.0)
  settled = resolve_range(keras.Model(x, [a, layer(x)]))
  assert settled.ends == (0.0, 1.0)
  assert 'leave nothing in common' in settled.sources['x']


def test_small_integer_types_say_what_they_hold():
  def floats(x):
    return tf.cast(x, tf.float32)

  assert ends(image(floats, dtype='uint8')) == BYTES
  assert ends(image(floats, dtype='int8')) == (-128.0, 127.0)
  assert ends(image(floats, dtype='int32')) == (0.0, 1.0)
  norm = L.Normalization(axis=None, mean=33.0, variance=78.0**2)
  assert ends(image(lambda x: norm(floats(x)), dtype='uint8')) == BYTES


@pytest.mark.parametrize(
  'model',
  [
    net(L.Conv2D(2, 3)),
    net(L.Flatten(), L.Dense(3)),
    net(L.Normalization(), L.Conv2D(2, 3)),  # never adapted
    net(L.Lambda(lambda x: x / 255.0), L.Conv2D(2, 3)),
    net(L.LayerNormalization(), L.Conv2D(2, 3)),
    net(L.Conv2D(2, 3), L.Rescaling(1 / 255)),
    image(lambda x: 3 * x),
    image(lambda x: tf.sqrt(x) / 255.0),
  ],
)
def test_other_models_have_the_default_and_say_so(model):
  with pytest.warns(UserWarning, match='default: no layer says') as told:
    settled = resolve_range(model)
  assert settled.ends == (0.0, 1.0)
  assert tuple(settled) == (0.0, 1.0)
  assert 'default' in next(iter(settled.described().values()))
  assert len(told) == 1


def test_pruning_wrappers_are_looked_through():
  model = net(L.Embedding(30, 4), L.Flatten(), L.Dense(3), shape=(5,))
  wrapped = tfmot.sparsity.keras.prune_low_magnitude(model)
  assert ends(wrapped) == (0.0, 29.0)


def test_what_never_changed_says_nothing():
  a, b = keras.Input((3,), name='a'), keras.Input((1,), name='b')
  layer = L.Normalization(
    mean=[1.0, 2.0, 3.0, 7.0], variance=[1.0, 1.0, 4.0, 0]
  )
  model = keras.Model([a, b], L.Dense(2)(layer(L.Concatenate()([a, b]))))
  found = ends(model)
  assert found['a'][1].tolist() == [4, 5, 9]
  assert found['b'] == (0.0, 1.0)
  one_row = net(L.Embedding(1, 3), L.Flatten(), shape=(2,))
  assert ends(one_row)[1] < 1


def test_readers_with_nothing_in_common_are_told():
  x = keras.Input((4,), name='x')
  table = L.Flatten()(L.Embedding(10, 2)(x))
  layer = L.Normalization(mean=[50.0] * 4, variance=[4.0] * 4)
  with pytest.warns(UserWarning, match=r'\(0, 1\) is taken: .*in common'):
    resolve_range(keras.Model(x, [table, layer(x)]))
