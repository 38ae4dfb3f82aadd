"""Models with chains compute what matrices multiplied out do."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.splitting import with_chains
from tfmot_paoding.factorization.worth import Chain
from tfmot_paoding.network.graph import build_graph, layers_of

_layers = keras.layers


def random_chain(layer, front=None, behind=None, seed=0):
  """A chain of ranks for a layer, and the layer's kernel multiplied out."""
  rng = np.random.default_rng(seed)
  *window, channels, columns = layer.kernel.shape
  taps = int(np.prod(window))
  before = None if front is None else rng.normal(size=(channels, front))
  after = None if behind is None else rng.normal(size=(behind, columns))
  rows = taps * (front or channels)
  chain = Chain(before, rng.normal(size=(rows, behind or columns)), after)
  return chain, chain.matrix().reshape(layer.kernel.shape)


def compared(model, chains):
  """The model with chains, after a check that it answers as it should."""
  weights = model.get_weights()
  made = with_chains(
    model, {path: (chain, bias) for path, (chain, _, bias) in chains.items()}
  )
  for old, new in zip(weights, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)
  layers = layers_of(model)
  for path, (_, kernel, bias) in chains.items():
    layers[path].kernel.assign(kernel)
    if bias is not None:
      layers[path].bias.assign(bias)
  x = [testing.samples(t.shape[1:], 6).astype(np.float32) for t in model.inputs]
  expected, found = testing.answers(model, x), testing.answers(made, x)
  for one, other in zip(
    *(y if isinstance(y, list) else [y] for y in (expected, found)),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
  build_graph(made)  # each layer is called as before
  return made


def test_a_sequential_stays_one_and_names_are_kept():
  model = testing.mlp((5, 8, 6, 3))
  chain, kernel = random_chain(model.layers[1], behind=2)
  made = compared(model, {('hidden_1',): (chain, kernel, np.arange(6.0))})
  assert type(made) is keras.Sequential
  assert [x.name for x in made.layers] == [
    'hidden_0',
    'hidden_1_low_rank',
    'hidden_1',
    'logits',
  ]
  first, second = made.layers[1:3]
  assert (first.units, first.use_bias) == (2, False)
  assert first.activation is keras.activations.linear
  assert second.activation is keras.activations.relu
  assert made.input_shape == model.input_shape


@pytest.mark.parametrize('use_bias', [True, False])
@pytest.mark.parametrize(
  'ranks', [(2, None), (None, 3), (2, 3)], ids=['front', 'behind', 'both']
)
@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'padding': 'same', 'strides': 2},
    {'padding': 'same', 'dilation_rate': 2},
  ],
)
def test_convolutions(settings, ranks, use_bias):
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((9, 8, 4)),
        _layers.Conv2D(
          5,
          (3, 2),
          activation='tanh',
          use_bias=use_bias,
          name='a',
          **settings,
        ),
        _layers.GlobalAveragePooling2D(),
        _layers.Dense(2),
      ]
    )
  )
  front, behind = ranks
  chain, kernel = random_chain(model.layers[0], front, behind)
  bias = np.arange(5.0) if use_bias else None
  made = compared(model, {('a',): (chain, kernel, bias)})
  names = [x.name for x in made.layers if x.name.startswith('a')]
  expected = ['a_front'] * (front is not None)
  expected += ['a_low_rank'] * (behind is not None)
  assert names == [*expected, 'a']


@pytest.mark.parametrize('rank', [1, 3])
def test_windows_of_other_ranks(rank):
  kind = {1: _layers.Conv1D, 3: _layers.Conv3D}[rank]
  padding = 'causal' if rank == 1 else 'same'
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((5,) * rank + (4,)),
        kind(5, 3, padding=padding, name='a'),
        _layers.Flatten(),
        _layers.Dense(2),
      ]
    )
  )
  chain, kernel = random_chain(model.layers[0], 2, 2)
  compared(model, {('a',): (chain, kernel, np.ones(5))})


def test_graphs_nested_models_and_taken_names():
  inner_inputs = keras.Input((6,))
  inner = keras.Model(
    inner_inputs,
    _layers.Dense(6, activation='relu', name='a')(inner_inputs),
    name='inner',
  )
  one, other = keras.Input((5,), name='one'), keras.Input((5,), name='other')
  x = _layers.Concatenate()([one, other])
  x = _layers.Dense(6, name='b')(x)
  y = _layers.Dense(6, name='b_low_rank')(x)
  x = _layers.Add()([inner(x), y * 2.0])
  outputs = [_layers.Dense(2, name='first')(x), _layers.Dense(3)(x)]
  model = testing.fill(keras.Model([one, other], outputs))
  chains = {}
  for path in (('b',), ('inner', 'a'), ('first',)):
    layer = layers_of(model)[path]
    units = layer.units
    chains[path] = (*random_chain(layer, behind=1), np.arange(float(units)))
  made = compared(model, chains)
  assert {'b_low_rank', 'b_low_rank_1', 'b'} <= {x.name for x in made.layers}
  nested = made.get_layer('inner')
  assert [x.name for x in nested.layers[1:]] == ['a_low_rank', 'a']
  assert made.input_names == ['one', 'other']


def test_a_nested_model_that_is_called_twice_stays_one():
  inner = keras.Sequential(
    [keras.Input((5,)), _layers.Dense(5, name='a')], name='inner'
  )
  inputs = keras.Input((5,))
  x = _layers.Dense(5, name='b')(inner(inner(inputs)))
  model = testing.fill(keras.Model(inputs, x))
  chain, kernel = random_chain(model.get_layer('b'), behind=1)
  made = compared(model, {('b',): (chain, kernel, np.zeros(5))})
  assert len([x for x in made.layers if x.name == 'inner']) == 1


def test_masks_policies_and_frozen_layers_come_along():
  model = keras.Sequential(
    [
      keras.Input((4,)),
      _layers.Embedding(9, 5, mask_zero=True),
      _layers.Dense(6, name='a', trainable=False, dtype='mixed_float16'),
      _layers.LSTM(3, dtype='float32'),
      _layers.Dense(2),
    ]
  )
  chain, _ = random_chain(model.get_layer('a'), behind=2)
  made = with_chains(model, {('a',): (chain, np.zeros(6))})
  links = [made.get_layer(name) for name in ('a_low_rank', 'a')]
  assert [x.trainable for x in links] == [False, False]
  assert {x.dtype_policy.name for x in links} == {'mixed_float16'}
  x = np.array([[1, 2, 0, 0]])
  kernel = chain.matrix()
  model.get_layer('a').kernel.assign(kernel)
  np.testing.assert_allclose(made(x), model(x), atol=2e-2)
