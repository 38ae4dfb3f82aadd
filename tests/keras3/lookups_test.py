"""Layers of Keras 3 that look words up, with what they were adapted to."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding

keras = pytest.importorskip('keras', minversion='3')
L = keras.layers

LOOKUPS = {
  'integers given': (lambda: L.IntegerLookup(vocabulary=[4, 7]), [[7], [1]]),
  'integers seen': (L.IntegerLookup, [[5], [6], [6]]),
  'strings given': (lambda: L.StringLookup(vocabulary=['a', 'c']), [['c']]),
  'strings seen': (lambda: L.StringLookup(num_oov_indices=2), [['x'], ['y']]),
  'text': (lambda: L.TextVectorization(output_sequence_length=1), [['a b']]),
}


@pytest.mark.parametrize('name', LOOKUPS)
def test_words_are_those_of_keras3(name):
  make, seen = LOOKUPS[name]
  layer, x = make(), np.array(seen)
  if 'given' not in name:
    layer.adapt(x)
  inputs = keras.Input(
    (1,), dtype=x.dtype.name if x.dtype.kind == 'i' else 'string'
  )
  found = layer(inputs)
  outputs = L.Dense(3)(L.Flatten()(L.Embedding(9, 4)(found)))
  model = keras.Model(inputs, outputs)
  made = paoding.from_keras3(model)
  x = keras.ops.convert_to_tensor(x)
  np.testing.assert_allclose(made(x), model(x), atol=1e-6)
  back = paoding.to_keras3(made)
  np.testing.assert_allclose(back(x), model(x), atol=1e-6)
