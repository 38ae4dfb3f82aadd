"""Attention: channels leave all heads at once, in pairs and from values."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tests.layers.attention_test import CALLS, heads, model, transformer
from tests.layers.recurrent_test import check_forms, groups
from tfmot_paoding.compat import keras
from tfmot_paoding.network.matching import pair_models

L = keras.layers
strip_pruning = tfmot.sparsity.keras.strip_pruning
pytestmark = pytest.mark.filterwarnings(
  'ignore:Pruning has left few',
  'ignore:`input_range`',
  'ignore:.*leaves sizes of its inputs open',
)
SIZES = ('num_heads', 'key_dim', 'value_dim')


def sizes_of(net):
  config = net.get_layer('unit').get_config()
  return tuple(config[name] for name in SIZES)


@pytest.mark.parametrize('name', CALLS)
def test_all_forms_agree_however_it_is_called(name):
  net = model(CALLS[name])
  count, key, value = sizes_of(net)
  sizes, left_alone = groups(net, 'channels')
  assert set(left_alone) == {('end',)}
  assert sizes['front'] == 6
  assert (sizes['unit'], sizes['unit/2']) == (key, value)
  small = check_forms(net, 'saliency', attention='channels')
  assert sizes_of(small) == (count, key - key // 2, value - value // 2)
  again = type(small).from_config(small.get_config())
  shapes = [tuple(weight.shape) for weight in small.weights]
  assert [tuple(weight.shape) for weight in again.weights] == shapes


@pytest.mark.parametrize(
  'method', ['l1', 'impact', 'stochastic', 'reconstruction']
)
def test_every_method_takes_channels(method):
  net = model(lambda x: heads(2, 4)(x, x))
  small = check_forms(net, method, attention='channels')
  assert sizes_of(small) == (2, 2, 2)


def test_masks_and_shares():
  inputs = keras.Input((6,), dtype='int32')
  x = L.Embedding(9, 8, mask_zero=True, name='front')(inputs)
  y, shares = heads(2, 4)(
    x, x, use_causal_mask=True, return_attention_scores=True
  )
  shares = L.Reshape((6, -1))(L.Permute((2, 1, 3))(shares))
  x = L.Concatenate()([L.Add()([x, y]), L.Dense(3)(shares)])
  net = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
  small = check_forms(testing.fill(net), attention='channels')
  assert sizes_of(small) == (2, 2, 2)


def test_masks_that_are_given_and_positions_of_two_axes():
  inputs, mask = keras.Input((5, 4)), keras.Input((5, 5))
  x = L.Dense(6, 'relu', name='front')(inputs)
  x = heads(2, 4)(x, x, attention_mask=mask)
  net = testing.fill(keras.Model([inputs, mask], L.Dense(3)(L.Flatten()(x))))
  rng = np.random.default_rng(0)
  x = rng.uniform(-1, 1, (20, 5, 4)).astype(np.float32)
  seen = (rng.random((20, 5, 5)) < 0.6).astype(np.float32)
  check_forms(net, 'impact', x=[x, seen], attention='channels')
  inputs = keras.Input((2, 3, 4))
  x = heads(2, 4)(inputs, inputs)
  x = L.GlobalAveragePooling2D()(x)
  net = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  assert sizes_of(check_forms(net, attention='channels')) == (2, 2, 2)


def test_of_one_head_channels_leave_pairs_too():
  net = model(lambda x: heads(1, 4, 6)(x, x))
  assert sizes_of(check_forms(net, attention='channels')) == (1, 2, 3)


def test_a_layer_that_is_called_twice_loses_the_same_channels():
  shared = heads(2, 4)
  net = model(lambda x: shared(x, shared(x, x)))
  assert sizes_of(check_forms(net, attention='channels')) == (2, 2, 2)


def test_heads_leave_first_and_channels_then():
  net = transformer()
  original = small = net
  for attention in ('heads', 'channels'):
    small = paoding.prune(
      small,
      0.5,
      method='saliency',
      input_range=(-1.0, 1.0),
      verbose=0,
      attention=attention,
    )
  assert sizes_of(small) == (2, 2, 2)
  bound = paoding.deviation_bound(original, small, (-1.0, 1.0))
  x = testing.samples((5, 4), 30).astype(np.float32)
  assert np.isfinite(bound).all()
  assert np.all(np.abs(original(x) - small(x)).max(0) <= bound + 1e-5)


def emptied(net, columns, entries):
  """Some channels of some projections without weights."""
  layer = net.get_layer('unit')
  for name in columns:
    inner = getattr(layer, f'_{name}_dense')
    for weight in (inner.kernel, inner.bias):
      value = weight.numpy()
      value[entries] = 0.0
      weight.assign(value)
  return net


@pytest.mark.parametrize(
  ('name', 'sizes'),
  [('query', (4, 2, 3)), ('key', (4, 2, 3)), ('value', (4, 3, 2))],
)
def test_channels_without_effect_are_found_in_any_model(name, sizes):
  net = emptied(model(CALLS['itself']), [name], (..., 1))
  small = paoding.compact(net)
  assert sizes_of(small) == sizes
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


def test_dead_heads_and_dead_channels_leave_together():
  net = emptied(model(CALLS['itself']), ['query', 'value'], (..., 1))
  emptied(net, ['value'], (..., 2, slice(None)))
  small = paoding.compact(net)
  assert sizes_of(small) == (3, 2, 2)
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)
  pair = pair_models(net, small)
  layers = {path[-1]: layer for path, layer in pair.graph.layers.items()}
  for ref, value in pair.after.items():
    ref.of(layers[ref.layer[-1]]).assign(value)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


def test_biases_of_keys_do_not_hold_a_pair():
  """They add the same to all scores of a query."""
  net = model(CALLS['itself'])
  kernel = net.get_layer('unit')._key_dense.kernel
  value = kernel.numpy()
  value[..., 0] = 0.0
  kernel.assign(value)
  small = paoding.compact(net)
  assert sizes_of(small) == (4, 2, 3)
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


@pytest.mark.parametrize('method', ['saliency', 'impact'])
def test_pairs_that_are_alike_go_without_a_trace(method):
  """The keys' kernel takes over what a query's channel of its like met."""
  net = model(lambda x: L.LayerNormalization()(heads()(x, x)))
  layer = net.get_layer('unit')
  for inner in (layer._query_dense, layer._value_dense):
    for weight in (inner.kernel, inner.bias):
      value = weight.numpy()
      value[..., 1] = value[..., 0]
      weight.assign(value)
  small = paoding.prune(
    net,
    {'unit': 0.34},
    method=method,
    input_range=(-1.0, 1.0),
    attention='channels',
    verbose=0,
  )
  assert sizes_of(small) == (4, 2, 2)
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


def test_what_was_chosen_is_saved_with_the_wrappers(tmp_path):
  net = model(lambda x: heads(2, 4)(x, x))
  wrapped = paoding.prune_low_saliency(
    net,
    paoding.ProgressiveSparsity(0.5),
    'reconstruction',
    (-1.0, 1.0),
    attention='channels',
  )
  path = str(tmp_path / 'wrapped.keras')
  wrapped.save(path)
  with paoding.prune_scope():
    wrapped = keras.models.load_model(path)
  paoding.run_schedule(wrapped, verbose=0, original=net)
  x = testing.samples((5, 4), 30).astype(np.float32)
  answers = np.asarray(wrapped(x))
  small = paoding.compact(wrapped)
  assert sizes_of(small) == (2, 2, 2)
  np.testing.assert_allclose(small(x), answers, atol=1e-5)
  bound = paoding.deviation_bound(net, wrapped, (-1.0, 1.0))
  assert np.all(np.abs(answers - net(x)).max(0) <= bound + 1e-5)


def test_a_choice_that_has_no_effect_is_refused():
  net = testing.mlp()
  with pytest.raises(ValueError, match='no MultiHeadAttention'):
    paoding.prune(net, 0.5, method='l1', attention='channels')
  with pytest.raises(ValueError, match='no MultiHeadAttention'):
    paoding.prune_low_saliency(net, method='l1', attention='channels')
  with pytest.raises(ValueError, match="one of 'heads', 'channels'"):
    paoding.prune(net, 0.5, attention='rows')
  with pytest.raises(ValueError, match='no heads'):
    paoding.PruneLowSaliency(L.Dense(3), attention='channels')
