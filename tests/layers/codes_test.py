"""Codes of inputs: what bounds say of the layers behind them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph

L = keras.layers
_BINS = [-0.5, 0.0, 0.5]
_CODES = {
  'bins': (lambda x: L.Embedding(4, 3)(L.Discretization(_BINS)(x)), None),
  'bins counted': (L.Discretization(_BINS, output_mode='count'), None),
  'categories': (L.CategoryEncoding(4, 'multi_hot'), 4),
  'categories counted': (L.CategoryEncoding(4, 'count'), 4),
  'list': (
    lambda x: L.Embedding(4, 3)(L.IntegerLookup(vocabulary=[3, 1, 7])(x)),
    9,
  ),
  'hashes': (lambda x: L.Embedding(5, 3)(L.Hashing(5)(x)), 9),
  'ones': (lambda x: tf.one_hot(x, 4), 4),
}


@pytest.mark.parametrize('name', _CODES)
def test_bounds_behind_codes_hold(name):
  encode, many = _CODES[name]
  inputs = keras.Input((3,), dtype='float32' if many is None else 'int32')
  x = L.Dense(8, 'relu')(L.Flatten()(encode(inputs)))
  model = testing.fill(keras.Model(inputs, L.Dense(2)(x)))
  box = (-1.0, 1.0) if many is None else (0, many - 1)
  small = paoding.prune(model, 0.5, method='l1', input_range=box, verbose=0)
  bound = paoding.deviation_bound(model, small, box)
  rng = np.random.default_rng(0)
  drawn = rng.uniform(*box, (300, 3)) + 0.5 * (many is not None)
  x = drawn.astype(model.inputs[0].dtype.name)
  gap = np.abs(testing.answers(model, x) - testing.answers(small, x))
  assert (gap <= bound * 1.00001).all()
  assert bound.max() < 40 * gap.max()


@pytest.mark.parametrize(
  'encode',
  [
    lambda x: L.IntegerLookup(vocabulary=[3, 1], invert=True)(x),
    lambda x: tf.one_hot(x, 4, on_value=2),
    lambda x: L.CategoryEncoding(4, 'count')(x, count_weights=x),
    L.CategoryEncoding(4, 'count'),  # of nobody knows how many
  ],
)
def test_other_codes_are_not_guessed(encode):
  inputs = keras.Input((None,), dtype='int32')
  model = keras.Model(inputs, encode(inputs))
  assert not build_graph(model).nodes[-1].op.known
