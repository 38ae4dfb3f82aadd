"""TensorFlow's functions on Keras tensors, as models are made of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.handler_check import check_call

L = keras.layers
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')
_ROW, _STEPS, _IMAGE = (6,), (6, 4), (6, 6, 4)


def dense(units=8, activation='relu'):
  return L.Dense(units, activation)


def conv(units=8, size=3, activation='relu'):
  return L.Conv2D(units, size, padding='same', activation=activation)


def shuffle(x, groups=2):
  height, width, channels = x.shape[1:]
  x = tf.reshape(x, (-1, height, width, groups, channels // groups))
  x = tf.transpose(x, [0, 1, 2, 4, 3])
  return tf.reshape(x, (-1, height, width, channels))


def settings(*shape):
  return np.random.default_rng(4).normal(size=shape).astype(np.float32)


def patches(x):
  height, width, channels = x.shape[1:]
  x = tf.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
  x = tf.transpose(x, [0, 1, 3, 2, 4, 5])
  return tf.reshape(x, (-1, height * width // 4, 4 * channels))


def gated(x):
  value, gate = tf.split(x, 2, -1)
  return value * tf.sigmoid(gate)


def excited(x, reduce, spread):
  gate = dense(x.shape[-1], 'sigmoid')(dense(4)(reduce(x)))
  return x * spread(gate)


def cross_stage(x):
  one, other = tf.split(x, 2, -1)
  other = other + conv(4)(conv(4)(other))
  return tf.concat([one, other], -1)


def chunked(x):
  one, two, three = tf.split(x, [2, 3, 3], -1)
  return tf.concat([conv(4)(one), conv(4, 1)(two), three], -1)


def focus(x):
  parts = [x[:, k::2, j::2] for j in (0, 1) for k in (0, 1)]
  return tf.concat(parts, -1)


def first_and_last(x):
  parts = tf.unstack(x, axis=1)
  return parts[0] + parts[-1]


def all_positions(x):
  return tf.reduce_mean(x, [1, 2], keepdims=True)


def deviation(x, axis):
  return tf.sqrt(tf.math.reduce_variance(x, axis) + 1e-3)


def shares(x):
  return tf.nn.softmax(tf.matmul(x, x, transpose_b=True))


def attention(x):
  scores = tf.matmul(L.Dense(4)(x), L.Dense(4)(x), transpose_b=True)
  return tf.matmul(tf.nn.softmax(scores), dense()(x))


def attention_by_dot(x):
  scores = L.Dot((2, 2))([L.Dense(4)(x), L.Dense(4)(x)])
  return L.Dot((2, 1))([L.Softmax()(scores), dense()(x)])


def heads(x):
  x = tf.transpose(tf.reshape(x, (-1, 6, 2, 8)), [0, 2, 1, 3])
  return tf.matmul(shares(x), x)


# By name: what units are made by, the shape of the input, and the function.
BLOCKS = {
  'gated linear unit': (dense(16, None), _ROW, gated),
  'gated by slices': (
    dense(16, None),
    _STEPS,
    lambda x: tf.tanh(x[..., :8]) * tf.sigmoid(x[..., 8:]),
  ),
  'channel shuffle': (conv(), _IMAGE, shuffle),
  'patches of images': (conv(), _IMAGE, patches),
  'reshaped by the size of the batch': (
    conv(),
    _IMAGE,
    lambda x: tf.reshape(x, (tf.shape(x)[0], 36, x.shape[-1])),
  ),
  'cross stage': (conv(), _IMAGE, cross_stage),
  'chunked': (conv(), _IMAGE, chunked),
  'focus': (conv(), _IMAGE, focus),
  'squeeze and excite': (
    conv(),
    _IMAGE,
    lambda x: excited(x, all_positions, lambda gate: gate),
  ),
  'squeeze and excite, reshaped': (
    conv(),
    _IMAGE,
    lambda x: excited(
      x,
      lambda y: tf.reduce_mean(y, [1, 2]),
      lambda gate: tf.reshape(gate, (-1, 1, 1, 8)),
    ),
  ),
  'squeeze and excite, new axes': (
    conv(),
    _IMAGE,
    lambda x: excited(
      x,
      lambda y: tf.reduce_max(y, [1, 2]),
      lambda gate: gate[:, None, None, :],
    ),
  ),
  'maxout': (
    dense(16, None),
    _ROW,
    lambda x: tf.reduce_max(tf.reshape(x, (-1, 8, 2)), -1),
  ),
  'sums of pairs': (
    dense(16),
    _ROW,
    lambda x: tf.reduce_sum(tf.reshape(x, (-1, 8, 2)), -1),
  ),
  'max feature map': (
    conv(16, 1, None),
    _IMAGE,
    lambda x: tf.maximum(*tf.split(x, 2, -1)),
  ),
  'pixel shuffle': (
    conv(16, 1),
    _IMAGE,
    lambda x: tf.nn.depth_to_space(x, 2),
  ),
  'patches': (
    conv(),
    _IMAGE,
    lambda x: tf.image.extract_patches(
      x, [1, 2, 3, 1], [1, 2, 3, 1], [1, 1, 1, 1], 'VALID'
    ),
  ),
  'space to depth': (conv(), _IMAGE, lambda x: tf.nn.space_to_depth(x, 2)),
  'padded': (
    conv(),
    _IMAGE,
    lambda x: tf.pad(x, [[0, 0], [0, 1], [1, 0], [0, 0]]),
  ),
  'reflected': (
    conv(),
    _IMAGE,
    lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], 'REFLECT'),
  ),
  'padded with halves': (
    conv(),
    _IMAGE,
    lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=0.5),
  ),
  'shortcut that widens': (
    conv(),
    _IMAGE,
    lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 6]]) + conv(14, 1)(x),
  ),
  'shortcut that widens on both sides': (
    conv(),
    _IMAGE,
    lambda x: (
      tf.pad(x, [[0, 0], [0, 1], [0, 1], [4, 2]])
      + conv(14, 1)(tf.pad(x, [[0, 0], [1, 0], [1, 0], [0, 0]]))
    ),
  ),
  'repeated vector': (dense(), _ROW, lambda x: L.RepeatVector(3)(x)),
  'every second channel': (conv(), _IMAGE, lambda x: x[..., 1::2]),
  'channels backwards': (dense(), _ROW, lambda x: x[:, ::-1]),
  'positions backwards': (dense(), _STEPS, lambda x: x[:, ::-2]),
  'unstacked': (dense(), _STEPS, first_and_last),
  'stacked in front': (dense(), _ROW, lambda x: tf.stack([x, 2 * x], 1)),
  'stacked behind': (
    dense(),
    _ROW,
    lambda x: L.Flatten()(tf.stack([x, 2 * x], -1)),
  ),
  'stacked and reduced': (
    conv(),
    _IMAGE,
    lambda x: tf.reduce_mean(tf.stack([x, tf.abs(x)], 2), 2),
  ),
  'gathered steps': (
    dense(),
    _STEPS,
    lambda x: tf.gather(x, [0, 3, 3], axis=1),
  ),
  'one step': (dense(), _STEPS, lambda x: tf.gather(x, 2, axis=1)),
  'gathered channels': (
    dense(),
    _ROW,
    lambda x: tf.gather(x, [5, 1, 0, 2, 6, 7], axis=-1),
  ),
  'tiled': (dense(), _STEPS, lambda x: tf.tile(x, [1, 2, 2])),
  'repeated': (dense(), _STEPS, lambda x: tf.repeat(x, 2, axis=-1)),
  'reversed': (dense(), _STEPS, lambda x: tf.reverse(x, [1, 2])),
  'rolled': (conv(), _IMAGE, lambda x: tf.roll(x, [1, -2, 3], [1, 2, 3])),
  'mean of rows': (conv(), _IMAGE, lambda x: tf.reduce_mean(x, 1)),
  'largest of columns': (
    conv(),
    _IMAGE,
    lambda x: tf.reduce_max(x, 2, keepdims=True),
  ),
  'smallest': (dense(), _STEPS, lambda x: tf.reduce_min(x, 1)),
  'sum': (dense(), _STEPS, lambda x: tf.reduce_sum(x, 1)),
  'pools': (
    conv(),
    _IMAGE,
    lambda x: tf.concat(
      [tf.nn.max_pool2d(x, 2, 2, 'SAME'), tf.nn.avg_pool2d(x, 2, 2, 'VALID')],
      -1,
    ),
  ),
  'clipped': (dense(), _ROW, lambda x: tf.clip_by_value(x, 0.1, 0.7)),
  'extremes': (
    dense(8, None),
    _ROW,
    lambda x: tf.minimum(tf.maximum(x, -0.5), 0.25),
  ),
  'scalar functions': (
    dense(8, None),
    _ROW,
    lambda x: tf.add_n(
      [
        tf.abs(x),
        -x,
        tf.square(x),
        x**2,
        tf.exp(0.1 * x),
        tf.nn.gelu(x),
        tf.nn.gelu(x, approximate=True),
        tf.nn.leaky_relu(x, 0.3),
        tf.cast(tf.stop_gradient(x), tf.float32),
      ]
    ),
  ),
  'unit length': (dense(), _ROW, lambda x: tf.math.l2_normalize(x, -1)),
  'statistics pooling': (
    dense(),
    _STEPS,
    lambda x: tf.concat([tf.reduce_mean(x, 1), deviation(x, 1)], -1),
  ),
  'variance': (
    conv(),
    _IMAGE,
    lambda x: tf.math.reduce_variance(x, [1, 2], keepdims=True),
  ),
  'variance of rows': (
    conv(),
    _IMAGE,
    lambda x: tf.math.reduce_variance(x, 1),
  ),
  'attention by hand': (dense(), _STEPS, attention),
  'attention by Dot': (dense(), _STEPS, attention_by_dot),
  'positions by positions': (
    dense(),
    _STEPS,
    lambda x: L.Flatten()(tf.matmul(x, shares(x), transpose_a=True)),
  ),
  'columns of several heads': (dense(16), _STEPS, heads),
  'chosen by sign': (
    dense(8, None),
    _ROW,
    lambda x: tf.where(x > 0.0, x, 0.1 * x),
  ),
  'chosen or nothing': (
    dense(8, None),
    _ROW,
    lambda x: tf.where(tf.abs(x) <= 0.3, 0.0, x),
  ),
  'chosen or a number': (
    dense(8, None),
    _STEPS,
    lambda x: tf.where(x < -0.2, 0.5, tf.where(x > 0.1, x, tf.zeros_like(x))),
  ),
  'chosen by another': (
    dense(8, None),
    _ROW,
    lambda x: tf.where(x >= dense()(x), x, tf.ones_like(x)),
  ),
  'a condition as a factor': (
    dense(8, None),
    _ROW,
    lambda x: tf.cast(x > 0.25, tf.float32) * x,
  ),
  'scores': (
    dense(),
    _STEPS,
    lambda x: tf.matmul(x, dense()(x), transpose_b=True),
  ),
  'a window over the steps': (
    dense(),
    _STEPS,
    lambda x: settings(1, 6, 1) - x * settings(6, 1),
  ),
  'a share of each pixel': (
    conv(),
    _IMAGE,
    lambda x: (x + settings(6, 6, 1)) / (1 + settings(6, 1, 1) ** 2),
  ),
  'settings behind the units': (
    dense(),
    _STEPS,
    lambda x: L.Normalization((1, 2), settings(6, 9), 1 + settings(6, 9) ** 2)(
      L.Dense(9)(x)
    ),
  ),
}

# What holds units besides the outputs: those that scores are made of, and those
# that have settings of their own.
_HELD = (
  'settings behind the units',
  'attention by hand',
  'attention by Dot',
)
# What cannot be called on random numbers.
_OF_SIZES = ('reshaped by the size of the batch',)
# What is known, though units in front of it stay: the reason, and the function.
KNOWN = {
  'takes the mean': lambda x: tf.reduce_mean(x, -1, keepdims=True),
  'takes the max': lambda x: tf.reduce_max(x, -1),
  'sqrt(variance + epsilon)': lambda x: tf.math.reduce_std(x, 1),
  'no product with a': lambda x: tf.matmul(x, x, transpose_b=True),
  'across them': lambda x: tf.matmul(x, tf.transpose(x, [0, 2, 1])),
  'two of them': lambda x: tf.matmul(x, dense()(x), transpose_a=True),
  'no product with a kernel': lambda x: tf.reduce_sum(x, -1, keepdims=True),
  'by steps': lambda x: x[..., 1:7:3],
  'a setting for each of': lambda x: x * np.arange(8, dtype=np.float32),
  'has a setting for each': lambda x: x + settings(6, 8),
  'has a setting for': lambda x: tf.transpose(
    tf.transpose(x, [0, 2, 1]) * settings(8, 1), [0, 2, 1]
  ),
  'for them by number': lambda x: x[:, :, 3],
  'on several axes': lambda x: L.Flatten()(
    tf.gather(x, [[0, 1], [2, 5]], axis=-1)
  ),
}


def network(name) -> keras.Model:
  maker, shape, function = BLOCKS[name]
  inputs = keras.Input(shape)
  # The number in its name may have been given again, in a cleared session.
  front = type(maker).from_config({**maker.get_config(), 'name': 'front'})
  x = function(front(inputs))
  x = dense(6)(x)
  x = L.Dense(3)(L.Flatten()(x))
  return testing.fill(keras.Model(inputs, x), 3)


def signs_like(x):
  return np.random.default_rng(2).choice([-1, 1], x.shape).astype(x.dtype)


def pruned(net, noise=0.1):
  """Wrapped, stripped and compact, as training may have left the weights."""
  wrapped = paoding.prune_low_saliency(net, method='l1', input_range=(-1, 1))
  paoding.run_schedule(wrapped, verbose=0)
  rng = np.random.default_rng(1)
  for weight in wrapped.trainable_weights:
    weight.assign_add(noise * rng.normal(size=weight.shape))
  wrapped(np.zeros((1, *net.input_shape[1:]), np.float32), training=False)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  return wrapped, stripped, paoding.compact(stripped)


@pytest.mark.parametrize('name', BLOCKS)
def test_units_in_front_leave_and_nothing_else_changes(name):
  net = network(name)
  graph = build_graph(net)
  if name not in _OF_SIZES:
    calls = [call for call in graph.layer_calls if call.nodes]
    assert all(check_call(graph, call) for call in calls)
  left_alone = find_groups(graph).left_alone
  assert len(left_alone) == 1 or name in _HELD  # the outputs
  x = testing.samples(net.input_shape[1:], 20).astype(np.float32)
  one, two, small = pruned(net)
  scale = 1 + np.abs(one(x)).max()
  np.testing.assert_allclose(one(x), two(x), atol=1e-5 * scale)
  np.testing.assert_allclose(two(x), small(x), atol=1e-5 * scale)
  first = next(k for k, layer in enumerate(net.layers) if layer.weights)
  assert small.layers[first].count_params() <= (
    0.7 * net.layers[first].count_params()
  )
  bound = paoding.deviation_bound(net, small, (-1, 1))
  change = np.abs(net(x) - small(x)).max(0)
  assert np.all(change <= bound + 1e-5 * scale)
  centre = x[:3]
  near = paoding.deviation_bound(net, small, (-1, 1), x=centre, epsilon=0.01)
  moved = np.clip(centre + 0.01 * signs_like(centre), -1, 1)
  change = np.abs(net(moved) - small(moved))
  assert np.all(change <= near + 1e-5 * scale)


@pytest.mark.parametrize('reason', KNOWN)
def test_what_stays_is_told_and_bounded(reason):
  inputs = keras.Input(_STEPS)
  x = KNOWN[reason](L.Dense(8, 'relu', name='first')(inputs))
  net = testing.fill(keras.Model(inputs, L.Dense(3)(dense(6)(x))))
  graph = build_graph(net)
  assert reason in find_groups(graph).left_alone['first',]
  calls = [call for call in graph.layer_calls if call.nodes]
  assert all(check_call(graph, call) for call in calls)
  x = testing.samples(_STEPS, 50).astype(np.float32)
  one, two, small = pruned(net)
  np.testing.assert_allclose(one(x), two(x), atol=1e-4)
  np.testing.assert_allclose(two(x), small(x), atol=1e-4)
  bound = paoding.deviation_bound(net, small, (-1, 1))
  assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-4)


def test_sizes_that_follow_what_is_pruned_hold_units():
  """Divided by their number, fewer of them would be divided by another."""
  inputs = keras.Input(_ROW)
  x = L.Dense(8, 'relu', name='dense')(inputs)
  x = x / tf.cast(tf.shape(x)[-1], tf.float32)
  net = testing.fill(keras.Model(inputs, L.Dense(3)(dense(6)(x))))
  assert 'shape' in find_groups(build_graph(net)).left_alone['dense',]


def test_a_mean_over_some_of_many_axes_is_left_alone():
  inputs = keras.Input((8,))
  x = dense(16 * 8)(inputs)
  x = tf.reduce_mean(tf.reshape(x, (-1, 2, 2, 2, 2, 8)), [1, 2])
  net = testing.fill(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))))
  grouping = find_groups(build_graph(net))
  assert not grouping.groups
  small = paoding.compact(net)
  x = testing.samples((8,), 10).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-6)


def test_settings_that_make_more_entries_are_left_alone():
  """One number for each of six channels, of a tensor that has one."""
  inputs = keras.Input(_ROW)
  x = L.Dense(1, name='one')(dense()(inputs)) * settings(6)
  net = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  assert 'not known so' in find_groups(build_graph(net)).left_alone['one',]
  x = testing.samples(_ROW, 10).astype(np.float32)
  _, stripped, small = pruned(net)
  np.testing.assert_allclose(stripped(x), small(x), atol=1e-5)
