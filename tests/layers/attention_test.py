"""Attention: heads leave whole, and so do units in front of it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tests.layers.recurrent_test import check_forms, groups
from tfmot_paoding.bounds.program import NoRelaxationError
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.handler_check import check_call

L = keras.layers
strip_pruning = tfmot.sparsity.keras.strip_pruning
pytestmark = pytest.mark.filterwarnings(
  'ignore:Pruning has left few',
  'ignore:`input_range`',
  'ignore:.*leaves sizes of its inputs open',
)


def heads(*args, **settings):
  return L.MultiHeadAttention(*(args or (4, 3)), name='unit', **settings)


def other(x, width, name):
  return L.Dense(width, 'tanh', name=name)(x[:, 1:4])


CALLS = {
  'itself': lambda x: heads()(x, x),
  'no bias': lambda x: heads(use_bias=False)(x, x),
  'values': lambda x: heads(4, 3, 2, output_shape=7)(x, other(x, 5, 'side')),
  'keys': lambda x: heads(4, 3, 2)(
    x, key=other(x, 5, 'side'), value=other(x, 4, 'third')
  ),
  'causal': lambda x: heads()(x, x, use_causal_mask=True),
  'robust': lambda x: heads(softmax_robust_masking=True)(
    x, x, use_causal_mask=True
  ),
  'dropout': lambda x: heads(dropout=0.5)(x, x),
  'named arguments': lambda x: heads()(query=x, value=x, training=False),
  'shares unread': lambda x: heads()(x, x, return_attention_scores=True)[0],
}


def model(call, seed=3, end=3):
  inputs = keras.Input((5, 4))
  x = call(L.Dense(6, 'relu', name='front')(inputs))
  x = L.GlobalAveragePooling1D()(x)
  return testing.fill(keras.Model(inputs, L.Dense(end, name='end')(x)), seed)


@pytest.mark.parametrize('name', CALLS)
def test_all_forms_agree_however_it_is_called(name):
  net = model(CALLS[name])
  sizes, left_alone = groups(net)
  assert set(left_alone) == {('end',)}
  assert sizes['front'] == 6
  assert sizes['unit'] == 4
  small = check_forms(net, 'saliency')
  layer, was = small.get_layer('unit'), net.get_layer('unit')
  config, before = layer.get_config(), was.get_config()
  assert config['num_heads'] == 2
  for key in ('key_dim', 'value_dim', 'use_bias', 'dropout'):
    assert config[key] == before[key]
  assert layer._query_dense.kernel.shape == (3, 2, 3)
  again = type(small).from_config(small.get_config())
  shapes = [tuple(weight.shape) for weight in small.weights]
  assert [tuple(weight.shape) for weight in again.weights] == shapes


@pytest.mark.parametrize(
  'method', ['l1', 'impact', 'stochastic', 'reconstruction']
)
def test_every_method_takes_heads(method):
  small = check_forms(model(CALLS['keys']), method)
  assert small.get_layer('unit').get_config()['num_heads'] == 2


def test_shares_that_are_read_lose_their_heads():
  def call(x):
    x, shares = heads()(x, x, return_attention_scores=True)
    return x * L.Dense(1, name='reads')(L.Reshape((1, 100))(shares))

  small = check_forms(model(call))
  assert small.get_layer('reads').kernel.shape == (2 * 25, 1)
  assert small.get_layer('unit').get_config()['num_heads'] == 2


def test_shares_that_are_given_keep_their_heads():
  inputs = keras.Input((5, 4))
  x = L.Dense(6, 'relu', name='front')(inputs)
  x, shares = heads()(x, x, return_attention_scores=True)
  net = testing.fill(keras.Model(inputs, [L.Dense(2)(x), shares]))
  sizes, _ = groups(net)
  assert sizes == {'front': 6, 'unit': 6}


def test_keras_masks_hide_positions():
  inputs = keras.Input((6,), dtype='int32')
  x = L.Embedding(9, 8, mask_zero=True, name='front')(inputs)
  x = L.Add()([x, heads()(x, x)])
  x = L.MultiHeadAttention(3, 2, name='second')(x, x, use_causal_mask=True)
  net = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
  small = check_forms(testing.fill(net))
  assert small.get_layer('front').output_dim == 4
  assert small.get_layer('unit').get_config()['num_heads'] == 2


def test_masks_that_are_given():
  inputs, mask = keras.Input((5, 4)), keras.Input((5, 5))
  x = L.Dense(6, 'relu', name='front')(inputs)
  x = heads()(x, x, attention_mask=mask)
  net = testing.fill(keras.Model([inputs, mask], L.Dense(3)(L.Flatten()(x))))
  rng = np.random.default_rng(0)
  x = rng.uniform(-1, 1, (20, 5, 4)).astype(np.float32)
  seen = (rng.random((20, 5, 5)) < 0.6).astype(np.float32)
  check_forms(net, x=[x, seen])


@pytest.mark.parametrize('shape', [(None, 4), (2, 3, 4)])
def test_positions_left_open_and_of_two_axes(shape):
  inputs = keras.Input(shape)
  x = L.Dense(6, 'relu', name='front')(inputs)
  x = heads()(x, x)
  pool = (
    L.GlobalAveragePooling1D if len(shape) == 2 else (L.GlobalAveragePooling2D)
  )
  net = testing.fill(keras.Model(inputs, L.Dense(3)(pool()(x))))
  small = check_forms(net)
  assert small.get_layer('unit').get_config()['num_heads'] == 2


def test_a_layer_that_is_called_twice_loses_the_same_heads():
  shared = heads()

  def call(x):
    return shared(x, shared(x, x))

  small = check_forms(model(call))
  assert small.get_layer('unit').get_config()['num_heads'] == 2


@pytest.mark.parametrize('count', [1, 2])
def test_one_head_may_be_all_that_is_left(count):
  net = model(lambda x: heads(count, 4)(x, x))
  small = check_forms(net, sparsity=0.5)
  assert small.get_layer('unit').get_config()['num_heads'] == 1


@pytest.mark.parametrize('method', ['saliency', 'reconstruction'])
def test_of_one_head_channels_of_its_values_leave(method):
  net = model(lambda x: heads(1, 4, 6)(x, x))
  sizes, _ = groups(net)
  assert sizes == {'front': 6, 'unit': 6, 'unit/2': 6}
  config = check_forms(net, method).get_layer('unit').get_config()
  assert (config['num_heads'], config['key_dim']) == (1, 4)
  assert config['value_dim'] == 3


def test_a_head_without_values_gives_nothing_whatever_it_attends_to():
  net = model(CALLS['itself'])
  layer = net.get_layer('unit')
  for weight in (layer._value_dense.kernel, layer._value_dense.bias):
    value = weight.numpy()
    value[..., 1, :] = 0.0
    weight.assign(value)
  small = paoding.compact(net)
  assert small.get_layer('unit').get_config()['num_heads'] == 3
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


def test_a_head_of_constant_values_moves_into_the_bias():
  net = model(CALLS['itself'])
  layer = net.get_layer('unit')
  value = layer._value_dense.kernel.numpy()
  value[:, 2] = 0.0
  layer._value_dense.kernel.assign(value)
  small = paoding.compact(net)
  assert small.get_layer('unit').get_config()['num_heads'] == 3
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


def twin_heads():
  """The second head attends as the first does, to the same."""
  net = model(lambda x: L.LayerNormalization()(heads()(x, x)))
  layer = net.get_layer('unit')
  for name in ('query', 'key', 'value'):
    inner = getattr(layer, f'_{name}_dense')
    for weight in (inner.kernel, inner.bias):
      value = weight.numpy()
      value[..., 1, :] = value[..., 0, :]
      weight.assign(value)
  return net


@pytest.mark.parametrize('method', ['saliency', 'impact', 'reconstruction'])
def test_heads_that_are_alike_go_without_a_trace(method):
  net = twin_heads()
  small = paoding.prune(
    net,
    {'unit': 0.25},
    method=method,
    input_range=(-1.0, 1.0),
    distillation=False,
    verbose=0,
  )
  assert small.get_layer('unit').get_config()['num_heads'] == 3
  x = testing.samples((5, 4), 30).astype(np.float32)
  near = 0.02 if method == 'reconstruction' else 1e-5
  np.testing.assert_allclose(small(x), net(x), atol=near)


LEFT_ALONE = {
  'one of two axes': (
    (2, 3, 4),
    lambda x: heads(attention_axes=2)(x, x),
    'attention_axes',
  ),
  'several axes of channels': (
    (5, 4),
    lambda x: L.Reshape((5, -1))(heads(output_shape=(2, 3))(x, x)),
    'output_shape',
  ),
  'training': (
    (5, 4),
    lambda x: heads()(x, x, training=True),
    'training=True',
  ),
  'training by position': (
    (5, 4),
    lambda x: heads()(x, x, x, None, False, True),
    'training=True',
  ),
  'a constant': (
    (5, 4),
    lambda x: heads()(x, x, attention_mask=tf.ones((1, 5, 5))),
    '`attention_mask`',
  ),
}


@pytest.mark.parametrize('name', LEFT_ALONE)
def test_what_is_left_alone_is_named(name):
  shape, call, reason = LEFT_ALONE[name]
  inputs = keras.Input(shape)
  x = L.Dense(6, 'relu', name='front')(inputs)
  x = L.Flatten()(call(x))
  net = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  sizes, left_alone = groups(net)
  assert 'unit' not in sizes
  assert reason in left_alone['unit',]
  assert reason in left_alone['front',]


class Biased(L.MultiHeadAttention):
  """Scores of its own."""

  def _compute_attention(self, query, key, value, *args, **kwargs):
    return super()._compute_attention(query, key + 1.0, value, *args, **kwargs)


def test_what_a_subclass_computes_is_its_own():
  net = model(lambda x: Biased(4, 3, name='unit')(x, x))
  sizes, left_alone = groups(net)
  assert 'unit' not in sizes
  assert '_compute_attention' in left_alone['unit',]


def transformer():
  """A block of attention and one of a hidden layer, both with a shortcut."""
  inputs = keras.Input((5, 4))
  x = L.Dense(8, name='front')(inputs)
  x = L.LayerNormalization()(x + heads(4, 3)(x, x))
  y = L.Dense(8, name='back')(L.Dense(10, 'gelu', name='hidden')(x))
  x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x + y))
  return testing.fill(keras.Model(inputs, L.Dense(3, name='end')(x)))


@pytest.mark.parametrize('method', ['saliency', 'reconstruction'])
def test_heads_and_hidden_units_of_a_transformer_leave(method):
  net = transformer()
  sizes, _ = groups(net)
  assert sizes['unit'] == 4
  assert sizes['hidden'] == 10
  small = paoding.prune(
    net,
    0.5,
    method=method,
    input_range=(-1.0, 1.0),
    verbose=0,
    distillation=False,
  )
  assert small.get_layer('unit').get_config()['num_heads'] == 2
  assert small.get_layer('hidden').units == 5


def test_wrapped_in_fit_saved_and_stripped(tmp_path):
  net = transformer()
  wrapped = paoding.prune_low_saliency(
    net, paoding.ProgressiveSparsity(0.5, 0.25, 0, 1), 'saliency', (-1.0, 1.0)
  )
  wrapped.compile('sgd', 'mse')
  x = testing.samples((5, 4), 16).astype(np.float32)
  wrapped.fit(
    x,
    net.predict(x, verbose=0),
    callbacks=[paoding.UpdatePruningStep()],
    verbose=0,
  )
  for suffix in ('h5', 'keras'):
    path = str(tmp_path / f'wrapped.{suffix}')
    wrapped.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(loaded(x), wrapped(x), atol=1e-6)
  stripped = strip_pruning(loaded)
  small = paoding.compact(stripped)
  assert small.get_layer('unit').get_config()['num_heads'] == 2
  np.testing.assert_allclose(small(x), wrapped(x), atol=1e-5)


def test_wrapped_one_by_one_as_tfmot_does():
  def wrap(layer):
    return paoding.PruneLowSaliency(
      layer, paoding.ProgressiveSparsity(0.5), 'l1', (-1.0, 1.0)
    )

  inputs = keras.Input((5, 4))
  x = wrap(L.Dense(6, 'relu', name='front'))(inputs)
  x = wrap(heads())(x, x)
  x = L.GlobalAveragePooling1D()(x)
  net = keras.Model(inputs, wrap(L.Dense(3, name='end'))(x))
  names = [weight.name for weight in net.weights]
  assert len(set(names)) == len(names)
  paoding.run_schedule(net, verbose=0)
  small = paoding.compact(strip_pruning(net))
  assert small.get_layer('unit').get_config()['num_heads'] == 2
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)


@pytest.mark.parametrize('quantization', [None, 'int8'])
def test_small_ones_become_files(quantization):
  net = transformer()
  small = paoding.prune(
    net, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
  )
  whole, data = (
    paoding.convert_to_tflite(one, quantization, input_range=(-1.0, 1.0))
    for one in (net, small)
  )
  assert len(data) < len(whole)
  x = testing.samples((5, 4), 20).astype(np.float32)
  wanted = np.asarray(small(x))
  (found,) = paoding.tflite.run_tflite(
    data, dict.fromkeys(net.input_names, x), outputs=net.output_names
  )
  near = 1e-5 if quantization is None else 0.3 * np.abs(wanted).max()
  np.testing.assert_allclose(np.asarray(found), wanted, atol=near)


def test_to_keras3_and_back():
  net = transformer()
  small = paoding.prune(
    net, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
  )
  x = testing.samples((5, 4), 20).astype(np.float32)
  newer = paoding.to_keras3(small)
  np.testing.assert_allclose(np.asarray(newer(x)), small(x), atol=1e-5)
  again = paoding.from_keras3(newer)
  np.testing.assert_allclose(again(x), small(x), atol=1e-5)
  smaller = paoding.prune(
    newer, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
  )
  assert smaller.get_layer('unit').get_config()['num_heads'] == 1


def test_lines_near_samples_are_refused_by_name():
  net = transformer()
  x = testing.samples((5, 4), 2).astype(np.float32)
  with pytest.raises(NoRelaxationError, match='averages values'):
    paoding.robustness.output_bounds(net, x, 0.01, (-1.0, 1.0), 'crown')


def test_handlers_name_what_layers_compute():
  for call in CALLS.values():
    graph = build_graph(model(call))
    assert all(check_call(graph, call) for call in graph.layer_calls)


def dense(width, name):
  return L.Dense(width, 'relu', name=name)


SINGLE = {
  'dot': (lambda x: L.Attention()([x, dense(6, 'v')(x[:, :3])]), None),
  'itself': (lambda x: L.Attention(use_scale=True)([x, x]), None),
  'keys': (
    lambda x: L.Attention()([x, dense(5, 'v')(x[:, :3]), x[:, :3]]),
    'v',
  ),
  'concat': (
    lambda x: L.Attention(True, 'concat')([x, dense(6, 'v')(x[:, :3])]),
    None,
  ),
  'sum': (lambda x: L.AdditiveAttention()([x, x], use_causal_mask=True), None),
}


@pytest.mark.parametrize('name', SINGLE)
def test_channels_of_values_go_along_and_those_of_keys_are_tied(name):
  call, own = SINGLE[name]
  net = model(call)
  sizes, left_alone = groups(net)
  assert set(left_alone) == {('end',)}
  assert sizes == {'front': 6} | ({own: 5} if own else {})
  small = check_forms(net, 'saliency')
  assert small.get_layer('front').units == 3


def test_keras_masks_hide_queries_and_values():
  inputs = keras.Input((6,), dtype='int32')
  x = L.Embedding(9, 8, mask_zero=True, name='front')(inputs)
  x = L.Attention()([x, x])
  net = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
  small = check_forms(testing.fill(net))
  assert small.get_layer('front').output_dim == 4


def test_channels_that_decide_who_is_attended_to_stay():
  """Though no kernel behind has a weight for them."""
  net = model(lambda x: L.Attention()([x, x]))
  end = net.get_layer('end')
  kernel, bias = end.get_weights()
  kernel[2:4] = 0.0
  end.set_weights([kernel, bias])
  small = paoding.compact(net)
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)
  assert small.get_layer('front').units == 6


def test_they_stay_whatever_the_values_are_made_by():
  inputs = keras.Input((5, 4))
  x = L.Dense(6, name='front')(inputs)
  value = L.Lambda(lambda y: y * 2.0)(inputs)
  attended = L.GlobalAveragePooling1D()(L.Attention()([x, value, x]))
  end = L.Dense(3, name='end')
  outputs = [end(L.GlobalMaxPooling1D()(x)), attended]
  net = testing.fill(keras.Model(inputs, outputs))
  kernel, bias = end.get_weights()
  kernel[2:4] = 0.0
  end.set_weights([kernel, bias])
  small = paoding.compact(net)
  x = testing.samples((5, 4), 30).astype(np.float32)
  for got, wanted in zip(small(x), net(x), strict=True):
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_channels_of_keys_that_never_vary_decide_nothing():
  net = model(lambda x: L.Attention()([x, x]))
  end, front = net.get_layer('end'), net.get_layer('front')
  kernel, bias = front.get_weights()
  kernel[:, 2] = 0.0
  front.set_weights([kernel, np.abs(bias) + 0.1])
  kernel, bias = end.get_weights()
  kernel[2:4] = 0.0
  end.set_weights([kernel, bias])
  small = paoding.compact(net)
  x = testing.samples((5, 4), 30).astype(np.float32)
  np.testing.assert_allclose(small(x), net(x), atol=1e-5)
  assert small.get_layer('front').units == 5


def test_queries_that_nothing_else_reads_are_left_alone():
  def call(x):
    return L.Attention()([dense(5, 'q')(x), x, dense(5, 'k')(x)])

  sizes, left_alone = groups(model(call))
  assert sizes == {'front': 6}
  assert 'no product with a kernel' in left_alone['q',]
