"""Functions of keras.ops: units in front leave as those of layers do."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests.keras3_models import randomized
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

keras = pytest.importorskip('keras', minversion='3')
L, ops = keras.layers, keras.ops
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')
_ROW, _STEPS, _IMAGE = (6,), (6, 4), (6, 6, 4)


def shuffle(x):
  x = ops.reshape(x, (-1, 6, 6, 2, x.shape[-1] // 2))
  x = ops.transpose(x, (0, 1, 2, 4, 3))
  return ops.reshape(x, (-1, 6, 6, x.shape[-2] * x.shape[-1]))


def gated(x):
  value, gate = ops.split(x, 2, axis=-1)
  return value * ops.sigmoid(gate)


def excited(x):
  gate = L.Dense(8, 'sigmoid')(ops.mean(x, axis=(1, 2), keepdims=True))
  return x * gate


BLOCKS = {
  'gated linear unit': (_ROW, 16, gated),
  'slices': (_ROW, 16, lambda x: ops.tanh(x[:, :8]) * x[:, 8:]),
  'strides': (_ROW, 16, lambda x: ops.maximum(x[:, ::2], x[:, 1::2])),
  'channel shuffle': (_IMAGE, 8, shuffle),
  'squeeze and excite': (_IMAGE, 8, excited),
  'concatenate': (_ROW, 8, lambda x: ops.concatenate([x, ops.relu(x)], -1)),
  'patches': (_IMAGE, 8, lambda x: ops.image.extract_patches(x, (2, 3))),
  'pad': (_STEPS, 8, lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)))),
  'stack': (_ROW, 8, lambda x: ops.max(ops.stack([x, x * 2], 1), axis=1)),
  'unstack': (_STEPS, 8, lambda x: ops.unstack(x, axis=1)[2]),
  'take': (_STEPS, 8, lambda x: ops.take(x, [0, 3], axis=1)),
  'take channels': (_ROW, 8, lambda x: ops.take(x, [5, 1, 0, 2], axis=-1)),
  'tile': (_STEPS, 8, lambda x: ops.tile(x, (1, 2, 2))),
  'repeat': (_STEPS, 8, lambda x: ops.repeat(x, 2, axis=-1)),
  'flip': (_STEPS, 8, lambda x: ops.flip(x, axis=1)),
  'roll': (_STEPS, 8, lambda x: ops.roll(x, 2, axis=1)),
  'expand and squeeze': (
    _ROW,
    8,
    lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
  ),
  'reductions': (
    _STEPS,
    8,
    lambda x: ops.mean(x, 1) + ops.sum(x, 1) + ops.max(x, 1) - ops.min(x, 1),
  ),
  'scalars': (
    _ROW,
    8,
    lambda x: (
      ops.absolute(x)
      + ops.square(x)
      + ops.clip(x, -0.2, 0.4)
      + ops.gelu(x)
      - ops.leaky_relu(x)
    ),
  ),
  'pools': (_IMAGE, 8, lambda x: ops.max_pool(x, 2)),
  'variance': (_STEPS, 8, lambda x: ops.sqrt(ops.var(x, axis=1) + 1e-3)),
  'choices': (_ROW, 8, lambda x: ops.where(x > 0.1, x, -0.1 * x)),
  'attention': (
    _STEPS,
    8,
    lambda x: ops.matmul(ops.softmax(L.Dot((2, 2))([x, x])), x),
  ),
  'Dot': (
    _STEPS,
    8,
    lambda x: L.Dot((2, 1))([ops.softmax(L.Dot((2, 2))([x, x])), x]),
  ),
}


@pytest.mark.parametrize('name', BLOCKS)
def test_units_in_front_leave_and_nothing_else_changes(name):
  shape, units, function = BLOCKS[name]
  inputs = keras.Input(shape)
  made = L.Conv2D(units, 1) if shape == _IMAGE else L.Dense(units)
  x = function(made(inputs))
  x = L.Dense(3)(L.Flatten()(L.Dense(6, 'relu')(x)))
  model = randomized(keras.Model(inputs, x))
  net = paoding.from_keras3(model)
  assert len(find_groups(build_graph(net)).left_alone) == 1  # the outputs
  wrapped = paoding.prune_low_saliency(net, method='l1', input_range=(-1, 1))
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(wrapped)
  x = np.random.default_rng(1).uniform(-1, 1, (9, *shape)).astype(np.float32)
  np.testing.assert_allclose(wrapped(x), small(x), atol=1e-5)
  first = next(layer for layer in small.layers if layer.weights)
  assert first.get_weights()[-1].size < units
  np.testing.assert_allclose(
    np.asarray(paoding.to_keras3(small)(x)), small(x), atol=1e-5
  )


def test_what_is_sliced_by_dots_can_be_saved(tmp_path):
  inputs = keras.Input((4, 4, 3))
  x = L.Conv2D(7, 1)(L.Conv2D(8, 1, activation='relu')(inputs))
  sliced = [x[..., :2], x[..., None, 2:], x[:, 1, ..., 0]]
  model = randomized(keras.Model(inputs, sliced))
  net = paoding.from_keras3(model)
  net.save(tmp_path / 'net.keras')
  x = np.random.default_rng(1).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
  for ours, theirs in zip(
    paoding.load_model(tmp_path / 'net.keras')(x), model(x), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
