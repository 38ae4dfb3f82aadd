"""Operations of convolutional networks, against Keras and slow references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding import ops
from tfmot_paoding.bounds.joint_difference import difference_of_entries
from tfmot_paoding.bounds.whole_range import (
  output_gain,
  propagate,
  propagate_change,
  propagate_constants,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.layers.conv import padded_taps
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval

_layers = keras.layers
_F64 = {'dtype': 'float64'}

# By name: layers of one input, and the input's shape.
ONE = {
  'conv1d same': (lambda: _layers.Conv1D(4, 3, padding='same'), (6, 3)),
  'conv1d causal': (
    lambda: _layers.Conv1D(4, 3, padding='causal', dilation_rate=2),
    (6, 3),
  ),
  'conv2d valid': (lambda: _layers.Conv2D(4, 2), (4, 5, 3)),
  'conv2d same stride': (
    lambda: _layers.Conv2D(4, 3, strides=2, padding='same'),
    (5, 4, 3),
  ),
  'conv2d dilated': (
    lambda: _layers.Conv2D(3, 3, dilation_rate=2, padding='same'),
    (5, 5, 2),
  ),
  'conv2d grouped': (
    lambda: _layers.Conv2D(6, 3, groups=2, padding='same'),
    (4, 4, 4),
  ),
  'conv2d as depthwise': (
    lambda: _layers.Conv2D(6, 3, groups=3, padding='same'),
    (4, 4, 3),
  ),
  'conv3d': (lambda: _layers.Conv3D(3, 2, padding='same'), (3, 3, 3, 2)),
  'conv1d transpose': (lambda: _layers.Conv1DTranspose(3, 3, 2), (4, 2)),
  'conv2d transpose': (
    lambda: _layers.Conv2DTranspose(3, 3, 2, padding='same'),
    (3, 3, 2),
  ),
  'depthwise1d': (
    lambda: _layers.DepthwiseConv1D(3, depth_multiplier=2, padding='same'),
    (5, 3),
  ),
  'depthwise2d': (
    lambda: _layers.DepthwiseConv2D(3, depth_multiplier=2, padding='same'),
    (4, 4, 3),
  ),
  'separable': (
    lambda: _layers.SeparableConv2D(4, 3, depth_multiplier=2, padding='same'),
    (4, 4, 3),
  ),
  'prelu shared': (lambda: _layers.PReLU(shared_axes=[1, 2]), (3, 3, 4)),
  'prelu full': (lambda: _layers.PReLU(), (3, 3, 4)),
  'rescaling': (lambda: _layers.Rescaling(0.5, -1.0), (3, 4)),
  'rescaling each': (
    lambda: _layers.Rescaling([0.5, -2.0, 1.0], [0.0, 1.0, -1.0]),
    (2, 3),
  ),
  'max pool': (lambda: _layers.MaxPooling2D(2, padding='same'), (3, 3, 2)),
  'average pool': (
    lambda: _layers.AveragePooling2D(2, padding='same'),
    (3, 3, 2),
  ),
  'global average': (lambda: _layers.GlobalAveragePooling2D(), (3, 3, 2)),
  'global max': (
    lambda: _layers.GlobalMaxPooling2D(keepdims=True),
    (3, 3, 2),
  ),
  'zero padding': (lambda: _layers.ZeroPadding2D(1), (3, 3, 2)),
  'cropping': (lambda: _layers.Cropping2D(1), (4, 4, 2)),
  'upsampling': (
    lambda: _layers.UpSampling2D(2, interpolation='bilinear'),
    (3, 3, 2),
  ),
  'resizing': (lambda: _layers.Resizing(5, 4), (3, 3, 2)),
  'permute': (lambda: _layers.Permute((3, 1, 2)), (2, 3, 4)),
  'time distributed': (
    lambda: _layers.TimeDistributed(_layers.Dense(4, 'tanh')),
    (3, 2),
  ),
  'time distributed conv': (
    lambda: _layers.TimeDistributed(_layers.Conv2D(3, 2, padding='same')),
    (2, 3, 3, 2),
  ),
  'flatten': (lambda: _layers.Flatten(), (2, 3, 2)),
  'reshape': (lambda: _layers.Reshape((6, 2)), (2, 3, 2)),
}
JOINS = {
  'add': _layers.Add,
  'subtract': _layers.Subtract,
  'average': _layers.Average,
  'multiply': _layers.Multiply,
  'maximum': _layers.Maximum,
  'minimum': _layers.Minimum,
  'concatenate': _layers.Concatenate,
  'concatenate positions': lambda **kw: _layers.Concatenate(axis=1, **kw),
}
# TensorFlow functions of a tensor (4, 3, 4), batch axis apart.
MOVES = {
  'slice of channels': lambda x: x[..., 1:3],
  'slice of positions': lambda x: x[:, 1:, :-1],
  'single position': lambda x: x[:, -1],
  'single channel': lambda x: x[..., 2],
  'parts of a split': lambda x: tf.concat(tf.split(x, [1, 3], -1)[::-1], -1),
  'equal parts': lambda x: tf.add(*tf.split(x, 2, axis=1)),
  'concatenated positions': lambda x: tf.concat([x, x[:, :2]], 1),
  'transposed': lambda x: tf.transpose(x, (0, 2, 1, 3)),
  'reshaped': lambda x: tf.reshape(x, (-1, 6, 2, 4)),
  'an axis more': lambda x: tf.expand_dims(x, 2),
  'an axis less': lambda x: tf.squeeze(x[:, :1], 1),
}


def randomized(model, seed=0):
  rng = np.random.default_rng(seed)
  for weight in model.weights:
    weight.assign(rng.normal(size=weight.shape) * 0.7)
  return model


def single(name, seed=0):
  """One layer in float64, its input of any position-dependent range."""
  make, shape = ONE[name]
  layer = make()
  layer = type(layer).from_config({**layer.get_config(), **_F64})
  inputs = keras.Input(shape, dtype='float64')
  return randomized(keras.Model(inputs, layer(inputs)), seed)


def joined(name, seed=0):
  """Two products of one input that meet; a convolution behind them."""
  inputs = keras.Input((3, 3, 2), dtype='float64')
  one = _layers.Conv2D(4, 2, padding='same', **_F64)(inputs)
  other = _layers.Dense(4, 'tanh', **_F64)(inputs)
  x = JOINS[name](**_F64)([one, other])
  x = _layers.Conv2D(3, 2, **_F64)(x)
  return randomized(keras.Model(inputs, x), seed)


def moved(name, seed=0):
  """A convolution, its entries moved, and a product of what is there then."""
  inputs = keras.Input((4, 3, 2), dtype='float64')
  x = _layers.Conv2D(4, 2, padding='same', **_F64)(inputs)
  x = _layers.Dense(3, **_F64)(MOVES[name](x))
  return randomized(keras.Model(inputs, x), seed)


MODELS = {
  **{name: lambda name=name: moved(name) for name in MOVES},
  **{name: lambda name=name: single(name) for name in ONE},
  **{name: lambda name=name: joined(name) for name in JOINS},
}


def forward(model, x):
  return np.asarray(model(x, training=False))


def uniform_box(shape, low, high):
  return Interval(np.full(shape, low), np.full(shape, high))


def ragged_box(shape, seed=0):
  """A range that differs from entry to entry."""
  low = np.random.default_rng(seed).normal(size=shape)
  return Interval(
    low, low + np.random.default_rng(seed + 1).uniform(size=shape)
  )


def assert_inside(name, values, bounds):
  """As `testing.assert_inside`; some layers compute in float32 whatever."""
  rounds = name.startswith(('time', 'upsampling', 'resizing'))
  slack = (1e-5 if rounds else 0.0) * (1 + np.abs(values).max())
  testing.assert_inside(
    values, Interval(bounds.low - slack, bounds.high + slack)
  )


def draw(box, count, seed):
  rng = np.random.default_rng(seed)
  x = rng.uniform(box.low, box.high, (count, *box.low.shape))
  corner = np.where(rng.random(x.shape) < 0.5, box.low, box.high)
  ends = np.stack([box.low, box.high])
  return np.concatenate([x, corner, ends])


def boxes_of(shape):
  return [
    uniform_box(shape, -1.0, 1.0),
    uniform_box(shape, 0.5, 2.0),
    ragged_box(shape),
  ]


@pytest.mark.parametrize('name', MODELS)
def test_bounds_contain_what_keras_computes(name):
  model = MODELS[name]()
  graph = build_graph(model)
  params = read_params(graph)
  shape = model.input_shape[1:]
  for box in boxes_of(shape):
    found = propagate(graph, params, [box])[graph.outputs[0]]
    seen = forward(model, draw(box, 100, 1))
    assert found.low.ndim == seen.ndim - 1
    assert found.low.shape[-1] == seen.shape[-1]
    assert_inside(name, seen, found)
    # No wild overestimate: the output really uses a good part of the range.
    used = seen.max() - seen.min()
    assert (found.high.max() - found.low.min()) <= 20 * used + 1e-9


def kernels(op, graph):
  """The weights without which a unit is what its bias is."""
  return {
    ref: axes
    for ref, axes in op.weights().items()
    if op.linear and len(graph.weight(ref).shape) > 1
  }


@pytest.mark.parametrize('name', MODELS)
def test_constants_are_what_keras_computes(name):
  model = MODELS[name]()
  graph = build_graph(model)
  for node in graph.nodes:
    for ref, axes in kernels(node.op, graph).items():
      unit = axes.incoming if axes.outgoing is None else axes.outgoing
      value = graph.weight(ref).numpy()
      np.moveaxis(value, unit, 0)[0] = 0.0
      graph.weight(ref).assign(value)
  found = propagate_constants(graph, read_params(graph))[graph.outputs[0]]
  seen = forward(model, draw(ragged_box(model.input_shape[1:]), 20, 3))
  fixed = ~np.isnan(np.broadcast_to(found, seen.shape))
  wanted = np.broadcast_to(found, seen.shape)
  np.testing.assert_allclose(seen[fixed], wanted[fixed], rtol=1e-6, atol=1e-9)
  if kernels(graph.nodes[-1].op, graph):
    assert fixed.any()


@pytest.mark.parametrize('name', MODELS)
def test_gains_bound_what_arrives(name):
  model = MODELS[name]()
  graph = build_graph(model)
  params = read_params(graph)
  box = uniform_box(model.input_shape[1:], -0.5, 1.0)
  bounds = propagate(graph, params, [box])
  gain = output_gain(graph, params, bounds, {graph.inputs[0]})[graph.inputs[0]]
  x, y = draw(box, 40, 1), draw(box, 40, 2)
  moved = forward(model, y) - forward(model, x)
  entries = gain.up.shape[:-1]
  axes = tuple(k + 1 for k, size in enumerate(entries) if size == 1)
  up, down = (
    np.maximum(part, 0).max(axes, keepdims=True).reshape(len(x), -1)
    for part in (y - x, x - y)
  )
  gain = gain.reshape((-1,))
  high = up @ gain.up + down @ gain.down
  outputs = bounds[graph.outputs[0]].low
  high = high.reshape(len(x), *outputs.shape)
  assert_inside(name, moved - high, Interval(np.array(-np.inf), np.array(0.0)))


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('noise', [0.0, 0.05])
def test_changes_of_weights_stay_in_their_bounds(name, noise):
  model = MODELS[name]()
  graph = build_graph(model)
  before = read_params(graph)
  rng = np.random.default_rng(0)
  after = {
    ref: value + noise * rng.normal(size=value.shape)
    for ref, value in before.items()
  }
  box = uniform_box(model.input_shape[1:], -1.0, 1.0)
  change = propagate_change(
    graph,
    before,
    after,
    propagate(graph, before, [box]),
    propagate(graph, after, [box]),
  )[graph.outputs[0]]
  x = draw(box, 60, 1)
  old = forward(model, x)
  for ref, value in after.items():
    graph.weight(ref).assign(value)
  moved = forward(model, x) - old
  assert_inside(name, moved, change)
  if not noise:
    assert not change.magnitude.any()


@pytest.mark.parametrize('name', MODELS)
def test_differences_of_channels_are_sound_and_no_wider_than_separate(name):
  model = MODELS[name]()
  graph = build_graph(model)
  params = read_params(graph)
  for box in boxes_of(model.input_shape[1:]):
    bounds = propagate(graph, params, [box])
    out = graph.outputs[0]
    left, right = testing.pairs(model.output_shape[-1])
    found = difference_of_entries(graph, params, bounds, out, left, right)
    seen = forward(model, draw(box, 60, 1))
    seen = seen.reshape(-1, seen.shape[-1])
    assert_inside(name, seen[:, left] - seen[:, right], found)
    own = intervals.over_positions(bounds[out])
    apart = own.high[left] - own.low[right]
    assert np.all(found.high <= apart + 1e-9)


def test_joint_differences_are_tighter_behind_convolutions():
  inputs = keras.Input((5, 5, 2))
  x = _layers.Conv2D(4, 3, padding='same')(inputs)
  x = _layers.BatchNormalization()(x)
  x = _layers.DepthwiseConv2D(3, padding='same')(_layers.ReLU()(x))
  x = _layers.MaxPooling2D()(x)
  model = testing.fill(keras.Model(inputs, _layers.Conv2D(3, 1)(x)))
  # Channels 0 and 1 are twins through all of it.
  for layer in model.layers[1:-1]:
    values = layer.get_weights()
    for value in values:
      axis = -2 if isinstance(layer, _layers.DepthwiseConv2D) else -1
      axis = -1 if value.ndim == 1 else axis
      first, second = [slice(None)] * value.ndim, [slice(None)] * value.ndim
      first[axis], second[axis] = 0, 1
      value[tuple(second)] = value[tuple(first)]
    layer.set_weights(values)
  view = testing.group_view(model)
  gap = view.difference(np.array([0, 2]), np.array([1, 3]))
  assert np.abs([gap.low[0], gap.high[0]]).max() < 1e-9
  assert view.pair_distances[0, 1] == 0
  assert view.pair_distances[0, 2] > 0


def slow_conv_bounds(x, kernel, strides, padding):
  """Interval convolution, position by position and tap by tap."""
  height, width, channels = x.low.shape
  size = kernel.shape[0]
  if padding == 'same':
    counts = [-(-n // strides) for n in (height, width)]
    totals = [
      max((c - 1) * strides + size - n, 0)
      for c, n in zip(counts, (height, width), strict=True)
    ]
  else:
    counts = [(n - size) // strides + 1 for n in (height, width)]
    totals = [0, 0]
  low = np.zeros((*counts, kernel.shape[-1]))
  high = np.zeros_like(low)
  for i, j, a, b in itertools.product(
    range(counts[0]), range(counts[1]), range(size), range(size)
  ):
    row = i * strides + a - totals[0] // 2
    column = j * strides + b - totals[1] // 2
    if not (0 <= row < height and 0 <= column < width):
      continue
    for c, m in itertools.product(range(channels), range(kernel.shape[-1])):
      ends = (
        kernel[a, b, c, m] * x.low[row, column, c],
        kernel[a, b, c, m] * x.high[row, column, c],
      )
      low[i, j, m] += min(ends)
      high[i, j, m] += max(ends)
  return low, high


@pytest.mark.parametrize('padding', ['same', 'valid'])
@pytest.mark.parametrize('strides', [1, 2])
def test_convolution_bounds_are_those_of_a_slow_reference(padding, strides):
  layer = _layers.Conv2D(3, 3, strides, padding, use_bias=False)
  inputs = keras.Input((6, 6, 2))
  model = testing.fill(keras.Model(inputs, layer(inputs)))
  graph = build_graph(model)
  box = uniform_box((6, 6, 2), 0.0, 1.5)  # contains the padding's zero
  found = propagate(graph, read_params(graph), [box])[graph.outputs[0]]
  low, high = slow_conv_bounds(
    box, layer.kernel.numpy().astype(float), strides, padding
  )
  np.testing.assert_allclose(found.low[0, 0], low.min((0, 1)), rtol=1e-9)
  np.testing.assert_allclose(found.high[0, 0], high.max((0, 1)), rtol=1e-9)


def test_convolution_bounds_by_hand():
  kernel = np.array([1.0, -2.0, 3.0]).reshape(3, 1, 1)
  ref = ops.WeightRef(('c',), 'kernel')
  x = Interval(np.full((1, 1), 1.0), np.full((1, 1), 2.0))
  inside = ops.Conv(ref, None, (False,) * 3).bounds({ref: kernel}, x)
  np.testing.assert_allclose(
    [inside.low[0, 0], inside.high[0, 0]], [0, 6], atol=1e-12
  )
  padded = ops.Conv(ref, None, (True, False, True)).bounds({ref: kernel}, x)
  # The outer taps may see 0 instead: [0, 2] - [2, 4] + [0, 6].
  np.testing.assert_allclose(
    [padded.low[0, 0], padded.high[0, 0]], [-4, 6], atol=1e-12
  )


@pytest.mark.parametrize(
  ('settings', 'size', 'wanted'),
  [
    ({'padding': 'valid'}, 6, [False, False, False]),
    ({'padding': 'same'}, 6, [True, False, True]),
    ({'padding': 'same', 'strides': 2}, 6, [False, False, True]),
    ({'padding': 'same', 'strides': 2}, 5, [True, False, True]),
    ({'padding': 'same'}, 1, [True, False, True]),
    ({'padding': 'causal'}, 6, [True, True, False]),
    ({'padding': 'same', 'dilation_rate': 4}, 3, [True, False, True]),
  ],
)
def test_padded_taps(settings, size, wanted):
  layer = _layers.Conv1D(2, 3, **settings)
  assert list(padded_taps(layer, [size])) == wanted
  # By experiment: a tap that is never padded gives the same everywhere.
  inputs = keras.Input((size, 1))
  model = keras.Model(inputs, layer(inputs))
  for tap, padded in enumerate(wanted):
    kernel = np.zeros((3, 1, 2))
    kernel[tap] = 1.0
    layer.set_weights([kernel, np.zeros(2)])
    seen = model(np.ones((1, size, 1))).numpy()
    assert bool((seen == 0).any()) == padded


def test_unknown_sizes_pad_at_least_as_many_taps():
  for taps, stride, size in itertools.product((2, 3, 5), (1, 2, 3), (4, 7, 9)):
    layer = _layers.Conv1D(2, taps, stride, 'same')
    known = padded_taps(layer, [size])
    unknown = padded_taps(layer, [1])
    assert all(u or not k for k, u in zip(known, unknown, strict=True))


def test_embeddings_are_bounded_whatever_is_looked_up():
  inputs = keras.Input((3,), dtype='int32')
  x = _layers.Embedding(10, 4)(inputs)
  model = testing.fill(
    keras.Model(inputs, _layers.Dense(2)(_layers.Flatten()(x)))
  )
  graph = build_graph(model)
  params = read_params(graph)
  bounds = propagate(graph, params, testing.box(graph, 0, 1))
  ids = np.random.default_rng(0).integers(0, 10, (200, 3))
  seen = np.asarray(model(ids), float)
  low, high = bounds[graph.outputs[0]]
  assert np.all(seen >= low - 1e-5)
  assert np.all(seen <= high + 1e-5)
  (group,) = find_groups(graph).groups
  assert group.size == 4
